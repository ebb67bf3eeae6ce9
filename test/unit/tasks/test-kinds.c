/* Checks of process state: entries with one value out of range are refused, and what passes can be planned. */
#include "tasks/world.h"

#include "base/array.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int check(struct world *w)
{
	return tasks_check(&w->core[0], w->threads, w->tids, 2, NULL);
}

/* ------------------------------------------------------------ checks */

#define BREAK(name, statement)                    \
	static void break_##name(struct world *w) \
	{                                         \
		statement;                        \
	}
BREAK(nothing, (void)w)
BREAK(mtype, w->core[1].mtype = img_core_entry_march_ARM)
BREAK(no_tc, w->core[0].tc = NULL)
BREAK(two_tc, w->core[1].tc = &w->tc)
BREAK(no_thread_core, w->core[1].thread_core = NULL)
BREAK(state, w->tc.task_state = 6)
BREAK(tid, w->tids[1] = 0)
BREAK(no_registers, w->core[1].thread_info = NULL)
BREAK(leader_code, (w->core[0].thread_info = NULL, w->tc.exit_code = 9))
BREAK(leader, (w->core[0].thread_info = NULL, w->tc.exit_code = 0x300))
BREAK(few_actions, w->tc.sigactions.nr = 61)
BREAK(compat_action, (w->acts[3].has_compat_sigaction = true, w->acts[3].compat_sigaction = true))
BREAK(siginfo_size, (w->queue.signals.nr = 1, w->queued[0].siginfo.len = 127))
BREAK(siginfo_number, (w->queue.signals.nr = 1, w->info[0].si_signo = 65))
BREAK(siginfo_negative, (w->queue.signals.nr = 1, w->info[0].si_signo = -1))
BREAK(sas_flags, w->sas.ss_flags = 8)
BREAK(itimer, w->itimer[1].vusec = 1000000)
BREAK(no_itimer, w->timers.virt = NULL)
BREAK(timer_signal, (w->timers.posix.nr = 1, w->posix[0].si_signo = 0))
BREAK(timer_time, (w->timers.posix.nr = 1, w->posix[0].vnsec = 1000000000))
BREAK(timer_thread, (w->timers.posix.nr = 1, w->posix[0].it_sigev_notify = SIGEV_THREAD_ID))
BREAK(timer_id, (w->timers.posix.nr = 1, w->posix[0].it_id = UINT32_MAX))
BREAK(many_limits, w->rlimits.rlimits.nr = 17)
BREAK(limit_order, w->rlimit[5].cur = 201)
BREAK(policy, (w->thc[1].has_sched_policy = true, w->thc[1].sched_policy = 8))
BREAK(nice, (w->thc[1].has_sched_nice = true, w->thc[1].sched_nice = 20))
BREAK(priority, (w->thc[1].has_sched_policy = true, w->thc[1].sched_policy = 1))
BREAK(clamp, (w->ext.has_sched_util_max = true, w->ext.sched_util_max = 1025))
BREAK(affinity, (w->ext.cpu_affinity.data = (uint8_t *)w, w->ext.cpu_affinity.len = AFFINITY_BYTES + 1))
BREAK(oom, (w->tc.has_oom_score_adj = true, w->tc.oom_score_adj = -1001))
BREAK(comm, w->tc.comm = (char *)"more than fifteen")
BREAK(no_comm, w->tc.comm = NULL)
BREAK(robust, (w->thc[1].futex_rla = 1, w->thc[1].futex_rla_len = 16))
BREAK(caps, w->creds[1].cap_prm.nr = 3)
BREAK(no_caps, w->creds[1].cap_prm.nr = 0)
BREAK(groups, w->creds[0].groups.nr = 65537)
BREAK(seccomp, (w->thc[1].has_seccomp_mode = true, w->thc[1].seccomp_mode = img_seccomp_mode_filter))
BREAK(pdeath, (w->thc[1].has_pdeath_sig = true, w->thc[1].pdeath_sig = 65))
BREAK(zombie_code, (w->tc.task_state = TASK_DEAD, w->tc.exit_code = 0x137))
BREAK(zombie, (w->tc.task_state = TASK_DEAD, w->tc.exit_code = 0x300))

static const struct check_case {
	const char *name;
	void (*change)(struct world *);
	int result;
} check_cases[] = {
#define CASE(name, result)                  \
	{                                   \
#name, break_##name, result \
	}
	CASE(nothing, 0),
	CASE(mtype, -EOPNOTSUPP),
	CASE(no_tc, -EBADMSG),
	CASE(two_tc, -EBADMSG),
	CASE(no_thread_core, -EBADMSG),
	CASE(state, -EBADMSG),
	CASE(tid, -EBADMSG),
	CASE(no_registers, -EBADMSG),
	CASE(leader_code, -EBADMSG),
	CASE(leader, 0),
	CASE(few_actions, -EBADMSG),
	CASE(compat_action, -EOPNOTSUPP),
	CASE(siginfo_size, -EBADMSG),
	CASE(siginfo_number, -EBADMSG),
	CASE(siginfo_negative, -EBADMSG),
	CASE(sas_flags, -EBADMSG),
	CASE(itimer, -EBADMSG),
	CASE(no_itimer, -EBADMSG),
	CASE(timer_signal, -EBADMSG),
	CASE(timer_time, -EBADMSG),
	CASE(timer_thread, -EBADMSG),
	CASE(timer_id, -EBADMSG),
	CASE(many_limits, -EBADMSG),
	CASE(limit_order, -EBADMSG),
	CASE(policy, -EBADMSG),
	CASE(nice, -EBADMSG),
	CASE(priority, -EBADMSG),
	CASE(clamp, -EBADMSG),
	CASE(affinity, -EBADMSG),
	CASE(oom, -EBADMSG),
	CASE(comm, -EBADMSG),
	CASE(no_comm, -EBADMSG),
	CASE(robust, -EBADMSG),
	CASE(caps, -EBADMSG),
	CASE(no_caps, -EBADMSG),
	CASE(groups, -EBADMSG),
	CASE(seccomp, -EOPNOTSUPP),
	CASE(pdeath, -EBADMSG),
	CASE(zombie_code, -EBADMSG),
	CASE(zombie, 0),
#undef CASE
};

static void test_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(check_cases); i++) {
		struct world w;

		world_init(&w);
		check_cases[i].change(&w);

		int r = check(&w);

		if (r != check_cases[i].result)
			fail_msg("%s: result %d instead of %d", check_cases[i].name, r, check_cases[i].result);
		world_done(&w);
	}
}

/* Whatever passes the check can be planned, or is refused with a sentence; nothing is read out of bounds. */
static void test_random(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3000; i++) {
		struct world w;
		unsigned int seed = i;
		struct {
			void *at;
			size_t len;
		} parts[] = {
			{ w.itimer, sizeof(w.itimer) }, { w.posix, sizeof(w.posix) }, { w.rlimit, sizeof(w.rlimit) },
			{ w.info, sizeof(w.info) },     { w.caps, sizeof(w.caps) },   { w.acts, sizeof(w.acts) },
			{ &w.sas, sizeof(w.sas) },
		};

		world_init(&w);
		w.timers.posix.nr = (size_t)rand_r(&seed) % 3;
		w.queue.signals.nr = (size_t)rand_r(&seed) % 4;
		for (int k = rand_r(&seed) % 6; k > 0; k--) {
			size_t p = (size_t)rand_r(&seed) % ARRAY_LEN(parts), at = (size_t)rand_r(&seed) % parts[p].len;

			/* members of type bool take no other values in what a decoder makes */
			if (parts[p].at == (void *)w.acts || parts[p].at == (void *)w.posix)
				at = at / 8 * 8 % 32;
			((unsigned char *)parts[p].at)[at] = (unsigned char)rand_r(&seed);
		}
		if (check(&w) == 0)
			for (int phase = TASK_PHASE_EARLY; phase <= TASK_PHASE_LATE; phase++) {
				struct cr_error err = { 0 };
				int r = task_plan(&w.restore, (enum task_phase)phase, &w.routine, &err);

				if (r == 0)
					r = thread_plan(&w.restore, 0, (enum task_phase)phase, &w.routine, &err);
				if (r < 0 && !err.text[0])
					fail_msg("entry %u is refused without a word (%d)", i, r);
			}
		world_done(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
