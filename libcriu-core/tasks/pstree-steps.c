/* Scripts: each node's births, session and group, then exits and adoptions in rounds, with the stages that keep them apart. */
#include "tasks/pstree-internal.h"

#include <errno.h>
#include <stdlib.h>

struct script {
	struct pstree_build *b;
	bool joins, moves;                               /* is there anybody who joins a group; who leaves its own */
	uint32_t stage_joined, stage_moved, stage_round; /* numbers, where they are used */
};

static int step(struct script *s, int n, enum pstree_step_kind kind, uint32_t arg)
{
	struct pstree_step *p = pstree_steps_add(&node_of(s->b, n)->steps);

	if (!p)
		return cr_fail(s->b->err, -ENOMEM, "plan of the process tree");
	*p = (struct pstree_step){ kind, arg };
	if (kind == PSTREE_STAGE)
		s->b->plan->expected[arg]++;
	return 0;
}

static bool is_leader(struct script *s, int n)
{
	return info_of(s->b, n)->leads_session;
}

static int fork_steps(struct script *s, int n, bool before)
{
	int r = 0;

	for (int c = info_of(s->b, n)->first_fork; c != NOBODY && r >= 0; c = info_of(s->b, c)->next_fork)
		if (info_of(s->b, c)->before == before)
			r = step(s, n, node_of(s->b, c)->sibling ? PSTREE_FORK_SIBLING : PSTREE_FORK, (uint32_t)c);
	return r;
}

static int birth_steps(struct script *s, int n)
{
	int r = fork_steps(s, n, true);

	if (r >= 0 && is_leader(s, n))
		r = step(s, n, PSTREE_SETSID, 0);
	if (r >= 0 && info_of(s->b, n)->leads_group)
		r = step(s, n, PSTREE_SETPGID, 0);
	return r < 0 ? r : fork_steps(s, n, false);
}

/* Whoever leads neither session nor group joins; being there already does no harm. Go-betweens do not care. */
static bool joins(struct script *s, int n)
{
	return !is_leader(s, n) && !info_of(s->b, n)->leads_group && (node_of(s->b, n)->input >= 0);
}

static int group_steps(struct script *s, int n)
{
	const struct pstree_node *node = node_of(s->b, n);
	int r = step(s, n, PSTREE_STAGE, 0);

	if (r >= 0 && s->joins) {
		/* group 0 is outside of the pid namespace: it is inherited, and has no number to ask for */
		if (joins(s, n) && node->pgid)
			r = step(s, n, PSTREE_SETPGID, node->pgid);
		if (r >= 0)
			r = step(s, n, PSTREE_STAGE, s->stage_joined);
	}
	if (r >= 0 && s->moves) {
		if (info_of(s->b, n)->moves)
			r = step(s, n, PSTREE_SETPGID, node->pgid);
		if (r >= 0)
			r = step(s, n, PSTREE_STAGE, s->stage_moved);
	}
	return r;
}

static bool exits(struct script *s, int n)
{
	return node_of(s->b, n)->kind != PSTREE_TASK;
}

/*
 * Wait for those that this node forked and that exit in @round: so their children have been adopted before the round ends.
 * Helpers are reaped; a zombie that leaves orphans leads a session, so its forker is also its parent in the end.
 */
static int reap_steps(struct script *s, int n, int round)
{
	int r = 0;

	for (int c = info_of(s->b, n)->first_fork; c != NOBODY && r >= 0; c = info_of(s->b, c)->next_fork) {
		if (info_of(s->b, c)->round != round)
			continue;
		if (node_of(s->b, c)->kind == PSTREE_HELPER)
			r = step(s, n, PSTREE_REAP, (uint32_t)c);
		else if (node_of(s->b, c)->kind == PSTREE_ZOMBIE && round != NOBODY)
			r = step(s, n, PSTREE_AWAIT, (uint32_t)c);
	}
	return r;
}

/* Return: 1 the node is gone, 0, negative errno. */
static int end_steps(struct script *s, int n, int round)
{
	int r = reap_steps(s, n, round);

	if (r < 0)
		return r;
	if (!exits(s, n) || info_of(s->b, n)->round != round)
		return 0;
	r = step(s, n, PSTREE_EXIT, 0);
	return r < 0 ? r : 1;
}

/*
 * The first adopters are subreapers from the start. A later round begins with two switches, the old ones off and the new ones
 * on, and a stage after which helpers may exit.
 */
static int round_steps(struct script *s, int n)
{
	int own = info_of(s->b, n)->adopt_round;
	uint32_t stage = s->stage_round;

	for (int round = 0; round < (int)s->b->nr_rounds; round++) {
		int r = end_steps(s, n, round);

		if (r)
			return r;
		r = step(s, n, PSTREE_STAGE, stage++);
		if (r >= 0 && own == round)
			r = step(s, n, PSTREE_SUBREAPER, 0);
		if (r < 0 || round + 1 == (int)s->b->nr_rounds)
			return r;
		if (own == round + 1)
			r = step(s, n, PSTREE_SUBREAPER, 1);
		if (r >= 0)
			r = step(s, n, PSTREE_STAGE, stage++);
		if (r < 0)
			return r;
	}
	return 0;
}

static int await_steps(struct script *s, int n)
{
	int r = 0;

	for (int c = info_of(s->b, n)->first_child; c != NOBODY && r >= 0; c = info_of(s->b, c)->next_sibling)
		if (node_of(s->b, c)->kind == PSTREE_ZOMBIE && info_of(s->b, c)->round == NOBODY)
			r = step(s, n, PSTREE_AWAIT, (uint32_t)c);
	return r;
}

static int node_steps(struct script *s, int n)
{
	int r = info_of(s->b, n)->adopt_round == 0 ? step(s, n, PSTREE_SUBREAPER, 1) : 0;

	if (r >= 0)
		r = birth_steps(s, n);
	if (r >= 0)
		r = group_steps(s, n);
	if (r >= 0)
		r = end_steps(s, n, NOBODY);
	if (r == 0)
		r = round_steps(s, n);
	if (r == 0)
		r = await_steps(s, n);
	return r < 0 ? r : 0;
}

/* A leader that leaves its group leaves it behind: others must be in the group it goes to, and stay. */
static int check_moves(struct script *s)
{
	struct pstree_build *b = s->b;
	bool *stays =
		calloc(b->plan->nodes.nr, sizeof(*stays)); /* by the node that leads a group: will it still be there? */
	int r = 0;

	if (!stays)
		return cr_fail(b->err, -ENOMEM, "plan of the process tree");
	for (size_t i = 0; i < b->nr; i++) {
		int head = node_find(&b->pids, node_of(b, (int)i)->pgid);

		if (head != NOBODY && !info_of(b, (int)i)->moves)
			stays[head] = true;
	}
	for (size_t i = 0; i < b->nr && r == 0; i++) {
		int head = node_find(&b->pids, node_of(b, (int)i)->pgid);

		if (info_of(b, (int)i)->moves && head != NOBODY && !stays[head])
			r = cr_refuse(b->err, -EOPNOTSUPP,
				      "pid %u is in group %u, whose leader and all others are leaders of other groups",
				      node_of(b, (int)i)->pid, node_of(b, (int)i)->pgid);
	}
	free(stays);
	return r;
}

int steps_plan(struct pstree_build *b)
{
	struct script s = { .b = b };
	uint32_t next = 1;
	int r = check_moves(&s);

	for (size_t n = 0; n < b->plan->nodes.nr; n++) {
		s.joins |= joins(&s, (int)n);
		s.moves |= info_of(b, (int)n)->moves;
	}
	s.stage_joined = s.joins ? next++ : 0;
	s.stage_moved = s.moves ? next++ : 0;
	s.stage_round = next;
	if (b->nr_rounds)
		next += 2 * (uint32_t)b->nr_rounds - 1;
	if (next > PSTREE_MAX_STAGES)
		return cr_refuse(b->err, -EOPNOTSUPP, "process tree needs %u stages, more than %d", next,
				 PSTREE_MAX_STAGES);
	b->plan->nr_stages = next;
	for (size_t n = 0; n < b->plan->nodes.nr && r >= 0; n++)
		r = node_steps(&s, (int)n);
	return r;
}
