/* A process as images have it, for tests of checks and plans of process state. */
#ifndef TEST_TASKS_WORLD_H
#define TEST_TASKS_WORLD_H

#include "tasks/state.h"
#include "tasks/tasks.h"

#include <signal.h>

#define ALL_CAPS UINT64_C(0x1ffffffffff)

/* A process with two threads, all of it valid; tests change single values. */
struct world {
	struct cr_context ctx;
	struct cr_options opts;
	struct cr_observer obs;
	img_core_entry core[2];
	img_task_core_entry tc;
	img_thread_core_entry thc[2];
	img_thread_info_x86 info_x86;
	img_creds_entry creds[2];
	img_thread_sas_entry sas;
	img_thread_ext ext;
	img_sa_entry acts[NR_SIGACTIONS];
	img_task_timers_entry timers;
	img_itimer_entry itimer[3];
	img_posix_timer_entry posix[2];
	img_task_rlimits_entry rlimits;
	img_rlimit_entry rlimit[NR_RLIMITS];
	img_signal_queue_entry queue;
	img_siginfo_entry queued[3];
	siginfo_t info[3];
	img_mm_entry mm;
	uint32_t caps[5][2], groups[2];
	const img_core_entry *threads[2];
	uint32_t tids[2];
	struct restorer own;
	struct task_notes notes;
	struct task_restore restore;
	struct program program;
	struct routine routine;
	char *memory;
};

void world_init(struct world *w);
void world_done(struct world *w);

/** set_caps() - of both threads; @prm is also the effective set */
void set_caps(struct world *w, uint64_t inh, uint64_t prm, uint64_t bnd);
/** become_user() - both threads have ids, groups and capabilities of somebody else than the restorer */
void become_user(struct world *w);

#endif
