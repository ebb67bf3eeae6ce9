#include "infect/room.h"

#include "base/buf.h"
#include "base/own.h"
#include "procfs/limits.h"
#include "procfs/proc-dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OURS    2u /* mappings that we need: code and data */

static const struct {
	const char *name, *option; /* of prlimit(1) */
	const char
		*line; /* what counts, in /proc/PID/status: may_expand_vm() in mm/mmap.c, Linux 4.7 for RLIMIT_DATA */
} limits[ROOM_LIMITS] = {
	[ROOM_SPACE] = { "RLIMIT_AS", "as", "\nVmSize:" },
	[ROOM_DATA] = { "RLIMIT_DATA", "data", "\nVmData:" },
};

static uint64_t used_by(const struct task *task, enum room_limit which)
{
	autobuf struct buf text = BUF_INIT(1u << 20); /* some 65536 groups are among it */
	const char *at;

	if (proc_read_buf(&task->dir, "status", &text, NULL) < 0 || buf_add(&text, "", 1) < 0)
		return 0;
	at = strstr(text.data, limits[which].line);
	return at ? strtoull(at + strlen(limits[which].line), NULL, 10) * 1024 : 0;
}

/* Is it the limit that forbids @bytes more? Then *ret_need is what it would have to be. */
static bool is_too_low(const struct task *task, enum room_limit which, size_t bytes, struct proc_limit *ret,
		       uint64_t *ret_need)
{
	struct proc_limits all;

	if (proc_limits_read(&task->dir, &all, NULL) < 0)
		return false;
	*ret = all.of[room_resource(which)];
	*ret_need = used_by(task, which) + bytes;
	return ret->soft != PROC_LIMIT_INFINITY && *ret_need > ret->soft;
}

static int set_limit(const struct task *task, enum room_limit which, uint64_t soft, uint64_t hard)
{
	/* the two infinities are the same number */
	struct rlimit l = { .rlim_cur = soft, .rlim_max = hard };

	return prlimit(task->host_pid, (__rlimit_resource_t)room_resource(which), &l, NULL);
}

bool room_make(struct room *room, const struct task *task, enum room_limit which, size_t bytes, struct leftover *note)
{
	struct proc_limit was;
	uint64_t need;

	if (room->limits[which].raised || !is_too_low(task, which, bytes, &was, &need))
		return false;
	leftover_raised(note, which, was.soft, was.hard);
	/* a limit of somebody else, and a hard one, take CAP_SYS_RESOURCE */
	if (set_limit(task, which, need, need > was.hard ? need : was.hard) < 0) {
		leftover_lowered(note, which);
		return false;
	}
	room->limits[which] = (struct leftover_limit){ .raised = true, .soft = was.soft, .hard = was.hard };
	room->note = note;
	return true;
}

void room_give_back(struct room *room, const struct task *task)
{
	for (int i = 0; i < ROOM_LIMITS; i++) {
		struct leftover_limit *l = &room->limits[i];

		if (!l->raised)
			continue;
		set_limit(task, (enum room_limit)i, l->soft, l->hard);
		leftover_lowered(room->note, (enum room_limit)i);
		l->raised = false;
	}
}

static uint64_t sysctl(const char *path)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

	return len > 0 ? strtoull(text, NULL, 10) : 0;
}

static uint64_t count_mappings(const struct task *task)
{
	autobuf struct buf text = BUF_INIT(256u << 20);
	uint64_t nr = 0;

	if (proc_read_buf(&task->dir, "maps", &text, NULL) < 0)
		return 0;
	for (size_t i = 0; i < text.len; i++)
		nr += text.data[i] == '\n';
	return nr;
}

static int explain_no_memory(const struct task *task, enum room_limit which, size_t bytes, struct cr_error *err)
{
	uint64_t need, max = sysctl("/proc/sys/vm/max_map_count"), maps;
	struct proc_limit is;

	if (is_too_low(task, which, bytes, &is, &need)) {
		cr_refuse(err, -ENOMEM,
			  "pid %d (%s) has no room for %zu KiB: %s is %" PRIu64 " KiB, of which it uses %" PRIu64,
			  task->host_pid, task->comm, bytes >> 10, limits[which].name, is.soft >> 10,
			  (need - bytes) >> 10);
		cr_advise(err, "allow it more: prlimit --pid %d --%s=%" PRIu64 "%s", task->host_pid,
			  limits[which].option, need, need > is.hard ? "" : ":");
		return -ENOMEM;
	}
	maps = count_mappings(task);
	if (max && maps + OURS > max) {
		cr_refuse(err, -ENOMEM,
			  "pid %d (%s) has no room for %u mappings: it has %" PRIu64 ", vm.max_map_count is %" PRIu64,
			  task->host_pid, task->comm, OURS, maps, max);
		cr_advise(err, "allow more, here and where it is restored: sysctl vm.max_map_count=%" PRIu64, max + 64);
		return -ENOMEM;
	}
	if (sysctl("/proc/sys/vm/overcommit_memory") == 2) {
		cr_refuse(err, -ENOMEM,
			  "pid %d (%s) has no room for %zu KiB: all memory that vm.overcommit_memory=2 allows is "
			  "promised",
			  task->host_pid, task->comm, bytes >> 10);
		cr_advise(err, "add swap, or raise vm.overcommit_ratio (see CommitLimit in /proc/meminfo)");
		return -ENOMEM;
	}
	return -ENOMEM;
}

int room_explain(const struct task *task, enum room_limit which, size_t bytes, int r, struct cr_error *err)
{
	if (r == -ENOMEM)
		return explain_no_memory(task, which, bytes, err);
	if (r == -EAGAIN)
		cr_advise(err, "it locks all its memory; allow it %zu KiB more: prlimit --pid %d --memlock",
			  bytes >> 10, task->host_pid);
	if (r == -EACCES || r == -EPERM)
		cr_advise(
			err,
			"a security module or a filter of system calls forbids it memory with code that is no file's");
	return r;
}
