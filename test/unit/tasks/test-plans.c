/* Plans of process state, compared with what they shall contain. */
#include "tasks/world.h"

#include "base/array.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cmocka.h>

/* Index of the next operation from @from on with this system call and first argument (if >= 0); -1: none */
static int find_op(const struct world *w, int from, long nr, int64_t arg0)
{
	for (size_t i = (size_t)from; i < w->routine.ops.nr; i++) {
		const struct abi_op *op = &w->routine.ops.items[i];

		if (op->kind == ABI_OP_SYSCALL && op->nr == (uint32_t)nr && (arg0 < 0 || op->arg[0] == (uint64_t)arg0))
			return (int)i;
	}
	return -1;
}

static int count_ops(const struct world *w, long nr)
{
	int n = 0;

	for (int i = -1; (i = find_op(w, i + 1, nr, -1)) >= 0;)
		n++;
	return n;
}

static void test_same_creds(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(count_ops(&w, __NR_setresuid) + count_ops(&w, __NR_capset) + count_ops(&w, __NR_setgroups), 0);
	assert_int_equal(count_ops(&w, __NR_prctl), 2);
	world_done(&w);
}

static void test_creds_order(void **state)
{
	struct world w;
	int last = -1;

	(void)state;
	world_init(&w);
	become_user(&w);
	assert_int_equal(thread_plan(&w.restore, 1, TASK_PHASE_LATE, &w.routine, NULL), 0);

	const struct {
		long nr;
		int64_t arg0;
	} order[] = {
		{ __NR_setgroups, 2 },
		{ __NR_prctl, PR_SET_SECUREBITS },
		{ __NR_setresgid, 1002 },
		{ __NR_setfsgid, 1002 },
		{ __NR_setresuid, 1000 },
		{ __NR_setfsuid, 1000 },
		{ __NR_capset, -1 },
		{ __NR_prctl, PR_CAPBSET_DROP },
		{ __NR_prctl, PR_CAP_AMBIENT },
		{ __NR_prctl, PR_SET_SECUREBITS },
		{ __NR_capset, -1 },
		{ __NR_prctl, PR_SET_NO_NEW_PRIVS },
		{ __NR_prctl, PR_SET_DUMPABLE },
		{ __NR_prctl, PR_SET_PDEATHSIG },
	};

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		int at = find_op(&w, last + 1, order[i].nr, order[i].arg0);

		if (at < 0)
			fail_msg("call %zu of the order is missing after operation %d", i, last);
		last = at;
	}
	world_done(&w);
}

static void test_creds_refused(void **state)
{
	struct world w;
	struct cr_error err = { 0 };

	(void)state;
	world_init(&w);
	w.own.cap_eff = w.own.cap_prm = 0;
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, &err), -EPERM);
	assert_non_null(strstr(err.text, "capabilities"));
	set_caps(&w, 0, 0, ALL_CAPS);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, &err), 0);
	w.creds[0].uid = 1000;
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, &err), -EPERM);
	assert_non_null(strstr(err.text, "CAP_SETUID"));
	assert_true(err.hint[0]);
	w.creds[0].uid = 0;
	w.creds[0].secbits = 1;
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, &err), -EPERM);
	assert_non_null(strstr(err.text, "securebits"));
	/* "keep capabilities" is everybody's to set */
	w.creds[0].secbits = 1 << 4;
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, &err), 0);
	assert_true(find_op(&w, 0, __NR_prctl, PR_SET_KEEPCAPS) >= 0);
	world_done(&w);
}

static void test_root_dumps(void **state)
{
	struct world w;

	(void)state;
	for (int sysctl = 0; sysctl < 3; sysctl += 2)
		for (int user = 0; user < 2; user++) {
			world_init(&w);
			w.own.suid_dumpable = sysctl;
			w.mm.dumpable = 2;
			if (user)
				become_user(&w);
			assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, NULL), 0);
			/* left alone only where the change of user brings it about */
			assert_int_equal(find_op(&w, 0, __NR_prctl, PR_SET_DUMPABLE) < 0, sysctl == 2 && user);
			world_done(&w);
		}
}

/* Others of its user may look at a process not before nobody in the tree has privileges left: see RESTORE_STAGE_OPEN. */
static void test_guarded(void **state)
{
	(void)state;
	for (uint32_t dumpable = 0; dumpable < 3; dumpable++) {
		struct world w;
		int hide, open;

		world_init(&w);
		assert_false(tasks_change_creds(&w.restore));
		become_user(&w);
		assert_true(tasks_change_creds(&w.restore));
		w.restore.guarded = true;
		w.own.suid_dumpable = 1; /* new ids open what was hidden before */
		w.mm.dumpable = dumpable;
		assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, NULL), 0);
		hide = find_op(&w, 0, __NR_prctl, PR_SET_DUMPABLE);
		assert_in_range(hide, 0, find_op(&w, 0, __NR_setresgid, -1));
		assert_int_equal(w.routine.ops.items[hide].arg[1], 0);
		hide = find_op(&w, hide + 1, __NR_prctl, PR_SET_DUMPABLE);
		assert_true(hide > find_op(&w, 0, __NR_capset, -1) && w.routine.ops.items[hide].arg[1] == 0);
		assert_int_equal(find_op(&w, hide + 1, __NR_prctl, PR_SET_DUMPABLE), -1);
		assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_OPEN, &w.routine, NULL), 0);
		open = find_op(&w, hide + 1, __NR_prctl, PR_SET_DUMPABLE);
		assert_true(open > hide);
		assert_int_equal(w.routine.ops.items[open].arg[1], dumpable == 1);
		world_done(&w);
	}
}

static void test_limits(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.rlimit[RLIMIT_NOFILE] = (img_rlimit_entry){ 500, UINT64_MAX };
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(count_ops(&w, __NR_prlimit64), 0);
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(count_ops(&w, __NR_prlimit64), NR_RLIMITS + 1);
	assert_int_equal(w.notes.nr, 1);
	assert_non_null(strstr(w.notes.items[0].text, "open files"));
	world_done(&w);
}

static void test_timer_ids(void **state)
{
	struct world w;

	(void)state;
	for (int given = 0; given < 2; given++) {
		world_init(&w);
		w.timers.posix.nr = 2;
		w.own.timer_restore_ids = given;
		w.restore.guarded = true;
		assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), 0);
		/* ids 0 and 3: without help 1 and 2 are made and deleted */
		assert_int_equal(count_ops(&w, __NR_timer_create), given ? 2 : 4);
		assert_int_equal(count_ops(&w, __NR_timer_delete), given ? 0 : 2);
		world_done(&w);
	}
	world_init(&w);
	w.timers.posix.nr = 2;
	w.posix[1].it_id = 0;
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), -EBADMSG);
	w.posix[1].it_id = 1000000;
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), -EOPNOTSUPP);
	world_done(&w);
}

static void test_queue(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.queue.signals.nr = 3;
	w.info[0].si_signo = SIGSTOP;
	w.info[1].si_code = SI_TIMER;
	memset((char *)&w.info[1] + 32, 0xff, 4);
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(count_ops(&w, __NR_rt_sigqueueinfo), 2);

	const struct abi_op *op = &w.routine.ops.items[find_op(&w, 0, __NR_rt_sigqueueinfo, -1)];
	int32_t private;

	memcpy(&private, (char *)(uintptr_t)op->arg[2] + 32, sizeof(private));
	assert_int_equal(private, 0);
	/* after all actions: setting one may drop what is queued */
	assert_true(find_op(&w, 0, __NR_rt_sigqueueinfo, -1) > find_op(&w, 0, __NR_rt_sigaction, 64));
	world_done(&w);
}

/* All lists as long as they get here, all phases: the bound holds. */
static void test_plan_size(void **state)
{
	(void)state;
	for (int given = 0; given < 2; given++) {
		struct world w;
		size_t before, bound, ops;

		world_init(&w);
		become_user(&w);
		w.own.timer_restore_ids = given;
		w.own.has_proc = true;
		w.tc.has_oom_score_adj = true;
		w.timers.posix.nr = 2;
		w.queue.signals.nr = 3;
		w.thc[0].signals_p = &w.queue;
		set_caps(&w, 0, 0, 0);
		bound = tasks_plan_size(&w.own, w.threads, 1);
		before = w.program.arena.used;
		for (int phase = TASK_PHASE_EARLY; phase <= TASK_PHASE_OPEN; phase++) {
			assert_int_equal(task_plan(&w.restore, (enum task_phase)phase, &w.routine, NULL), 0);
			assert_int_equal(thread_plan(&w.restore, 0, (enum task_phase)phase, &w.routine, NULL), 0);
		}
		ops = w.routine.ops.nr * sizeof(struct abi_op);
		assert_true(w.program.arena.used - before + ops <= bound);
		world_done(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_creds),    cmocka_unit_test(test_creds_order),
		cmocka_unit_test(test_creds_refused), cmocka_unit_test(test_root_dumps),
		cmocka_unit_test(test_guarded),       cmocka_unit_test(test_limits),
		cmocka_unit_test(test_timer_ids),     cmocka_unit_test(test_queue),
		cmocka_unit_test(test_plan_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
