/* What is in the queues of a terminal is there again after somebody looked, and is the same in another one that was filled. */
#include "base/array.h"
#include "files/tty-line.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

struct modes {
	const char *name;
	unsigned int lflag, iflag, oflag;
	unsigned char eol, eol2;
};

static const struct modes modes[] = {
	{ "raw", 0, 0, 0, 0, 0 },
	{ "cooked", ICANON | ECHO | ISIG | IEXTEN, ICRNL | IXON, OPOST | ONLCR, 0, 0 },
	{ "cooked, silent, delimiters", ICANON | IEXTEN, IUTF8, OPOST, 'x', 'y' },
	{ "lines without extensions", ICANON | ECHO | ECHONL, INLCR, OPOST | ONLCR, 17, 0 },
	{ "bytes with flow control", ISIG, IXON | IXANY, 0, 0, 0 },
};

struct pty {
	int master, slave;
};

static struct pty pty_new(const struct modes *m)
{
	struct pty p = { .master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) };
	struct termios2 t;
	int no = 0;

	if (p.master < 0)
		skip();
	assert_int_equal(ioctl(p.master, TIOCSPTLCK, &no), 0);
	p.slave = ioctl(p.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	assert_true(p.slave >= 0);
	assert_int_equal(ioctl(p.slave, TCGETS2, &t), 0);
	t.c_lflag = m->lflag;
	t.c_iflag = m->iflag;
	t.c_oflag = m->oflag;
	t.c_cc[VEOL] = m->eol;
	t.c_cc[VEOL2] = m->eol2;
	assert_int_equal(ioctl(p.slave, TCSETS2, &t), 0);
	return p;
}

static void pty_done(struct pty *p)
{
	close(p->slave);
	close(p->master);
}

/* Bytes that mean something, and others; never the characters that end what the terminal writes. */
static size_t noise(unsigned int *seed, char *buf, size_t size)
{
	static const char special[] = "\n\r\004\026\177xy\tabc \033\025";
	size_t nr = (size_t)rand_r(seed) % size;

	for (size_t i = 0; i < nr; i++) {
		int c = rand_r(seed);

		buf[i] = c & 256 ? special[(c >> 9) % (sizeof(special) - 1)] : (char)(32 + c % 90);
	}
	return nr;
}

static void wait_for_worker(void)
{
	poll(NULL, 0, 5);
}

static void fill_with_noise(struct pty *p, unsigned int seed)
{
	char buf[700];
	size_t nr = noise(&seed, buf, sizeof(buf));

	assert_int_equal(write(p->master, buf, nr), (ssize_t)nr);
	nr = noise(&seed, buf, sizeof(buf));
	assert_int_equal(write(p->slave, buf, nr), (ssize_t)nr);
	wait_for_worker();
}

static void same_queues(const char *name, unsigned int seed, const struct tty_queues *a, const struct tty_queues *b)
{
	if (a->nr_output != b->nr_output || a->nr_input != b->nr_input || a->nr_lines != b->nr_lines ||
	    memcmp(a->output, b->output, a->nr_output) != 0 || memcmp(a->input, b->input, a->nr_input) != 0 ||
	    memcmp(a->lines, b->lines, a->nr_lines * sizeof(a->lines[0])) != 0 || a->stop != b->stop)
		fail_msg("%s, seed %u: %zu/%zu/%zu/%d, then %zu/%zu/%zu/%d", name, seed, a->nr_output, a->nr_input, a->nr_lines,
			 (int)a->stop, b->nr_output, b->nr_input, b->nr_lines, (int)b->stop);
}

static void test_again(void **state)
{
	struct tty_queues *q = calloc(3, sizeof(*q));
	struct cr_error err = { 0 };

	(void)state;
	assert_non_null(q);
	for (unsigned int seed = 0; seed < 60; seed++) {
		const struct modes *m = &modes[seed % ARRAY_LEN(modes)];
		struct pty p = pty_new(m), other = pty_new(m);
		struct termios2 before, after;

		fill_with_noise(&p, seed);
		ioctl(p.slave, TCGETS2, &before);
		if (tty_queues_peek(p.master, p.slave, &q[0], &err) < 0 || tty_queues_peek(p.master, p.slave, &q[1], &err) < 0)
			fail_msg("%s, seed %u: %s", m->name, seed, err.text);
		same_queues(m->name, seed, &q[0], &q[1]);
		ioctl(p.slave, TCGETS2, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		if (tty_queues_fill(other.master, other.slave, &q[0], &err) < 0 ||
		    tty_queues_peek(other.master, other.slave, &q[2], &err) < 0)
			fail_msg("%s, seed %u: %s", m->name, seed, err.text);
		same_queues(m->name, seed, &q[0], &q[2]);
		pty_done(&p);
		pty_done(&other);
	}
	free(q);
}

static void test_stopped(void **state)
{
	static const struct {
		const char *name;
		bool by_call;
		enum tty_stop stop;
	} cases[] = { { "by a character", false, TTY_STOPPED_BY_CHARACTER }, { "by a call", true, TTY_STOPPED_BY_CALL } };
	struct tty_queues *q = calloc(2, sizeof(*q));
	struct cr_error err = { 0 };

	(void)state;
	assert_non_null(q);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pty p = pty_new(&modes[1]);

		assert_int_equal(write(p.slave, "said\n", 5), 5);
		wait_for_worker();
		if (cases[i].by_call)
			assert_int_equal(ioctl(p.slave, TCXONC, TCOOFF), 0);
		else
			assert_int_equal(write(p.master, "\023", 1), 1);
		wait_for_worker();
		for (int k = 0; k < 2; k++) {
			if (tty_queues_peek(p.master, p.slave, &q[k], &err) < 0)
				fail_msg("%s: %s", cases[i].name, err.text);
			assert_int_equal(q[k].stop, cases[i].stop);
			assert_int_equal(write(p.slave, "x", 1), -1);
		}
		same_queues(cases[i].name, 0, &q[0], &q[1]);
		pty_done(&p);
	}
	free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
