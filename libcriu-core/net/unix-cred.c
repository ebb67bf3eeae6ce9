/*
 * SO_PEERCRED shows the process that called socketpair(), connect() or listen(): a number that may be of a process that has
 * ended long ago. So at restore these calls are made by processes that live for them alone, with the pid and the ids of who
 * made them once, before the tree exists. sk->sk_peer_pid is a struct pid, which keeps the number (init_peercred() in
 * net/unix/af_unix.c). Where the number is taken, or may not be asked for, it is another one.
 */
#include "net/unix-internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void *owner_memory(size_t size)
{
	void *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void owner_memory_done(void *p, size_t size)
{
	if (p)
		munmap(p, size ? size : 1);
}

/* The first process of a new pid namespace must not be one that ends at once. */
static bool children_go_elsewhere(void)
{
	char own[64] = "", next[64] = "";

	return readlink("/proc/self/ns/pid", own, sizeof(own) - 1) < 0 ||
	       readlink("/proc/self/ns/pid_for_children", next, sizeof(next) - 1) < 0 || strcmp(own, next) != 0;
}

/* Like fork(2), with the descriptors shared. */
static pid_t spawn(const img_unix_cred *cred)
{
	int tid = (int)cred->pid;
	uint64_t args[11] = {
		[0] = CLONE_FILES, [8] = (uintptr_t)&tid, [9] = 1
	}; /* struct clone_args: set_tid, set_tid_size */
	size_t size = 10 * sizeof(args[0]);
	pid_t pid = -1;

	if (cred->has_pid && tid > 0)
		pid = (pid_t)syscall(SYS_clone3, args, size);
	if (pid < 0) {
		args[8] = args[9] = 0;
		pid = (pid_t)syscall(SYS_clone3, args, size);
	}
	return pid;
}

/* Capabilities go with the ids, and where these stay as they are, by themselves: what follows needs none. */
static bool become(const img_unix_cred *cred, bool client)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	bool good = true;

	if (cred->has_gid && cred->gid != getegid())
		good = syscall(SYS_setresgid, cred->gid, cred->gid, cred->gid) == 0;
	if (cred->has_uid && cred->uid != geteuid())
		good = syscall(SYS_setresuid, cred->uid, cred->uid, cred->uid) == 0 && good;
	if (client)
		good = syscall(SYS_capset, &head, none) == 0 && good;
	return good;
}

/*
 * For its client the service works with that one's ids, and keeps the right to change groups but not users. What sockets and
 * messages say of their makers is then the client, whatever images say: with root's ids, a server elsewhere would take the
 * client for root. There is no doing it in this process either, for the same right.
 * The first two calls return the former id; -1 is never valid, so it stays.
 */
static bool for_a_client(img_unix_cred *cred)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	cred->uid = (uint32_t)setfsuid((uid_t)-1);
	cred->gid = (uint32_t)setfsgid((gid_t)-1);
	cred->has_uid = cred->has_gid = true;
	if (cred->uid != geteuid())
		return true;
	return syscall(SYS_capget, &head, sets) == 0 && sets[0].effective & CAP_TO_MASK(CAP_SETGID) &&
	       !(sets[0].effective & CAP_TO_MASK(CAP_SETUID));
}

int as_owner(const img_unix_cred *cred, int (*fn)(void *arg), void *arg)
{
	img_unix_cred who = { 0 };
	bool client = for_a_client(&who);
	int *result;
	pid_t pid;
	int r;

	if (!client && (!cred || children_go_elsewhere()))
		return fn(arg);
	result = owner_memory(sizeof(*result));
	if (!result)
		return client ? -ENOMEM : fn(arg);
	if (client && cred) {
		who.has_pid = cred->has_pid;
		who.pid = cred->pid;
	} else if (!client) {
		who = *cred;
	}
	*result = -ECHILD;
	pid = spawn(&who);
	if (pid == 0) {
		*result = become(&who, client) || !client ? fn(arg) : -EPERM;
		_exit(0);
	}
	r = pid > 0 ? 0 : client ? -EAGAIN : fn(arg);
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	if (pid > 0)
		r = *result;
	owner_memory_done(result, sizeof(*result));
	return r;
}

int cred_compare(const img_unix_cred *a, const img_unix_cred *b)
{
	if (!a || !b)
		return a ? 1 : b ? -1 : 0;
	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	if (a->uid != b->uid)
		return a->uid < b->uid ? -1 : 1;
	return a->gid < b->gid ? -1 : a->gid > b->gid;
}
