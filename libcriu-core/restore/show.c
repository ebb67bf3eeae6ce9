/*
 * How far a restore has got, for those who watch. Tasks read their memory by themselves, so what tells is how much of it they
 * have: pages that are resident, up to as many as a task is to read. Whoever shares pages with its parent has them at once.
 */
#include "restore/restore-internal.h"

#include "kernel/context.h"
#include "mm/mm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PAGE 4096ul

static uint64_t resident_pages(pid_t pid)
{
	char path[64], text[128];
	uint64_t size, resident;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "%" SCNu64 " %" SCNu64, &size, &resident) == 2 ? resident : 0;
}

void restore_show(const struct restore *rs)
{
	const struct cr_observer *obs = rs->ctx->obs;
	uint64_t done = 0, total = 0;

	if (!obs || !obs->progress)
		return;
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		const struct abi_routine *r = program_routine(&rs->program, rs->nodes[i].index);
		struct mm_planned planned;
		uint64_t pages, there;

		if (!rs->tasks[i].space)
			continue;
		planned = mm_space_planned(rs->tasks[i].space);
		pages = planned.read + planned.compared;
		total += pages;
		/* before it begins its number may be another's */
		there = __atomic_load_n(&r->state, __ATOMIC_SEQ_CST) == ABI_IDLE
				? 0
				: resident_pages((pid_t)rs->tasks[i].entry->pid);
		done += there < pages ? there : pages;
	}
	if (!total)
		return;
	obs->progress(obs->arg, "memory", 0, 0);
	obs->progress(obs->arg, "memory", done * PAGE, total * PAGE);
}
