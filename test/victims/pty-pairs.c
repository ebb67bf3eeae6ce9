/* Pseudo terminals of which the tree has the master: modes, queues, and ends that are closed or hung up. */
#include "victim.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int master, slave, other;
static unsigned int number;
static struct termios2 modes;

static int pair_new(unsigned int *ret_number)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY), no = 0;

	need(fd >= 0 && ioctl(fd, TIOCSPTLCK, &no) == 0 && ioctl(fd, TIOCGPTN, ret_number) == 0);
	return fd;
}

static int slave_open(int of, int flags)
{
	int fd = ioctl(of, TIOCGPTPEER, flags | O_NOCTTY);

	need(fd >= 0);
	return fd;
}

static void pair(void)
{
	master = pair_new(&number);
	slave = slave_open(master, O_RDWR);
}

static void set_modes(unsigned int lflag, unsigned int iflag, unsigned int oflag)
{
	need(ioctl(slave, TCGETS2, &modes) == 0);
	modes.c_lflag = lflag;
	modes.c_iflag = iflag;
	modes.c_oflag = oflag;
	need(ioctl(slave, TCSETS2, &modes) == 0 && ioctl(slave, TCGETS2, &modes) == 0);
}

static void check_modes(void)
{
	struct termios2 now;

	expect(ioctl(slave, TCGETS2, &now) == 0, "modes cannot be read");
	expect(memcmp(&now, &modes, sizeof(now)) == 0, "modes are %x %x %x %x, were %x %x %x %x", now.c_iflag, now.c_oflag,
	       now.c_cflag, now.c_lflag, modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag);
}

static void check_number(int fd, unsigned int was)
{
	unsigned int is = 0;

	expect(ioctl(fd, TIOCGPTN, &is) == 0 && is == was, "number is %u, was %u", is, was);
}

static void type(int fd, const char *text, size_t len)
{
	need(write(fd, text, len) == (ssize_t)len);
}

static bool can(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	return poll(&p, 1, 0) == 1 && p.revents & what;
}

/* What one read gives, which for a slave is a line. */
static void expect_text(int fd, const char *text, size_t len)
{
	char buf[8192];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = poll(&p, 1, 2000) == 1 ? read(fd, buf, sizeof(buf)) : -1;

	expect(n == (ssize_t)len && memcmp(buf, text, len) == 0, "read %zd bytes '%.*s', should be '%.*s'", n,
	       n > 0 ? (int)n : 0, buf, (int)len, text);
}

/* Output comes to a master by a worker of the kernel, in pieces. */
static void until_there(int fd, int len)
{
	for (int n = 0, i = 0; i < 2000 && n < len; i++) {
		if (ioctl(fd, FIONREAD, &n) < 0)
			return;
		usleep(n < len ? 1000 : 0);
	}
}

#define EXPECT_TEXT(fd, text) expect_text(fd, text, sizeof(text) - 1)
#define TYPE(fd, text)        type(fd, text, sizeof(text) - 1)

/* A terminal's worker moves what is written on a little later. */
static void settle(void)
{
	sleep_ms(20);
}

/* ------------------------------------------------------------------- pair */

static void set_up_pair(void)
{
	struct winsize w = { 33, 101, 808, 528 };
	char path[40];

	pair();
	set_modes(ICANON | ECHO | ISIG | IEXTEN, ICRNL | IXON | IUTF8, OPOST | ONLCR);
	modes.c_cc[VERASE] = '#';
	modes.c_cc[VMIN] = 7;
	need(ioctl(slave, TCSETS2, &modes) == 0 && ioctl(slave, TIOCSWINSZ, &w) == 0);
	snprintf(path, sizeof(path), "/dev/pts/%u", number);
	other = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
	need(other >= 0 && fchmod(slave, 0640) == 0 && fchown(slave, 12, 34) == 0);
}

static void check_pair(void)
{
	struct winsize w = { 0 };
	struct stat st;

	check_number(master, number);
	check_modes();
	expect(ioctl(master, TIOCGWINSZ, &w) == 0 && w.ws_row == 33 && w.ws_col == 101 && w.ws_xpixel == 808 &&
		       w.ws_ypixel == 528,
	       "size is %ux%u", w.ws_row, w.ws_col);
	expect(fstat(slave, &st) == 0 && st.st_uid == 12 && st.st_gid == 34 && (st.st_mode & 07777) == 0640,
	       "node is of %u:%u, mode %o", st.st_uid, st.st_gid, st.st_mode);
	expect((fcntl(other, F_GETFL) & ~0100000) == (O_WRONLY | O_NONBLOCK), "flags are %o", fcntl(other, F_GETFL));
	TYPE(master, "onf#e\r");
	EXPECT_TEXT(slave, "one\n");
	EXPECT_TEXT(master, "onf#e\r\n");
	TYPE(other, "two\n");
	EXPECT_TEXT(master, "two\r\n");
	close(slave);
	close(other);
	expect(can(master, POLLHUP), "the last slave was closed, and the master does not see it");
}

/* ----------------------------------------------------------------- queues */

static void set_up_lines(void)
{
	pair();
	set_modes(ICANON | ISIG | IEXTEN, ICRNL | IXON, OPOST | ONLCR);
	modes.c_cc[VEOL] = ';';
	modes.c_cc[VEOL2] = '!';
	need(ioctl(slave, TCSETS2, &modes) == 0);
	TYPE(master, "first\rsec;third!fo\026\004ur\004\004\n\026\023part");
	settle();
	TYPE(slave, "said\n");
	TYPE(slave, "more\n");
}

static void check_lines(void)
{
	check_modes();
	EXPECT_TEXT(slave, "first\n");
	EXPECT_TEXT(slave, "sec;");
	EXPECT_TEXT(slave, "third!");
	EXPECT_TEXT(slave, "fo\004ur");
	EXPECT_TEXT(slave, "");
	EXPECT_TEXT(slave, "\n");
	expect(!can(slave, POLLIN), "a line without end can be read");
	TYPE(master, "ial\n");
	EXPECT_TEXT(slave, "\023partial\n");
	EXPECT_TEXT(master, "said\r\nmore\r\n");
	expect(!can(master, POLLIN) && !can(slave, POLLIN), "there is more to read");
}

static void set_up_raw(void)
{
	char buf[6000];

	pair();
	set_modes(0, 0, 0);
	modes.c_cc[VMIN] = 1;
	need(ioctl(slave, TCSETS2, &modes) == 0);
	pattern_fill(buf, sizeof(buf), 7);
	for (size_t i = 0; i < sizeof(buf); i += 200)
		type(master, buf + i, 200);
	pattern_fill(buf, sizeof(buf), 8);
	for (size_t i = 0; i < sizeof(buf); i += 200)
		type(slave, buf + i, 200);
	settle();
}

static void expect_all(int fd, uint64_t seed)
{
	char buf[6000];
	size_t got = 0;

	while (got < sizeof(buf)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, 2000) == 1 ? read(fd, buf + got, sizeof(buf) - got) : -1;

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	expect(got == sizeof(buf) && pattern_same(buf, got, seed), "%zu bytes, or others than were written", got);
}

static void check_raw(void)
{
	check_modes();
	expect_all(slave, 7);
	expect_all(master, 8);
	expect(!can(master, POLLIN) && !can(slave, POLLIN), "there is more to read");
}

static void set_up_stopped(void)
{
	pair();
	set_modes(ICANON | ISIG | IEXTEN, ICRNL | IXON, OPOST | ONLCR);
	TYPE(slave, "before\n");
	TYPE(master, "\023");
	settle();
	need(fcntl(slave, F_SETFL, O_NONBLOCK) == 0 && write(slave, "x", 1) < 0 && errno == EAGAIN);
}

static void check_stopped(void)
{
	expect(write(slave, "x", 1) < 0 && errno == EAGAIN, "output runs");
	EXPECT_TEXT(master, "before\r\n");
	TYPE(master, "\021");
	settle();
	TYPE(slave, "after\n");
	EXPECT_TEXT(master, "after\r\n");
}

static void set_up_stopped_call(void)
{
	pair();
	set_modes(ICANON | ISIG | IEXTEN, ICRNL | IXON, OPOST | ONLCR);
	TYPE(slave, "before\n");
	need(ioctl(slave, TCXONC, TCOOFF) == 0);
	need(fcntl(slave, F_SETFL, O_NONBLOCK) == 0);
}

static void check_stopped_call(void)
{
	TYPE(master, "\021");
	settle();
	expect(write(slave, "x", 1) < 0 && errno == EAGAIN, "output runs");
	expect(ioctl(slave, TCXONC, TCOON) == 0, "tcflow");
	TYPE(slave, "after\n");
	until_there(master, sizeof("before\r\nafter\r\n") - 1);
	EXPECT_TEXT(master, "before\r\nafter\r\n");
}

/* -------------------------------------------------------------- one end only */

static void set_up_fresh(void)
{
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	need(master >= 0 && ioctl(master, TIOCGPTN, &number) == 0);
}

static void check_fresh(void)
{
	int locked = 0;
	char byte;

	check_number(master, number);
	expect(ioctl(master, TIOCGPTLCK, &locked) == 0 && locked, "not locked");
	expect(!can(master, POLLHUP), "hung up");
	expect(read(master, &byte, 1) < 0 && errno == EAGAIN, "reads something");
	locked = 0;
	expect(ioctl(master, TIOCSPTLCK, &locked) == 0, "unlock");
	slave = slave_open(master, O_RDWR);
	TYPE(slave, "there");
	EXPECT_TEXT(master, "there");
}

static void set_up_left(void)
{
	pair();
	set_modes(ICANON, ICRNL, OPOST | ONLCR);
	TYPE(slave, "last words\n");
	TYPE(master, "nobody reads\n");
	settle();
	close(slave);
	need(can(master, POLLHUP));
}

static void check_left(void)
{
	char byte;

	expect(can(master, POLLHUP), "not hung up");
	EXPECT_TEXT(master, "last words\r\n");
	expect(read(master, &byte, 1) < 0 && errno == EIO, "no error after the last words");
	slave = slave_open(master, O_RDWR);
	check_modes();
	EXPECT_TEXT(slave, "nobody reads\n");
}

static void set_up_hung_up(void)
{
	unsigned int n;
	int gone;

	pair();
	other = slave;
	need(ioctl(slave, TIOCVHANGUP) == 0);
	slave = slave_open(master, O_RDWR);
	set_modes(ICANON, ICRNL, OPOST);
	/* and one whose master has been closed */
	gone = pair_new(&n);
	n = (unsigned int)slave_open(gone, O_RDWR | O_NONBLOCK);
	need(dup2((int)n, 50) == 50);
	close((int)n);
	close(gone);
}

static void check_hung_up(void)
{
	struct termios now;
	char byte;
	static const int both[] = { 0, 50 };

	for (int i = 0; i < 2; i++) {
		int fd = i ? both[1] : other;

		expect(ioctl(fd, TCGETS, &now) < 0 && errno == EIO, "descriptor %d was not hung up", i);
		expect(read(fd, &byte, 1) == 0, "descriptor %d can be read", i);
		expect(write(fd, "x", 1) < 0 && errno == EIO, "descriptor %d can be written to", i);
	}
	expect((fcntl(50, F_GETFL) & ~0100000) == (O_RDWR | O_NONBLOCK), "flags are %o", fcntl(50, F_GETFL));
	check_modes();
	TYPE(slave, "alive");
	EXPECT_TEXT(master, "alive");
}

/* ------------------------------------------------------------------ states */

static void set_up_states(void)
{
	struct termios locked = { .c_lflag = ECHO | ICANON, .c_iflag = ICRNL };
	int yes = 1;

	pair();
	set_modes(ECHO | ICANON | ISIG | IEXTEN, ICRNL | IXON, OPOST | ONLCR);
	locked.c_cc[VINTR] = 1;
	need(ioctl(slave, TIOCSLCKTRMIOS, &locked) == 0);
	need(ioctl(slave, TIOCEXCL) == 0 && ioctl(master, TIOCPKT, &yes) == 0 && ioctl(master, TIOCSPTLCK, &yes) == 0);
	TYPE(slave, "packet\n");
	TYPE(master, "unfinished");
	settle();
	expect(!can(master, POLLPRI), "news");
}

static void check_states(void)
{
	struct termios locked = { 0 };
	struct termios2 try = modes;
	int exclusive = 0, packet = 0, lock = 0;

	expect(ioctl(slave, TIOCGLCKTRMIOS, &locked) == 0 && locked.c_lflag == (ECHO | ICANON) && locked.c_iflag == ICRNL &&
		       locked.c_cc[VINTR] == 1 && locked.c_cc[VQUIT] == 0,
	       "locks are %x %x", locked.c_lflag, locked.c_iflag);
	expect(ioctl(slave, TIOCGEXCL, &exclusive) == 0 && exclusive, "not exclusive");
	expect(ioctl(master, TIOCGPKT, &packet) == 0 && packet, "no packet mode");
	expect(ioctl(master, TIOCGPTLCK, &lock) == 0 && lock, "not locked");
	expect(!can(master, POLLPRI), "news that were none");
	EXPECT_TEXT(master, "\0packet\r\nunfinished");
	try.c_lflag = 0;
	expect(ioctl(slave, TCSETS2, &try) == 0, "set modes");
	expect(ioctl(slave, TCGETS2, &try) == 0 && try.c_lflag == (ECHO | ICANON), "local modes are %x", try.c_lflag);
	expect(ioctl(slave, TCFLSH, TCIFLUSH) == 0 && can(master, POLLPRI), "a flush is no news");
}

static void set_up_news(void)
{
	int yes = 1;

	pair();
	need(ioctl(master, TIOCPKT, &yes) == 0 && ioctl(slave, TCFLSH, TCIFLUSH) == 0);
}

/* ---------------------------------------------------------- many, and owners */

#define MANY 60
static int many[MANY];
static unsigned int numbers[MANY];

static void set_up_many(void)
{
	for (int i = 0; i < MANY; i++)
		many[i] = pair_new(&numbers[i]);
	for (int i = 0; i < MANY; i++)
		if (i % 3) {
			close(many[i]);
			many[i] = -1;
		}
}

static void check_many(void)
{
	for (int i = 0; i < MANY; i += 3)
		check_number(many[i], numbers[i]);
}

static volatile sig_atomic_t signalled;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	signalled = info->si_fd;
}

static void set_up_owner(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	pair();
	set_modes(0, 0, 0);
	need(sigaction(SIGRTMIN + 3, &sa, NULL) == 0);
	need(fcntl(master, F_SETOWN, getpid()) == 0 && fcntl(master, F_SETSIG, SIGRTMIN + 3) == 0 &&
	     fcntl(master, F_SETFL, O_RDWR | O_ASYNC) == 0);
}

static void check_owner(void)
{
	expect(fcntl(master, F_GETOWN) == getpid() && fcntl(master, F_GETSIG) == SIGRTMIN + 3, "owner is %d",
	       fcntl(master, F_GETOWN));
	expect((fcntl(master, F_GETFL) & ~0100000) == (O_RDWR | O_ASYNC), "flags are %o", fcntl(master, F_GETFL));
	TYPE(slave, "x");
	for (int i = 0; i < 200 && !signalled; i++)
		sleep_ms(10);
	expect(signalled == master, "signal from descriptor %d", (int)signalled);
}

/* A discipline other than the usual one. */
static void set_up_discipline(void)
{
	int discipline = 2; /* N_MOUSE ... N_NULL 27 */

	pair();
	discipline = 27;
	if (ioctl(slave, TIOCSETD, &discipline) < 0)
		victim_skip("no other line discipline here");
}

const struct victim_case victim_cases[] = {
	{ "pair", set_up_pair, check_pair, .flags = CASE_MORE },
	{ "lines", set_up_lines, check_lines, .flags = CASE_MORE },
	{ "raw", set_up_raw, check_raw, .flags = CASE_MORE },
	{ "stopped", set_up_stopped, check_stopped, .flags = CASE_MORE },
	{ "stopped-by-call", set_up_stopped_call, check_stopped_call },
	{ "fresh", set_up_fresh, check_fresh, .flags = CASE_MORE },
	{ "slave-closed", set_up_left, check_left, .flags = CASE_MORE },
	{ "hung-up", set_up_hung_up, check_hung_up, .flags = CASE_MORE },
	{ "states", set_up_states, check_states, .flags = CASE_MORE },
	{ "news", set_up_news, NULL, .refuse = "packet mode" },
	{ "many", set_up_many, check_many },
	{ "owner", set_up_owner, check_owner },
	{ "discipline", set_up_discipline, NULL, .refuse = "line discipline" },
	{ NULL },
};
