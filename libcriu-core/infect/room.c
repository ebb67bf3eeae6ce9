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

#define PAGE_KB 4u
#define OURS    2u /* mappings that we need: code and data */

/* The first number of statm is what RLIMIT_AS is about: proc_pid_statm(5), may_expand_vm() in mm/mmap.c */
static uint64_t space_of(const struct task *task)
{
	char text[128];
	ssize_t len = proc_read_small(&task->dir, "statm", text, sizeof(text) - 1, NULL);

	if (len <= 0)
		return 0;
	text[len] = 0;
	return strtoull(text, NULL, 10) * PAGE_KB * 1024;
}

/* Is it the limit of the address space that forbids @bytes more? Then *ret_need is what it would have to be. */
static bool space_is_short(const struct task *task, size_t bytes, struct proc_limit *ret, uint64_t *ret_need)
{
	struct proc_limits limits;

	if (proc_limits_read(&task->dir, &limits, NULL) < 0)
		return false;
	*ret = limits.of[RLIMIT_AS];
	*ret_need = space_of(task) + bytes;
	return ret->soft != PROC_LIMIT_INFINITY && *ret_need > ret->soft;
}

static int set_limit(const struct task *task, uint64_t soft, uint64_t hard)
{
	/* the two infinities are the same number */
	struct rlimit l = { .rlim_cur = soft, .rlim_max = hard };

	return prlimit(task->host_pid, RLIMIT_AS, &l, NULL);
}

bool room_make(struct room *room, const struct task *task, size_t bytes, struct leftover *note)
{
	struct proc_limit as;
	uint64_t need;

	if (room->raised || !space_is_short(task, bytes, &as, &need))
		return false;
	leftover_raised(note, as.soft, as.hard);
	/* a limit of somebody else, and a hard one, take CAP_SYS_RESOURCE */
	if (set_limit(task, need, need > as.hard ? need : as.hard) < 0) {
		leftover_raised(note, 0, 0);
		return false;
	}
	*room = (struct room){ .raised = true, .soft = as.soft, .hard = as.hard, .note = note };
	return true;
}

void room_give_back(struct room *room, const struct task *task)
{
	if (!room->raised)
		return;
	set_limit(task, room->soft, room->hard);
	leftover_raised(room->note, 0, 0);
	room->raised = false;
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

static int explain_no_memory(const struct task *task, size_t bytes, struct cr_error *err)
{
	uint64_t need, max = sysctl("/proc/sys/vm/max_map_count"), maps;
	struct proc_limit as;

	if (space_is_short(task, bytes, &as, &need)) {
		cr_refuse(err, -ENOMEM,
			  "pid %d (%s) has no room for %zu KiB: RLIMIT_AS is %" PRIu64
			  " KiB, of which it uses %" PRIu64,
			  task->host_pid, task->comm, bytes >> 10, as.soft >> 10, (need - bytes) >> 10);
		cr_advise(err, "allow it more: prlimit --pid %d --as=%" PRIu64 "%s", task->host_pid, need,
			  need > as.hard ? "" : ":");
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

int room_explain(const struct task *task, size_t bytes, int r, struct cr_error *err)
{
	if (r == -ENOMEM)
		return explain_no_memory(task, bytes, err);
	if (r == -EAGAIN)
		cr_advise(err, "it locks all its memory; allow it %zu KiB more: prlimit --pid %d --memlock",
			  bytes >> 10, task->host_pid);
	if (r == -EACCES || r == -EPERM)
		cr_advise(
			err,
			"a security module or a filter of system calls forbids it memory with code that is no file's");
	return r;
}
