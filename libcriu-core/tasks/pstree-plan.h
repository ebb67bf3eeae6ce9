/*
 * In which order, by whom and with which detours a process tree is created again, so that in the end every process has
 * the parent, session and group that the image says. Pure: image entries in, a plan out; nothing is touched.
 *
 * Sessions and groups are inherited or made, never assigned: a process is in the session of whoever forked it, or leads
 * its own. So a child that is in another session than its parent was either forked before its parent called setsid(),
 * or it is an orphan whose first parent has died. Orphans get a helper as first parent: the helper is a descendant of
 * the final parent, lives in the right session, and exits while the final parent is a subreaper. Leaders that have
 * died (a session or group number without a process) are played by helpers of the same pid.
 */
#ifndef CR_TASKS_PSTREE_PLAN_H
#define CR_TASKS_PSTREE_PLAN_H

#include "base/array.h"
#include "base/error.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PSTREE_MAX_STAGES 10

/* One process as the images describe it. Parents come before their children; the first is the root. */
struct pstree_input {
	uint32_t pid, ppid; /* ppid 0: root */
	uint32_t pgid, sid;
	bool zombie;
	const uint32_t *threads; /* tids, for collisions of numbers; may be NULL */
	size_t nr_threads;
};

struct pstree_options {
	bool shell_job;                      /* the root's session and group may be those of the restorer */
	uint32_t own_pid, own_sid, own_pgid; /* of the restorer, in the pid namespace of the tree */
	bool own_pid_ns; /* the root will be the init of a new pid namespace: the restorer's numbers do not exist there */
};

enum pstree_kind { PSTREE_TASK, PSTREE_ZOMBIE, PSTREE_HELPER };

/*
 * What a node does, in this order, from its first moment on. Between the steps up to the first PSTREE_STAGE the caller
 * may do other work, and may run all of them later (a child that shares memory copy-on-write is forked once the memory
 * is there), as long as their order stays.
 */
enum pstree_step_kind {
	PSTREE_FORK,         /* arg: node; exit signal as its core says; helpers: none */
	PSTREE_FORK_SIBLING, /* arg: node; with CLONE_PARENT: its parent is this node's parent */
	PSTREE_SETSID,
	PSTREE_SETPGID,   /* arg: group to join, 0: lead a new one */
	PSTREE_SUBREAPER, /* arg: 1 on, 0 off; the real value is set later by the task's own plan */
	PSTREE_STAGE,     /* arg: stage; arrive and wait until all have */
	PSTREE_REAP,      /* arg: node, a helper that this node forked: wait for its end (__WALL) */
	PSTREE_AWAIT,     /* arg: node, a zombie: wait until it has ended, leave it (WNOWAIT) */
	PSTREE_EXIT,      /* last step of zombies and helpers */
};

struct pstree_step {
	enum pstree_step_kind kind;
	uint32_t arg;
};
DEFINE_VEC(pstree_steps, struct pstree_step)

struct pstree_node {
	enum pstree_kind kind;
	uint32_t pid;  /* 0: a helper that may have any */
	int input;     /* index of the entry, -1 for helpers */
	int forked_by; /* node, -1: the restorer (root only) */
	bool sibling;  /* made with CLONE_PARENT by forked_by */
	bool adopted; /* its first parent exits while the tree is built: no parent death signal before the last stage */
	int parent;   /* node that is its parent in the end, -1: the restorer; helpers: forked_by */
	uint32_t pgid, sid; /* in the end; numbers of the restorer where the image meant those outside */
	struct pstree_steps steps;
};
DEFINE_VEC(pstree_nodes, struct pstree_node)

struct pstree_plan {
	struct pstree_nodes
		nodes; /* the inputs in their order, then the helpers; node i is input i for the first nr_inputs */
	size_t nr_inputs;
	uint32_t nr_stages;                   /* stages 0 ... nr_stages - 1 are in use */
	uint32_t expected[PSTREE_MAX_STAGES]; /* nodes that arrive at each stage */
};

/**
 * pstree_plan_make() - plan the creation of a tree
 * @in: @nr entries as read from images; ranges, duplicates, order and links are checked here
 * @ret: owned by the caller, pstree_plan_done()
 * Return: 0; -EBADMSG no such tree can exist; -EOPNOTSUPP it could, but not be built; -EEXIST a number is taken; -ENOMEM.
 */
int pstree_plan_make(const struct pstree_input *in, size_t nr, const struct pstree_options *opts,
		     struct pstree_plan *ret, struct cr_error *err);
void pstree_plan_done(struct pstree_plan *plan);

/** pstree_input_of() - view of an entry of pstree.img; @zombie comes from its core. @ret borrows from @entry. */
void pstree_input_of(const img_pstree_entry *entry, bool zombie, struct pstree_input *ret);

#endif
