/*
 * Plan of a process tree: what the images say is checked and put into relation, then births and scripts are worked out.
 * See pstree-plan.h for the idea.
 */
#include "tasks/pstree-plan.h"

#include "tasks/pstree-internal.h"

#include <errno.h>
#include <stdlib.h>

#define PID_LIMIT 4194304u /* PID_MAX_LIMIT of 64-bit kernels */
#define NODES_MAX ((size_t)1 << 20)

static int by_pid(const void *x, const void *y)
{
	const struct pid_node *a = x, *b = y;

	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->node < b->node ? -1 : a->node > b->node;
}

int node_find(const struct pid_nodes *v, uint32_t pid)
{
	size_t lo = 0, hi = v->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->items[mid].pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->nr && v->items[lo].pid == pid ? v->items[lo].node : NOBODY;
}

bool node_is_below(struct pstree_build *b, int n, int ancestor)
{
	const struct pstree_info *a = info_of(b, ancestor), *i = info_of(b, n);

	return a->enter < i->enter && i->leave <= a->leave;
}

static int node_add(struct pstree_build *b, const struct pstree_node *node)
{
	struct pstree_node *n = pstree_nodes_add(&b->plan->nodes);
	struct pstree_info *i = n ? pstree_infos_add(&b->info) : NULL;

	if (!i)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	*n = *node;
	*i = (struct pstree_info){ .parent = NOBODY,
				   .first_child = NOBODY,
				   .next_sibling = NOBODY,
				   .round = NOBODY,
				   .adopt_round = NOBODY,
				   .first_fork = NOBODY,
				   .last_fork = NOBODY,
				   .next_fork = NOBODY };
	return (int)b->plan->nodes.nr - 1;
}

int node_add_helper(struct pstree_build *b, uint32_t pid, uint32_t sid, uint32_t pgid)
{
	struct pstree_node n = { .kind = PSTREE_HELPER,
				 .pid = pid,
				 .input = -1,
				 .forked_by = NOBODY,
				 .parent = NOBODY,
				 .sid = sid,
				 .pgid = pgid };

	return node_add(b, &n);
}

static int add_inputs(struct pstree_build *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		const struct pstree_input *in = &b->in[i];
		struct pstree_node n = { .kind = in->zombie ? PSTREE_ZOMBIE : PSTREE_TASK,
					 .pid = in->pid,
					 .input = (int)i,
					 .forked_by = NOBODY,
					 .parent = NOBODY,
					 .sid = in->sid,
					 .pgid = in->pgid };
		struct pid_node *p;
		int r = node_add(b, &n);

		if (r < 0)
			return r;
		if (!in->pid || in->pid > PID_LIMIT || in->sid > PID_LIMIT || in->pgid > PID_LIMIT)
			return cr_refuse(b->err, -EBADMSG, "process tree: entry %zu has pid %u, session %u, group %u",
					 i, in->pid, in->sid, in->pgid);
		p = pid_nodes_add(&b->pids);
		if (!p)
			return cr_fail(b->err, -ENOMEM, "plan of the process tree");
		*p = (struct pid_node){ in->pid, (int)i };
	}
	qsort(b->pids.items, b->pids.nr, sizeof(b->pids.items[0]), by_pid);
	for (size_t i = 1; i < b->pids.nr; i++)
		if (b->pids.items[i].pid == b->pids.items[i - 1].pid)
			return cr_refuse(b->err, -EBADMSG, "process tree: two processes with pid %u",
					 b->pids.items[i].pid);
	return 0;
}

static int link_parents(struct pstree_build *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		uint32_t ppid = b->in[i].ppid;
		int parent = ppid ? node_find(&b->pids, ppid) : NOBODY;

		if ((i == 0) != (ppid == 0))
			return cr_refuse(b->err, -EBADMSG, "process tree: pid %u %s", b->in[i].pid,
					 i ? "is a second root" : "comes first and is not the root");
		if (i && (parent == NOBODY || parent >= (int)i))
			return cr_refuse(b->err, -EBADMSG, "process tree: pid %u comes before its parent %u",
					 b->in[i].pid, ppid);
		if (i && b->in[parent].zombie)
			return cr_refuse(b->err, -EBADMSG, "process tree: zombie %u has a child, pid %u", ppid,
					 b->in[i].pid);
		info_of(b, (int)i)->parent = node_of(b, (int)i)->parent = parent;
		if (i)
			info_of(b, (int)i)->depth = info_of(b, parent)->depth + 1;
	}
	/* lists in the order of the images */
	for (int i = (int)b->nr - 1; i > 0; i--) {
		struct pstree_info *p = info_of(b, info_of(b, i)->parent);

		info_of(b, i)->next_sibling = p->first_child;
		p->first_child = i;
	}
	return b->in[0].zombie ? cr_refuse(b->err, -EOPNOTSUPP, "process tree: the root is a zombie") : 0;
}

static void walk(struct pstree_build *b)
{
	uint32_t clock = 0;
	int n = 0;

	info_of(b, 0)->enter = clock++;
	for (;;) {
		struct pstree_info *i = info_of(b, n);

		if (i->first_child != NOBODY && !info_of(b, i->first_child)->enter) {
			n = i->first_child;
			info_of(b, n)->enter = clock++;
			continue;
		}
		i->leave = clock;
		if (n == 0)
			return;
		if (i->next_sibling != NOBODY) {
			n = i->next_sibling;
			info_of(b, n)->enter = clock++;
		} else {
			n = i->parent;
			/* all of its children are done: the first one has a number, so it is left next */
		}
	}
}

static bool taken(const struct pstree_options *o, uint32_t pid)
{
	return !o->own_pid_ns && pid && (pid == o->own_pid || pid == o->own_sid || pid == o->own_pgid);
}

/*
 * A shell job is in the session of a shell, which is not part of the tree; there it will be in the restorer's. The same goes
 * for its group, unless that is led by the root itself. 0 is a session or group outside of the pid namespace.
 */
static int settle_outer(struct pstree_build *b)
{
	const struct pstree_input *root = &b->in[0];
	bool outside = root->sid == 0 && b->opts->own_pid_ns;

	if (root->sid == root->pid)
		return 0;
	if (node_find(&b->pids, root->sid) != NOBODY)
		return cr_refuse(b->err, -EBADMSG, "process tree: the root is in session %u of its descendant",
				 root->sid);
	if (!b->opts->shell_job && !outside) {
		cr_refuse(b->err, -EOPNOTSUPP, "the root, pid %u, is not the leader of its session (%u)", root->pid,
			  root->sid);
		cr_advise(b->err,
			  "if it was started from a shell, --shell-job puts it into the session of the restorer");
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < b->nr; i++)
		if (taken(b->opts, b->in[i].pid))
			return cr_refuse(b->err, -EEXIST, "pid %u is that of the restorer, its session or group",
					 b->in[i].pid);
	b->has_outer = true;
	b->outer_sid = b->opts->own_sid;
	b->outer_pgid = b->opts->own_pgid;

	bool group = node_find(&b->pids, root->pgid) == NOBODY;

	for (size_t i = 0; i < b->nr; i++) {
		struct pstree_node *n = node_of(b, (int)i);

		if (b->in[i].sid != root->sid)
			continue;
		n->sid = b->outer_sid;
		if (group && b->in[i].pgid == root->pgid)
			n->pgid = b->outer_pgid;
	}
	return 0;
}

static bool is_outer_sid(const struct pstree_build *b, uint32_t sid)
{
	return b->has_outer && sid == b->outer_sid;
}

static int check_number(struct pstree_build *b, int i)
{
	struct pstree_node *n = node_of(b, i);
	struct pstree_info *f = info_of(b, i);
	int leader = node_find(&b->pids, n->sid), head = node_find(&b->pids, n->pgid);

	if (!is_outer_sid(b, n->sid) && (!n->sid || !n->pgid))
		return cr_refuse(b->err, -EBADMSG, "process tree: pid %u has session %u, group %u", n->pid, n->sid,
				 n->pgid);
	f->leads_session = n->sid == n->pid;
	if (f->leads_session && n->pgid != n->pid)
		return cr_refuse(b->err, -EBADMSG, "process tree: session leader %u is in group %u", n->pid, n->pgid);
	if (leader != NOBODY && node_of(b, leader)->sid != n->sid)
		return cr_refuse(b->err, -EBADMSG,
				 "process tree: pid %u is in session %u, which process %u does not lead", n->pid,
				 n->sid, n->sid);
	if (head != NOBODY && node_of(b, head)->sid != n->sid)
		return cr_refuse(b->err, -EBADMSG, "process tree: pid %u is in group %u, which is of another session",
				 n->pid, n->pgid);
	if (head != NOBODY && !(node_of(b, head)->sid == node_of(b, head)->pid))
		info_of(b, head)->leads_group = true;
	return 0;
}

/* All members of a group are in one session. */
static int check_groups(struct pstree_build *b)
{
	struct pid_nodes v = { 0 };
	int r = 0;

	for (size_t i = 0; i < b->nr && r == 0; i++) {
		struct pid_node *p = pid_nodes_add(&v);

		if (p)
			*p = (struct pid_node){ node_of(b, (int)i)->pgid, (int)i };
		else
			r = cr_fail(b->err, -ENOMEM, "plan of the process tree");
	}
	if (v.nr)
		qsort(v.items, v.nr, sizeof(v.items[0]), by_pid);
	for (size_t i = 1; i < v.nr && r == 0; i++)
		if (v.items[i].pid == v.items[i - 1].pid &&
		    node_of(b, v.items[i].node)->sid != node_of(b, v.items[i - 1].node)->sid)
			r = cr_refuse(b->err, -EBADMSG, "process tree: group %u spans two sessions", v.items[i].pid);
	pid_nodes_done(&v);
	return r;
}

/* Numbers of threads are in use, too: no helper may have one. */
static int check_threads(struct pstree_build *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		const struct pstree_input *in = &b->in[i];

		for (size_t k = 0; in->threads && !in->zombie && k < in->nr_threads; k++) {
			uint32_t tid = in->threads[k];
			int other = node_find(&b->pids, tid);

			if (k == 0 ? tid != in->pid : (!tid || tid > PID_LIMIT || other != NOBODY))
				return cr_refuse(b->err, -EBADMSG, "process tree: pid %u has thread %u as number %zu",
						 in->pid, tid, k);
			if (k && node_find(&b->dead, tid) != NOBODY)
				return cr_refuse(b->err, -EBADMSG,
						 "process tree: %u is both a thread of pid %u and a session or group",
						 tid, in->pid);
		}
	}
	return 0;
}

static int add_dead(struct pstree_build *b, uint32_t number, uint32_t sid)
{
	struct pid_node *p;
	int h;

	if (taken(b->opts, number))
		return cr_refuse(b->err, -EEXIST,
				 "session or group %u has no process in the tree, and the number is in use here",
				 number);
	h = node_add_helper(b, number, sid, number);
	if (h < 0)
		return h;
	info_of(b, h)->leads_session = number == sid;
	info_of(b, h)->leads_group = number != sid;
	p = pid_nodes_add(&b->dead);
	if (!p)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	*p = (struct pid_node){ number, h };
	return 0;
}

/* Helpers for leaders that are gone: first of sessions, then of groups. */
static int find_dead(struct pstree_build *b)
{
	for (int pass = 0; pass < 2; pass++) {
		struct pid_nodes v = { 0 };
		int r = 0;

		for (size_t i = 0; i < b->nr && r == 0; i++) {
			struct pstree_node *n = node_of(b, (int)i);
			uint32_t number = pass ? n->pgid : n->sid;
			bool outer = is_outer_sid(b, n->sid) && (!pass || number == b->outer_pgid);
			struct pid_node *p;

			if (outer || node_find(&b->pids, number) != NOBODY || node_find(&b->dead, number) != NOBODY)
				continue;
			p = pid_nodes_add(&v);
			if (p)
				*p = (struct pid_node){ number, (int)i };
			else
				r = cr_fail(b->err, -ENOMEM, "plan of the process tree");
		}
		if (v.nr)
			qsort(v.items, v.nr, sizeof(v.items[0]), by_pid);
		for (size_t i = 0; i < v.nr && r == 0; i++)
			if (!i || v.items[i].pid != v.items[i - 1].pid)
				r = add_dead(b, v.items[i].pid, node_of(b, v.items[i].node)->sid);
		pid_nodes_done(&v);
		if (r < 0)
			return r;
		if (b->dead.nr)
			qsort(b->dead.items, b->dead.nr, sizeof(b->dead.items[0]), by_pid);
	}
	/* a dead session's number can only be the group of its own members */
	for (size_t i = 0; i < b->nr; i++) {
		int h = node_find(&b->dead, node_of(b, (int)i)->pgid);

		if (h != NOBODY && node_of(b, h)->sid != node_of(b, (int)i)->sid)
			return cr_refuse(b->err, -EBADMSG,
					 "process tree: pid %u is in group %u, which is of another session",
					 node_of(b, (int)i)->pid, node_of(b, (int)i)->pgid);
	}
	return 0;
}

static int relations(struct pstree_build *b)
{
	int r = add_inputs(b);

	if (r >= 0)
		r = link_parents(b);
	if (r < 0)
		return r;
	walk(b);
	r = settle_outer(b);
	for (size_t i = 0; i < b->nr && r >= 0; i++)
		r = check_number(b, (int)i);
	if (r >= 0)
		r = check_groups(b);
	if (r >= 0)
		r = find_dead(b);
	if (r >= 0)
		r = check_threads(b);
	for (size_t i = 0; i < b->nr && r >= 0; i++)
		info_of(b, (int)i)->moves =
			info_of(b, (int)i)->leads_group && node_of(b, (int)i)->pgid != node_of(b, (int)i)->pid;
	return r;
}

int pstree_plan_make(const struct pstree_input *in, size_t nr, const struct pstree_options *opts,
		     struct pstree_plan *ret, struct cr_error *err)
{
	struct pstree_build b = { .in = in, .nr = nr, .opts = opts, .plan = ret, .err = err };
	int r;

	*ret = (struct pstree_plan){ .nr_inputs = nr };
	if (!nr || nr > NODES_MAX)
		return cr_refuse(err, -EBADMSG, "process tree of %zu processes", nr);
	r = relations(&b);
	if (r >= 0)
		r = births_plan(&b);
	if (r >= 0)
		r = steps_plan(&b);
	pstree_infos_done(&b.info);
	pid_nodes_done(&b.pids);
	pid_nodes_done(&b.dead);
	demands_done(&b.demands);
	if (r < 0)
		pstree_plan_done(ret);
	return r < 0 ? r : 0;
}

void pstree_plan_done(struct pstree_plan *plan)
{
	for (size_t i = 0; i < plan->nodes.nr; i++)
		pstree_steps_done(&plan->nodes.items[i].steps);
	pstree_nodes_done(&plan->nodes);
	*plan = (struct pstree_plan){ 0 };
}

void pstree_input_of(const img_pstree_entry *entry, bool zombie, struct pstree_input *ret)
{
	*ret = (struct pstree_input){ .pid = entry->pid,
				      .ppid = entry->ppid,
				      .pgid = entry->pgid,
				      .sid = entry->sid,
				      .zombie = zombie,
				      .threads = entry->threads.items,
				      .nr_threads = entry->threads.nr };
}
