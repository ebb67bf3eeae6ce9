/* A restore under way: what its stages share. */
#ifndef CR_RESTORE_INTERNAL_H
#define CR_RESTORE_INTERNAL_H

#include "base/own.h"
#include "files/files.h"
#include "image/image-set.h"
#include "infect/program.h"
#include "kernel/context.h"
#include "mm/mm.h"
#include "ns/ipc.h"
#include "ns/mnt.h"
#include "restore/region.h"
#include "tasks/ids.h"
#include "tasks/pstree-plan.h"
#include "tasks/tasks.h"

#include <signal.h>

struct xstate_layout;

/* One process of the image set, checked. */
struct rtask {
	img_pstree_entry *entry;
	img_task_kobj_ids_entry *ids; /* NULL: zombie */
	img_core_entry **cores;       /* nr_threads, the leader's first */
	uint32_t *tids;               /* same order */
	size_t nr_threads;
	bool zombie;
	bool leader_exited;       /* while other threads run */
	struct mm_space *space;   /* NULL: zombie */
	uint64_t uffd_at;         /* where it tells the number of its userfaultfd; 0: all of its memory is read at once */
	struct task_restore plan; /* borrows all of the above */
};

/* What the compiler of programs knows of a node of the tree plan. */
struct rnode {
	struct routine routine;
	uint32_t index; /* of its routine in the control block */
	bool begun;
	int service_from;            /* number of the coordinator's pidfd when the node starts */
	const struct mm_space *base; /* memory that is in place when it starts, NULL: the coordinator's */
};

/* A thread that the coordinator takes over in the end. */
struct rthread {
	pid_t tid;
	struct rtask *task;
	size_t index; /* in task->tids */
	bool exits;   /* a leader that had exited: it is gone when the programs have run */
	bool first;   /* of the others of its process: once per process is through it */
	struct takeover *hand;
};
DEFINE_VEC(rthread_vec, struct rthread)

struct restore {
	struct cr_context *ctx;
	struct cr_restore_result *result;
	struct image_set *set;
	img_inventory_entry *inventory;

	struct rtask *tasks; /* in the order of pstree.img; nodes 0 ... nr_tasks - 1 of the plan */
	size_t nr_tasks;
	struct pstree_plan tree;
	struct restorer restorer;

	struct files *files;
	struct mm_segments *segments;
	struct unpacker *unpacker; /* brings compressed pages; NULL: not begun */
	struct mm_used_up *used_up; /* NULL: the images stay as they are */
	struct ids_own own; /* the tree's own namespaces */
	struct ipc_ns *ipc; /* NULL: it has none of its own */
	struct mnt_ns *mnt; /* the same */
	int pidfd; /* of this process, for the tasks */

	struct region region;
	struct program program;
	bool program_made;
	struct rnode *nodes;
	struct task_notes notes;
	struct rthread_vec threads;
	size_t nr_exited_leaders;
	bool guarded; /* some task gives up privileges of this process: see RESTORE_STAGE_OPEN */

	bool lazy;   /* some memory is left to a pager */
	int lazy_go; /* it brings nothing in unasked until this is closed; -1: there is no pager */

	pid_t root_pid; /* as this process sees it; 0: not forked */
	bool resumed;
	bool was_subreaper;
	bool pidfile_written;
	sigset_t signals; /* mask to go back to */
	uint64_t begin_us, fork_us;
};

/*
 * Stages of control.stage above those of the tree plan. FORGET and EXITED are there only if there is a process whose leader has
 * exited. The end of a thread is the death of a parent to the children that it has made (forget_original_parent() in
 * kernel/exit.c), so all forget their death signals before, and set those of the images after it.
 */
#define RESTORE_STAGE_LAZY   11 /* only if memory is left to a pager */
#define RESTORE_STAGE_SEIZE  12
#define RESTORE_STAGE_FORGET 13
#define RESTORE_STAGE_EXITED 14
/*
 * Only if tasks give up privileges: all have. Behind it others of their users may look into them, and into the programs,
 * so nothing that stands there is relied on any more but for who has arrived.
 */
#define RESTORE_STAGE_OPEN 15

int restore_read(struct restore *rs, struct cr_error *err); /* read.c */
void restore_drop_images(struct restore *rs);
/** restore_check_registers() - will takeover_load() be able to load them on this machine? Pure. Return: 0; negative errno. */
int restore_check_registers(const struct xstate_layout *layout, const img_core_entry *core,
			    struct cr_error *err);             /* registers.c */
int restore_compile(struct restore *rs, struct cr_error *err); /* compile.c */
void restore_drop_programs(struct restore *rs);
uint64_t restore_exit_signal(const struct rtask *t); /* exit-signals.c: what its end sends to its parent, 0 nothing */
/* emit into the routine of @rn: take what the ends of its zombies and helpers have sent */
void restore_drop_signals(struct restore *rs, struct rnode *rn);
int restore_run(struct restore *rs, struct cr_error *err); /* run.c */
/* until all who are expected have arrived at a stage, or one of them has failed. Return: 0; negative errno. */
int restore_await(struct restore *rs, uint32_t stage, struct cr_error *err);
void restore_show(const struct restore *rs); /* show.c: how much of its memory the tree has, for the observer */
void restore_kill(struct restore *rs);
/* has a signal arrived that asks us to end? Return: 0, -EINTR. */
int restore_interrupted(const struct restore *rs, struct cr_error *err);
int restore_resume(struct restore *rs, struct cr_error *err); /* resume.c */
void restore_give_terminal(struct restore *rs);               /* foreground.c */
/* lazy.c; _check() before anything, _choose() once the tree is planned, _begin() when all tasks are at RESTORE_STAGE_LAZY,
 * _start() when they are about to run, _runs() when they do, _go() whatever has come of it */
int restore_lazy_check(struct restore *rs, struct cr_error *err);
int restore_lazy_choose(struct restore *rs, struct cr_error *err);
int restore_lazy_begin(struct restore *rs, struct cr_error *err);
int restore_lazy_start(struct restore *rs, struct cr_error *err);
void restore_lazy_runs(struct restore *rs);
void restore_lazy_go(struct restore *rs);

#endif
