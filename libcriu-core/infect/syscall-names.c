#include "infect/syscall-names.h"

#include <stddef.h>
#include <sys/syscall.h>

struct name_row {
	const char   *name;
	unsigned char args;
};

#define ROW(call, nr) [SYS_##call] = { #call, nr }

static const struct name_row names[] = {
	ROW(read, 3), ROW(write, 3), ROW(open, 3), ROW(close, 1), ROW(fstat, 2), ROW(lseek, 3), ROW(mmap, 6),
	ROW(mprotect, 3), ROW(munmap, 2), ROW(brk, 1), ROW(rt_sigaction, 4), ROW(rt_sigprocmask, 4), ROW(rt_sigpending, 2),
	ROW(ioctl, 3), ROW(pread64, 4), ROW(pwrite64, 4), ROW(preadv, 5), ROW(pwritev, 5), ROW(pipe2, 2), ROW(mremap, 5),
	ROW(msync, 3), ROW(mincore, 3), ROW(madvise, 3), ROW(shmat, 3), ROW(shmdt, 1), ROW(shmget, 3), ROW(shmctl, 3),
	ROW(semget, 3), ROW(semop, 3), ROW(semctl, 4), ROW(msgget, 2), ROW(msgsnd, 4), ROW(msgctl, 3), ROW(dup, 1), ROW(dup2, 2),
	ROW(dup3, 3), ROW(nanosleep, 2), ROW(getitimer, 2), ROW(setitimer, 3), ROW(getpid, 0), ROW(gettid, 0), ROW(getppid, 0),
	ROW(socket, 3), ROW(connect, 3), ROW(accept4, 4), ROW(sendto, 6), ROW(recvfrom, 6), ROW(sendmsg, 3), ROW(recvmsg, 3),
	ROW(bind, 3), ROW(listen, 2), ROW(socketpair, 4), ROW(setsockopt, 5), ROW(getsockopt, 5), ROW(exit, 1),
	ROW(exit_group, 1), ROW(kill, 2), ROW(tkill, 2), ROW(tgkill, 3), ROW(fcntl, 3), ROW(flock, 2), ROW(ftruncate, 2),
	ROW(chdir, 1), ROW(fchdir, 1), ROW(umask, 1), ROW(getrlimit, 2), ROW(setrlimit, 2), ROW(prlimit64, 4), ROW(setuid, 1),
	ROW(setgid, 1), ROW(setresuid, 3), ROW(setresgid, 3), ROW(getresuid, 3), ROW(getresgid, 3), ROW(setfsuid, 1),
	ROW(setfsgid, 1), ROW(setgroups, 2), ROW(getgroups, 2), ROW(capset, 2), ROW(capget, 2), ROW(setpgid, 2), ROW(getpgid, 1),
	ROW(getsid, 1), ROW(setsid, 0), ROW(rt_sigqueueinfo, 3), ROW(rt_tgsigqueueinfo, 4), ROW(sigaltstack, 2),
	ROW(personality, 1), ROW(getpriority, 2), ROW(setpriority, 3), ROW(sched_setscheduler, 3), ROW(sched_getscheduler, 1),
	ROW(sched_setparam, 2), ROW(sched_getparam, 2), ROW(sched_setattr, 3), ROW(sched_getattr, 4),
	ROW(sched_setaffinity, 3), ROW(sched_getaffinity, 3), ROW(mlock, 2), ROW(mlock2, 3), ROW(mlockall, 1), ROW(munlock, 2),
	ROW(munlockall, 0), ROW(prctl, 5), ROW(arch_prctl, 2), ROW(chroot, 1), ROW(mount, 5), ROW(umount2, 2), ROW(pivot_root, 2),
	ROW(sethostname, 2), ROW(setdomainname, 2), ROW(set_thread_area, 1), ROW(get_thread_area, 1), ROW(futex, 6),
	ROW(set_tid_address, 1), ROW(timer_create, 3), ROW(timer_settime, 4), ROW(timer_gettime, 2), ROW(timer_delete, 1),
	ROW(timer_getoverrun, 1), ROW(clock_gettime, 2), ROW(clock_nanosleep, 4), ROW(mbind, 6), ROW(set_mempolicy, 3),
	ROW(get_mempolicy, 5), ROW(waitid, 5), ROW(wait4, 4), ROW(ioprio_set, 3), ROW(ioprio_get, 2), ROW(openat, 4), ROW(mknodat, 4),
	ROW(unshare, 1), ROW(setns, 2), ROW(set_robust_list, 2), ROW(get_robust_list, 3), ROW(epoll_ctl, 4), ROW(epoll_create1, 1),
	ROW(signalfd4, 4), ROW(eventfd2, 2), ROW(timerfd_create, 2), ROW(timerfd_settime, 4), ROW(io_setup, 2),
	ROW(io_submit, 3), ROW(io_getevents, 5), ROW(io_destroy, 1), ROW(inotify_init1, 1), ROW(inotify_add_watch, 3),
	ROW(fanotify_init, 2), ROW(kcmp, 5), ROW(seccomp, 3), ROW(memfd_create, 2), ROW(userfaultfd, 1), ROW(membarrier, 3),
	ROW(rseq, 4), ROW(pkey_mprotect, 4), ROW(pkey_alloc, 2), ROW(pkey_free, 1), ROW(pidfd_send_signal, 4),
	ROW(pidfd_open, 2), ROW(pidfd_getfd, 3), ROW(close_range, 3), ROW(clone3, 2), ROW(landlock_restrict_self, 2),
};

const char *syscall_name(unsigned int nr, unsigned int *ret_args)
{
	if (nr >= sizeof(names) / sizeof(names[0]) || !names[nr].name)
		return NULL;
	*ret_args = names[nr].args;
	return names[nr].name;
}
