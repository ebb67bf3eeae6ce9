/*
 * The end of a restore, without images: a child jumps into the blob, starts threads, parks; the test takes each over and
 * gives it registers with which it lands in a function that looks at what it got.
 */
#include "infect/live.h"

#include "base/clock.h"
#include "blob-jump.h"
#include "infect/blob.h"
#include "infect/control.h"
#include "infect/takeover.h"
#include "procfs/lists.h"
#include "xstate.h"

#include <asm/prctl.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define REGION_ARENA  ((size_t)4 << 20)
#define STACK         4096u
#define LANDING_STACK 16384u
#define MAX_THREADS   1024

/* One address in test and child, the arena shared: as in a restore */
struct area {
	char *base;
	size_t size, code;
	struct program program;
	uint64_t stacks;
	struct live *live;
	char *landing_stacks;
};

static void area_make(struct area *a, size_t threads)
{
	const void *code;
	size_t len;
	struct arena arena = { .size = REGION_ARENA };
	struct cr_error err = { 0 };

	memset(a, 0, sizeof(*a));
	blob_image(&code, &len);
	a->code = BLOB_MAX_SIZE;
	a->size = a->code + (threads + 1) * STACK + REGION_ARENA;
	a->base = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(a->base != MAP_FAILED);
	memcpy(a->base, code, len);
	assert_int_equal(mprotect(a->base, a->code, PROT_READ | PROT_EXEC), 0);
	a->stacks = (uint64_t)(uintptr_t)a->base + a->code;
	arena.local = a->base + a->size - REGION_ARENA;
	arena.remote = (uint64_t)(uintptr_t)arena.local;
	assert_true(mmap(arena.local, REGION_ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) != MAP_FAILED);
	assert_int_equal(program_init(&a->program, &arena, (uint32_t)threads + 2, &err), 0);
	a->live = live_new();
	a->landing_stacks =
		mmap(NULL, (threads + 1) * LANDING_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(a->landing_stacks != MAP_FAILED);
}

static void area_drop(struct area *a, size_t threads)
{
	program_done(&a->program);
	munmap(a->base, a->size);
	munmap(a->landing_stacks, (threads + 1) * LANDING_STACK);
	live_free(a->live);
}

static uint64_t stack_top(const struct area *a, size_t i)
{
	return a->stacks + (i + 1) * STACK;
}

/* What the landing found in its registers; filled in the child, which has its own copy */
uint64_t landed_regs[16];
char landed_vector[64] __attribute__((aligned(64)));
static struct live *landed_live;

__attribute__((used)) void landed(struct live *l);
void landed(struct live *l)
{
	uint64_t mask = 0;
	uint32_t wrong = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	for (uint64_t i = 1; i < 8; i++)
		if (landed_regs[i] != i * 0x1111)
			wrong |= 1u << i;
	for (size_t i = 0; i < (__builtin_cpu_supports("avx") ? 32 : 16); i++)
		if (landed_vector[i] != (char)(i + 3))
			wrong |= 0x100;
	if (mask != 0x200)
		wrong |= 0x200;
	if (wrong)
		l->wrong = wrong;
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		syscall(SYS_pause);
}

/* rdi is the argument; the first instructions after the takeover */
__attribute__((used)) void landing(void);
__asm__(".text\n.globl landing\nlanding:\n"
	"movq %rbx, landed_regs+8(%rip)\n movq %rbp, landed_regs+16(%rip)\n movq %r12, landed_regs+24(%rip)\n"
	"movq %r13, landed_regs+32(%rip)\n movq %r14, landed_regs+40(%rip)\n movq %r15, landed_regs+48(%rip)\n"
	"movq %rsi, landed_regs+56(%rip)\n movdqu %xmm5, landed_vector(%rip)\n"
	"movq %rdx, %rax\n testq %rax, %rax\n jz 1f\n vmovdqu %ymm5, landed_vector(%rip)\n"
	"1: call landed\n ud2\n");

struct picture {
	struct xstate_store store;
	img_user_x86_regs_entry gp;
	img_thread_info_x86 info;
	img_thread_core_entry tc;
	img_core_entry core;
};

static void picture_make(struct picture *p, const struct area *a, size_t index)
{
	bool avx = __builtin_cpu_supports("avx");
	struct xstate_layout l;
	char area[16384] = { 0 }, *bytes = area;
	struct cr_error err = { 0 };
	uint64_t bv = avx ? 7 : 3, raw;

	xstate_layout_init(&l);
	((uint16_t *)area)[0] = 0x37f;
	((uint32_t *)area)[6] = 0x1f80;
	((uint32_t *)area)[7] = 0xffff;
	for (size_t i = 0; i < 16; i++) {
		bytes[160 + 5 * 16 + i] = (char)(i + 3);
		if (avx)
			bytes[l.at[XC_YMM].offset + 5 * 16 + i] = (char)(i + 16 + 3);
	}
	memcpy(area + XSTATE_LEGACY, &bv, sizeof(bv));
	assert_int_equal(xstate_to_image(&l, area, sizeof(area), &p->store, &raw, &err), 0);
	assert_int_equal(raw, 0);
	memset(&p->gp, 0, sizeof(p->gp));
	p->gp.ip = (uint64_t)(uintptr_t)landing;
	p->gp.sp = (uint64_t)(uintptr_t)a->landing_stacks + (index + 1) * LANDING_STACK - 64;
	p->gp.di = (uint64_t)(uintptr_t)a->live;
	p->gp.dx = avx;
	p->gp.bx = 0x1111;
	p->gp.bp = 0x2222;
	p->gp.r12 = 0x3333;
	p->gp.r13 = 0x4444;
	p->gp.r14 = 0x5555;
	p->gp.r15 = 0x6666;
	p->gp.si = 0x7777;
	p->gp.flags = 0x246;
	p->gp.cs = 0x33;
	p->gp.ss = 0x2b;
	p->gp.orig_ax = UINT64_MAX;
	/* the C library of the landing finds its thread there */
	assert_int_equal(syscall(SYS_arch_prctl, ARCH_GET_FS, &p->gp.fs_base), 0);
	p->info = (img_thread_info_x86){ .gpregs = &p->gp, .fpregs = &p->store.fpregs };
	memset(&p->tc, 0, sizeof(p->tc));
	memset(&p->core, 0, sizeof(p->core));
	p->core.thread_info = &p->info;
	p->core.thread_core = &p->tc;
}

static size_t tids_of(pid_t pid, pid_t *ret, size_t max)
{
	struct proc_dir dir = PROC_DIR_NONE;
	struct int_vec tids = { 0 };
	size_t nr;

	assert_int_equal(proc_dir_open(-100, pid, &dir, NULL), 0);
	assert_int_equal(proc_tasks_read(&dir, &tids, NULL), 0);
	nr = tids.nr;
	assert_true(nr <= max);
	for (size_t i = 0; i < nr; i++)
		ret[i] = tids.items[i];
	int_vec_done(&tids);
	proc_dir_close(&dir);
	return nr;
}

static void write_programs(struct area *a, size_t threads)
{
	struct routine main, r;
	struct cr_error err = { 0 };

	assert_int_equal(routine_begin(&a->program, &main, &err), 0);
	for (size_t i = 1; i <= threads; i++) {
		assert_int_equal(routine_begin(&a->program, &r, &err), 0);
		emit(&a->program, &main, ABI_OP_THREAD, "start thread", 0, r.index, 0, stack_top(a, i), 0, 0, 0);
		emit(&a->program, &r, ABI_OP_PARK, "park", 0, 0, 0, 0, 0, 0, 0);
		assert_int_equal(routine_finish(&a->program, &r, &err), 0);
	}
	emit(&a->program, &main, ABI_OP_PARK, "park", 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(&a->program, &main, &err), 0);
	program_control(&a->program)->expected[ABI_NR_STAGES - 1] = (uint32_t)threads + 1;
}

static pid_t start(struct area *a)
{
	pid_t pid = fork();

	if (pid == 0) {
		sigset_t all;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		blob_jump((uint64_t)(uintptr_t)a->base + BLOB_OFF_ENTRY, a->program.control, 0, 0, stack_top(a, 0));
	}
	return pid;
}

static void take_over(size_t threads)
{
	struct area a;
	struct takeover *hand[MAX_THREADS] = { 0 };
	pid_t pid, tids[MAX_THREADS];
	struct xstate_layout layout;
	struct picture picture;
	struct cr_error err = { 0 };
	uint64_t t0, t1;
	size_t nr;

	area_make(&a, threads);
	landed_live = a.live;
	xstate_layout_init(&layout);
	write_programs(&a, threads);
	pid = start(&a);
	assert_int_equal(control_wait(program_control(&a.program), ABI_NR_STAGES - 1, 5000), 0);
	nr = tids_of(pid, tids, MAX_THREADS);
	assert_int_equal(nr, threads + 1);
	t0 = monotonic_ns();
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(takeover_seize(tids[i], &hand[i], &err), 0);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(takeover_interrupt(hand[i], &err), 0);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(takeover_wait(hand[i], &err), 0);
	if (takeover_unmap(hand[0], (uint64_t)(uintptr_t)a.base, a.size, &err) < 0)
		fail_msg("unmap: %s", err.text);
	picture_make(&picture, &a, 0);
	for (size_t i = 0; i < nr; i++) {
		picture.gp.sp = (uint64_t)(uintptr_t)a.landing_stacks + (i + 1) * LANDING_STACK - 64;
		if (takeover_load(hand[i], &layout, &picture.core, 0x200, &err) < 0)
			fail_msg("load: %s", err.text);
	}
	for (size_t i = 0; i < nr; i++) {
		assert_int_equal(takeover_release(hand[i], &err), 0);
		takeover_free(hand[i]);
	}
	t1 = monotonic_ns();
	print_message("takeover of %zu threads: %.2f ms\n", nr, (double)(t1 - t0) / 1e6);
	live_ready(a.live, (uint32_t)nr);
	assert_int_equal(a.live->wrong, 0);
	live_kill(pid);
	area_drop(&a, threads);
}

static void test_one_thread(void **state)
{
	(void)state;
	take_over(0);
}

static void test_thousand_threads(void **state)
{
	(void)state;
	take_over(1000);
}

/* The coordinator is gone: EXITKILL takes the child along */
static void test_coordinator_dies(void **state)
{
	struct area a;
	pid_t pid, coordinator;
	int status;

	(void)state;
	area_make(&a, 0);
	write_programs(&a, 0);
	pid = start(&a);
	assert_int_equal(control_wait(program_control(&a.program), ABI_NR_STAGES - 1, 5000), 0);
	coordinator = fork();
	if (coordinator == 0) {
		struct takeover *hand;
		struct cr_error err;

		a.live->flags[0] = takeover_seize(pid, &hand, &err) == 0 ? 1 : 2;
		for (;;)
			pause();
	}
	for (int i = 0; i < 5000 && !a.live->flags[0]; i++)
		live_nap(1);
	assert_int_equal(a.live->flags[0], 1);
	live_kill(coordinator);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	area_drop(&a, 0);
}

/* Forks with given numbers, stages, a failure, the end of all by abort */
static void test_forks_and_abort(void **state)
{
	struct area a;
	struct routine root, child;
	struct cr_error err = { 0 };
	struct abi_control *c;
	pid_t pid;
	int status;

	(void)state;
	area_make(&a, 0);
	c = program_control(&a.program);
	assert_int_equal(routine_begin(&a.program, &root, &err), 0);
	assert_int_equal(routine_begin(&a.program, &child, &err), 0);
	emit(&a.program, &root, ABI_OP_FORK, "fork", 0, child.index, 0, 0, SIGCHLD, 0, 0);
	emit(&a.program, &root, ABI_OP_BARRIER, "wait", 0, 0, 0, 0, 0, 0, 0);
	emit_call(&a.program, &root, "close descriptor", SYS_close, 9999);
	emit(&a.program, &root, ABI_OP_PARK, "park", 0, 0, 0, 0, 0, 0, 0);
	emit(&a.program, &child, ABI_OP_BARRIER, "wait", 0, 0, 0, 0, 0, 0, 0);
	emit(&a.program, &child, ABI_OP_PARK, "park", 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(&a.program, &root, &err), 0);
	assert_int_equal(routine_finish(&a.program, &child, &err), 0);
	c->expected[0] = 2;
	pid = start(&a);
	assert_int_equal(control_wait(c, 0, 5000), 0);
	assert_int_equal(control_wait(c, 1, 5000), 0); /* nobody is expected there */
	c->expected[1] = 1;
	assert_int_equal(control_wait(c, 1, 20), -ETIMEDOUT);
	control_release(c, 1);
	assert_int_equal(control_wait(c, 1, 5000), -ECANCELED);
	assert_int_equal(program_explain(&a.program, c->first_failed - 1, &err), -EBADF);
	assert_string_equal(err.text, "close descriptor (close 0x270f): Bad file descriptor");
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	control_abort(c);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	area_drop(&a, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_thousand_threads),
		cmocka_unit_test(test_coordinator_dies),
		cmocka_unit_test(test_forks_and_abort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
