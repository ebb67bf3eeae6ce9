/* Who a process is, as far as policies of front ends ask: may this client handle that process? */
#ifndef CRIU_WHO_H
#define CRIU_WHO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

struct cr_who {
	uint32_t uid[4], gid[4]; /* real, effective, saved, file system */
	uint64_t cap_prm;
	bool dumpable;      /* its procfs files belong to it, not to root */
	bool other_user_ns; /* lives in another user namespace than this process */
	bool other_ns;      /* in some other namespace, of any kind but time */
	bool no_new_privs;
	bool seccomp;  /* strict mode or filters; those that this process has as well do not count */
	bool landlock; /* may be in a Landlock domain: see below */
	uint64_t cap_eff, cap_bnd;
	bool other_root;  /* has another root directory than this process */
	bool other_label; /* has another label of a security module */
	bool ended;       /* the thread, or the first one of a process: where it lives nothing tells any more */
};

/** cr_who_read() - of one thread. Return: 0; -ESRCH there is no such thread; negative errno with @err filled. */
int cr_who_read(pid_t pid, pid_t tid, struct cr_who *ret, struct cr_error *err);

/**
 * cr_who_read_process() - of all threads at once: what holds one of them in holds, and capabilities are those of all
 * User and group are those of the first thread, which may have ended; the rest is of those that have not.
 * Return: as above; -E2BIG, -EAGAIN there are more threads, or they come and go faster, than anybody has patience for.
 */
int cr_who_read_process(pid_t pid, struct cr_who *ret, struct cr_error *err);

/**
 * cr_landlock_is_on() - does this kernel have Landlock?
 * Nothing shows whether somebody else is in a domain. Without CAP_SYS_ADMIN only those enter one who have no_new_privs
 * (landlock_restrict_self(2), Linux 5.13), so they alone may be in one, as far as can be known.
 */
bool cr_landlock_is_on(void);

/** cr_is_below() - is @pid that process or a descendant of it? Return: 1, 0; negative errno with @err filled. */
int cr_is_below(pid_t pid, pid_t ancestor, struct cr_error *err);

/*
 * A process that is restored inherits from whoever restores it. A service that does so for somebody else first puts itself
 * where that one is, so that nobody gets out of his limits by being dumped and restored.
 */

/**
 * cr_join_cgroups_of() - move the calling process to the cgroups of @pid, in every hierarchy
 * Return: 0; -ENOTSUP a hierarchy in which the two differ cannot be reached; negative errno with @err filled.
 */
int cr_join_cgroups_of(pid_t pid, struct cr_error *err);

/**
 * cr_inherit_from() - what children of @pid would have from it: no better nice value, SCHED_IDLE, its oom_score_adj as the
 * least, its audit login; and a session keyring that is not ours
 * Return: 0; negative errno with @err filled.
 */
int cr_inherit_from(pid_t pid, struct cr_error *err);

/** cr_limit_as() - lower the resource limits of the calling process to the hard ones of @pid. Return: 0; negative errno. */
int cr_limit_as(pid_t pid, struct cr_error *err);

#endif
