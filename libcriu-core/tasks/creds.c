/*
 * Credentials of each thread: ids, groups, capabilities, securebits, no_new_privs, security label.
 *
 * Dump takes them from /proc/PID/task/TID/status; securebits only the thread itself can tell. Numbers are those of the
 * user namespace of the dumper, which is that of the task.
 *
 * Restore: the order matters, each step needs what a later one takes away (capabilities(7), kernel/cred.c):
 *   label; groups; "keep capabilities over setuid"; gids; uids; inheritable set (may hold what the bounding set is about
 *   to lose); bounding set; ambient set (needs permitted and inheritable, and is forbidden by a securebit); securebits
 *   (need CAP_SETPCAP); no_new_privs; effective, permitted and inheritable set, once and for all.
 * A thread whose credentials are the restorer's own gets none of this, so that an unprivileged restore needs no privilege.
 * Changed credentials reset dumpable and parent death signal: both are set after them, by every thread: the last one to
 * change credentials sets dumpable last, too, unless the process is guarded: then it is set when all others are done.
 */
#include "tasks/task-ops.h"

#include "procfs/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define GROUPS_MAX 65536 /* NGROUPS_MAX */
#define BIT(cap)   (UINT64_C(1) << (cap))

enum { INH, PRM, EFF, BND, AMB };

static const char *const set_name[] = { "inheritable", "permitted", "effective", "bounding", "ambient" };

/* What a thread shall have, from its entry. */
struct wanted {
	uint32_t uid[4], gid[4];
	uint64_t cap[5];
	bool has_ambient;
	uint32_t securebits;
	bool no_new_privs;
	const uint32_t *groups;
	size_t nr_groups;
};

static void put_cap(struct thread_state *ts, int set, uint64_t value, struct proto_u32_vec *ret)
{
	ts->caps[set][0] = (uint32_t)value;
	ts->caps[set][1] = (uint32_t)(value >> 32);
	*ret = (struct proto_u32_vec){ .items = ts->caps[set], .nr = 2 };
}

/* AppArmor says "profile (mode)"; images hold the name only. "unconfined" is no label. */
static int keep_label(struct task_dump *d, struct thread_state *ts, char *label, struct cr_error *err)
{
	char *mode = strstr(label, " (");

	if (mode)
		*mode = 0;
	if (!label[0] || !strcmp(label, "unconfined"))
		return 0;
	ts->creds.lsm_profile = pool_text(&d->ps->pool, label, strlen(label));
	return ts->creds.lsm_profile ? 0 : cr_fail(err, -ENOMEM, "security label");
}

/* Without a security module nobody has a label; with one, everybody has. */
static int creds_collect_process(struct task_dump *d, struct cr_error *err)
{
	const struct process_state *parent = d->task->parent ? process_state_of(d->task->parent) : NULL;
	char label[PROC_LABEL_MAX + 1];
	int r;

	if (parent) {
		d->ps->labelled = parent->labelled;
		return 0;
	}
	r = proc_label_read(&d->task->dir, label, err);
	if (r < 0)
		return r;
	d->ps->labelled = label[0] != 0;
	return 0;
}

static int collect_label(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	char label[PROC_LABEL_MAX + 1];
	int r = proc_dir_open_task(AT_FDCWD, d->task->host_pid, th->host_tid, &dir, err);

	if (r >= 0)
		r = proc_label_read(&dir, label, err);
	return r < 0 ? r : keep_label(d, ts, label, err);
}

static int creds_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const struct proc_status *s = &th->status;
	img_creds_entry *c = &ts->creds;

	*c = (img_creds_entry){
		.uid = s->uid[CRED_REAL],
		.euid = s->uid[CRED_EFFECTIVE],
		.suid = s->uid[CRED_SAVED],
		.fsuid = s->uid[CRED_FS],
		.gid = s->gid[CRED_REAL],
		.egid = s->gid[CRED_EFFECTIVE],
		.sgid = s->gid[CRED_SAVED],
		.fsgid = s->gid[CRED_FS],
	};
	put_cap(ts, INH, s->cap_inh, &c->cap_inh);
	put_cap(ts, PRM, s->cap_prm, &c->cap_prm);
	put_cap(ts, EFF, s->cap_eff, &c->cap_eff);
	put_cap(ts, BND, s->cap_bnd, &c->cap_bnd);
	put_cap(ts, AMB, s->cap_amb, &c->cap_amb);
	if (s->no_new_privs) {
		c->has_no_new_privs = true;
		c->no_new_privs = 1;
	}
	c->groups.items = pool_alloc(&d->ps->pool, s->nr_groups * sizeof(uint32_t));
	if (!c->groups.items)
		return cr_fail(err, -ENOMEM, "groups");
	if (s->nr_groups)
		memcpy(c->groups.items, s->groups, s->nr_groups * sizeof(uint32_t));
	c->groups.nr = s->nr_groups;
	ts->tc.creds = c;
	return d->ps->labelled ? collect_label(d, th, ts, err) : 0;
}

static void creds_ask_thread(struct asker *a)
{
	ask_call(a, Q_SECUREBITS, "securebits", __NR_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0);
}

static int creds_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t r = answer_of(d, ts, Q_SECUREBITS);

	if (r < 0)
		return cr_fail(err, (int)r, "ask for securebits");
	ts->creds.secbits = (uint32_t)r;
	/* a leader that has exited cannot be asked; its threads had them from it */
	if (th == d->task->lead && d->task->threads.items[0].dead)
		d->ps->threads[0].creds.secbits = (uint32_t)r;
	return 0;
}

static int creds_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_creds_entry *c = core->thread_core->creds;

	if (!c)
		return 0;

	const struct proto_u32_vec *sets[] = { &c->cap_inh, &c->cap_prm, &c->cap_eff, &c->cap_bnd, &c->cap_amb };

	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		if (sets[i]->nr > 2 || (sets[i]->nr < 1 && i != AMB))
			return cr_refuse(err, -EBADMSG, "%s capabilities of %zu words", set_name[i], sets[i]->nr);
	if (c->groups.nr > GROUPS_MAX)
		return cr_refuse(err, -EBADMSG, "%zu groups, more than %d", c->groups.nr, GROUPS_MAX);
	if (c->lsm_profile && (!c->lsm_profile[0] || strlen(c->lsm_profile) > PROC_LABEL_MAX))
		return cr_refuse(err, -EBADMSG, "security label is empty or too long");
	if (c->lsm_sockcreate && c->lsm_sockcreate[0])
		return cr_refuse(err, -EOPNOTSUPP, "a security label for new sockets cannot be restored");
	return 0;
}

static uint64_t get_cap(const struct proto_u32_vec *v)
{
	return (v->nr > 0 ? v->items[0] : 0) | (v->nr > 1 ? (uint64_t)v->items[1] << 32 : 0);
}

static void wanted_of(const img_creds_entry *c, uint64_t known, struct wanted *ret)
{
	*ret = (struct wanted){
		.uid = { c->uid, c->euid, c->suid, c->fsuid },
		.gid = { c->gid, c->egid, c->sgid, c->fsgid },
		.cap = { get_cap(&c->cap_inh), get_cap(&c->cap_prm), get_cap(&c->cap_eff), get_cap(&c->cap_bnd),
			 get_cap(&c->cap_amb) },
		.has_ambient = c->cap_amb.nr > 0,
		.securebits = c->secbits,
		.no_new_privs = c->has_no_new_privs && c->no_new_privs,
		.groups = c->groups.items,
		.nr_groups = c->groups.nr,
	};
	/* a capability that this kernel does not have guards nothing here */
	for (int i = 0; i < 5; i++)
		ret->cap[i] &= known;
}

static bool same_groups(const struct wanted *w, const struct restorer *own)
{
	return w->nr_groups == own->nr_groups &&
	       (!w->nr_groups || !memcmp(w->groups, own->groups, w->nr_groups * sizeof(uint32_t)));
}

static bool same_ids(const struct wanted *w, const struct restorer *own)
{
	return !memcmp(w->uid, own->uid, sizeof(w->uid)) && !memcmp(w->gid, own->gid, sizeof(w->gid)) &&
	       same_groups(w, own);
}

static bool same_caps(const struct wanted *w, const struct restorer *own)
{
	return w->cap[INH] == own->cap_inh && w->cap[PRM] == own->cap_prm && w->cap[EFF] == own->cap_eff &&
	       (w->cap[BND] & own->cap_bnd) == own->cap_bnd && w->cap[AMB] == own->cap_amb &&
	       w->securebits == own->securebits;
}

static int refuse_without(struct planner *p, uint64_t need, unsigned int cap, const char *name, const char *what)
{
	if (!need || p->t->restorer->cap_eff & BIT(cap))
		return 0;
	cr_refuse(p->err, -EPERM, "thread %u: %s needs %s", p->tid, what, name);
	cr_advise(p->err, "restore as root, or as the user that the process had");
	return -EPERM;
}

/* Everything that will be needed, before anything is done. */
static int check_privileges(struct planner *p, const struct wanted *w)
{
	const struct restorer *own = p->t->restorer;
	uint64_t missing = (w->cap[PRM] | w->cap[EFF]) & ~own->cap_prm;
	int r;

	if (missing) {
		cr_refuse(p->err, -EPERM, "thread %u had capabilities that the restorer lacks (0x%llx)", p->tid,
			  (unsigned long long)missing);
		cr_advise(p->err, "restore with at least the capabilities of the process");
		return -EPERM;
	}
	if (own->no_new_privs && !w->no_new_privs)
		log_warn(&p->t->ctx->log, "thread %u: the restorer has no_new_privs, which cannot be taken back",
			 p->tid);
	if (w->cap[BND] & ~own->cap_bnd)
		log_warn(&p->t->ctx->log,
			 "thread %u: bounding set of the restorer is smaller, continuing without capabilities 0x%llx "
			 "in it",
			 p->tid, (unsigned long long)(w->cap[BND] & ~own->cap_bnd));
	r = refuse_without(p, memcmp(w->uid, own->uid, sizeof(w->uid)) != 0, CAP_SETUID, "CAP_SETUID",
			   "setting its user ids");
	if (r >= 0)
		r = refuse_without(p, memcmp(w->gid, own->gid, sizeof(w->gid)) != 0 || !same_groups(w, own), CAP_SETGID,
				   "CAP_SETGID", "setting its groups");
	if (r >= 0)
		r = refuse_without(p, own->cap_bnd & ~w->cap[BND], CAP_SETPCAP, "CAP_SETPCAP",
				   "reducing its bounding set");
	if (r >= 0)
		r = refuse_without(p, (w->securebits ^ own->securebits) & ~(uint32_t)SECBIT_KEEP_CAPS, CAP_SETPCAP,
				   "CAP_SETPCAP", "setting its securebits");
	if (r >= 0)
		r = refuse_without(p, w->cap[INH] & ~(own->cap_inh | own->cap_prm), CAP_SETPCAP, "CAP_SETPCAP",
				   "setting its inheritable capabilities");
	return r;
}

static void plan_capset(struct planner *p, const char *what, uint64_t inh, uint64_t prm, uint64_t eff)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)eff, .permitted = (uint32_t)prm, .inheritable = (uint32_t)inh },
		{ .effective = (uint32_t)(eff >> 32),
		  .permitted = (uint32_t)(prm >> 32),
		  .inheritable = (uint32_t)(inh >> 32) },
	};

	plan_call(p, what, __NR_capset, plan_data(p, &head, sizeof(head), 4), plan_data(p, data, sizeof(data), 4));
}

static void plan_ids(struct planner *p, const struct wanted *w)
{
	const struct restorer *own = p->t->restorer;

	if (!same_groups(w, own))
		plan_call(p, "set groups", __NR_setgroups, w->nr_groups,
			  plan_data(p, w->groups, w->nr_groups * sizeof(uint32_t), 4));
	/* without CAP_SETPCAP the weaker way: permitted capabilities survive, effective ones are raised again below */
	if (own->cap_eff & BIT(CAP_SETPCAP))
		plan_call(p, "keep capabilities", __NR_prctl, PR_SET_SECUREBITS,
			  own->securebits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	else
		op_may_fail(plan_call(p, "keep capabilities", __NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0));
	plan_call(p, "set group ids", __NR_setresgid, w->gid[CRED_REAL], w->gid[CRED_EFFECTIVE], w->gid[CRED_SAVED]);
	plan_call(p, "set file system group id", __NR_setfsgid, w->gid[CRED_FS]);
	/* setfsgid() tells no failure, only what the id is */
	op_equal(plan_call(p, "set file system group id", __NR_setfsgid, UINT64_C(0xffffffff)), w->gid[CRED_FS]);
	plan_call(p, "set user ids", __NR_setresuid, w->uid[CRED_REAL], w->uid[CRED_EFFECTIVE], w->uid[CRED_SAVED]);
	plan_call(p, "set file system user id", __NR_setfsuid, w->uid[CRED_FS]);
	op_equal(plan_call(p, "set file system user id", __NR_setfsuid, UINT64_C(0xffffffff)), w->uid[CRED_FS]);
}

static void plan_caps(struct planner *p, const struct wanted *w, bool ids_changed)
{
	const struct restorer *own = p->t->restorer;
	uint64_t drop = own->cap_bnd & ~w->cap[BND];

	if (ids_changed || w->cap[INH] != own->cap_inh)
		plan_capset(p, "set inheritable capabilities", w->cap[INH], own->cap_prm, own->cap_prm);
	for (unsigned int cap = 0; cap < 64; cap++)
		if (drop & BIT(cap))
			plan_call(p, "reduce the bounding set", __NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (w->has_ambient && (ids_changed || w->cap[AMB] != own->cap_amb || w->cap[INH] != own->cap_inh)) {
		plan_call(p, "clear ambient capabilities", __NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0,
			  0);
		for (unsigned int cap = 0; cap < 64; cap++)
			if (w->cap[AMB] & BIT(cap))
				plan_call(p, "raise an ambient capability", __NR_prctl, PR_CAP_AMBIENT,
					  PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	}
	if (own->cap_eff & BIT(CAP_SETPCAP) && (ids_changed || w->securebits != own->securebits))
		plan_call(p, "set securebits", __NR_prctl, PR_SET_SECUREBITS, w->securebits, 0, 0, 0);
	else if (ids_changed || w->securebits != own->securebits)
		/* the one bit that needs no privilege, unless it is locked: then it is as it was */
		op_may_fail(plan_call(p, "set whether capabilities are kept", __NR_prctl, PR_SET_KEEPCAPS,
				      !!(w->securebits & SECBIT_KEEP_CAPS), 0, 0, 0));
	plan_capset(p, "set capabilities", w->cap[INH], w->cap[PRM], w->cap[EFF]);
}

/*
 * Written while the thread still may: AppArmor asks for change_profile permission and refuses under no_new_privs. SELinux
 * contexts have colons; AppArmor's names are told apart by what the restorer's own label looks like.
 */
static int plan_label(struct planner *p, const char *label)
{
	const struct restorer *own = p->t->restorer;
	const char path[] = "/proc/thread-self/attr/current";
	char text[PROC_LABEL_MAX + 16];
	size_t len;

	if (!label || !strcmp(label, own->label))
		return 0;
	if (!own->label[0]) {
		cr_refuse(p->err, -EOPNOTSUPP,
			  "thread %u had the security label \"%.64s\", and no security module is active here", p->tid,
			  label);
		cr_advise(p->err, "restore on a system with the security module of the dump");
		return -EOPNOTSUPP;
	}
	snprintf(text, sizeof(text), "%s%s", strchr(own->label, ':') ? "" : "changeprofile ", label);
	len = strlen(text);

	uint64_t name = plan_data(p, path, sizeof(path), 1), data = plan_data(p, text, len, 1);

	op_keep(plan_call(p, "open own security label", __NR_openat, AT_FDCWD, name, O_WRONLY | O_CLOEXEC), SLOT_TMP);
	op_from_slot(plan_call(p, "set security label", __NR_write, SLOT_TMP, data, len), 0);
	op_from_slot(plan_call(p, "close own security label", __NR_close, SLOT_TMP), 0);
	return 0;
}

static bool creds_change(const img_core_entry *core, const struct restorer *own)
{
	const img_creds_entry *c = core->thread_core->creds;
	struct wanted w;

	if (!c)
		return false;
	wanted_of(c, own->cap_known, &w);
	return !same_ids(&w, own) || !same_caps(&w, own);
}

bool tasks_change_creds(const struct task_restore *t)
{
	for (size_t i = 0; i < t->nr_threads; i++)
		if (creds_change(t->threads[i], t->restorer))
			return true;
	return false;
}

/*
 * SUID_DUMP_ROOT (2) cannot be asked for: changed credentials lead to it where sysctl fs.suid_dumpable says so
 * (commit_creds() in kernel/cred.c), and then it must be left alone by all threads.
 */
static bool root_dumps_come(const struct task_restore *t)
{
	return t->restorer->suid_dumpable == 2 && tasks_change_creds(t);
}

/*
 * A root whose restorer ends at once would be sent the signal then and there, though nobody of its own has died: the
 * kernel asks each thread of a child whose parent ends (reparent_leader() in kernel/exit.c).
 */
static uint32_t pdeath_sig_of(struct planner *p)
{
	const img_thread_core_entry *tc = p->core->thread_core;
	const struct cr_options *o = p->t->ctx->opts;

	if (!tc->has_pdeath_sig || !tc->pdeath_sig)
		return 0;
	if (p->t->parent || !o->detached || o->parent_stays || o->foreground_sibling)
		return tc->pdeath_sig;
	log_warn(&p->t->ctx->log,
		 "pid %d: its new parent, the restorer, ends at once, continuing without its parent death signal %u",
		 (int)p->tid, tc->pdeath_sig);
	return 0;
}

/*
 * Programs of all tasks lie in memory that all tasks share. Whoever may look at one that has given up its privileges could
 * write there what others carry out that have theirs still. So nobody may look at any before all have given them up, though
 * he be of the same user: a process is not dumpable meanwhile (__ptrace_may_access(), kernel/ptrace.c).
 */
static void plan_hiding(struct planner *p)
{
	if (p->t->guarded)
		plan_call(p, "hide from others", __NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void plan_dumpable(struct planner *p)
{
	const img_mm_entry *mm = p->t->mm;
	bool known = mm && mm->has_dumpable;

	if (known && mm->dumpable == 2 && root_dumps_come(p->t))
		return;
	if (known && mm->dumpable == 2 && (p->t->guarded || p->core == p->t->leader))
		log_warn(&p->t->ctx->log,
			 "pid %d: core dumps for root only cannot be chosen, continuing without core dumps",
			 (int)p->t->pid);
	if (known || p->t->guarded)
		plan_call(p, "set dumpable", __NR_prctl, PR_SET_DUMPABLE, !known || mm->dumpable == 1, 0, 0, 0);
}

static void plan_after(struct planner *p)
{
	if (!p->t->guarded)
		plan_dumpable(p);
	else if (p->t->restorer->suid_dumpable == 1)
		plan_hiding(p); /* new ids have made it dumpable by everybody */
	plan_call(p, "set parent death signal", __NR_prctl, PR_SET_PDEATHSIG, pdeath_sig_of(p), 0, 0, 0);
}

static int creds_plan_thread(struct planner *p)
{
	const struct restorer *own = p->t->restorer;
	const img_creds_entry *c = p->core->thread_core->creds;
	struct wanted w;
	int r;

	if (p->phase == TASK_PHASE_OPEN)
		plan_dumpable(p);
	if (p->phase != TASK_PHASE_LATE)
		return 0;
	if (c) {
		wanted_of(c, own->cap_known, &w);
		if (!w.has_ambient)
			w.cap[AMB] = own->cap_amb & w.cap[PRM] & w.cap[INH];

		bool ids = !same_ids(&w, own), caps = !same_caps(&w, own);

		r = check_privileges(p, &w);
		if (r >= 0)
			r = plan_label(p, c->lsm_profile);
		if (r < 0)
			return r;
		plan_hiding(p);
		if (ids)
			plan_ids(p, &w);
		if (ids || caps)
			plan_caps(p, &w, ids);
		if (w.no_new_privs && !own->no_new_privs)
			plan_call(p, "set no_new_privs", __NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	}
	plan_after(p);
	return 0;
}

const struct task_kind creds_kind = {
	.name = "credentials",
	.collect_dead = true,
	.collect_process = creds_collect_process,
	.collect_thread = creds_collect_thread,
	.ask_thread = creds_ask_thread,
	.dump_thread = creds_dump_thread,
	.check_thread = creds_check_thread,
	.plan_thread = creds_plan_thread,
};
