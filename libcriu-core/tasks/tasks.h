/*
 * State of processes and threads apart from memory and files: signals, timers, credentials, limits, scheduling,
 * names and the many small settings of prctl(2). One kind of state is one file (tasks/kinds.c has the table,
 * tasks/task-ops.h the contract); here is what the orchestrators call.
 *
 * Dump, per process:     tasks_collect -> tasks_ask_size, tasks_ask -> (the program runs) -> tasks_dump -> tasks_fill_mm
 *                        -> (images are written) -> tasks_drop
 * Restore, per process:  tasks_check -> task_plan and thread_plan for each phase -> (the programs run) -> task_notes_report
 */
#ifndef CR_TASKS_TASKS_H
#define CR_TASKS_TASKS_H

#include "base/array.h"
#include "base/error.h"
#include "infect/program.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Dump
 */

/**
 * tasks_collect() - what can be learnt of a process from outside, while it is stopped and before anything runs in it
 * Notes obstacles in ctx->obstacles. Makes thread->core of every live thread and, for a zombie, the core of the process
 * (threads is empty: see tasks_zombie_core()).
 * Return: 0 (also with obstacles), negative errno. tasks_drop() is due in either case.
 */
int tasks_collect(struct cr_context *ctx, struct task *task, struct cr_error *err);

/** tasks_ask_size() - bytes of arena that tasks_ask() will take for @task, routines included; upper bound */
size_t tasks_ask_size(const struct task *task);

/**
 * tasks_ask() - questions that only the process itself can answer
 * Begins one routine per live thread (that of task->lead also carries the process-wide questions), writes the questions
 * and ends each with ABI_OP_TRAP. The number of a thread's routine is tasks_routine_of().
 * @more: questions of others for the process as a whole (mm_ask()); NULL: none
 * Return: 0, negative errno.
 */
struct tasks_more {
	int (*ask)(void *arg, struct task *task, struct program *program, struct routine *r, struct cr_error *err);
	void *arg;
};
int tasks_ask(struct cr_context *ctx, struct task *task, struct program *program, const struct tasks_more *more,
	      struct cr_error *err);

/** tasks_routine_of() - number of the routine that @thread has to run */
uint32_t tasks_routine_of(const struct thread *thread);

/**
 * tasks_dump() - answers to entries, once all routines have ended and the arena was read back
 * Completes thread->core but for what ptrace shows (thread_info, rseq; infect/thread-image.h) and tasks_clear_tid(). Notes
 * obstacles.
 * Return: 0, negative errno.
 */
int tasks_dump(struct cr_context *ctx, struct task *task, const struct program *program, struct cr_error *err);

/** tasks_clear_tid() - set_tid_address() of a thread, after tasks_dump(); 0 if the kernel does not tell (CONFIG_CHECKPOINT_RESTORE) */
uint64_t tasks_clear_tid(const struct thread *thread);

/**
 * tasks_fill_mm() - settings that this folder asks for and mm-PID.img holds: dumpable, thp_disabled, ext
 * @ret: ret->ext is borrowed from @task until tasks_drop(); set it to NULL before freeing @ret.
 */
void tasks_fill_mm(const struct task *task, img_mm_entry *ret);

/** tasks_zombie_core() - the core entry of a zombie; points into @task (comm), @ret_ext and @ret_tc. Pure. */
void tasks_zombie_core(const struct task *task, img_task_ext *ret_ext, img_task_core_entry *ret_tc,
		       img_core_entry *ret_core);

/** tasks_drop() - give back everything of this folder, thread->core included; safe at any time, also twice */
void tasks_drop(struct task *task);

/*
 * Restore
 */

enum { CRED_REAL, CRED_EFFECTIVE, CRED_SAVED, CRED_FS };

/* What the restorer itself is and may do; children inherit it, so plans need to write down differences only. */
struct restorer {
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint64_t cap_known;      /* all capabilities that this kernel has */
	uint32_t uid[4], gid[4]; /* by CRED_* */
	uint32_t *groups;        /* ascending */
	size_t nr_groups;
	uint32_t securebits;
	bool no_new_privs;
	uint64_t rlim_cur[16], rlim_max[16];
	uint32_t loginuid; /* all ones: unset */
	bool has_loginuid; /* the kernel has /proc/self/loginuid */
	bool has_proc;     /* /proc is mounted */
	int proc_fd;       /* it, O_PATH; -1 */
	int oom_score_adj;
	int suid_dumpable;      /* sysctl fs.suid_dumpable */
	char label[64];         /* security label, "" if no security module has one; cut when longer */
	bool timer_restore_ids; /* PR_TIMER_CREATE_RESTORE_IDS */
	uint64_t timer_slack_ns;
	uint32_t ioprio;
	bool bound;            /* it may not run on all processors */
	bool memory_merge;     /* PR_SET_MEMORY_MERGE */
	bool io_flusher;       /* PR_SET_IO_FLUSHER */
	int mempolicy_mode;    /* of the calling thread; 0: none */
	int mce_kill;          /* PR_MCE_KILL_GET */
	uint64_t rseq_address; /* area that the C library registered for the calling thread, 0: none */
	uint32_t rseq_size, rseq_signature;
};

/** restorer_init() - look at the calling thread, the one that will fork the root. Return: 0, negative errno. */
int restorer_init(struct cr_context *ctx, struct restorer *ret, struct cr_error *err);
void restorer_done(struct restorer *r);

/* An operation whose failure makes the result poorer but does not end the restore. */
struct task_note {
	uint32_t routine, op;
	pid_t pid;
	const char *text; /* string literal, "… continuing without X" */
};
DEFINE_VEC(task_notes, struct task_note)

/** task_notes_report() - after the run: one warning per noted operation that failed */
void task_notes_report(struct cr_context *ctx, const struct program *program, const struct task_notes *notes);

/* One process that is to be recreated. Everything is borrowed and has passed tasks_check(). */
struct task_restore {
	struct cr_context *ctx;
	struct program *program;
	const struct restorer *restorer;
	pid_t pid;
	const img_core_entry *leader;         /* has tc and thread_core */
	const img_core_entry *const *threads; /* nr_threads, the leader first */
	const uint32_t *tids;
	size_t nr_threads;
	const img_mm_entry *mm;
	bool own_ipc;                 /* it is in an IPC namespace that was restored with it */
	bool own_mounts;              /* the same of its mount namespace: there /proc may be another, or anything */
	const img_core_entry *parent; /* core of the process that it inherits from; NULL: the restorer */
	struct task_notes *notes;
	bool guarded; /* others may look at it not before TASK_PHASE_OPEN */
};

enum task_phase {
	/* first thing the new process does, still a copy of the restorer with its root directory and memory: files of /proc */
	TASK_PHASE_EARLY,
	/* memory, files and threads are there, all signals blocked, zombies and helpers gone, privileges those of the restorer */
	TASK_PHASE_MAIN,
	/* every thread is seized by the coordinator: limits, then what takes privileges away or hides the task */
	TASK_PHASE_LATE,
	/* for one thread of each process that is guarded: nobody in the tree has privileges left that are not his */
	TASK_PHASE_OPEN,
};

/** tasks_change_creds() - will a thread of it give up credentials of the restorer? Pure. */
bool tasks_change_creds(const struct task_restore *t);

/** tasks_leader_exited() - is @leader that of a process whose main thread has exited while others run? It has no registers. */
bool tasks_leader_exited(const img_core_entry *leader);

/**
 * tasks_check() - is what came from an image in range and complete? pure
 * @leader: of the process; its task_state decides what must be there (a zombie has no threads)
 * @threads, @tids: @nr core entries, the leader's first
 * Return: 0, -EBADMSG, -EOPNOTSUPP (a sentence says what cannot be restored).
 */
int tasks_check(const img_core_entry *leader, const img_core_entry *const *threads, const uint32_t *tids, size_t nr,
		struct cr_error *err);

/**
 * tasks_plan_size() - upper bound of the arena bytes that all plans of a process and its threads take
 * The entries have passed tasks_check().
 */
size_t tasks_plan_size(const struct restorer *restorer, const img_core_entry *const *threads, size_t nr);

/** task_plan() - operations for the process as a whole; run by its leader, before thread_plan() of the leader. Return: 0 or errno. */
int task_plan(struct task_restore *t, enum task_phase phase, struct routine *r, struct cr_error *err);

/**
 * task_plan_session() - operations for the session that the process is the first of
 * Run by it once the session is there and /proc is still the restorer's. Return: 0 or errno.
 */
int task_plan_session(struct task_restore *t, struct routine *r, struct cr_error *err);

/** thread_plan() - operations for one thread; run by itself. @index: in t->threads, 0 is the leader. */
int thread_plan(struct task_restore *t, size_t index, enum task_phase phase, struct routine *r, struct cr_error *err);

/** zombie_plan() - the end of a process that is to be a zombie: exits with @exit_code (a raw wait word) or by its signal */
int zombie_plan(struct cr_context *ctx, struct program *program, pid_t pid, uint32_t exit_code, struct routine *r,
		struct cr_error *err);

/**
 * thread_sigmask() - the blocked mask that the coordinator sets by ptrace when it lets the thread go
 * @is_leader: masks of leaders are kept elsewhere than those of other threads
 */
uint64_t thread_sigmask(const img_core_entry *core, bool is_leader);

/** tasks_default_action() - is @signo, of a checked image, neither caught nor ignored? */
bool tasks_default_action(const img_task_core_entry *tc, int signo);

/**
 * thread_release() - what must be set by ptrace, after the last remote system call and before detaching
 * Syscall user dispatch: the thread's own calls from the blob would be caught by it.
 * @host_tid: a stopped tracee of the caller
 * Return: 0, negative errno.
 */
int thread_release(struct cr_context *ctx, const img_core_entry *core, pid_t host_tid, struct cr_error *err);

#endif
