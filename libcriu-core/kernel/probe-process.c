#include "kernel/probe-internal.h"

#include "base/own.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARCH_MAP_VDSO_64 0x2003

/*
 * The number asked for is our own, so no child can come of it: the kernel looks at permission first (EPERM), then finds the
 * number taken; alloc_pid() in kernel/pid.c. CLONE_VM spares the copy of our memory that would come before.
 */
int probe_clone3_set_tid(void)
{
	pid_t tid = getpid();
	struct uapi_clone_args args = {
		.flags = CLONE_VM,
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&tid,
		.set_tid_size = 1,
		.stack = (uint64_t)(uintptr_t)&args,
		.stack_size = 8,
	};

	/* a kernel before 5.5 finds unknown fields that are not zero: E2BIG */
	syscall(__NR_clone3, &args, sizeof(args));
	return errno == EEXIST ? 0 : -errno;
}

int probe_pidfd_open(void)
{
	autofd int fd = (int)syscall(__NR_pidfd_open, getpid(), 0);

	return fd < 0 ? -errno : 0;
}

int probe_pidfd_getfd(void)
{
	autofd int fd = (int)syscall(__NR_pidfd_open, getpid(), 0);

	if (fd < 0)
		return -errno;

	autofd int copy = (int)syscall(__NR_pidfd_getfd, fd, fd, 0);

	return copy < 0 ? -errno : 0;
}

int probe_pidfd_store(void)
{
	return probe_pidfd_getfd();
}

int probe_kcmp(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0) < 0 ? -errno : 0;
}

/* The last argument is a pointer to the target's place: an unreadable one is told from an unknown type. */
int probe_kcmp_epoll(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, 0, (void *)1) < 0 && errno != EFAULT &&
			       errno != EBADF
		       ? -errno
		       : 0;
}

int probe_timer_cr_ids(void)
{
	return prctl(PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0) < 0 ? -errno : 0;
}

int probe_membarrier_get(void)
{
	return syscall(SYS_membarrier, UAPI_MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0) < 0 ? -errno : 0;
}

/*
 * A tracee of one's own is the only way to ask for a ptrace request. Without an exit signal, so that no handler of
 * this process hears of it; and not to outlive us, who may be killed at any instant.
 */
static int with_tracee(int (*ask)(pid_t))
{
	pid_t self = getpid(), pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	int status, r;

	if (pid == 0) {
		/* whoever was orphaned before the first call is told by the second */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != self)
			_exit(0);
		for (;;)
			pause();
	}
	if (pid < 0)
		return -errno;
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 ||
	    waitpid(pid, &status, __WALL) < 0)
		r = -errno;
	else
		r = ask(pid);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		;
	return r;
}

static int ask_rseq(pid_t pid)
{
	struct uapi_ptrace_rseq_configuration c;

	return ptrace(UAPI_PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof(c), &c) < 0 ? -errno : 0;
}

int probe_get_rseq(void)
{
	return with_tracee(ask_rseq);
}

static int ask_sud(pid_t pid)
{
	struct uapi_ptrace_sud_config c;

	return ptrace(UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, pid, sizeof(c), &c) < 0 ? -errno : 0;
}

int probe_get_sud(void)
{
	return with_tracee(ask_sud);
}

/* The last number of /proc/PID/stat, while the parent leaves the report of the stop where it is */
static int ask_stop_code(pid_t pid)
{
	char name[32], text[1024];
	const char *last;
	siginfo_t info;
	ssize_t len;

	if (ptrace(PTRACE_DETACH, pid, NULL, NULL) < 0 || kill(pid, SIGSTOP) < 0 ||
	    waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0)
		return -errno;
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	autofd int fd = open(name, O_RDONLY | O_CLOEXEC);

	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len < 0)
		return -errno;
	text[len] = '\0';
	last = strrchr(text, ' ');
	return last && last[1] != '0' ? 0 : -ENODATA;
}

int probe_stop_code(void)
{
	return with_tracee(ask_stop_code);
}

/* An execution breakpoint at an address that is never reached: debug register 0, enabled in 7 */
static int ask_breakpoint(pid_t pid)
{
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), (void *)0x1000) < 0)
		return -errno;
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), (void *)1) < 0 ? -errno : 0;
}

int probe_breakpoints(void)
{
	return with_tracee(ask_breakpoint);
}

static int ask_suspend(pid_t pid)
{
	return ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_SUSPEND_SECCOMP) < 0 ? -errno : 0;
}

int probe_seccomp_suspend(void)
{
	return with_tracee(ask_suspend);
}

/* The filter is read before anything is changed: a bad address is as far as it gets. */
int probe_seccomp_filters(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno != EFAULT && errno != EACCES ? -errno
														: 0;
}

/* We have a vDSO, so the kernel refuses to map a second one; map_vdso_once() in arch/x86/entry/vdso/vma.c */
int probe_can_map_vdso(void)
{
	return syscall(SYS_arch_prctl, ARCH_MAP_VDSO_64, 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* Whatever the kernel can do: this program does not handle 32-bit tasks. */
int probe_compat_cr(void)
{
	return -EOPNOTSUPP;
}

int probe_process_vm(void)
{
	char from = 1, to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 ? 0 : -errno;
}
