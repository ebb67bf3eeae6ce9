/*
 * Who forks whom. Most are forked by their final parent: after its setsid() if they are in its session or lead their own,
 * before it if they are in the session that the parent came from. For that the parent has to be born in that session, and
 * so on upwards: a chain that ends at a process which is in it.
 *
 * The others are orphans: born below their final parent, which adopts them when their first parent exits. If the leader of
 * their session lives and is a child of the adopter, clone(CLONE_PARENT) does without an orphan. If it is deeper, it
 * forks a helper, which forks the orphan and exits. If it is dead or a zombie, it is itself the one that exits.
 */
#include "tasks/pstree-internal.h"

#include <errno.h>
#include <stdlib.h>

#define ROUNDS_MAX 4

static int refuse_demand(struct pstree_build *b, const struct demand *d)
{
	return cr_refuse(b->err, -EOPNOTSUPP,
			 "pid %u is in session %u and a child of %u: in this tree that cannot be arrived at again",
			 node_of(b, d->child)->pid, d->sid, node_of(b, d->adopter)->pid);
}

static void set_fork(struct pstree_build *b, int forker, int child, bool before, bool sibling)
{
	struct pstree_node *c = node_of(b, child);
	struct pstree_info *i = info_of(b, child), *f = info_of(b, forker);

	c->forked_by = forker;
	c->sibling = sibling;
	i->before = before;
	if (f->last_fork == NOBODY)
		f->first_fork = child;
	else
		info_of(b, f->last_fork)->next_fork = child;
	f->last_fork = child;
}

/*
 * Can @sid be had at the birth of children of @p, before its setsid()? Looks upwards for somebody who is in it; all leaders
 * on the way must be free to be born in it. On success they are bound to.
 */
static bool chain(struct pstree_build *b, int p, uint32_t sid)
{
	int top = p;

	for (;;) {
		struct pstree_info *i = info_of(b, top);

		if (!i->leads_session || (i->birth_session && i->birth_session != sid))
			return false;
		if (i->parent == NOBODY) {
			/* the root is born in the restorer's session */
			return false;
		}
		if (node_of(b, i->parent)->sid == sid)
			break;
		top = i->parent;
	}
	for (int n = p;; n = info_of(b, n)->parent) {
		info_of(b, n)->birth_session = sid;
		if (n == top)
			return true;
	}
}

static int add_demand(struct pstree_build *b, int child, uint32_t sid)
{
	struct demand *d = demands_add(&b->demands);

	if (!d)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	*d = (struct demand){ .child = child, .adopter = info_of(b, child)->parent, .sid = sid };
	return 0;
}

/* Where a node has to be born: its session if it does not lead one. 0: anywhere. */
static uint32_t birth_of(struct pstree_build *b, int n)
{
	return info_of(b, n)->leads_session ? info_of(b, n)->birth_session : node_of(b, n)->sid;
}

/* Deepest first, so that what a child wants is known before its parent is looked at: inputs come after their parents. */
static int find_demands(struct pstree_build *b)
{
	for (int n = (int)b->nr - 1; n > 0; n--) {
		uint32_t sid = birth_of(b, n);
		int parent = info_of(b, n)->parent, r;

		if (!sid || sid == node_of(b, parent)->sid || chain(b, parent, sid))
			continue;
		r = add_demand(b, n, sid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Does the final parent itself provide the session by now? */
static bool demand_met(struct pstree_build *b, const struct demand *d)
{
	const struct pstree_info *p = info_of(b, d->adopter);

	return node_of(b, d->adopter)->sid == d->sid || (p->leads_session && p->birth_session == d->sid);
}

/*
 * The adopter shall be born in the session itself and fork the child before it leaves; the demand goes one up. Children
 * of the root cannot be lifted: the root is born in the restorer's session.
 */
static int lift(struct pstree_build *b, size_t at)
{
	struct demand *d = &b->demands.items[at];
	struct pstree_info *p = info_of(b, d->adopter);
	int adopter = d->adopter;
	uint32_t sid = d->sid;

	if (!p->leads_session || (p->birth_session && p->birth_session != sid) || p->parent == NOBODY)
		return refuse_demand(b, d);
	d->done = true;
	if (p->birth_session == sid)
		return 0;
	p->birth_session = sid;
	if (node_of(b, p->parent)->sid == sid || chain(b, p->parent, sid))
		return 0;
	return add_demand(b, adopter, sid);
}

/* The process that the session's members descend from: its leader, alive, zombie or played by a helper. */
static int origin_of(struct pstree_build *b, uint32_t sid)
{
	int n = node_find(&b->pids, sid);

	return n != NOBODY ? n : node_find(&b->dead, sid);
}

/* Leaders that exist in the end have their place: adopters must be above. */
static int lift_above_leaders(struct pstree_build *b)
{
	for (size_t i = 0; i < b->demands.nr; i++) {
		struct demand *d = &b->demands.items[i];
		int leader = node_find(&b->pids, d->sid), r;

		if (d->done || (d->done = demand_met(b, d)))
			continue;
		if (leader == NOBODY || node_is_below(b, leader, d->adopter))
			continue;
		r = lift(b, i);
		if (r < 0)
			return r;
	}
	return 0;
}

struct group {
	struct pstree_build *b;
	size_t from, to;
};

static int by_sid_depth(const void *x, const void *y, void *arg)
{
	const struct demand *a = x, *c = y;
	struct pstree_build *b = arg;
	uint32_t da = info_of(b, a->adopter)->depth, dc = info_of(b, c->adopter)->depth;

	if (a->sid != c->sid)
		return a->sid < c->sid ? -1 : 1;
	if (da != dc)
		return da > dc ? -1 : 1;
	if (a->adopter != c->adopter)
		return a->adopter < c->adopter ? -1 : 1;
	return a->child < c->child ? -1 : a->child > c->child;
}

static void sort_demands(struct pstree_build *b)
{
	size_t nr = 0;

	for (size_t i = 0; i < b->demands.nr; i++)
		if (!b->demands.items[i].done && !demand_met(b, &b->demands.items[i]))
			b->demands.items[nr++] = b->demands.items[i];
	b->demands.nr = nr;
	if (nr)
		qsort_r(b->demands.items, nr, sizeof(b->demands.items[0]), by_sid_depth, b);
}

/*
 * The helper that plays a dead leader has one place, below all adopters of its orphans: they must be each above the other.
 * Where they are not, the deepest is lifted. Sorted by depth, so that looking at neighbours is enough.
 */
static int lift_to_line(struct pstree_build *b, bool *ret_changed)
{
	size_t nr = b->demands.nr;

	*ret_changed = false;
	for (size_t i = 1; i < nr; i++) {
		struct demand *deep = &b->demands.items[i - 1], *high = &b->demands.items[i];
		int r;

		if (deep->sid != high->sid || deep->adopter == high->adopter ||
		    node_find(&b->pids, deep->sid) != NOBODY || node_is_below(b, deep->adopter, high->adopter))
			continue;
		*ret_changed = true;
		r = lift(b, i - 1);
		if (r < 0)
			return r;
	}
	return 0;
}

static int settle_demands(struct pstree_build *b)
{
	bool changed = true;
	int r = 0;

	/* each pass but the last binds at least one more node */
	while (changed && r >= 0) {
		r = lift_above_leaders(b);
		if (r < 0)
			return r;
		sort_demands(b);
		r = lift_to_line(b, &changed);
	}
	return r;
}

/* Adopters of the same depth adopt at the same time; the deepest first, and each switches off before the next begins. */
static int number_rounds(struct pstree_build *b)
{
	uint32_t depths[ROUNDS_MAX];
	size_t nr = 0;

	for (size_t i = 0; i < b->demands.nr; i++) {
		uint32_t depth = info_of(b, b->demands.items[i].adopter)->depth;
		size_t at = 0;

		while (at < nr && depths[at] > depth)
			at++;
		if (at < nr && depths[at] == depth)
			continue;
		if (nr == ROUNDS_MAX)
			return cr_refuse(b->err, -EOPNOTSUPP,
					 "orphans were adopted at more than %d levels of the process tree", ROUNDS_MAX);
		for (size_t k = nr++; k > at; k--)
			depths[k] = depths[k - 1];
		depths[at] = depth;
	}
	for (size_t i = 0; i < b->demands.nr; i++) {
		struct pstree_info *p = info_of(b, b->demands.items[i].adopter);

		for (size_t k = 0; k < nr; k++)
			if (depths[k] == p->depth)
				p->adopt_round = (int)k;
	}
	b->nr_rounds = nr;
	return 0;
}

/* A helper below @origin that forks all orphans of one session and one adopter. Return: its index, negative errno. */
static int add_go_between(struct pstree_build *b, int origin, const struct demand *d)
{
	int h = node_add_helper(b, 0, d->sid, node_of(b, origin)->pgid);

	if (h < 0)
		return h;
	node_of(b, h)->parent = origin;
	info_of(b, h)->round = info_of(b, d->adopter)->adopt_round;
	set_fork(b, origin, h, false, false);
	return h;
}

/* @from to @to: demands of one session and one adopter; the last such group of its session if @last */
static int place_orphans(struct pstree_build *b, size_t from, size_t to, bool last)
{
	const struct demand d = b->demands.items[from];
	int origin = origin_of(b, d.sid), forker;
	bool lives, sibling = false;

	if (origin == NOBODY)
		return refuse_demand(b, &d);
	lives = node_of(b, origin)->kind == PSTREE_TASK;
	if (lives && info_of(b, origin)->parent == d.adopter && node_of(b, origin)->forked_by == d.adopter) {
		forker = origin;
		sibling = true;
	} else if (!lives && last) {
		/* exits in the last of its rounds, and leaves these directly */
		forker = origin;
		info_of(b, origin)->round = info_of(b, d.adopter)->adopt_round;
	} else {
		forker = add_go_between(b, origin, &d);
		if (forker < 0)
			return forker;
	}
	for (size_t i = from; i < to; i++) {
		set_fork(b, forker, b->demands.items[i].child, false, sibling);
		node_of(b, b->demands.items[i].child)->adopted = !sibling;
	}
	return 0;
}

static int place_all(struct pstree_build *b)
{
	size_t nr = b->demands.nr;

	for (size_t from = 0, to; from < nr; from = to) {
		const struct demand *d = b->demands.items;
		int dead = node_find(&b->dead, d[from].sid), r;

		/* sorted by depth: the first adopter of a session is the deepest, and the place of the dead leader */
		if (dead != NOBODY && node_of(b, dead)->forked_by == NOBODY) {
			node_of(b, dead)->parent = d[from].adopter;
			set_fork(b, d[from].adopter, dead, false, false);
		}
		for (to = from + 1; to < nr && d[to].sid == d[from].sid && d[to].adopter == d[from].adopter; to++)
			;
		r = place_orphans(b, from, to, to == nr || d[to].sid != d[from].sid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Helpers that play dead group leaders: children of the leader of their session, or of the root in the restorer's. */
static int place_groups(struct pstree_build *b)
{
	for (size_t i = 0; i < b->dead.nr; i++) {
		int h = b->dead.items[i].node, forker;
		uint32_t sid = node_of(b, h)->sid;

		if (!info_of(b, h)->leads_group)
			continue;
		forker = b->has_outer && sid == b->outer_sid ? 0 : origin_of(b, sid);
		if (forker == NOBODY)
			return cr_refuse(b->err, -EBADMSG, "process tree: group %u has no session", node_of(b, h)->pid);
		node_of(b, h)->parent = forker;
		set_fork(b, forker, h, false, false);
	}
	return 0;
}

/* Forks must lead from the root to everybody: images could describe circles. */
static int check_reach(struct pstree_build *b)
{
	size_t nr = b->plan->nodes.nr, count = 1;
	int *stack = calloc(nr, sizeof(*stack));
	size_t top = 0;

	if (!stack)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	stack[top++] = 0;
	while (top) {
		for (int c = info_of(b, stack[--top])->first_fork, next; c != NOBODY; c = next) {
			next = info_of(b, c)->next_fork;
			count++;
			/* each node is in the list of one forker, so that this ends */
			stack[top++] = c;
			if (count > nr)
				break;
		}
	}
	free(stack);
	return count == nr ? 0
			   : cr_refuse(b->err, -EOPNOTSUPP,
				       "process tree: some processes could only be created by their own descendants");
}

int births_plan(struct pstree_build *b)
{
	int r = find_demands(b);

	if (r >= 0)
		r = settle_demands(b);
	if (r >= 0)
		r = number_rounds(b);
	if (r < 0)
		return r;

	bool *orphan = calloc(b->nr, sizeof(*orphan));

	if (!orphan)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	for (size_t i = 0; i < b->demands.nr; i++)
		orphan[b->demands.items[i].child] = true;
	for (size_t n = 1; n < b->nr; n++) {
		uint32_t sid = birth_of(b, (int)n);
		int parent = info_of(b, (int)n)->parent;

		if (!orphan[n])
			set_fork(b, parent, (int)n, sid && sid != node_of(b, parent)->sid, false);
	}
	free(orphan);
	r = place_all(b);
	if (r >= 0)
		r = place_groups(b);
	return r < 0 ? r : check_reach(b);
}
