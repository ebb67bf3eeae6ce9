/*
 * Pseudo terminals whose queues are full: a line discipline holds 4095 bytes, and what was written on top of that waits before it,
 * untouched, until somebody reads. Who writes little at a time gets most into them.
 */
#include "victim.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ROOM 65536

static int master, slave;
static char in[ROOM], out[ROOM];
static size_t nr_in, nr_out;

static void pair(unsigned int lflag, unsigned int iflag, unsigned int oflag)
{
	struct termios2 t;
	int no = 0;

	master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	need(master >= 0 && ioctl(master, TIOCSPTLCK, &no) == 0);
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	need(slave >= 0 && ioctl(slave, TCGETS2, &t) == 0);
	t.c_lflag = lflag;
	t.c_iflag = iflag;
	t.c_oflag = oflag;
	need(ioctl(slave, TCSETS2, &t) == 0);
}

/* Writes, @unit bytes at a time, until nothing more goes in, also after the kernel has moved on what it could. */
static size_t fill(int fd, char *buf, uint64_t seed, size_t unit)
{
	int flags = fcntl(fd, F_GETFL);
	size_t nr = 0;

	pattern_fill(buf, ROOM, seed);
	need(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
	for (int idle = 0; idle < 20;) {
		ssize_t n = write(fd, buf + nr, unit);

		need(n > 0 || (n < 0 && errno == EAGAIN));
		if (n > 0)
			nr += (size_t)n;
		else
			sleep_ms(1);
		idle = n > 0 ? 0 : idle + 1;
		need(nr + unit <= ROOM);
	}
	need(fcntl(fd, F_SETFL, flags) == 0);
	return nr;
}

/* What comes out until nothing has come for a while, or there is no more room. */
static size_t drain(int fd, char *buf, size_t room)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t got = 0;

	while (got < room && poll(&p, 1, 300) == 1) {
		ssize_t n = read(fd, buf + got, room - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

static void expect_content(int fd, const char *of, const char *was, size_t nr)
{
	static char now[ROOM];
	size_t got = drain(fd, now, sizeof(now)), same = 0;

	while (same < got && same < nr && now[same] == was[same])
		same++;
	expect(got == nr && same == nr, "%zu bytes of %s, there were %zu, of which %zu are the same", got, of, nr, same);
}

static void check_both(void)
{
	expect(!(fcntl(master, F_GETFL) & O_NONBLOCK) && !(fcntl(slave, F_GETFL) & O_NONBLOCK), "an end does not wait");
	expect_content(slave, "input", in, nr_in);
	expect_content(master, "output", out, nr_out);
}

static void set_up_small(void)
{
	pair(0, 0, 0);
	nr_in = fill(master, in, 1, 100);
	nr_out = fill(slave, out, 2, 100);
	need(nr_in > 16384 && nr_out > 16384);
}

static void set_up_large(void)
{
	pair(0, 0, 0);
	nr_in = fill(master, in, 3, 1000);
	nr_out = fill(slave, out, 4, 5000);
	need(nr_in > 12288 && nr_out > 12288);
}

/* More lines than a line discipline holds, ended as a keyboard does. Those that got there were echoed, the others are yet to be. */
static void set_up_lines(void)
{
	char typed[8 * 1024 + 1];
	size_t nr = 0;

	pair(ICANON | ECHO | ISIG | IEXTEN, ICRNL | IXON, 0);
	for (int i = 0; i < 1024; i++)
		nr += (size_t)snprintf(typed + nr, sizeof(typed) - nr, "%07d\r", i);
	for (size_t i = 0; i < nr; i++)
		in[i] = typed[i] == '\r' ? '\n' : typed[i];
	nr_in = nr;
	for (size_t i = 0; i < nr; i += 512)
		need(write(master, typed + i, 512) == 512);
	sleep_ms(20);
}

static void check_lines(void)
{
	expect_content(slave, "input", in, nr_in);
	/* each byte is echoed once, in time */
	expect_content(master, "echo", in, nr_in);
}

/* A program that says more than anybody reads, and a line with its beginning of the next that it does not read */
static void set_up_talker(void)
{
	pair(ICANON | ISIG | IEXTEN, ICRNL | IXON, 0);
	need(write(master, "a line\rand a ha", 15) == 15);
	nr_out = fill(slave, out, 5, 100);
	need(nr_out > 16384);
}

static void check_talker(void)
{
	char line[32];
	ssize_t n = read(slave, line, sizeof(line));

	expect(n == 7 && memcmp(line, "a line\n", 7) == 0, "the line is %zd bytes", n);
	expect_content(master, "output", out, nr_out);
	expect(write(master, "lf\r", 3) == 3, "the master cannot write");
	n = read(slave, line, sizeof(line));
	expect(n == 11 && memcmp(line, "and a half\n", 11) == 0, "the other line is %zd bytes", n);
}

const struct victim_case victim_cases[] = {
	{ "small", set_up_small, check_both, .flags = CASE_MORE },
	{ "large", set_up_large, check_both },
	{ "lines", set_up_lines, check_lines, .flags = CASE_MORE },
	{ "talker", set_up_talker, check_talker },
	{ NULL },
};
