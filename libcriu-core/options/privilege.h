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

/**
 * privilege_check() - may this process try at all?
 * @unprivileged: --unprivileged was given
 * Return: 0; -EPERM with @err and its hint filled.
 */
int privilege_check(bool unprivileged, struct cr_error *err);

#endif
