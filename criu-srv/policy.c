/* Who may do what; see policy.h. */
#include "policy.h"

#include "base/error.h"

#include <errno.h>

static int refuse(struct cr_error *err, const char *why)
{
	cr_refuse(err, -EPERM, "%s", why);
	cr_advise(err, "ask as root, or as the user to whom the whole tree belongs");
	return -EPERM;
}

/*
 * What the kernel asks of a tracer without CAP_SYS_PTRACE: real, effective and saved ids are its own, the tracee is
 * dumpable and has no capability that the tracer lacks. ptrace(2), "Ptrace access mode checking".
 */
int policy_dump(const struct policy_client *c, const struct cr_who *t, struct cr_error *err)
{
	if (c->any)
		return 0;
	if (c->seccomp)
		return refuse(err, "the client is confined by seccomp");
	if (t->other_user_ns || c->elsewhere)
		return refuse(err, "the process lives in another user namespace");
	for (int i = 0; i < 4; i++)
		if (t->uid[i] != c->uid)
			return refuse(err, "the process belongs to another user");
	for (int i = 0; i < 4; i++)
		if (t->gid[i] != c->gid)
			return refuse(err, "the process has another group");
	if (t->cap_prm & ~c->cap_eff)
		return refuse(err, "the process has capabilities that the client lacks");
	if (!t->dumpable)
		return refuse(err, "the process is marked as not dumpable");
	return 0;
}

static bool has_group(const struct policy_client *c, uint32_t gid)
{
	if (c->gid == gid)
		return true;
	for (size_t i = 0; i < c->nr_groups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

static bool caps_within(const struct proto_u32_vec *words, uint64_t limit)
{
	for (size_t i = 0; i < words->nr; i++) {
		uint32_t allowed = i < 2 ? (uint32_t)(limit >> 32 * i) : 0;

		if (words->items[i] & ~allowed)
			return false;
	}
	return true;
}

static int check_ids(const struct policy_client *c, const img_creds_entry *e, struct cr_error *err)
{
	const uint32_t uids[] = { e->uid, e->euid, e->suid, e->fsuid }, gids[] = { e->gid, e->egid, e->sgid, e->fsgid };

	for (int i = 0; i < 4; i++)
		if (uids[i] != c->uid)
			return refuse(err, "the images hold a process of another user");
	for (int i = 0; i < 4; i++)
		if (!has_group(c, gids[i]))
			return refuse(err, "the images hold a process of a group that the client is not in");
	for (size_t i = 0; i < e->groups.nr; i++)
		if (!has_group(c, e->groups.items[i]))
			return refuse(err, "the images hold a process with a group that the client is not in");
	return 0;
}

/*
 * A restored process does not inherit from the client but from the service: whatever holds the client in must be asked
 * for here, or a restore would be a way out of it.
 */
int policy_restore(const struct policy_client *c, const img_creds_entry *e, struct cr_error *err)
{
	int r;

	if (c->any)
		return 0;
	if (c->seccomp)
		return refuse(err, "the client is confined by seccomp, and the restored processes would not be");
	if (c->elsewhere)
		return refuse(err, "the client lives in other namespaces than the service");
	r = check_ids(c, e, err);
	if (r < 0)
		return r;
	if (!caps_within(&e->cap_prm, c->cap_eff) || !caps_within(&e->cap_eff, c->cap_eff) ||
	    !caps_within(&e->cap_inh, c->cap_eff) || !caps_within(&e->cap_amb, c->cap_eff))
		return refuse(err, "the images hold a process with capabilities that the client lacks");
	if (!caps_within(&e->cap_bnd, c->cap_bnd))
		return refuse(err, "the images hold a process with a wider bounding set than the client's");
	if (e->secbits)
		return refuse(err, "the images hold a process with securebits");
	if (c->no_new_privs && !(e->has_no_new_privs && e->no_new_privs))
		return refuse(err, "the client cannot gain privileges, and the restored processes could");
	if (e->lsm_profile || e->lsm_sockcreate)
		return refuse(err, "the images hold a process with a security label of its own");
	return 0;
}

int policy_read_client(pid_t pid, struct policy_client *c, struct cr_error *err)
{
	struct cr_who w;
	int r = cr_who_read(pid, pid, &w, err);

	if (r < 0)
		return r;
	c->cap_eff = w.cap_eff;
	c->cap_bnd = w.cap_bnd;
	c->no_new_privs = w.no_new_privs;
	c->seccomp = w.seccomp;
	c->elsewhere = w.other_ns;
	return 0;
}

int policy_may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err)
{
	const struct policy_client *c = arg;
	struct cr_who t;
	int r;

	if (c->any)
		return 0;
	r = cr_who_read(pid, tid, &t, err);
	if (r == 0)
		r = policy_dump(c, &t, err);
	return cr_within(err, r, "pid %d", (int)tid);
}

int policy_may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err)
{
	return policy_restore(arg, creds, err);
}
