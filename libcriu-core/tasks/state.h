/*
 * What this folder keeps of a process and its threads while a dump runs, and the memory that questions are answered in.
 */
#ifndef CR_TASKS_STATE_H
#define CR_TASKS_STATE_H

#include "infect/task.h"
#include "procfs/timers.h"
#include "proto/images.h"
#include "base/pool.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>

#define NR_SIGNALS      64
#define NR_SIGACTIONS   62 /* all but SIGKILL and SIGSTOP */
#define NR_RLIMITS      16
#define MEMPOLICY_NODES 1024 /* bits; the kernel has at most 1 << CONFIG_NODES_SHIFT nodes, and 10 is its ceiling */
#define AFFINITY_BYTES  1024 /* 8192 processors: CONFIG_NR_CPUS cannot be higher */

#define RSEQ_PLACES       56   /* that are tried per thread where the kernel does not tell */
#define TIMER_IDS_TRIED   64   /* POSIX timers that are asked for where procfs has no list */
#define TIMER_IDS_COUNTED 8192 /* highest id that is worth counting up to */

/* Questions whose answer is the result of a call. */
enum question {
	/* of the process */
	Q_DUMPABLE,
	Q_SUBREAPER,
	Q_THP_DISABLE,
	Q_MDWE,
	Q_MEMORY_MERGE,
	Q_MEMBARRIER,
	Q_MEMBARRIER_PRIVATE,
	Q_MEMBARRIER_SYNC_CORE,
	Q_MEMBARRIER_RSEQ,
	Q_PROBE_MMAP,
	Q_PROBE_LOCKED,
	Q_PROBE_MINCORE,
	Q_LDT,
	Q_UNTAG,
	Q_TIMER_IDS,
	Q_FUTEX_HASH,
	/* of each thread */
	Q_PERSONALITY,
	Q_TIMERSLACK,
	Q_SECUREBITS,
	Q_PDEATHSIG,
	Q_TSC,
	Q_SCHED_CORE,
	Q_IO_FLUSHER,
	Q_SPEC_SSB,
	Q_SPEC_IB,
	Q_SPEC_L1D,
	Q_CPUID,
	Q_IOPL,
	Q_MCE_KILL,
	Q_TID_ADDRESS,
	Q_SIGALTSTACK,
	Q_MEMPOLICY,
	Q_LANDLOCK,
	Q_RINGS,
	Q_NR
};

/* The kernel's struct sigaction of 64-bit architectures with a restorer. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* Filled by calls inside the process. Sizes are the kernel's for 64-bit tasks. */
struct thread_answers {
	uint64_t tid_address;
	uint64_t sas_sp; /* struct sigaltstack */
	uint32_t sas_flags, sas_pad;
	uint64_t sas_size;
	int32_t pdeath_sig;
	int32_t tsc;
	uint64_t core_cookie;
	int32_t mempolicy_mode, pad;
	uint8_t mempolicy_nodes[MEMPOLICY_NODES / 8];
	uint64_t robust_head, robust_len; /* for the Landlock question; not read */
};

struct process_answers {
	struct kernel_sigaction act[NR_SIGACTIONS];
	uint64_t itimer[3][4]; /* interval sec, usec; value sec, usec */
	uint64_t rlimit[NR_RLIMITS][2];
	uint8_t mincore[4];
	int32_t subreaper;
	uint64_t ldt; /* its first entry; not read */
	uint64_t untag_mask;
};

struct timer_answer {
	uint64_t interval_sec, interval_nsec, value_sec, value_nsec;
};

#define NO_OP UINT32_MAX

struct thread_state {
	uint32_t routine;  /* number; NO_OP before tasks_ask() */
	uint32_t op[Q_NR]; /* index of the operation, NO_OP: not asked */
	uint64_t clear_tid;

	img_core_entry core;
	img_thread_core_entry tc;
	img_thread_sas_entry sas;
	img_signal_queue_entry signals_p;
	img_creds_entry creds;
	img_thread_ext ext;
	img_sud_ext sud;
	uint32_t rseq_op; /* first of RSEQ_PLACES, see rseq.c */
	img_rseq_entry rseq;
	uint32_t caps[5][2];
	char comm[PROC_COMM_MAX + 1];
	uint8_t nodes[MEMPOLICY_NODES / 8];
};

struct process_state {
	struct pool pool; /* what entries point at and has no fixed size */
	uint64_t answers; /* remote address of struct process_answers */
	struct proc_timer_vec timers;
	bool timers_unknown;                         /* no /proc/PID/timers: ids are tried */
	uint64_t timer_answers;                      /* remote address of struct timer_answer, one per timer */
	uint32_t timer_gettime_op, timer_overrun_op; /* index of the first of each kind */

	img_task_core_entry tc;
	img_task_ext ext;
	img_mm_ext mm_ext;
	bool has_mm_ext;
	bool rseq_searched;           /* no way to ask for registrations: places are tried */
	bool no_ports, no_core_sched; /* the kernel has said that it knows no such thing */
	bool membarriers_tried;       /* no list of registrations: what only works with one is called */
	img_task_timers_entry timers_entry;
	img_itimer_entry itimer[3]; /* copies where the message wants pointers */
	img_task_rlimits_entry rlimits_entry;
	img_rlimit_entry rlimits[NR_RLIMITS];
	img_sa_entry acts[NR_SIGACTIONS];
	img_signal_queue_entry signals_s;
	pid_t judge;    /* whom its threads are asked about; 0: nobody. See landlock.c */
	bool own_judge; /* made for it, ended with it */

	/* the same for all processes of a tree: asked for the first, copied from the parent */
	bool landlock_here;
	bool other_user_ns;   /* not the dumper's user namespace */
	bool labelled;        /* a security module gives labels */
	size_t nr_cpus;       /* online */
	uint64_t usual_slice; /* of a fair thread, nanoseconds; 0: the kernel has no such thing */
	int32_t dumpable;
	bool thp_disabled;
	struct thread_state threads[]; /* as task->threads */
};

/* kept in task->tasks_priv and thread->priv; NULL: nothing was collected */
struct process_state *process_state_of(const struct task *task);
struct thread_state *thread_state_of(const struct thread *thread);

#endif
