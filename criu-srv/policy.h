/*
 * Who may do what. A client that is not root may dump what it could trace itself, and may restore what it could have
 * become itself. The rules are pure functions of facts.
 */
#ifndef CRIU_SRV_POLICY_H
#define CRIU_SRV_POLICY_H

#include "criu-who.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

#define POLICY_GROUPS_MAX 65536   /* NGROUPS_MAX of Linux since 2.6.4 */

struct policy_client {
	bool     any;                 /* may do everything */
	uid_t    uid;
	gid_t    gid;
	gid_t   *groups;              /* owned by whoever fills the struct */
	size_t   nr_groups;
	uint64_t cap_eff, cap_bnd;
	bool     no_new_privs, seccomp;
	bool     elsewhere;           /* lives in other namespaces than this process */
};

/** policy_dump() - Return: 0; -EPERM with the reason in @err */
int policy_dump(const struct policy_client *c, const struct cr_who *t, struct cr_error *err);

/** policy_restore() - of one thread with these credentials. Return: 0; -EPERM with the reason in @err */
int policy_restore(const struct policy_client *c, const img_creds_entry *creds, struct cr_error *err);

/** policy_read_client() - from procfs: capabilities, confinement, namespaces. uid, gid and groups are left alone. */
int policy_read_client(pid_t pid, struct policy_client *c, struct cr_error *err);

/** policy_may_dump(), policy_may_restore() - the observer's callbacks for the engine; @arg is a policy_client */
int policy_may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err);
int policy_may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err);

#endif
