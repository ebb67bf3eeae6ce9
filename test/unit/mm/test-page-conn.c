/* Receiving from a connection: whole things, in order, whether they are read ahead or not. */
#include "mm/page-conn.h"

#include "base/own.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static const size_t sizes[] = { 32,    4096, 32,   4096,   1,    32, 65535, 65536, 32,    65537, 7,
				32768, 32,   4096, 300000, 4096, 32, 8192,  32,    65536, 4096,  3 };
#define NR (sizeof(sizes) / sizeof(sizes[0]))

static uint8_t byte_of(size_t at)
{
	return (uint8_t)(at * 31 + at / 251);
}

static size_t total(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < NR; i++)
		sum += sizes[i];
	return sum;
}

/* In portions that have nothing to do with what is asked for. */
static void *send_all(void *arg)
{
	int fd = *(int *)arg;
	uint8_t buf[5000];

	for (size_t at = 0, n; at < total(); at += n) {
		n = total() - at < sizeof(buf) ? total() - at : sizeof(buf);
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_of(at + i);
		if (write(fd, buf, n) != (ssize_t)n)
			return arg;
	}
	return NULL;
}

static void receive_all(bool ahead, bool in_turns)
{
	char *room = malloc(PAGE_CONN_AHEAD);
	uint8_t *buf = malloc(total());
	struct cr_error err = { 0 };
	struct page_conn c;
	pthread_t sender;
	int ends[2];
	size_t at = 0;
	void *failed;

	assert_non_null(room);
	assert_non_null(buf);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	page_conn_init(&c, ends[0]);
	assert_int_equal(pthread_create(&sender, NULL, send_all, &ends[1]), 0);
	for (size_t i = 0; i < NR; i++) {
		if (!c.ahead_nr)
			page_conn_read_ahead(&c, ahead && (!in_turns || i % 3) ? room : NULL);
		assert_int_equal(page_conn_recv(&c, buf, sizes[i], i == 0, &err), 0);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(buf[k], byte_of(at + k));
		at += sizes[i];
	}
	assert_int_equal(c.ahead_nr, 0);
	pthread_join(sender, &failed);
	assert_null(failed);
	close(ends[1]);
	assert_int_equal(page_conn_recv(&c, buf, 1, true, &err), 1);
	assert_int_equal(page_conn_recv(&c, buf, 1, false, &err), -ECONNRESET);
	page_conn_close(&c);
	free(room);
	free(buf);
}

static void test_order(void **state)
{
	(void)state;
	receive_all(false, false);
	receive_all(true, false);
	receive_all(true, true);
}

/* What came without having been asked for is known, and so is an end in the middle. */
static void test_rest(void **state)
{
	static char room[PAGE_CONN_AHEAD];
	struct cr_error err = { 0 };
	struct page_conn c;
	char buf[16];
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	page_conn_init(&c, ends[0]);
	page_conn_read_ahead(&c, room);
	assert_int_equal(write(ends[1], "0123456789", 10), 10);
	assert_int_equal(page_conn_recv(&c, buf, 6, false, &err), 0);
	assert_memory_equal(buf, "012345", 6);
	assert_int_equal(c.ahead_nr, 4);
	assert_int_equal(page_conn_recv_some(&c, buf, sizeof(buf), &err), 4);
	assert_memory_equal(buf, "6789", 4);
	assert_int_equal(write(ends[1], "ab", 2), 2);
	close(ends[1]);
	assert_int_equal(page_conn_recv(&c, buf, 6, true, &err), -ECONNRESET);
	page_conn_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
