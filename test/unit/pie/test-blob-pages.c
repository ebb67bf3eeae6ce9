/* The interpreter's work on contents of memory: reading, comparing, checking. */
#include "fake-kernel.h"

static void test_read_with_short_counts(void **state)
{
	static char got[FILE_SIZE];
	static const int limits[] = { FILE_SIZE, 4096, 5000, 100, 1 << 20 };
	struct abi_iov iov[] = { { 0, 300 }, { 0, 0 }, { 0, 8192 }, { 0, 1 }, { 0, 20000 }, { 0, 0 } };
	uint64_t at = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(iov) / sizeof(iov[0]); i++) {
		iov[i].base = addr(got + at);
		at += iov[i].len;
	}
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		setup(NULL);
		memset(got, 0, sizeof(got));
		k.preadv_limit = limits[i];
		add(0, ABI_OP_READ, 0, 3, 1000, addr(iov), 6);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(got, k.file + 1000, at);
	}
}

static void test_read_past_the_end(void **state)
{
	static char got[FILE_SIZE];
	struct abi_iov iov = { addr(got), 8192 };

	(void)state;
	add(0, ABI_OP_READ, 0, 3, FILE_SIZE - 4096, addr(&iov), 1);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
}

static void test_read_of_many_areas(void **state)
{
	static char got[FILE_SIZE];
	static struct abi_iov iov[3000];

	(void)state;
	for (int i = 0; i < 3000; i++)
		iov[i] = (struct abi_iov){ addr(got + i * 16), 16 };
	add(0, ABI_OP_READ, 0, 3, 0, addr(iov), 3000);
	add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, 0);
	assert_memory_equal(got, k.file, 3000 * 16);
}

static void test_compare(void **state)
{
	static char mem[4 * 4096] __attribute__((aligned(4096))), scratch[3 * 4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 4096 }, { addr(mem + 4096), 0 }, { addr(mem + 4096), 3 * 4096 } };
	static const uint64_t sizes[] = { 0, 4096, 2 * 4096, 3 * 4096 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		setup(NULL);
		memcpy(mem, k.file + 8192, sizeof(mem));
		mem[4096 + 4095] ^= 1;
		mem[3 * 4096] ^= 1;
		add(0, ABI_OP_COMPARE, 0, 3, 8192, addr(iov), 3)->arg[4] = addr(scratch);
		k.ops[0][0].arg[5] = sizes[i];
		k.ops[0][0].flags = ABI_F_RESULT;
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(mem, k.file + 8192, sizeof(mem));
		assert_int_equal(k.ops[0][0].arg[0], 2);
	}
	setup(NULL);
	iov[0].len = 100;
	add(0, ABI_OP_COMPARE, 0, 3, 8192, addr(iov), 3)->arg[4] = addr(scratch);
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

/* Sums of five pages in three areas, of which the scratch memory takes one page full, or far more than it needs. */
static void test_check(void **state)
{
	static char mem[5 * 4096] __attribute__((aligned(4096))), scratch[4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 2 * 4096 }, { addr(mem), 0 }, { addr(mem + 2 * 4096), 3 * 4096 } };

	(void)state;
	for (int bad = -1; bad < 5; bad++)
		for (int hardware = 0; hardware <= crc32c_in_hardware(); hardware++) {
			struct abi_op *op;

			setup(NULL);
			memcpy(mem, k.file + 8192, sizeof(mem));
			for (int i = 0; i < 5; i++) {
				uint32_t sum = page_sum_plain(mem + i * 4096);

				memcpy(k.file + 100 + i * 4, &sum, 4);
			}
			if (bad >= 0)
				mem[bad * 4096 + 819 * bad] ^= 0x10;
			op = add(0, ABI_OP_CHECK, 0, 3, 100, addr(iov), 3);
			op->arg[4] = addr(scratch);
			op->arg[5] = 4096 | (hardware ? ABI_CHECK_HARDWARE : 0);
			add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
			assert_int_equal(run(0, 1), END_SIGRETURN);
			assert_int_equal(k.routines[0].error, bad < 0 ? 0 : -74);
			if (bad >= 0)
				assert_int_equal(op->arg[0], addr(mem + bad * 4096));
		}
	setup(NULL);
	add(0, ABI_OP_CHECK, 0, 3, FILE_SIZE - 8, addr(iov), 3)->arg[4] = addr(scratch);
	k.ops[0][0].arg[5] = 4096;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
	setup(NULL);
	add(0, ABI_OP_CHECK, 0, 3, 100, addr(iov), 3)->arg[5] = ABI_CHECK_HARDWARE;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -22);
}

/* More pages than the scratch memory has sums for: the same one, again and again. */
static void test_check_of_many(void **state)
{
	enum { NR = 1500 };
	static char page[4096] __attribute__((aligned(4096)));
	static uint32_t scratch[1024] __attribute__((aligned(4096)));
	static struct abi_iov iov[NR];

	(void)state;
	for (int bad = 0; bad <= 1; bad++) {
		uint32_t sum = page_sum_plain(page), *sums = (uint32_t *)(void *)k.file;

		setup(NULL);
		for (int i = 0; i < NR; i++) {
			iov[i] = (struct abi_iov){ addr(page), 4096 };
			sums[i] = sum;
		}
		if (bad)
			sums[NR - 1] ^= 1;
		add(0, ABI_OP_CHECK, 0, 3, 0, addr(iov), NR)->arg[4] = addr(scratch);
		k.ops[0][0].arg[5] = sizeof(scratch);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, bad ? -74 : 0);
	}
}

/* Pages in a row, whatever the offsets say, in pieces of any size. */
static void test_pipe(void **state)
{
	static char mem[5 * 4096] __attribute__((aligned(4096))), scratch[2 * 4096] __attribute__((aligned(4096)));
	struct abi_iov iov[] = { { addr(mem), 2 * 4096 }, { addr(mem + 2 * 4096), 4096 } }, rest = { addr(mem + 3 * 4096), 2 * 4096 };
	static const int limits[] = { FILE_SIZE, 5000, 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		setup(NULL);
		k.preadv_limit = limits[i];
		k.pipe_at = 4096;
		memset(mem, 0, sizeof(mem));
		add(0, ABI_OP_READ, 0, 3, 777, addr(iov), 2)->arg[5] = ABI_FROM_PIPE;
		add(0, ABI_OP_COMPARE, 0, 3, 888, addr(&rest), 1)->arg[4] = addr(scratch);
		k.ops[0][1].arg[5] = ABI_FROM_PIPE | (i ? sizeof(scratch) : 0);
		add(0, ABI_OP_TRAP, 0, 0, 0, 0, 0);
		assert_int_equal(run(0, 1), END_SIGRETURN);
		assert_int_equal(k.routines[0].error, 0);
		assert_memory_equal(mem, k.file + 4096, sizeof(mem));
		assert_int_equal(k.pipe_at, 6 * 4096);
	}
	/* it ends early */
	setup(NULL);
	k.pipe_at = FILE_SIZE - 4096;
	add(0, ABI_OP_READ, 0, 3, 0, addr(iov), 2)->arg[5] = ABI_FROM_PIPE;
	assert_int_equal(run(0, 1), END_SIGRETURN);
	assert_int_equal(k.routines[0].error, -5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_read_with_short_counts, setup),
		cmocka_unit_test_setup(test_read_past_the_end, setup),
		cmocka_unit_test_setup(test_read_of_many_areas, setup),
		cmocka_unit_test_setup(test_compare, setup),
		cmocka_unit_test_setup(test_check, setup),
		cmocka_unit_test_setup(test_check_of_many, setup),
		cmocka_unit_test_setup(test_pipe, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
