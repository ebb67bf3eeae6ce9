/* Pipes and FIFOs: data, sizes, packets, ends in several processes, ends that nobody has any more. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int p[2], q[2];
static pid_t kids[4];
static int nr_kids;

static int unread(int fd)
{
	int n = -1;

	ioctl(fd, FIONREAD, &n);
	return n;
}

static void expect_read(int fd, size_t len, uint64_t seed)
{
	static char buf[1 << 20];
	size_t got = 0;
	ssize_t n;

	while (got < len && (n = read(fd, buf + got, len - got)) > 0)
		got += (size_t)n;
	expect(got == len, "%zu bytes were in the pipe, should be %zu", got, len);
	expect(pattern_same(buf, len, seed), "the data differs");
}

static void fill(int fd, size_t len, uint64_t seed)
{
	static char buf[1 << 20];

	pattern_fill(buf, len, seed);
	need(write(fd, buf, len) == (ssize_t)len);
}

static void set_up_data(void)
{
	need(pipe2(p, O_CLOEXEC) == 0 && pipe2(q, O_NONBLOCK) == 0);
	fill(p[1], 10001, 1);
}

static void check_data(void)
{
	char byte;

	expect(unread(p[0]) == 10001, "%d bytes unread", unread(p[0]));
	expect_read(p[0], 10001, 1);
	expect(read(q[0], &byte, 1) < 0 && errno == EAGAIN, "the empty pipe is not empty");
	expect(fcntl(p[0], F_GETFD) == FD_CLOEXEC && fcntl(p[1], F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect(fcntl(q[1], F_GETFL) == (O_WRONLY | O_NONBLOCK), "flags are %o", fcntl(q[1], F_GETFL));
	fill(p[1], 100, 2);
	expect_read(p[0], 100, 2);
}

static void set_up_full(void)
{
	need(pipe(p) == 0 && pipe(q) == 0);
	need(fcntl(p[1], F_SETPIPE_SZ, 1 << 20) == 1 << 20 && fcntl(q[1], F_SETPIPE_SZ, 4096) == 4096);
	fill(p[1], 1 << 20, 3);
	fill(q[1], 4096, 4);
	need(fcntl(p[1], F_SETFL, O_NONBLOCK) == 0);
}

static void check_full(void)
{
	expect(fcntl(p[0], F_GETPIPE_SZ) == 1 << 20, "size is %d", fcntl(p[0], F_GETPIPE_SZ));
	expect(fcntl(q[0], F_GETPIPE_SZ) == 4096, "size is %d", fcntl(q[0], F_GETPIPE_SZ));
	expect(write(p[1], "x", 1) < 0 && errno == EAGAIN, "the full pipe is not full");
	expect_read(p[0], 1 << 20, 3);
	expect_read(q[0], 4096, 4);
}

/* one packet per read, whatever the reader's buffer holds */
static void set_up_packets(void)
{
	need(pipe2(p, O_DIRECT) == 0);
	for (int i = 1; i <= 5; i++)
		fill(p[1], (size_t)i * 10, (uint64_t)i);
}

static void check_packets(void)
{
	char buf[200];

	for (int i = 1; i <= 5; i++) {
		ssize_t n = read(p[0], buf, sizeof(buf));
		expect(n == i * 10 && pattern_same(buf, (size_t)i * 10, (uint64_t)i), "packet %d has %zd bytes", i, n);
	}
	expect(fcntl(p[1], F_GETFL) & O_DIRECT, "no packet mode any more");
}

/* Packet mode came later, and went for a while: what was written without it may be read in pieces. */
static void set_up_mixed(void)
{
	need(pipe(p) == 0 && pipe2(q, O_DIRECT) == 0);
	fill(p[1], 300, 6);
	need(fcntl(p[1], F_SETFL, O_DIRECT) == 0);
	need(write(q[1], "p", 1) == 1 && write(q[1], "packet", 6) == 6 && fcntl(q[1], F_SETFL, 0) == 0);
	need(write(q[1], "stream", 6) == 6 && fcntl(q[1], F_SETFL, O_DIRECT) == 0);
}

static void check_mixed(void)
{
	char buf[300] = "";

	for (size_t i = 0; i < 300; i += 100)
		expect(read(p[0], buf + i, 100) == 100, "piece %zu", i);
	expect(pattern_same(buf, 300, 6), "pieces are others");
	expect(read(q[0], buf, 5) == 1 && buf[0] == 'p', "the short packet reads '%.5s'", buf);
	expect(read(q[0], buf, 3) == 3 && memcmp(buf, "pac", 3) == 0, "the packet reads '%.3s'", buf);
	expect(read(q[0], buf, 3) == 3 && memcmp(buf, "str", 3) == 0, "behind the packet is '%.3s'", buf);
	expect(read(q[0], buf, 9) == 3 && memcmp(buf, "eam", 3) == 0, "the rest is '%.3s'", buf);
	expect(fcntl(p[1], F_GETFL) & O_DIRECT && fcntl(q[1], F_GETFL) & O_DIRECT, "packet mode");
}

static void set_up_half(void)
{
	need(pipe(p) == 0 && pipe(q) == 0);
	fill(p[1], 333, 5);
	need(close(p[1]) == 0 && close(q[0]) == 0);
}

static void check_half(void)
{
	char byte;

	expect_read(p[0], 333, 5);
	expect(read(p[0], &byte, 1) == 0, "no end of file where the writers are gone");
	signal(SIGPIPE, SIG_IGN);
	expect(write(q[1], "x", 1) < 0 && errno == EPIPE, "no EPIPE where the readers are gone");
}

/* a ring of processes, each reading from one pipe and writing to the next */
static int ring[4][2];

static void link_of_ring(long me)
{
	char byte = 0;

	for (int i = 0; i < 4; i++) {
		if (i != me)
			close(ring[i][0]);
		if (i != (me + 1) % 4)
			close(ring[i][1]);
	}
	victim_held();
	/* blocked in read while the checkpoint is taken */
	expect(read(ring[me][0], &byte, 1) == 1, "process %ld read nothing", me);
	byte++;
	expect(write(ring[(me + 1) % 4][1], &byte, 1) == 1, "process %ld wrote nothing", me);
}

static void set_up_ring(void)
{
	for (int i = 0; i < 4; i++)
		need(pipe(ring[i]) == 0);
	for (long me = 1; me < 4; me++)
		kids[nr_kids++] = victim_fork(link_of_ring, me);
	for (int i = 0; i < 4; i++) {
		if (i != 0)
			close(ring[i][0]);
		if (i != 1)
			close(ring[i][1]);
	}
}

static void check_ring(void)
{
	char byte = 'a';

	expect(write(ring[1][1], &byte, 1) == 1, "write");
	expect(read(ring[0][0], &byte, 1) == 1 && byte == 'd', "the ring gave %c", byte);
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
	close(ring[1][1]);
	expect(read(ring[0][0], &byte, 1) == 0, "an end is open somewhere");
}

/* a pipe whose ends were opened anew through procfs: more openings of one pipe than two */
static void set_up_reopened(void)
{
	char path[64];

	need(pipe(p) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	q[0] = open(path, O_RDONLY | O_NONBLOCK);
	q[1] = open(path, O_WRONLY);
	need(q[0] >= 0 && q[1] >= 0);
	fill(q[1], 50, 8);
}

static void check_reopened(void)
{
	expect(fcntl(q[0], F_GETFL) & O_NONBLOCK && !(fcntl(p[0], F_GETFL) & O_NONBLOCK), "flags");
	expect_read(q[0], 25, 8);
	expect(unread(p[0]) == 25, "the openings are not of one pipe");
}

/* --- FIFOs */

static void make_fifo(const char *name)
{
	need(mkfifo(victim_path(name), 0600) == 0);
}

static void set_up_fifo(void)
{
	make_fifo("fifo");
	p[0] = open(victim_path("fifo"), O_RDONLY | O_NONBLOCK);
	p[1] = open(victim_path("fifo"), O_WRONLY);
	need(p[0] >= 0 && p[1] >= 0);
	fill(p[1], 5000, 6);
	make_fifo("both");
	q[0] = open(victim_path("both"), O_RDWR);
	need(q[0] >= 0);
	fill(q[0], 77, 7);
}

static void check_fifo(void)
{
	expect_read(p[0], 5000, 6);
	expect_read(q[0], 77, 7);
	int again = open(victim_path("fifo"), O_WRONLY | O_NONBLOCK);
	expect(again >= 0, "the FIFO has no reader for others");
	expect(write(again, "hello", 5) == 5 && unread(p[0]) == 5, "another opening is of another FIFO");
}

static void set_up_fifo_half(void)
{
	make_fifo("half");
	p[0] = open(victim_path("half"), O_RDONLY | O_NONBLOCK);
	p[1] = open(victim_path("half"), O_WRONLY);
	need(p[0] >= 0 && p[1] >= 0);
	fill(p[1], 10, 9);
	close(p[1]);
}

static void check_fifo_half(void)
{
	char byte;

	expect_read(p[0], 10, 9);
	expect(read(p[0], &byte, 1) == 0, "no end of file");
}

/* Nobody has opened it for writing yet: that is no end of anything, and poll(2) does not say so. */
static void set_up_fifo_waits(void)
{
	make_fifo("waits");
	p[0] = open(victim_path("waits"), O_RDONLY | O_NONBLOCK);
	need(p[0] >= 0 && fcntl(p[0], F_SETPIPE_SZ, 1 << 17) == 1 << 17);
}

static void check_fifo_waits(void)
{
	struct pollfd end = { .fd = p[0], .events = POLLIN };
	char byte;

	expect(poll(&end, 1, 0) == 0, "events are %x", end.revents);
	expect(fcntl(p[0], F_GETPIPE_SZ) == 1 << 17, "size is %d", fcntl(p[0], F_GETPIPE_SZ));
	p[1] = open(victim_path("waits"), O_WRONLY | O_NONBLOCK);
	expect(p[1] >= 0 && write(p[1], "x", 1) == 1 && close(p[1]) == 0, "it cannot be written to");
	expect(poll(&end, 1, 0) == 1 && end.revents == (POLLIN | POLLHUP), "events are %x", end.revents);
	expect(read(p[0], &byte, 1) == 1 && byte == 'x' && read(p[0], &byte, 1) == 0, "content");
}

static void set_up_fifo_packets(void)
{
	make_fifo("packets");
	p[0] = p[1] = open(victim_path("packets"), O_RDWR);
	need(p[0] >= 0 && fcntl(p[0], F_SETFL, O_DIRECT) == 0);
	need(write(p[1], "one", 3) == 3 && write(p[1], "two", 3) == 3);
}

static void check_fifo_packets(void)
{
	char text[8] = "";

	expect(fcntl(p[0], F_GETFL) & O_DIRECT, "flags are %o", fcntl(p[0], F_GETFL));
	expect(read(p[0], text, sizeof(text)) == 3 && strcmp(text, "one") == 0, "first is '%s'", text);
	expect(read(p[0], text, sizeof(text)) == 3 && strcmp(text, "two") == 0, "second is '%s'", text);
}

/* Who may open it again, as /dev/stdout, its owner and mode say. */
static void set_up_owned(void)
{
	need(pipe(p) == 0 && fchown(p[0], 1234, 4321) == 0 && fchmod(p[1], 0620) == 0);
}

static void check_owned(void)
{
	struct stat st;

	for (int i = 0; i < 2; i++)
		expect(fstat(p[i], &st) == 0 && st.st_uid == 1234 && st.st_gid == 4321 && (st.st_mode & 07777) == 0620,
		       "it belongs to %d:%d, mode %o", st.st_uid, st.st_gid, st.st_mode);
}

static void set_up_fifo_unlinked(void)
{
	set_up_fifo();
	need(unlink(victim_path("fifo")) == 0 && unlink(victim_path("both")) == 0);
}

static void check_fifo_unlinked(void)
{
	expect_read(p[0], 5000, 6);
	expect_read(q[0], 77, 7);
	expect(write(p[1], "x", 1) == 1 && unread(p[0]) == 1, "the ends are not of one FIFO");
	expect(access(victim_path("fifo"), F_OK) < 0, "the name is back");
}

/* pieces of a socket's buffers, each of which takes the place of a page */
static void set_up_spliced(void)
{
	static char buf[120000];
	int s[2];
	ssize_t n;

	need(pipe2(p, O_NONBLOCK) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	pattern_fill(buf, sizeof(buf), 12);
	need(write(s[1], buf, sizeof(buf)) == (ssize_t)sizeof(buf));
	for (size_t left = sizeof(buf); left; left -= (size_t)n)
		if ((n = splice(s[0], NULL, p[1], NULL, left, SPLICE_F_NONBLOCK)) <= 0)
			victim_skip("splice: %s", strerror(errno));
	need(close(s[0]) == 0 && close(s[1]) == 0);
	if (unread(p[0]) <= fcntl(p[0], F_GETPIPE_SZ))
		victim_skip("the pieces are small");
}

static void check_spliced(void)
{
	expect_read(p[0], 120000, 12);
	expect(write(p[1], "x", 1) == 1 && unread(p[0]) == 1, "the pipe does not work");
}

const struct victim_case victim_cases[] = {
	{ "data", set_up_data, check_data, .flags = CASE_MORE },
	{ "full-and-sizes", set_up_full, check_full, .flags = CASE_MORE },
	{ "packets", set_up_packets, check_packets },
	{ "mixed", set_up_mixed, check_mixed },
	{ "owned", set_up_owned, check_owned },
	{ "spliced", set_up_spliced, check_spliced, .flags = CASE_ALTERS },
	{ "fifo-waits", set_up_fifo_waits, check_fifo_waits },
	{ "fifo-packets", set_up_fifo_packets, check_fifo_packets },
	{ "half-closed", set_up_half, check_half, .flags = CASE_MORE },
	{ "ring", set_up_ring, check_ring, .flags = CASE_MORE },
	{ "reopened", set_up_reopened, check_reopened },
	{ "fifo", set_up_fifo, check_fifo, .flags = CASE_MORE },
	{ "fifo-half", set_up_fifo_half, check_fifo_half },
	{ "fifo-unlinked", set_up_fifo_unlinked, check_fifo_unlinked },
	{ 0 },
};
