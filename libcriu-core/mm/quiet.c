/* Counting system calls; see quiet.h. */
#include "mm/quiet.h"

#include "base/own.h"
#include "infect/task.h"
#include "procfs/lists.h"
#include "procfs/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_MAX 64
#define EVENT_ID    "events/raw_syscalls/sys_enter/id"

/* PF_IO_WORKER and PF_USER_WORKER, since 5.12 and 6.4: threads that do without system calls what others have asked for. */
#define WORKER_FLAGS 0x4010u

/* Calls that wait, and change nothing of the memory of who makes them. */
static const long waiting_calls[] = {
	SYS_read, SYS_pread64, SYS_readv, SYS_write, SYS_writev, SYS_ppoll, SYS_pselect6, SYS_epoll_pwait, SYS_accept,
	SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_connect, SYS_nanosleep,
	SYS_clock_nanosleep, SYS_futex, SYS_wait4, SYS_waitid, SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_restart_syscall,
	SYS_flock, SYS_fcntl, SYS_semtimedop, SYS_msgrcv, SYS_msgsnd, SYS_mq_timedreceive,
#ifdef SYS_poll
	SYS_poll, SYS_select, SYS_epoll_wait, SYS_pause,
#endif
};

/* tracefs need not be mounted where we are: a mount that nobody sees is as good. */
static int open_tracefs(void)
{
	int fs = (int)syscall(SYS_fsopen, "tracefs", 1 /* FSOPEN_CLOEXEC */), mount = -1;

	if (fs >= 0 && syscall(SYS_fsconfig, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0)
		mount = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	if (fs >= 0)
		close(fs);
	return mount;
}

int quiet_event(void)
{
	autofd int dir = open_tracefs();
	autofd int fd = dir < 0 ? -1 : openat(dir, EVENT_ID, O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	char *end;
	long id;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	id = strtol(text, &end, 10);
	return end == text || id <= 0 || id > INT32_MAX ? -1 : (int)id;
}

static bool add_counter(struct quiet_threads *threads, pid_t tid, int event)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = (uint64_t)event
	};
	struct quiet_thread *t = quiet_threads_add(threads);

	if (!t)
		return false;
	*t = (struct quiet_thread){ .tid = tid };
	t->counter = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return t->counter >= 0;
}

static bool is_waiting(const struct proc_dir *dir, pid_t tid)
{
	autoprocdir struct proc_dir thread = PROC_DIR_NONE;
	char text[256], *end;
	struct proc_stat st;
	long nr;
	ssize_t n;

	if (proc_dir_open_task(AT_FDCWD, dir->pid, tid, &thread, NULL) < 0 || proc_stat_read(&thread, &st, NULL) < 0 ||
	    st.flags & WORKER_FLAGS)
		return false;
	/* "running", or the number of the call and its arguments; proc_pid_syscall(5) */
	n = proc_read_small(&thread, "syscall", text, sizeof(text) - 1, NULL);
	if (n <= 0)
		return false;
	text[n] = '\0';
	nr = strtol(text, &end, 10);
	for (size_t i = 0; end != text && *end == ' ' && i < ARRAY_LEN(waiting_calls); i++)
		if (nr == waiting_calls[i])
			return true;
	return false;
}

/* Counting comes first: who then waits in a call that was begun before, and has made none when we come back, has done nothing. */
bool quiet_begin(const struct proc_dir *dir, int event, struct quiet_threads *ret)
{
	autointvec struct int_vec tids = { 0 };
	struct quiet_threads threads = { 0 };
	bool good = proc_tasks_read(dir, &tids, NULL) == 0 && tids.nr && tids.nr <= THREADS_MAX;

	for (size_t i = 0; good && i < tids.nr; i++)
		good = add_counter(&threads, tids.items[i], event);
	for (size_t i = 0; good && i < tids.nr; i++)
		good = is_waiting(dir, tids.items[i]);
	if (good)
		*ret = threads;
	else
		quiet_done(&threads);
	return good;
}

static const struct quiet_thread *find(const struct quiet_threads *threads, pid_t tid)
{
	for (size_t i = 0; i < threads->nr; i++)
		if (threads->items[i].tid == tid)
			return &threads->items[i];
	return NULL;
}

bool quiet_still(const struct quiet_threads *threads, const struct task *task)
{
	if (task->threads.nr != threads->nr)
		return false;
	for (size_t i = 0; i < task->threads.nr; i++) {
		const struct quiet_thread *t = find(threads, task->threads.items[i].host_tid);
		uint64_t calls = 1;

		if (!t || task->threads.items[i].dead || read(t->counter, &calls, sizeof(calls)) != sizeof(calls) || calls)
			return false;
	}
	return true;
}

void quiet_done(struct quiet_threads *threads)
{
	for (size_t i = 0; i < threads->nr; i++)
		if (threads->items[i].counter >= 0)
			close(threads->items[i].counter);
	quiet_threads_done(threads);
}
