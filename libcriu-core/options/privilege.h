/* Capabilities of this process, as sets of bits, and who it really is. */
#ifndef CR_OPTIONS_PRIVILEGE_H
#define CR_OPTIONS_PRIVILEGE_H

#include <stdbool.h>
#include <stdint.h>

struct cr_error;

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

struct cap_sets {
	uint64_t effective, permitted, inheritable;
};

/** caps_get() - of the calling thread. Return: 0 or negative errno. */
int caps_get(struct cap_sets *ret);
/** caps_set() - of the calling thread. Return: 0 or negative errno. */
int caps_set(const struct cap_sets *sets);
/** privilege_elevated() - was this program started with more rights than its caller has (set-user-id, file capabilities)? */
bool privilege_elevated(void);

/** privilege_lent() - the same, and the caller is not root: what he names is looked up with his rights alone */
bool privilege_lent(void);

/**
 * privilege_begin() - before anything that the command line names is looked at
 * Through a set-user-id or set-group-id program everything would be reached as its owner, so there is no more of it than
 * `criu swrk N`, which takes over its caller's identity before it looks at anything. Other lent rights sleep from here on.
 * Return: 0; -EPERM with @err filled.
 */
int privilege_begin(int argc, char **argv, struct cr_error *err);

/** privilege_sleep(), privilege_wake() - lent capabilities, and of these all but some; nothing is done to others */
int privilege_sleep(struct cr_error *err);
int privilege_wake(uint64_t but, struct cr_error *err);

/** privilege_keep() - of lent capabilities only those that a dump or restore works with: none reaches files past their permissions */
int privilege_keep(struct cr_error *err);

/**
 * privilege_reach() - let this process's own children reach it
 * A program with file capabilities is not dumpable, and without CAP_SYS_PTRACE nobody may take descriptors out of it then,
 * which is how restored tasks get theirs. Dumpable again it is still out of reach for other processes of its caller: they
 * lack its capabilities (cap_ptrace_access_check(), security/commoncap.c). A set-user-id program stays as it is.
 */
void privilege_reach(void);

/**
 * privilege_check() - may this process try at all?
 * @unprivileged: --unprivileged was given
 * Return: 0; -EPERM with @err and its hint filled.
 */
int privilege_check(bool unprivileged, struct cr_error *err);

#endif
