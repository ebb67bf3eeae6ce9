/* Descriptors with a message: those that are asked for arrive, and of more than that none stays open. */
#include "base/pass-fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

static void assert_same_file(int a, int b)
{
	struct stat x, y;

	assert_int_equal(fstat(a, &x), 0);
	assert_int_equal(fstat(b, &y), 0);
	assert_int_equal(x.st_ino, y.st_ino);
	assert_int_equal(x.st_dev, y.st_dev);
}

static void they_arrive_close_on_exec(void **state)
{
	int pair[2], got[PASS_FDS_MAX], before = count_fds();
	char text[8] = "";

	(void)state;
	make_pair(pair);
	for (size_t nr = 0; nr <= PASS_FDS_MAX; nr++) {
		assert_int_equal(pass_fds_send(pair[0], "word", 4, pair, nr), 4);
		assert_int_equal(pass_fds_receive(pair[1], text, sizeof(text), got, PASS_FDS_MAX), 4);
		assert_memory_equal(text, "word", 4);
		for (size_t i = 0; i < PASS_FDS_MAX; i++) {
			if (i >= nr) {
				assert_int_equal(got[i], -1);
				continue;
			}
			assert_same_file(got[i], pair[i]);
			assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
			close(got[i]);
		}
	}
	close_pair(pair);
	assert_int_equal(count_fds(), before);
}

/* As many as one message can have; more than was asked for by one, which finds room, or by many. */
static void of_too_many_none_stays(void **state)
{
	static const size_t many[] = { 2, 3, 253 };
	int pair[2], before = count_fds();

	(void)state;
	make_pair(pair);
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
		union {
			struct cmsghdr head;
			char room[CMSG_SPACE(253 * sizeof(int))];
		} control = { 0 };
		char byte = 0;
		int got = 7;
		struct iovec iov = { &byte, 1 };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				      .msg_controllen = CMSG_SPACE(many[i] * sizeof(int)) };

		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
						 .cmsg_len = CMSG_LEN(many[i] * sizeof(int)) };
		for (size_t k = 0; k < many[i]; k++)
			memcpy(CMSG_DATA(&control.head) + k * sizeof(int), &pair[0], sizeof(int));
		assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
		assert_int_equal(pass_fds_receive(pair[1], &byte, 1, &got, 1), -EPROTO);
		assert_int_equal(got, -1);
		assert_int_equal(count_fds(), before + 2);
	}
	close_pair(pair);
}

static void ends_are_told(void **state)
{
	int pair[2], got = 7;
	char byte;

	(void)state;
	make_pair(pair);
	assert_int_equal(pass_fds_send(pair[0], "x", 1, pair, PASS_FDS_MAX + 1), -EINVAL);
	close(pair[0]);
	assert_int_equal(pass_fds_receive(pair[1], &byte, 1, &got, 1), 0);
	assert_int_equal(got, -1);
	assert_int_equal(pass_fds_send(pair[1], "x", 1, NULL, 0), -EPIPE);
	close(pair[1]);
	assert_int_equal(pass_fds_receive(-1, &byte, 1, &got, 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_arrive_close_on_exec),
		cmocka_unit_test(of_too_many_none_stays),
		cmocka_unit_test(ends_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
