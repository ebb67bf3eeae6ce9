/*
 * Checks and plans of process state. Entries with one value out of range are refused; plans are compared with what they shall
 * contain, and carried out in a child that then looks at itself.
 */
#include "base/array.h"
#include "tasks/state.h"
#include "tasks/tasks.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define ARENA ((size_t)1 << 20)
#define ALL_CAPS UINT64_C(0x1ffffffffff)

/* A process with two threads, all of it valid; tests change single values. */
struct world {
	struct cr_context   ctx;
	struct cr_options   opts;
	struct cr_observer  obs;
	img_core_entry      core[2];
	img_task_core_entry tc;
	img_thread_core_entry thc[2];
	img_thread_info_x86 info_x86;
	img_creds_entry     creds[2];
	img_thread_sas_entry sas;
	img_thread_ext      ext;
	img_sa_entry        acts[NR_SIGACTIONS];
	img_task_timers_entry timers;
	img_itimer_entry    itimer[3];
	img_posix_timer_entry posix[2];
	img_task_rlimits_entry rlimits;
	img_rlimit_entry    rlimit[NR_RLIMITS];
	img_signal_queue_entry queue;
	img_siginfo_entry   queued[3];
	siginfo_t           info[3];
	img_mm_entry        mm;
	uint32_t            caps[5][2], groups[2];
	const img_core_entry *threads[2];
	uint32_t            tids[2];
	struct restorer     own;
	struct task_notes   notes;
	struct task_restore restore;
	struct program      program;
	struct routine      routine;
	char               *memory;
};

static void set_caps(struct world *w, uint64_t inh, uint64_t prm, uint64_t bnd)
{
	uint64_t v[5] = { inh, prm, prm, bnd, 0 };

	for (int i = 0; i < 5; i++) {
		w->caps[i][0] = (uint32_t)v[i];
		w->caps[i][1] = (uint32_t)(v[i] >> 32);
	}
}

static void world_init(struct world *w)
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
		w->creds[i] = (img_creds_entry){ .cap_inh = { w->caps[0], 2 }, .cap_prm = { w->caps[1], 2 }, .cap_eff = { w->caps[2], 2 },
						 .cap_bnd = { w->caps[3], 2 }, .cap_amb = { w->caps[4], 2 }, .groups = { w->groups, 0 } };
		w->thc[i] = (img_thread_core_entry){ .creds = &w->creds[i], .comm = (char *)"thread", .sas = &w->sas };
		w->core[i] = (img_core_entry){ .mtype = img_core_entry_march_X86_64, .thread_core = &w->thc[i],
					       .thread_info = &w->info_x86 };
		w->threads[i] = &w->core[i];
		w->tids[i] = 100 + (uint32_t)i;
	}
	w->thc[0].ext = &w->ext;
	w->sas.ss_flags = SS_DISABLE;
	w->timers = (img_task_timers_entry){ .real = &w->itimer[0], .virt = &w->itimer[1], .prof = &w->itimer[2], .posix = { w->posix, 0 } };
	for (int i = 0; i < 2; i++)
		w->posix[i] = (img_posix_timer_entry){ .it_id = (uint32_t)i * 3, .clock_id = CLOCK_MONOTONIC, .si_signo = SIGUSR1, .vsec = 1000 };
	for (int i = 0; i < NR_RLIMITS; i++)
		w->rlimit[i] = (img_rlimit_entry){ 100, 200 };
	w->rlimits.rlimits.items = w->rlimit;
	w->rlimits.rlimits.nr = NR_RLIMITS;
	w->tc = (img_task_core_entry){ .task_state = TASK_ALIVE, .comm = (char *)"process", .timers = &w->timers, .rlimits = &w->rlimits,
				       .sigactions = { w->acts, NR_SIGACTIONS }, .signals_s = &w->queue };
	w->core[0].tc = &w->tc;
	w->mm.has_dumpable = true;
	w->mm.dumpable = 1;
	w->own = (struct restorer){ .cap_prm = ALL_CAPS, .cap_eff = ALL_CAPS, .cap_bnd = ALL_CAPS, .cap_known = ALL_CAPS };
	for (int i = 0; i < NR_RLIMITS; i++)
		w->own.rlim_cur[i] = w->own.rlim_max[i] = 1000;
	w->memory = aligned_alloc(4096, ARENA);
	assert_non_null(w->memory);
	memset(w->memory, 0, ARENA);

	/* the program runs where it is written */
	struct arena arena = { .local = w->memory, .remote = (uint64_t)(uintptr_t)w->memory, .size = ARENA };

	assert_int_equal(program_init(&w->program, &arena, 4, NULL), 0);
	assert_int_equal(routine_begin(&w->program, &w->routine, NULL), 0);
	w->restore = (struct task_restore){ .ctx = &w->ctx, .program = &w->program, .restorer = &w->own, .pid = 100, .leader = &w->core[0],
					    .threads = w->threads, .tids = w->tids, .nr_threads = 2, .mm = &w->mm, .notes = &w->notes };
}

static void world_done(struct world *w)
{
	routine_drop(&w->routine);
	program_done(&w->program);
	task_notes_done(&w->notes);
	free(w->memory);
}

static int check(struct world *w)
{
	return tasks_check(&w->core[0], w->threads, w->tids, 2, NULL);
}

/* ------------------------------------------------------------ checks */

#define BREAK(name, statement) static void break_##name(struct world *w) { statement; }
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
#define CASE(name, result) { #name, break_##name, result }
	CASE(nothing, 0), CASE(mtype, -EOPNOTSUPP), CASE(no_tc, -EBADMSG), CASE(two_tc, -EBADMSG), CASE(no_thread_core, -EBADMSG),
	CASE(state, -EBADMSG), CASE(tid, -EBADMSG), CASE(no_registers, -EBADMSG), CASE(leader_code, -EBADMSG), CASE(leader, 0),
	CASE(few_actions, -EBADMSG), CASE(compat_action, -EOPNOTSUPP),
	CASE(siginfo_size, -EBADMSG), CASE(siginfo_number, -EBADMSG), CASE(siginfo_negative, -EBADMSG), CASE(sas_flags, -EBADMSG),
	CASE(itimer, -EBADMSG), CASE(no_itimer, -EBADMSG), CASE(timer_signal, -EBADMSG), CASE(timer_time, -EBADMSG),
	CASE(timer_thread, -EBADMSG), CASE(timer_id, -EBADMSG), CASE(many_limits, -EBADMSG), CASE(limit_order, -EBADMSG),
	CASE(policy, -EBADMSG), CASE(nice, -EBADMSG), CASE(priority, -EBADMSG), CASE(clamp, -EBADMSG), CASE(affinity, -EBADMSG),
	CASE(oom, -EBADMSG), CASE(comm, -EBADMSG), CASE(no_comm, -EBADMSG), CASE(robust, -EBADMSG), CASE(caps, -EBADMSG),
	CASE(no_caps, -EBADMSG), CASE(groups, -EBADMSG), CASE(seccomp, -EOPNOTSUPP), CASE(pdeath, -EBADMSG),
	CASE(zombie_code, -EBADMSG), CASE(zombie, 0),
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

/* ------------------------------------------------------------ plans */

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

static void become_user(struct world *w)
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

static void test_creds_order(void **state)
{
	struct world w;
	int last = -1;

	(void)state;
	world_init(&w);
	become_user(&w);
	assert_int_equal(thread_plan(&w.restore, 1, TASK_PHASE_LATE, &w.routine, NULL), 0);

	const struct { long nr; int64_t arg0; } order[] = {
		{ __NR_setgroups, 2 }, { __NR_prctl, PR_SET_SECUREBITS }, { __NR_setresgid, 1002 }, { __NR_setfsgid, 1002 },
		{ __NR_setresuid, 1000 }, { __NR_setfsuid, 1000 }, { __NR_capset, -1 }, { __NR_prctl, PR_CAPBSET_DROP },
		{ __NR_prctl, PR_CAP_AMBIENT }, { __NR_prctl, PR_SET_SECUREBITS }, { __NR_capset, -1 },
		{ __NR_prctl, PR_SET_NO_NEW_PRIVS }, { __NR_prctl, PR_SET_DUMPABLE }, { __NR_prctl, PR_SET_PDEATHSIG },
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
		for (int phase = TASK_PHASE_EARLY; phase <= TASK_PHASE_LATE; phase++) {
			assert_int_equal(task_plan(&w.restore, (enum task_phase)phase, &w.routine, NULL), 0);
			assert_int_equal(thread_plan(&w.restore, 0, (enum task_phase)phase, &w.routine, NULL), 0);
		}
		ops = w.routine.ops.nr * sizeof(struct abi_op);
		assert_true(w.program.arena.used - before + ops <= bound);
		world_done(&w);
	}
}

/* ------------------------------------------------------------ carried out */

static long run_op(const struct abi_op *op)
{
	long r = syscall(op->nr, op->arg[0], op->arg[1], op->arg[2], op->arg[3], op->arg[4], op->flags & ABI_F_EQUAL ? 0 : op->arg[5]);

	if (r < 0)
		return -errno;
	return op->flags & ABI_F_EQUAL && (uint64_t)r != op->arg[5] ? -ERANGE : 0;
}

/* Runs the routine in a child, then @look there. Return: its exit status; 100 + index of an operation that failed. */
static int carry_out(struct world *w, int (*look)(struct world *))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		for (size_t i = 0; i < w->routine.ops.nr; i++) {
			const struct abi_op *op = &w->routine.ops.items[i];

			/* the pid is known only now */
			struct abi_op now = *op;
			if (op->nr == __NR_rt_sigqueueinfo || (op->nr == __NR_tgkill && op->arg[0] == 100))
				now.arg[0] = now.arg[1] = (uint64_t)getpid();
			if (op->nr == __NR_rt_sigqueueinfo)
				now.arg[1] = op->arg[1];
			if (op->nr == __NR_rseq)
				continue;
			if (run_op(&now) < 0 && !(op->flags & ABI_F_MAY_FAIL))
				_exit(100 + (int)(i % 100));
		}
		_exit(look ? look(w) : 99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int look_main(struct world *w)
{
	struct sigaction act;
	struct itimerval it;
	struct itimerspec ts;
	sigset_t pending;
	char name[16];

	if (sigaction(SIGUSR1, NULL, &act) < 0 || act.sa_handler != SIG_IGN)
		return 1;
	sigpending(&pending);
	if (!sigismember(&pending, SIGRTMIN + 1) || sigismember(&pending, SIGCHLD))
		return 2;
	siginfo_t si;
	sigset_t rt;
	struct timespec none = { 0, 0 };

	sigemptyset(&rt);
	sigaddset(&rt, SIGRTMIN + 1);
	for (int i = 0; i < 3; i++)
		if (sigtimedwait(&rt, &si, &none) < 0 || si.si_value.sival_int != i)
			return 3;
	if (getitimer(ITIMER_PROF, &it) < 0 || it.it_value.tv_sec < 900)
		return 4;
	if (syscall(__NR_timer_gettime, 3, &ts) < 0 || ts.it_value.tv_sec < 900)
		return 5;
	prctl(PR_GET_NAME, name);
	if (strcmp(name, "thread"))
		return 6;
	if (getpriority(PRIO_PROCESS, 0) != 9 || prctl(PR_GET_TIMERSLACK) != 12345)
		return 7;
	(void)w;
	return 0;
}

static void test_run_main(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.queue.signals.nr = 3;
	w.acts[SIGUSR1 - 2].sigaction = 1;   /* the 9th: SIGKILL is left out */
	w.itimer[2].vsec = 1000;
	w.timers.posix.nr = 2;
	w.thc[0].has_sched_nice = true;
	w.thc[0].sched_nice = 9;
	w.ext.has_timer_slack_ns = true;
	w.ext.timer_slack_ns = 12345;
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_MAIN, &w.routine, NULL), 0);
	assert_int_equal(carry_out(&w, look_main), 0);
	world_done(&w);
}

static int look_user(struct world *w)
{
	uid_t r, e, s;
	gid_t groups[4];
	struct rlimit l;

	(void)w;
	if (getresuid(&r, &e, &s) < 0 || r != 1000 || e != 1000 || s != 1001)
		return 1;
	if (getgroups(4, groups) != 2 || groups[0] != 5 || groups[1] != 6)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_SECUREBITS) != 0)
		return 3;
	if (prctl(PR_CAPBSET_READ, CAP_SYS_MODULE) != 0 || prctl(PR_GET_DUMPABLE) != 1)
		return 4;
	return getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_cur != 0 || l.rlim_max != 77 ? 5 : 0;
}

static void test_run_user(void **state)
{
	struct world w;
	struct restorer own;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w);
	assert_int_equal(restorer_init(&w.ctx, &own, NULL), 0);
	if (!(own.cap_eff & UINT64_C(1) << CAP_SETPCAP) || own.no_new_privs) {
		restorer_done(&own);
		world_done(&w);
		skip();
	}
	w.restore.restorer = &own;
	become_user(&w);
	for (int i = 0; i < NR_RLIMITS; i++)
		w.rlimit[i] = (img_rlimit_entry){ own.rlim_cur[i], own.rlim_max[i] };
	w.rlimit[RLIMIT_CORE] = (img_rlimit_entry){ 0, 77 };
	assert_int_equal(task_plan(&w.restore, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(thread_plan(&w.restore, 0, TASK_PHASE_LATE, &w.routine, NULL), 0);
	assert_int_equal(carry_out(&w, look_user), 0);
	restorer_done(&own);
	world_done(&w);
}

static void test_zombies(void **state)
{
	const uint32_t words[] = { 0, 0x300, 0xff00, SIGKILL, SIGTERM, SIGUSR1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct world w;

		world_init(&w);
		assert_int_equal(zombie_plan(&w.ctx, &w.program, 100, words[i], &w.routine, NULL), 0);
		assert_int_equal(carry_out(&w, NULL), words[i]);
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
		struct { void *at; size_t len; } parts[] = {
			{ w.itimer, sizeof(w.itimer) }, { w.posix, sizeof(w.posix) }, { w.rlimit, sizeof(w.rlimit) },
			{ w.info, sizeof(w.info) }, { w.caps, sizeof(w.caps) }, { w.acts, sizeof(w.acts) }, { &w.sas, sizeof(w.sas) },
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
		cmocka_unit_test(test_check),      cmocka_unit_test(test_same_creds), cmocka_unit_test(test_creds_order),
		cmocka_unit_test(test_creds_refused), cmocka_unit_test(test_root_dumps), cmocka_unit_test(test_limits),  cmocka_unit_test(test_timer_ids),
		cmocka_unit_test(test_queue),      cmocka_unit_test(test_plan_size), cmocka_unit_test(test_run_main),   cmocka_unit_test(test_run_user),
		cmocka_unit_test(test_zombies),    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
