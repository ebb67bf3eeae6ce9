/* Registers: what a stopped call becomes, extended state to entries and back, and what is refused. */
#include "infect/live.h"
#include "infect/thread-image.h"
#include "sigframe.h"
#include "xstate.h"

#include <errno.h>
#include <linux/rseq.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static void test_settle(void **state)
{
	static const struct {
		const char *name;
		int64_t nr, ax;
		int64_t want_ax, want_ip;
		int code;
	} cases[] = {
		{ "not in a call", -1, 5, 5, 0x1000 },
		{ "not in a call, looks like a restart", -1, -512, -512, 0x1000 },
		{ "finished call", SYS_read, 17, 17, 0x1000 },
		{ "failed call", SYS_read, -EAGAIN, -EAGAIN, 0x1000 },
		{ "ERESTARTSYS", SYS_read, -512, SYS_read, 0xffe, 512 },
		{ "ERESTARTNOINTR", SYS_futex, -513, SYS_futex, 0xffe, 513 },
		{ "ERESTARTNOHAND", SYS_pause, -514, SYS_pause, 0xffe, 514 },
		{ "restart block, sleep", SYS_nanosleep, -516, SYS_nanosleep, 0xffe, 514 },
		{ "restart block, poll", SYS_poll, -516, SYS_poll, 0xffe, 514 },
		{ "restart block, number lost", SYS_restart_syscall, -516, -EINTR, 0x1000 },
		{ "interrupted by the stop", SYS_epoll_wait, -EINTR, SYS_epoll_wait, 0xffe, 514 },
		{ "interrupted, and may not be made again", SYS_connect, -EINTR, -EINTR, 0x1000 },
		{ "not in a call, looks interrupted", -1, -EINTR, -EINTR, 0x1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct regs r = { 0 };

		r.u.orig_rax = (unsigned long long)cases[i].nr;
		r.u.rax = (unsigned long long)cases[i].ax;
		r.u.rip = 0x1000;
		int code = regs_settle(&r);
		if ((int64_t)r.u.rax != cases[i].want_ax || (int64_t)r.u.rip != cases[i].want_ip || code != cases[i].code)
			fail_msg("%s: ax %lld ip 0x%llx code %d", cases[i].name, (long long)r.u.rax, r.u.rip, code);
	}
}

static void test_lost_number(void **state)
{
	static const unsigned char with[REGS_CODE_BYTES] = { 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xb8,
							     0xca, 0,    0,    0,    0x40, 0x80, 0xf6, 0x80 };
	static const unsigned char without[REGS_CODE_BYTES] = { 0xb8, 1, 0, 0, 0, 0xb8, 0xca, 1 };
	struct regs r = { 0 };

	(void)state;
	r.u.orig_rax = SYS_restart_syscall;
	r.u.rax = (unsigned long long)-516;
	assert_true(regs_needs_code(&r));
	regs_find_call(&r, without);
	assert_int_equal(r.u.orig_rax, SYS_restart_syscall);
	regs_find_call(&r, with);
	assert_int_equal(r.u.orig_rax, SYS_futex);
	regs_settle(&r);
	assert_int_equal(r.u.rax, SYS_futex);
	r.u.orig_rax = SYS_nanosleep;
	assert_false(regs_needs_code(&r));
}

static void test_named_call(void **state)
{
	static const struct {
		const char *name;
		enum regs_wait what;
		uint64_t first;
		long nr;
	} cases[] = {
		{ "unknown", REGS_WAIT_UNKNOWN, 0x7f0012345678, SYS_restart_syscall },
		{ "futex", REGS_WAIT_FUTEX, 0x7f0012345678, SYS_futex },
		{ "poll", REGS_WAIT_FILES, 0, SYS_poll },
		{ "an address", REGS_WAIT_TIME, 0x7f0012345678, SYS_nanosleep },
		{ "a low address", REGS_WAIT_TIME, 0x400000, SYS_nanosleep },
		{ "the first clock", REGS_WAIT_TIME, 0, SYS_clock_nanosleep },
		{ "the time since boot", REGS_WAIT_TIME, 7, SYS_clock_nanosleep },
		{ "clock of a process", REGS_WAIT_TIME, (uint32_t)(~1234u << 3 | 2), SYS_clock_nanosleep },
		{ "with its sign", REGS_WAIT_TIME, (uint64_t)(int32_t)(~4194303u << 3 | 6), SYS_clock_nanosleep },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct regs r = { 0 };

		r.u.orig_rax = SYS_restart_syscall;
		r.u.rdi = cases[i].first;
		regs_name_call(&r, cases[i].what);
		if ((long)r.u.orig_rax != cases[i].nr)
			fail_msg("%s: %lld", cases[i].name, r.u.orig_rax);
	}
}

static img_user_x86_regs_entry some_regs(void)
{
	struct regs r = { 0 };
	img_user_x86_regs_entry e;

	r.u.rip = 0x401000;
	r.u.rsp = 0x7ffc00000000;
	r.u.cs = 0x33;
	r.u.ss = 0x2b;
	r.u.eflags = 0x202;
	r.u.orig_rax = (unsigned long long)-1;
	r.u.fs_base = 0x7f0000001000;
	r.u.r15 = 15;
	r.u.rdi = 77;
	regs_to_image(&r, &e);
	return e;
}

static void test_regs_from_image(void **state)
{
	img_user_x86_regs_entry e = some_regs();
	struct cr_error err = { 0 };
	struct regs r;

	(void)state;
	assert_int_equal(regs_from_image(&e, 0, &r, &err), 0);
	assert_int_equal(r.u.rip, 0x401000);
	assert_int_equal(r.u.rdi, 77);
	assert_int_equal(r.u.r15, 15);
	/* system flags and segments of an image are not believed */
	e.flags = UINT64_MAX;
	e.cs = 0x10;
	e.ss = 0;
	assert_int_equal(regs_from_image(&e, 0, &r, &err), 0);
	assert_int_equal(r.u.eflags & ~0x50fd7ULL, 0);
	assert_int_equal(r.u.cs, 0x33);
	/* a call to be made again is put to the kernel as it was in the stop */
	e = some_regs();
	e.ax = e.orig_ax = SYS_pause;
	assert_int_equal(regs_from_image(&e, 514, &r, &err), 0);
	assert_int_equal((int64_t)r.u.rax, -514);
	assert_int_equal(r.u.orig_rax, SYS_pause);
	assert_int_equal(r.u.rip, 0x401002);
	assert_int_equal(regs_from_image(&e, 0, &r, &err), 0);
	assert_int_equal((int64_t)r.u.orig_rax, -1);
	assert_int_equal(r.u.rip, 0x401000);
	assert_int_equal(regs_from_image(&e, 516, &r, &err), -EINVAL);
	assert_int_equal(regs_from_image(&e, UINT32_MAX, &r, &err), -EINVAL);
	e.ax = UINT64_MAX;
	assert_int_equal(regs_from_image(&e, 512, &r, &err), -EINVAL);
	e = some_regs();
	e.mode = img_user_x86_regs_mode_COMPAT;
	assert_int_equal(regs_from_image(&e, 0, &r, &err), -ENOTSUP);
	e = some_regs();
	e.cs = 0x23;
	assert_int_equal(regs_from_image(&e, 0, &r, &err), -ENOTSUP);
	e = some_regs();
	e.fs_base = UINT64_C(0xffff800000000000);
	assert_int_equal(regs_from_image(&e, 0, &r, &err), -EINVAL);
}

static void test_tls(void **state)
{
	struct regs_tls d = { .entry_number = 13, .base_addr = 0x1000, .limit = 0xfffff, .bits = 0x51 }, back;
	img_user_desc_t e;
	struct cr_error err = { 0 };

	(void)state;
	regs_tls_to_image(&d, &e);
	assert_true(e.seg_32bit && e.limit_in_pages && e.usable && !e.seg_not_present);
	assert_int_equal(regs_tls_from_image(&e, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	e.entry_number = 11;
	assert_int_equal(regs_tls_from_image(&e, &back, &err), -EBADMSG);
	e = (img_user_desc_t){ .entry_number = 12, .seg_not_present = true };
	assert_int_equal(regs_tls_from_image(&e, &back, &err), REGS_TLS_EMPTY);
}

/* A processor with everything, AMX included */
static struct xstate_layout big_layout(void)
{
	struct xstate_layout l = { .features = 0x602e7, .size = 11008 };

	l.at[XC_YMM].offset = 576, l.at[XC_YMM].size = 256;
	l.at[XC_OPMASK].offset = 1088, l.at[XC_OPMASK].size = 64;
	l.at[XC_ZMM_UPPER].offset = 1152, l.at[XC_ZMM_UPPER].size = 512;
	l.at[XC_HI16_ZMM].offset = 1664, l.at[XC_HI16_ZMM].size = 1024;
	l.at[XC_PKRU].offset = 2688, l.at[XC_PKRU].size = 8;
	l.at[XC_TILECFG].offset = 2752, l.at[XC_TILECFG].size = 64;
	l.at[XC_TILEDATA].offset = 2816, l.at[XC_TILEDATA].size = 8192;
	return l;
}

static void fill(char *area, size_t size, uint64_t bv)
{
	for (size_t i = 0; i < size; i++)
		area[i] = (char)(i * 31 + i / 256);
	((uint32_t *)area)[6] = 0x1f80;
	((uint32_t *)area)[7] = 0xffff;
	area[5] = 0;
	memset(area + XSTATE_LEGACY, 0, XSTATE_HEADER);
	memcpy(area + XSTATE_LEGACY, &bv, sizeof(bv));
}

static void test_xstate_round_trip(void **state)
{
	struct xstate_layout l = big_layout();
	char *area = calloc(1, l.size), *back = calloc(1, l.size);
	struct xstate_store s;
	struct cr_error err = { 0 };
	uint64_t raw;

	(void)state;
	fill(area, l.size, l.features);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(raw, 0x60000);
	assert_int_equal(s.fpregs.st_space.nr, 32);
	assert_int_equal(s.fpregs.xmm_space.nr, 64);
	assert_int_equal(s.xsave.ymmh_space.nr, 64);
	assert_int_equal(s.xsave.hi16_zmm.nr, 128);
	assert_int_equal(s.xsave.bndreg_state.nr, 0);
	assert_int_equal(s.xsave.pkru.nr, 2);
	assert_int_equal(xstate_from_image(&l, &s.fpregs, area, l.size, raw, back, l.size, &err), 0);
	for (int i = 2; i < XSTATE_BITS; i++)
		if (l.at[i].size && memcmp(area + l.at[i].offset, back + l.at[i].offset, l.at[i].size) != 0)
			fail_msg("component %d differs", i);
	assert_memory_equal(area + 160, back + 160, 256);
	assert_memory_equal(area + 32, back + 32, 128);
	assert_int_equal(xstate_bv(back, l.size), l.features);
	/* components that are not in use do not cross */
	fill(area, l.size, 7);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(raw, 0);
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, l.size, &err), 0);
	assert_int_equal(xstate_bv(back, l.size), 7);
	/* AMX that is not in use does not count for what a signal frame may hold */
	assert_int_equal(xstate_used_size(&l, area, l.size), 2816);
	free(area);
	free(back);
}

static void test_xstate_refusals(void **state)
{
	struct xstate_layout l = big_layout(), poor = big_layout();
	char *area = calloc(1, l.size), *back = calloc(1, l.size);
	struct xstate_store s;
	struct cr_error err = { 0 };
	uint64_t raw;

	(void)state;
	poor.features = 7;
	fill(area, l.size, l.features);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(xstate_from_image(&poor, &s.fpregs, NULL, 0, 0, back, l.size, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "AVX-512"));
	s.xsave.xstate_bv = 7;
	assert_int_equal(xstate_from_image(&poor, &s.fpregs, area, l.size, raw, back, l.size, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "AMX"));
	assert_int_equal(xstate_from_image(&l, &s.fpregs, area, 2800, raw, back, l.size, &err), -EBADMSG);
	assert_int_equal(xstate_from_image(&poor, &s.fpregs, NULL, 0, 0, back, l.size, &err), 0);
	s.xsave.ymmh_space.nr = 63;
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, l.size, &err), -EBADMSG);
	s.xsave.ymmh_space.nr = 0;
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, l.size, &err), -EBADMSG);
	s.xsave.ymmh_space.nr = 64;
	s.fpregs.xmm_space.nr = 0;
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, l.size, &err), -EBADMSG);
	s.fpregs.xmm_space.nr = 64;
	s.cet.cet = 1;
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, l.size, &err), -EOPNOTSUPP);
	assert_int_equal(xstate_from_image(&l, &s.fpregs, NULL, 0, 0, back, 512, &err), -EINVAL);
	free(area);
	free(back);
}

/* What a restore asks before anything exists: the same answers, and no for what ptrace would not take. */
static void test_xstate_check(void **state)
{
	struct xstate_layout l = big_layout(), poor = big_layout();
	char *area = calloc(1, l.size);
	struct xstate_store s;
	struct cr_error err = { 0 };
	uint64_t raw;

	(void)state;
	poor.features = 7;
	fill(area, l.size, 0x2e7);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(xstate_check(&l, &s.fpregs, NULL, 0, 0, &err), 0);
	assert_int_equal(xstate_check(&poor, &s.fpregs, NULL, 0, 0, &err), -EOPNOTSUPP);
	s.xsave.opmask_reg.nr = 7;
	cr_error_clear(&err);
	assert_int_equal(xstate_check(&l, &s.fpregs, NULL, 0, 0, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "56 bytes instead of 64"));
	s.xsave.opmask_reg.nr = 8;
	s.fpregs.st_space.nr = 31;
	assert_int_equal(xstate_check(&l, &s.fpregs, NULL, 0, 0, &err), -EBADMSG);
	s.fpregs.st_space.nr = 32;
	/* tile configuration: held by the raw area only */
	fill(area, l.size, 0x202e7);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(xstate_check(&l, &s.fpregs, area, l.size, raw, &err), 0);
	cr_error_clear(&err);
	assert_int_equal(xstate_check(&l, &s.fpregs, NULL, 0, 0, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "component 17"));
	cr_error_clear(&err);
	assert_int_equal(xstate_check(&l, &s.fpregs, area, 2800, raw, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "2800 bytes"));
	/* tile data: with a permission only */
	fill(area, l.size, 0x602e7);
	assert_int_equal(xstate_to_image(&l, area, l.size, &s, &raw, &err), 0);
	assert_int_equal(xstate_check(&l, &s.fpregs, area, l.size, raw, &err), -EOPNOTSUPP);
	free(area);
}

static void test_live_thread(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l);
	struct live_ctx c;
	struct cr_error err = { 0 };
	struct xstate_layout layout;
	img_thread_core_entry tc = { 0 };
	img_core_entry core = { .thread_core = &tc };
	struct thread_image im;
	struct tree *tree;
	struct thread *t;
	char back[16384], own[16384];
	size_t size;

	(void)state;
	live_ready(l, 1);
	xstate_layout_init(&layout);
	tree = live_freeze(live_ctx(&c), pid);
	t = tree->root->lead;
	t->core = &core;
	assert_int_equal(tracee_read_xstate(t->tracee, &err), 0);
	size = t->tracee->xstate_size;
	assert_in_range(size, 1, sizeof(own));
	memcpy(own, t->tracee->xstate, size);
	if (thread_image_ask(t, &err) < 0 || thread_image_make(t, &layout, &im, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(im.core.mtype, img_core_entry_march_X86_64);
	assert_int_equal(im.info.tls.nr, 3);
	assert_true(im.info.tls.items[0].seg_not_present);
	assert_int_equal(im.core.thread_info->gpregs->cs, 0x33);
	assert_int_equal(layout.features ? size : layout.size, layout.size);
	assert_int_equal(xstate_from_image(&layout, im.core.thread_info->fpregs, NULL, 0, 0, back, sizeof(back), &err), 0);
	for (int i = 2; i < XSTATE_BITS; i++)
		if (layout.at[i].size && xstate_bv(own, size) & UINT64_C(1) << i)
			assert_memory_equal(back + layout.at[i].offset, own + layout.at[i].offset, layout.at[i].size);
	/* what the C library registers */
	if (im.core.thread_core->rseq_entry)
		assert_true(im.rseq.rseq_abi_size >= 32 && im.rseq.signature == 0x53053053);
	/* what it was made of is as it was, so that it can be made again */
	assert_null(core.thread_info);
	assert_null(tc.rseq_entry);
	t->core = NULL;
	tree_free(tree);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* A restartable sequence that spins until it is aborted */
static struct rseq_cs spin_cs __attribute__((aligned(32)));
static volatile uint32_t aborts;

static void spin_in_rseq(struct live *l)
{
	extern const ptrdiff_t __rseq_offset __attribute__((weak));
	extern const unsigned int __rseq_size __attribute__((weak));
	struct rseq *area;

	if (!&__rseq_size || !__rseq_size) {
		l->flags[3] = 1;
		l->ready = 1;
		for (;;)
			pause();
	}
	area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	for (;;) {
		/* start 1, commit 2, abort 4: the signature in front of the abort address */
		__asm__ volatile goto("leaq 1f(%%rip), %%rax\n movq %%rax, 8(%0)\n"
				      "leaq 2f(%%rip), %%rcx\n subq %%rax, %%rcx\n movq %%rcx, 16(%0)\n"
				      "leaq 4f(%%rip), %%rcx\n movq %%rcx, 24(%0)\n"
				      "movq %0, 8(%1)\n movl $1, (%2)\n"
				      "1: jmp 1b\n"
				      "2: nop\n jmp 5f\n"
				      ".long 0x53053053\n"
				      "4: jmp %l[aborted]\n"
				      "5:\n"
				      :
				      : "r"(&spin_cs), "r"(area), "r"(&l->ready)
				      : "rax", "rcx", "memory"
				      : aborted);
		l->wrong = 1;
	aborted:
		aborts++;
		l->rounds = aborts;
	}
}

static void test_rseq_is_aborted(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(spin_in_rseq, l);
	struct live_ctx c;
	struct tree *tree;
	struct regs own;
	int hits = 0;

	(void)state;
	live_ready(l, 1);
	if (l->flags[3]) {
		live_kill(pid);
		live_free(l);
		skip();
	}
	/* on a busy machine it is hardly ever met while it runs */
	for (int i = 0; i < 50 || (!hits && i < 5000); i++) {
		tree = live_freeze(live_ctx(&c), pid);
		assert_int_equal(tracee_settle(tree->root->lead->tracee, NULL), 0);
		if (tree->root->lead->tracee->rseq.abort_ip) {
			uint64_t before = l->rounds;

			hits++;
			tracee_own_regs(tree->root->lead->tracee, &own);
			assert_int_equal(regs_ip(&own), tree->root->lead->tracee->rseq.abort_ip);
			live_question(tree->root);
			tree_free(tree);
			for (int k = 0; k < 1000 && l->rounds == before; k++)
				live_nap(1);
			assert_true(l->rounds > before);
		} else {
			tree_free(tree);
		}
	}
	assert_true(hits > 0);
	assert_int_equal(l->wrong, 0);
	live_kill(pid);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settle),
		cmocka_unit_test(test_lost_number),
		cmocka_unit_test(test_named_call),
		cmocka_unit_test(test_regs_from_image),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_xstate_round_trip),
		cmocka_unit_test(test_xstate_refusals),
		cmocka_unit_test(test_xstate_check),
		cmocka_unit_test(test_live_thread),
		cmocka_unit_test(test_rseq_is_aborted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
