/* Who may do what; see policy.h. */
#include "policy.h"

#include "base/error.h"
#include "procfs/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

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
int policy_dump(const struct policy_client *c, const struct policy_task *t, struct cr_error *err)
{
	if (c->any)
		return 0;
	if (c->seccomp)
		return refuse(err, "the client is confined by seccomp");
	if (t->elsewhere || c->elsewhere)
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

/*
 * The files of a process in procfs belong to its effective user if it is dumpable, else to the root of its user
 * namespace; the directory /proc/PID itself tells nothing, its mode is among the exceptions.
 * task_dump_owner() in fs/proc/base.c, Linux 4.11 and later; before, the same for all but a few files.
 */
static int read_dumpable(const struct proc_dir *d, struct policy_task *t, struct cr_error *err)
{
	struct stat st;

	if (fstatat(d->fd, "fd", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return cr_fail(err, -errno, "owner of the files of the process");
	t->dumpable = st.st_uid == t->uid[1] && st.st_gid == t->gid[1];
	return 0;
}

/* Return: 1 another one, 0 the same, negative errno */
static int other_namespace(const struct proc_dir *d, const char *link, struct cr_error *err)
{
	struct stat theirs, ours;
	char own[64];

	snprintf(own, sizeof(own), "/proc/self/%s", link);
	if (fstatat(d->fd, link, &theirs, 0) < 0 || stat(own, &ours) < 0)
		return errno == ENOENT ? 0 : cr_fail(err, -errno, "%s", link);
	return theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev;
}

int policy_read_task(pid_t pid, pid_t tid, struct policy_task *ret, struct cr_error *err)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autostatus struct proc_status st = { 0 };
	struct policy_task t = { .dumpable = false };
	int r = proc_dir_open_task(AT_FDCWD, pid, tid, &d, err);

	if (r == 0)
		r = proc_status_read(&d, &st, err);
	if (r == 0)
		r = other_namespace(&d, "ns/user", err);
	if (r < 0)
		return r;
	t.elsewhere = r;
	for (int i = 0; i < 4; i++) {
		t.uid[i] = st.uid[i];
		t.gid[i] = st.gid[i];
	}
	t.cap_prm = st.cap_prm;
	r = read_dumpable(&d, &t, err);
	if (r == 0)
		*ret = t;
	return r;
}

int policy_read_client(pid_t pid, struct policy_client *c, struct cr_error *err)
{
	static const char *const kinds[] = { "ns/user", "ns/mnt", "ns/pid", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup" };
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autostatus struct proc_status st = { 0 };
	int r = proc_dir_open(AT_FDCWD, pid, &d, err);

	if (r == 0)
		r = proc_status_read(&d, &st, err);
	if (r < 0)
		return r;
	c->cap_eff = st.cap_eff;
	c->cap_bnd = st.cap_bnd;
	c->no_new_privs = st.no_new_privs;
	c->seccomp = st.seccomp;
	c->elsewhere = false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		r = other_namespace(&d, kinds[i], err);
		if (r < 0)
			return r;
		c->elsewhere = c->elsewhere || r;
	}
	return 0;
}

int policy_may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err)
{
	const struct policy_client *c = arg;
	struct policy_task t;
	int r;

	if (c->any)
		return 0;
	r = policy_read_task(pid, tid, &t, err);
	if (r == 0)
		r = policy_dump(c, &t, err);
	return cr_within(err, r, "pid %d", (int)tid);
}

int policy_may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err)
{
	return policy_restore(arg, creds, err);
}
