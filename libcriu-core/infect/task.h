/*
 * The tree at hand during a dump: its processes and threads, seized and stopped, with what procfs says of them.
 * Everything here is filled by infect/ and read by the resource folders.
 */
#ifndef CR_INFECT_TASK_H
#define CR_INFECT_TASK_H

#include "base/array.h"
#include "proto/images.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"
#include "procfs/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tracee;

/* task_core_entry.task_state */
enum task_state { TASK_ALIVE = 1, TASK_DEAD = 2, TASK_STOPPED = 3 };

struct thread {
	pid_t             host_tid;   /* as the dumper sees it */
	pid_t             ns_tid;     /* as the tree's pid namespace sees it: what images hold */
	struct proc_dir   dir;        /* /proc/PID/task/TID, opened on first use: thread_dir() of freeze.h */
	struct tracee    *tracee;     /* NULL: not seized (zombie) */
	bool              dead;       /* exited leader thread of a living process */
	img_core_entry   *core;       /* being filled; owned by tasks/ */
	struct proc_stat   stat;      /* whole of the leader and of lead; of others pid, comm and nice */
	struct proc_status status;
	uint64_t          answers;    /* remote address of this thread's routine answers, private to tasks/ */
	void             *priv;       /* of tasks/ while a dump runs */
};

DEFINE_VEC(thread_vec, struct thread)

struct task {
	pid_t             host_pid, ns_pid;
	struct task      *parent;     /* NULL: root */
	uint32_t          index;      /* in the tree */
	enum task_state   state;
	pid_t             ns_pgid, ns_sid, ns_ppid;
	struct thread_vec threads;    /* leader first (even if dead); empty for zombies */
	struct thread    *lead;       /* the thread that speaks for the process: the leader, or the first live one */
	struct proc_dir   dir;        /* /proc/PID, or /proc/TID of lead when the leader has exited */
	int               pidfd;      /* of the process, -1 for zombies */
	struct proc_stat   stat;      /* of the leader */
	struct proc_status status;
	char              comm[16];
	int               exit_code;  /* raw wait word of a zombie */
	int               stop_signo; /* TASK_STOPPED: the signal */
	bool              has_children; /* had, once it was stopped */
	/* what is being collected; mm is owned by mm/ */
	img_task_kobj_ids_entry ids;
	img_mm_entry     *mm;
	img_fs_entry      fs;
	void             *mm_priv, *files_priv, *tasks_priv; /* of mm/, files/ and tasks/ while a dump runs; freed by them */
};

/* Tasks are stored as pointers so that parent links survive growth; parents come before their children. */
DEFINE_VEC(task_vec, struct task *)

struct tree {
	struct task_vec tasks;
	struct task    *root;
	uint64_t        let_go_us; /* monotonic microseconds when all could go on or had been told to end, 0: not yet */
};

void tree_free(struct tree *t);

#endif
