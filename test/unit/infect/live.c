#include "infect/live.h"

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

struct live *live_new(void)
{
	struct live *l = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(l != MAP_FAILED);
	return l;
}

void live_free(struct live *l)
{
	munmap(l, 4096);
}

pid_t live_fork(void (*fn)(struct live *l), struct live *l)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(l);
		_exit(0);
	}
	return pid;
}

void live_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

void live_nap(unsigned int ms)
{
	usleep(ms * 1000);
}

void live_ready(struct live *l, uint32_t n)
{
	for (int i = 0; i < 5000 && l->ready < n; i++)
		live_nap(1);
	assert_true(l->ready >= n);
}

void live_works(struct live *l)
{
	uint64_t before = l->rounds;

	for (int i = 0; i < 5000 && l->rounds < before + 3; i++)
		live_nap(1);
	assert_true(l->rounds >= before + 3);
	assert_int_equal(l->wrong, 0);
}

/* A time slice or so in user mode with every vector register in use */
static void hold_vectors(const char *in, char *out, uint64_t spin)
{
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("vmovdqu64 (%0), %%zmm0\n vmovdqu64 64(%0), %%zmm1\n vmovdqu64 128(%0), %%zmm17\n"
				 "vmovdqu64 192(%0), %%zmm31\n kmovw %%eax, %%k3\n"
				 "1: dec %2\n jnz 1b\n"
				 "vmovdqu64 %%zmm0, (%1)\n vmovdqu64 %%zmm1, 64(%1)\n vmovdqu64 %%zmm17, 128(%1)\n"
				 "vmovdqu64 %%zmm31, 192(%1)\n"
				 : "+r"(in), "+r"(out), "+r"(spin)
				 :
				 : "memory", "xmm0", "xmm1");
	else if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vmovdqu (%0), %%ymm0\n vmovdqu 64(%0), %%ymm1\n vmovdqu 128(%0), %%ymm7\n"
				 "vmovdqu 192(%0), %%ymm15\n"
				 "1: dec %2\n jnz 1b\n"
				 "vmovdqu %%ymm0, (%1)\n vmovdqu %%ymm1, 64(%1)\n vmovdqu %%ymm7, 128(%1)\n"
				 "vmovdqu %%ymm15, 192(%1)\n"
				 : "+r"(in), "+r"(out), "+r"(spin)
				 :
				 : "memory", "xmm0", "xmm1", "xmm7", "xmm15");
	else
		__asm__ volatile("movdqu (%0), %%xmm0\n movdqu 64(%0), %%xmm1\n movdqu 128(%0), %%xmm7\n"
				 "movdqu 192(%0), %%xmm15\n"
				 "1: dec %2\n jnz 1b\n"
				 "movdqu %%xmm0, (%1)\n movdqu %%xmm1, 64(%1)\n movdqu %%xmm7, 128(%1)\n"
				 "movdqu %%xmm15, 192(%1)\n"
				 : "+r"(in), "+r"(out), "+r"(spin)
				 :
				 : "memory", "xmm0", "xmm1", "xmm7", "xmm15");
}

/* Values in the x87 stack and in general registers across the same time */
static uint64_t hold_numbers(uint64_t seed, uint64_t spin)
{
	uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, s = spin;
	double out;

	__asm__ volatile("fldpi\n 1: dec %4\n jnz 1b\n fstpl %5\n"
			 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(s), "=m"(out));
	return a == seed && b == seed * 3 && c == seed * 5 && d == seed * 7 && out > 3.14159 && out < 3.1416;
}

int compute_once(uint64_t seed)
{
	char in[256], out[256];
	size_t width = __builtin_cpu_supports("avx512f") ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(seed + i * 13);
	memset(out, 0, sizeof(out));
	hold_vectors(in, out, 20000);
	for (size_t i = 0; i < 4; i++)
		if (memcmp(in + i * 64, out + i * 64, width) != 0)
			return 0;
	return (int)hold_numbers(seed, 20000);
}

void compute(struct live *l)
{
	l->ready = 1;
	for (uint64_t i = 1;; i++) {
		if (!compute_once(i))
			l->wrong = 1;
		l->rounds = i;
	}
}

struct cr_context *live_ctx(struct live_ctx *c)
{
	memset(c, 0, sizeof(*c));
	c->opts.rpc = &c->rpc;
	c->ctx.opts = &c->opts;
	return &c->ctx;
}

const struct xstate_layout *live_layout(void)
{
	static struct xstate_layout layout;

	if (!layout.size)
		xstate_layout_init(&layout);
	return &layout;
}

uint32_t live_routine(struct program *p, const char *what, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
	struct cr_error err = { 0 };
	struct routine r;

	assert_int_equal(routine_begin(p, &r, &err), 0);
	op_result(emit_call(p, &r, what, nr, a0, a1, a2, a3));
	emit(p, &r, ABI_OP_TRAP, "done", 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(routine_finish(p, &r, &err), 0);
	return r.index;
}

int64_t live_answer(struct program *p, uint32_t routine)
{
	struct abi_op *op = arena_at(&p->arena, program_routine(p, routine)->ops, sizeof(*op));

	assert_non_null(op);
	return (int64_t)op->arg[0];
}

struct tree *live_freeze(struct cr_context *ctx, pid_t pid)
{
	struct cr_error err = { 0 };
	struct tree *tree = NULL;
	int r = freeze_tree(ctx, pid, &tree, &err);

	if (r < 0)
		fail_msg("freeze: %s", err.text);
	return tree;
}

void live_question(struct task *t)
{
	autofree_by(parasite_free) struct parasite *p = NULL;
	struct thread *threads[256];
	uint32_t routines[256];
	struct cr_error err = { 0 };
	size_t nr = t->threads.nr, live = 0;

	assert_true(nr <= 256);
	if (parasite_infect(t, live_layout(), NULL, nr * 1024 + 4096, (uint32_t)nr, &p, &err) < 0)
		fail_msg("infect: %s", err.text);
	for (size_t i = 0; i < nr; i++) {
		if (t->threads.items[i].dead)
			continue;
		threads[live] = &t->threads.items[i];
		routines[live++] = live_routine(parasite_program(p), "get tid", SYS_gettid, 0, 0, 0, 0);
	}
	if (parasite_run(p, threads, routines, live, &err) < 0)
		fail_msg("run: %s", err.text);
	for (size_t i = 0; i < live; i++)
		assert_int_equal(live_answer(parasite_program(p), routines[i]), threads[i]->ns_tid);
	if (parasite_cure(p, &err) < 0)
		fail_msg("cure: %s", err.text);
}
