/* Parts of the process tree planner: relations (pstree-plan.c), births (pstree-births.c), scripts (pstree-steps.c). */
#ifndef CR_TASKS_PSTREE_INTERNAL_H
#define CR_TASKS_PSTREE_INTERNAL_H

#include "tasks/pstree-plan.h"

#define NOBODY (-1)

/* A number and the node that carries it, sorted by number. */
struct pid_node {
	uint32_t pid;
	int node;
};
DEFINE_VEC(pid_nodes, struct pid_node)

/* What is worked out about each node beside the plan. */
struct pstree_info {
	int parent;                    /* final; NOBODY: root or helper */
	int first_child, next_sibling; /* final tree */
	uint32_t depth;
	uint32_t enter,
		leave; /* numbers of a depth-first walk: b is below a if a.enter < b.enter && b.leave <= a.leave */
	bool leads_session;
	bool leads_group;       /* somebody is in the group of its number, and it is no session leader */
	bool moves;             /* leads a group, and ends up in another */
	uint32_t birth_session; /* of session leaders: where it must be born, 0: anywhere */
	bool before;            /* forked before forked_by calls setsid() */
	int round;       /* helpers and zombies that leave children to an adopter: when they exit; NOBODY: at once */
	int adopt_round; /* adopters: when; NOBODY: never */
	int first_fork, last_fork, next_fork; /* whom it forks, in order; sibling list of these */
};
DEFINE_VEC(pstree_infos, struct pstree_info)

/* A process that has to be born in a session which its final parent is not in: it will be an orphan that @adopter takes in. */
struct demand {
	int child, adopter;
	uint32_t sid;
	bool done;
};
DEFINE_VEC(demands, struct demand)

struct pstree_build {
	const struct pstree_input *in;
	size_t nr;
	const struct pstree_options *opts;
	struct pstree_plan *plan;
	struct pstree_infos info; /* as plan->nodes */
	struct pid_nodes pids;    /* of all nodes that have one */
	struct pid_nodes dead;    /* sessions and groups without a process: their helpers; built once */
	struct demands demands;
	uint32_t outer_sid, outer_pgid; /* of the restorer as used in this tree, 0: not used */
	bool has_outer;
	size_t nr_rounds;
	struct cr_error *err;
};

static inline struct pstree_node *node_of(struct pstree_build *b, int i)
{
	return &b->plan->nodes.items[i];
}

static inline struct pstree_info *info_of(struct pstree_build *b, int i)
{
	return &b->info.items[i];
}

/** node_find() - who has this pid. Return: index, NOBODY. */
int node_find(const struct pid_nodes *v, uint32_t pid);

/** node_add_helper() - a new helper. Return: its index, -ENOMEM. */
int node_add_helper(struct pstree_build *b, uint32_t pid, uint32_t sid, uint32_t pgid);

/** node_is_below() - is input @n a descendant of input @ancestor? */
bool node_is_below(struct pstree_build *b, int n, int ancestor);

/** births_plan() - decide who forks whom; adds helpers. Return: 0, negative errno. */
int births_plan(struct pstree_build *b);

/** steps_plan() - scripts and stages. Return: 0, negative errno. */
int steps_plan(struct pstree_build *b);

#endif
