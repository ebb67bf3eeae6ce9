/*
 * What a kind of process state is made of. Each kind is one file with both halves; the table is in kinds.c and its order
 * is the order of everything below. Every callback may be NULL.
 *
 * Dump, while the process is stopped:
 *   collect_*  from outside: ptrace, procfs, system calls about other tasks. Nothing of ours is in the process yet.
 *   ask_*      emit questions. Answers of calls that return a number: ask_call(); of calls that fill memory: asker.answers.
 *   dump_*     after the program ran: answers and facts to entries. May add obstacles.
 * Restore:
 *   check_*    values of an entry in range? Pure. Sees whatever an image may hold.
 *   plan_*     emit operations for one phase. What it reads has passed check_*.
 * "process" callbacks run once, for the leading thread, before the "thread" callbacks of any thread.
 */
#ifndef CR_TASKS_TASK_OPS_H
#define CR_TASKS_TASK_OPS_H

#include "tasks/state.h"
#include "tasks/tasks.h"

/* A dump of one process under way. */
struct task_dump {
	struct cr_context *ctx;
	struct task *task;
	struct process_state *ps;
	const struct program *program; /* after the run; NULL in collect_* */
};

/* One thread's routine being written. */
struct asker {
	struct program *program;
	struct routine *routine;
	const struct task *task;
	const struct thread *thread;
	struct process_state *ps;
	struct thread_state *ts;
	uint64_t answers; /* remote address of its struct thread_answers */
	uint64_t process; /* remote address of struct process_answers, leading thread only */
};

/* One process or thread being planned. */
struct planner {
	struct task_restore *t;
	enum task_phase phase;
	struct routine *r;
	const img_core_entry *core; /* of the thread, or of the leader for process callbacks */
	uint32_t tid;
	struct cr_error *err;
};

struct task_kind {
	const char *name;
	bool collect_dead; /* collect_thread is called for a leader that has exited, too: procfs still knows */
	int (*collect_process)(struct task_dump *d, struct cr_error *err);
	int (*collect_thread)(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err);
	void (*ask_process)(struct asker *a);
	void (*ask_thread)(struct asker *a);
	int (*dump_process)(struct task_dump *d, struct cr_error *err);
	int (*dump_thread)(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err);
	void (*drop_process)(
		struct process_state *ps); /* end of the dump, also after a failure: give back what is not memory */
	int (*check_process)(const img_core_entry *core, struct cr_error *err);
	int (*check_thread)(const img_core_entry *core, struct cr_error *err);
	int (*plan_process)(struct planner *p);
	int (*plan_thread)(struct planner *p);
};

extern const struct task_kind *const task_kinds[];
extern const size_t nr_task_kinds;

extern const struct task_kind signals_kind, sigaltstack_kind, itimers_kind, posix_timers_kind, rlimits_kind, sched_kind,
	identity_kind, autogroup_kind, memory_flags_kind, user_areas_kind, cpu_flags_kind, ports_kind, guards_kind, landlock_kind,
	creds_kind, prctl_kind, rseq_kind, ring_slots_kind, undo_kind;

/* ask_call() - a question whose answer is the call's result; read it with answer_of() */
#define ask_call(a, q, what, nr, ...) \
	ask_note(a, q, op_result(emit_call((a)->program, (a)->routine, what, nr, __VA_ARGS__)))
void ask_note(struct asker *a, enum question q, struct abi_op *op);

/** answer_of() - result of a question; -ENODATA if it was not asked, otherwise what the call returned */
int64_t answer_of(const struct task_dump *d, const struct thread_state *ts, enum question q);
/** answer_at() - the same for the operation with index @op of the routine */
int64_t answer_at(const struct task_dump *d, const struct thread_state *ts, uint32_t op);

/** thread_answers_of(), process_answers_of() - what calls wrote; NULL if the thread was not asked */
const struct thread_answers *thread_answers_of(const struct task_dump *d, const struct thread *th);
const struct process_answers *process_answers_of(const struct task_dump *d);

/** task_obstacle() - note one about the process, or about a thread (@th) */
int task_obstacle(struct task_dump *d, const struct thread *th, const char *advice, const char *what_fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* plan_call() - emit a system call */
#define plan_call(p, what, nr, ...) emit_call((p)->t->program, (p)->r, what, nr, __VA_ARGS__)
/** plan_data() - data that a call points at */
uint64_t plan_data(struct planner *p, const void *data, size_t len, size_t align);
/** plan_note() - the operation may fail: then the restore goes on and a warning with @text is given. Return: 0, -ENOMEM. */
int plan_note(struct planner *p, struct abi_op *op, const char *text);

/**
 * plan_write_file() - write text to a file, through a descriptor that is closed again
 * Every step may fail; a failure is noted with @text unless it is NULL. Uses SLOT_TMP.
 */
int plan_write_file(struct planner *p, const char *path, const char *content, size_t len, const char *text);

#endif
