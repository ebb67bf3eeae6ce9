#include "tasks/world.h"

#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define ARENA ((size_t)1 << 20)

void set_caps(struct world *w, uint64_t inh, uint64_t prm, uint64_t bnd)
{
	uint64_t v[5] = { inh, prm, prm, bnd, 0 };

	for (int i = 0; i < 5; i++) {
		w->caps[i][0] = (uint32_t)v[i];
		w->caps[i][1] = (uint32_t)(v[i] >> 32);
	}
}

void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->ctx.opts = &w->opts;
	w->ctx.obs = &w->obs;
	set_caps(w, 0, ALL_CAPS, ALL_CAPS);
	w->queue.signals.items = w->queued;
	for (int i = 0; i < 3; i++) {
		w->info[i] = (siginfo_t){ .si_signo = SIGRTMIN + 1, .si_code = SI_QUEUE };
		w->info[i].si_value.sival_int = i;
		w->queued[i].siginfo = (struct proto_bytes){ .data = (uint8_t *)&w->info[i], .len = sizeof(siginfo_t) };
	}
	for (int i = 0; i < 2; i++) {
		w->creds[i] = (img_creds_entry){ .cap_inh = { w->caps[0], 2 },
						 .cap_prm = { w->caps[1], 2 },
						 .cap_eff = { w->caps[2], 2 },
						 .cap_bnd = { w->caps[3], 2 },
						 .cap_amb = { w->caps[4], 2 },
						 .groups = { w->groups, 0 } };
		w->thc[i] = (img_thread_core_entry){ .creds = &w->creds[i], .comm = (char *)"thread", .sas = &w->sas };
		w->core[i] = (img_core_entry){ .mtype = img_core_entry_march_X86_64,
					       .thread_core = &w->thc[i],
					       .thread_info = &w->info_x86 };
		w->threads[i] = &w->core[i];
		w->tids[i] = 100 + (uint32_t)i;
	}
	w->thc[0].ext = &w->ext;
	w->sas.ss_flags = SS_DISABLE;
	w->timers = (img_task_timers_entry){
		.real = &w->itimer[0], .virt = &w->itimer[1], .prof = &w->itimer[2], .posix = { w->posix, 0 }
	};
	for (int i = 0; i < 2; i++)
		w->posix[i] = (img_posix_timer_entry){
			.it_id = (uint32_t)i * 3, .clock_id = CLOCK_MONOTONIC, .si_signo = SIGUSR1, .vsec = 1000
		};
	for (int i = 0; i < NR_RLIMITS; i++)
		w->rlimit[i] = (img_rlimit_entry){ 100, 200 };
	w->rlimits.rlimits.items = w->rlimit;
	w->rlimits.rlimits.nr = NR_RLIMITS;
	w->tc = (img_task_core_entry){ .task_state = TASK_ALIVE,
				       .comm = (char *)"process",
				       .timers = &w->timers,
				       .rlimits = &w->rlimits,
				       .sigactions = { w->acts, NR_SIGACTIONS },
				       .signals_s = &w->queue };
	w->core[0].tc = &w->tc;
	w->mm.has_dumpable = true;
	w->mm.dumpable = 1;
	w->own = (struct restorer){
		.cap_prm = ALL_CAPS, .cap_eff = ALL_CAPS, .cap_bnd = ALL_CAPS, .cap_known = ALL_CAPS
	};
	for (int i = 0; i < NR_RLIMITS; i++)
		w->own.rlim_cur[i] = w->own.rlim_max[i] = 1000;
	w->memory = aligned_alloc(4096, ARENA);
	assert_non_null(w->memory);
	memset(w->memory, 0, ARENA);

	/* the program runs where it is written */
	struct arena arena = { .local = w->memory, .remote = (uint64_t)(uintptr_t)w->memory, .size = ARENA };

	assert_int_equal(program_init(&w->program, &arena, 4, NULL), 0);
	assert_int_equal(routine_begin(&w->program, &w->routine, NULL), 0);
	w->restore = (struct task_restore){ .ctx = &w->ctx,
					    .program = &w->program,
					    .restorer = &w->own,
					    .pid = 100,
					    .leader = &w->core[0],
					    .threads = w->threads,
					    .tids = w->tids,
					    .nr_threads = 2,
					    .mm = &w->mm,
					    .notes = &w->notes };
}

void world_done(struct world *w)
{
	routine_drop(&w->routine);
	program_done(&w->program);
	task_notes_done(&w->notes);
	free(w->memory);
}

void become_user(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		img_creds_entry *c = &w->creds[i];

		c->uid = c->euid = c->fsuid = 1000;
		c->suid = 1001;
		c->gid = c->egid = c->sgid = c->fsgid = 1002;
		c->has_no_new_privs = true;
		c->no_new_privs = 1;
		c->groups.nr = 2;
	}
	w->groups[0] = 5;
	w->groups[1] = 6;
	set_caps(w, 0, 0, ALL_CAPS & ~(UINT64_C(1) << CAP_SYS_MODULE));
}
