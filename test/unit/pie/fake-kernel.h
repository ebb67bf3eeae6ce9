/*
 * The interpreter's source on the host, with a fake kernel: files in memory, children that are this very process. For tests of one
 * file each, since all of it is theirs.
 */
#ifndef TEST_FAKE_KERNEL_H
#define TEST_FAKE_KERNEL_H

#include "pie/blob.c"
#include "pie/blob-pages.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NR_TEST   1000 /* a call of our own: returns its first argument + 1 */
#define NR_FAIL   1001 /* returns its first argument as it is: give it a negative errno */
#define NR_ODD    1002 /* even numbers are refused in one of the known ways; odd ones succeed or fail in others */
#define FILE_SIZE 65536

enum ending { END_SIGRETURN = 1, END_EXIT, END_WAIT };

static struct {
	jmp_buf out;
	int nr_calls, nr_wakes, nr_taken, nr_short_waits, ends_after, passes_meanwhile, fork_result, thread_routine,
		preadv_limit;
	long last_nr;
	uint64_t last[6], frame, clone_flags, clone_exit_signal, thread_stack;
	int32_t clone_tid;
	uint32_t *word; /* of a thread that ends after a while */
	uint64_t parent_word, child_word;
	uint64_t thread_slots[ABI_NR_SLOTS];
	char file[FILE_SIZE];
	uint64_t pipe_at; /* what a pipe gives next, out of the same file */
	struct abi_control control;
	struct abi_routine routines[8];
	struct abi_op ops[8][16];
} k;

static long fake_read(uint64_t base, uint64_t len, uint64_t off)
{
	uint64_t n = off >= FILE_SIZE ? 0 : FILE_SIZE - off < len ? FILE_SIZE - off : len;

	memcpy(ptr(base), k.file + (off < FILE_SIZE ? off : 0), n);
	return (long)n;
}

static long fake_preadv(const struct abi_iov *iov, uint64_t nr, uint64_t off)
{
	uint64_t left = (uint64_t)k.preadv_limit;
	long total = 0;

	assert_true(nr <= BLOB_IOV_MAX);
	for (uint64_t i = 0; i < nr && left; i++) {
		uint64_t want = iov[i].len < left ? iov[i].len : left;
		long n = fake_read(iov[i].base, want, off);

		total += n;
		off += (uint64_t)n;
		left -= (uint64_t)n;
		if ((uint64_t)n < iov[i].len)
			break;
	}
	return total;
}

long blob_sys(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	uint64_t a[6] = { a0, a1, a2, a3, a4, a5 };

	k.nr_calls++;
	switch (nr) {
	case NR_TEST:
		k.last_nr = nr;
		memcpy(k.last, a, sizeof(a));
		return (long)a0 + 1;
	case NR_FAIL:
		return (long)a0;
	case NR_ODD: {
		static const int refusals[] = { -1, -9, -13, -22, -38 };

		assert_true(a1 == 5 && a2 == 6 && a3 == 7);
		return a0 % 2 ? (a0 % 3 ? 0 : -77) : refusals[a0 / 2 % 5];
	}
	case NR_PREAD64:
		return fake_read(a1, a2 > 5000 ? 5000 : a2, a3);
	case NR_PREADV:
		return fake_preadv(ptr(a1), a2, a3);
	case NR_READ:
	case NR_READV: {
		long n = nr == NR_READ ? fake_read(a1, a2 > 5000 ? 5000 : a2, k.pipe_at) : fake_preadv(ptr(a1), a2, k.pipe_at);

		k.pipe_at += (uint64_t)n;
		return n;
	}
	case NR_FUTEX:
		if (a1 == FUTEX_WAKE_SHARED) {
			k.nr_wakes++;
			return 0;
		}
		if (a3) { /* limited in time: a short wait */
			k.nr_short_waits++;
			if (k.word && k.nr_short_waits == 3)
				*k.word = 0;
			if (k.control.watch_below && k.nr_short_waits == 3)
				k.control.stage = k.control.watch_below;
			return -110;
		}
		longjmp(k.out, END_WAIT);
	case NR_PPOLL: {
		struct blob_pollfd *p = ptr(a0);

		assert_int_equal(p->fd, 44);
		if (k.nr_short_waits < k.ends_after)
			return 0;
		p->revents = BLOB_POLLIN;
		if (k.passes_meanwhile)
			k.control.stage = k.control.watch_below;
		return 1;
	}
	case NR_CLONE3: {
		const struct blob_clone_args *c = ptr(a0);

		k.clone_flags = c->flags;
		k.clone_exit_signal = c->exit_signal;
		k.clone_tid = c->set_tid ? *(int32_t *)ptr(c->set_tid) : 0;
		return k.nr_taken && k.nr_taken-- ? -17 : k.fork_result;
	}
	case NR_GETPID:
	case NR_GETTID:
		return 77;
	case NR_TGKILL:
		k.last_nr = nr;
		memcpy(k.last, a, sizeof(a));
		return 0;
	case NR_EXIT_GROUP:
		longjmp(k.out, END_EXIT);
	default:
		fail_msg("unexpected call %ld", nr);
		return -38;
	}
}

long blob_start_thread(void *args, uint64_t size, void *control, uint32_t routine, uint64_t *slots)
{
	const struct blob_clone_args *c = args;

	assert_int_equal(size, sizeof(*c));
	assert_ptr_equal(control, &k.control);
	k.clone_flags = c->flags;
	k.clone_tid = c->set_tid ? *(int32_t *)ptr(c->set_tid) : 0;
	k.thread_routine = (int)routine;
	k.parent_word = c->parent_tid;
	k.child_word = c->child_tid;
	k.thread_stack = c->stack + c->stack_size;
	memcpy(k.thread_slots, slots, sizeof(k.thread_slots));
	return k.nr_taken && k.nr_taken-- ? -17 : 78;
}

_Noreturn void blob_sigreturn(uint64_t frame)
{
	k.frame = frame;
	longjmp(k.out, END_SIGRETURN);
}

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	k.preadv_limit = FILE_SIZE;
	k.control.version = ABI_PROGRAM_VERSION;
	k.control.nr_routines = 8;
	k.control.routines = addr(k.routines);
	k.control.trap_signal = 23;
	for (int i = 0; i < 8; i++)
		k.routines[i].ops = addr(k.ops[i]);
	for (int i = 0; i < FILE_SIZE; i++)
		k.file[i] = (char)(i * 7 + i / 4096);
	return 0;
}

static struct abi_op *add(int routine, enum abi_op_kind kind, uint32_t nr, uint64_t a0, uint64_t a1, uint64_t a2,
			  uint64_t a3)
{
	struct abi_op *op = &k.ops[routine][k.routines[routine].nr_ops++];

	*op = (struct abi_op){ .kind = (uint8_t)kind, .nr = nr, .arg = { a0, a1, a2, a3 } };
	return op;
}

static enum ending run_with(uint32_t routine, const uint64_t *slots, uint64_t frame)
{
	int end = setjmp(k.out);

	if (!end)
		blob_main(&k.control, routine, slots, frame);
	return (enum ending)end;
}

static enum ending run(uint32_t routine, uint64_t frame)
{
	return run_with(routine, NULL, frame);
}

#endif
