/* Queues of pseudo terminals; see tty-line.h. What n_tty.c does with each byte, and when, is why this reads as it does. */
#include "files/tty-line.h"

#include "kernel/apart.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 2000 /* for a worker of the kernel to move bytes on */
#define FILL_MS     500  /* the same, of a queue that seems to be full */
#define FILL_TRIES  8
#define CHUNK       256  /* the smallest buffer: tty_buffer_alloc() */
#define READ_SIZE   4096 /* N_TTY_BUF_SIZE: no line is longer */
#define LINE_HOLDS  (READ_SIZE - 1) /* by a line discipline; the rest waits in buffers before it, and is as it was typed */
#define SETTLE_US   2000 /* for the kernel to move on what there is room for, where nothing tells */
#define SETTLE_MAX  5

/* Characters that have a meaning while input is put in, and are quoted where they stand for themselves. */
struct typist {
	unsigned char stop, start, quote, eof;
	unsigned char eol, eol2; /* of the terminal itself, 0: none */
};

static bool ready(int fd, short events, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, wait_ms) == 1 && p.revents & events;
}

static int unread(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 || n < 0 ? 0 : n;
}

static void pause_us(long us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

/* As write(2). */
static ssize_t write_at_once(int fd, const unsigned char *data, size_t nr)
{
	int flags = fcntl(fd, F_GETFL), code;
	ssize_t n;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -1;
	n = write(fd, data, nr);
	code = errno;
	if (fcntl(fd, F_SETFL, flags) < 0)
		return -1;
	errno = code;
	return n;
}

/*
 * Neither end may be waited for with a blocking call: whoever would end the wait is stopped. A queue that was full has to be filled
 * as far again. The kernel counts a buffer by half of what it holds, makes another one while what there is does not exceed the limit,
 * and is not ready to be written to when it is reached (tty_buffer_alloc(), pty_write_room()). So small buffers come first,
 * which end right at the limit, and then one that is as large as can be: together they hold more than others would.
 */
static int put(int fd, const unsigned char *data, size_t nr)
{
	for (int left = FILL_MS; nr;) {
		ssize_t n = ready(fd, POLLOUT, 0) ? write(fd, data, nr < CHUNK ? nr : CHUNK) : write_at_once(fd, data, nr);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		n = n < 0 ? 0 : n;
		data += n;
		nr -= (size_t)n;
		if (n)
			continue;
		if (left-- == 0)
			return -ETIMEDOUT;
		pause_us(1000);
	}
	return 0;
}

/* ------------------------------------------------------------------- modes */

/* Nothing is changed on the way in, nothing is echoed, and no signals arise. */
static struct termios2 quiet(const struct termios2 *as)
{
	struct termios2 t = *as;

	/* taking IXON away would restart output that is held back (n_tty_set_termios()) */
	t.c_iflag &= IXON | IXANY | IUTF8;
	t.c_oflag &= ~(tcflag_t)OPOST;
	t.c_lflag &= ~(tcflag_t)(ISIG | ECHO | ECHOE | ECHOK | ECHONL | ECHOCTL | ECHOPRT | ECHOKE | XCASE);
	return t;
}

static struct termios2 raw(const struct termios2 *as)
{
	struct termios2 t = quiet(as);

	t.c_lflag &= ~(tcflag_t)(ICANON | IEXTEN | EXTPROC);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	return t;
}

/* What has not reached the line discipline yet gets there while the rest is taken, and is changed on the way as it would have been. */
static struct termios2 taking(struct termios2 t, const struct termios2 *as)
{
	t.c_iflag = as->c_iflag;
	return t;
}

static int set(int slave, const struct termios2 *t)
{
	return ioctl(slave, TCSETS2, t) < 0 ? -errno : 0;
}

static bool by_lines(const struct termios2 *t)
{
	return t->c_lflag & ICANON && !(t->c_lflag & EXTPROC);
}

/* ------------------------------------------------------------------ output */

/* poll(2) lets the worker finish first; n_tty_poll() in drivers/tty/n_tty.c */
static int take_output(int master, struct tty_queues *q)
{
	while (ready(master, POLLIN, 0)) {
		size_t nr = (size_t)unread(master), room = sizeof(q->output) - q->nr_output;
		ssize_t n;

		if (!nr)
			return 0;
		if (!room)
			return -ENOBUFS;
		n = read(master, q->output + q->nr_output, nr < room ? nr : room);
		if (n < 0 && errno != EINTR)
			return -errno;
		q->nr_output += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int put_output(int slave, const struct termios2 *as, const struct tty_queues *q)
{
	struct termios2 t = quiet(as);
	int r = q->nr_output ? set(slave, &t) : 0;

	if (r == 0)
		r = put(slave, q->output, q->nr_output);
	return r;
}

/* ------------------------------------------------------------------- stops */

static int flow_modes(int slave, const struct termios2 *as, const struct typist *how)
{
	struct termios2 t = quiet(as);

	t.c_iflag |= IXON;
	t.c_iflag &= ~(tcflag_t)IXANY;
	t.c_cc[VSTOP] = how->stop;
	t.c_cc[VSTART] = how->start;
	return set(slave, &t);
}

/* Output that is held back shows in that nothing can be written although the queue is empty. */
static bool runs(int slave, int wait_ms)
{
	return ready(slave, POLLOUT, wait_ms);
}

/*
 * Typing the stop character and waiting until it has worked shows that everything typed before it has been worked on:
 * FIONREAD does not tell of a line that has no end yet.
 */
static int type_stop(int master, int slave, const struct typist *how)
{
	int r = put(master, &how->stop, 1);

	for (int left = PATIENCE_MS * 20; r == 0 && runs(slave, 0); left--) {
		if (!left)
			return -ETIMEDOUT;
		pause_us(50);
	}
	return r;
}

static int type_start(int master, int slave, const struct typist *how)
{
	int r = put(master, &how->start, 1);

	return r < 0 ? r : runs(slave, PATIENCE_MS) ? 0 : -ETIMEDOUT;
}

static int hold_output(int master, int slave, const struct termios2 *as, enum tty_stop stop, const struct typist *how)
{
	int r = 0;

	if (stop == TTY_STOPPED_BY_CALL && ioctl(slave, TCXONC, TCOOFF) < 0)
		return -errno;
	if (stop == TTY_STOPPED_BY_CHARACTER) {
		r = flow_modes(slave, as, how);
		if (r == 0)
			r = type_stop(master, slave, how);
	}
	return r;
}

/* The master's queue is empty. */
static int release_output(int master, int slave, const struct termios2 *as, const struct typist *how,
			  enum tty_stop *ret)
{
	int r;

	*ret = TTY_RUNS;
	if (runs(slave, 0))
		return 0;
	*ret = TTY_STOPPED_BY_CALL;
	if (ioctl(slave, TCXONC, TCOON) < 0)
		return -errno;
	if (runs(slave, 0))
		return 0;
	*ret = TTY_STOPPED_BY_CHARACTER;
	r = flow_modes(slave, as, how);
	return r < 0 ? r : type_start(master, slave, how);
}

/* ------------------------------------------------------------------- input */

static bool is_taken(const struct termios2 *as, const struct typist *t, unsigned char c)
{
	return c == '\n' || c == as->c_cc[VEOL] || c == as->c_cc[VEOL2] || c == t->stop || c == t->start || c == t->quote;
}

static struct typist typist_for(const struct termios2 *as)
{
	struct typist t = { .eol = as->c_cc[VEOL], .eol2 = as->c_lflag & IEXTEN ? as->c_cc[VEOL2] : 0 };
	unsigned char *const each[] = { &t.stop, &t.start, &t.quote, &t.eof };

	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
		for (unsigned char c = 1; !*each[i]; c++)
			if (!is_taken(as, &t, c))
				*each[i] = c;
	return t;
}

/*
 * A read that finds nothing waits for the worker, if there is one, before it says so (n_tty_read()). After a full line discipline the
 * worker has to be told first, so it is given some time. Return: as read(2)
 */
static ssize_t take_some(int slave, const struct tty_queues *q, void *buf, size_t size)
{
	int tries = q->nr_input >= LINE_HOLDS / 2 ? SETTLE_MAX : 0;
	ssize_t n = read(slave, buf, size);

	while (n < 0 && (errno == EINTR || (errno == EAGAIN && tries))) {
		if (errno == EAGAIN && tries--)
			pause_us(SETTLE_US);
		n = read(slave, buf, size);
	}
	return n;
}

/* Lines first, as they are read; what is left when no more are complete shows in the other mode. */
static int take_lines(int slave, struct tty_queues *q)
{
	for (;;) {
		size_t room = sizeof(q->input) - q->nr_input;
		ssize_t n;

		if (room < READ_SIZE || q->nr_lines == TTY_LINES_MAX)
			return -ENOBUFS;
		n = take_some(slave, q, q->input + q->nr_input, READ_SIZE);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		q->lines[q->nr_lines++] = (uint32_t)n;
		q->nr_input += (size_t)n;
	}
}

static int take_bytes(int slave, struct tty_queues *q)
{
	for (;;) {
		size_t room = sizeof(q->input) - q->nr_input;
		ssize_t n;

		if (!room)
			return -ENOBUFS;
		n = take_some(slave, q, q->input + q->nr_input, room);
		if (n <= 0)
			return n == 0 || errno == EAGAIN ? 0 : -errno;
		q->nr_input += (size_t)n;
	}
}

static int take_input(int slave, const struct termios2 *as, struct tty_queues *q)
{
	struct termios2 t = taking(quiet(as), as), bytes = taking(raw(as), as);
	int r = 0;

	q->by_lines = by_lines(as);
	if (q->by_lines) {
		/* where there are no lines nothing need be done about them, and mostly there are none */
		if (unread(slave)) {
			r = set(slave, &t);
			if (r == 0)
				r = take_lines(slave, q);
		}
	}
	if (r == 0)
		r = set(slave, &bytes);
	return r < 0 ? r : take_bytes(slave, q);
}

static bool needs_quote(const struct typist *t, unsigned char c)
{
	return c && (c == '\n' || c == t->stop || c == t->start || c == t->quote || c == t->eof || c == t->eol ||
		     c == t->eol2);
}

/* @ends: the last byte of @data is the delimiter that ends the line */
static int type_line(int master, const struct typist *how, const unsigned char *data, size_t nr, bool ends)
{
	int r = 0;

	for (size_t i = 0, from = 0; r == 0 && i < nr; i++) {
		bool plain = !needs_quote(how, data[i]) || (ends && i + 1 == nr);

		if (plain && i + 1 < nr)
			continue;
		r = put(master, data + from, i - from + plain);
		if (r == 0 && !plain) {
			unsigned char both[2] = { how->quote, data[i] };

			r = put(master, both, sizeof(both));
		}
		from = i + 1;
	}
	return r;
}

static bool is_delimiter(const struct typist *how, unsigned char c)
{
	return c == '\n' || (c && (c == how->eol || c == how->eol2));
}

static struct termios2 typing(const struct termios2 *as, const struct typist *how)
{
	struct termios2 t = quiet(as);

	memset(t.c_cc, 0, sizeof(t.c_cc));
	t.c_iflag = (t.c_iflag & ~(tcflag_t)IXANY) | IXON;
	t.c_lflag |= ICANON | IEXTEN;
	t.c_cc[VSTOP] = how->stop;
	t.c_cc[VSTART] = how->start;
	t.c_cc[VLNEXT] = how->quote;
	t.c_cc[VEOF] = how->eof;
	t.c_cc[VEOL] = how->eol;
	t.c_cc[VEOL2] = how->eol2;
	return t;
}

/* What is typed in: lines, and what has no end yet. */
struct script {
	const uint32_t *line, *lines_end;
	const unsigned char *at, *end;
};

/* Return: length of the next piece; @ret_open: it is no line */
static size_t next_piece(const struct script *s, bool *ret_open)
{
	size_t left = (size_t)(s->end - s->at);

	*ret_open = s->line == s->lines_end || *s->line > left;
	return *ret_open ? left : *s->line;
}

static void pass(struct script *s, size_t nr, bool open)
{
	s->at += nr;
	s->line = open ? s->lines_end : s->line + 1;
}

static bool at_end(const struct script *s)
{
	return s->at == s->end && s->line == s->lines_end;
}

/* Quoted, as far as a line discipline holds it; there an end-of-file character takes a byte as well. */
static int type_quoted(int master, const struct typist *how, struct script *s)
{
	size_t room = LINE_HOLDS;
	int r = 0;

	while (r == 0 && !at_end(s)) {
		bool open, ends;
		size_t nr = next_piece(s, &open);

		ends = nr && is_delimiter(how, s->at[nr - 1]);
		if (nr + !ends > room)
			break;
		room -= nr + !ends;
		r = type_line(master, how, s->at, nr, ends);
		if (r == 0 && !ends && !open)
			r = put(master, &how->eof, 1);
		pass(s, nr, open);
	}
	return r;
}

/*
 * What a line discipline has no room for stays before it until somebody reads, when the terminal has its own modes again: so it is
 * typed as it would be in these. What has room is not echoed again.
 */
static int type_plain(int master, int slave, const struct termios2 *as, struct script *s)
{
	struct termios2 t = taking(quiet(as), as);
	unsigned char eof = as->c_cc[VEOF];
	int r = set(slave, &t);

	while (r == 0 && !at_end(s)) {
		bool open;
		size_t nr = next_piece(s, &open);
		bool ends = nr && (s->at[nr - 1] == '\n' || s->at[nr - 1] == as->c_cc[VEOL]);

		r = put(master, s->at, nr);
		if (r == 0 && !ends && !open && eof)
			r = put(master, &eof, 1);
		pass(s, nr, open);
	}
	pause_us(SETTLE_US);
	return r;
}

static int type_lines(int master, int slave, const struct termios2 *as, const struct typist *how,
		      const struct tty_queues *q)
{
	struct termios2 t = typing(as, how);
	struct script s = { q->lines, q->lines + q->nr_lines, q->input, q->input + q->nr_input };
	int r = set(slave, &t);

	if (r == 0)
		r = type_quoted(master, how, &s);
	/* they must have arrived before the modes change again */
	if (r == 0)
		r = type_stop(master, slave, how);
	if (r == 0)
		r = type_start(master, slave, how);
	return r < 0 || at_end(&s) ? r : type_plain(master, slave, as, &s);
}

static int type_bytes(int master, int slave, const struct termios2 *as, const struct tty_queues *q)
{
	struct termios2 t = raw(as);
	/* one less than its buffer is what a line discipline holds; the rest waits before it */
	int arrived = q->nr_input < LINE_HOLDS ? (int)q->nr_input : LINE_HOLDS;
	int r;

	t.c_iflag &= (tcflag_t)IUTF8;
	r = set(slave, &t);
	if (r == 0)
		r = put(master, q->input, q->nr_input);
	for (int left = PATIENCE_MS * 20; r == 0 && unread(slave) < arrived; left--) {
		if (!left)
			return -ETIMEDOUT;
		pause_us(50);
	}
	return r;
}

static int put_input(int master, int slave, const struct termios2 *as, const struct typist *how,
		     const struct tty_queues *q)
{
	if (!q->nr_input && !q->nr_lines)
		return 0;
	return q->by_lines ? type_lines(master, slave, as, how, q) : type_bytes(master, slave, as, q);
}

/* --------------------------------------------------------------- the whole */

struct handling {
	int master, slave;
	struct tty_queues *q;
	const struct tty_queues *fill; /* NULL: take and put back */
};

/*
 * Everything into the terminal, whose queues are empty and whose output runs. Input comes first: a queue of output that is full looks
 * as if it were held back.
 */
static int put_all(struct handling *h, const struct termios2 *as, const struct tty_queues *q)
{
	struct typist how = typist_for(as);
	int r = -ETIMEDOUT;

	/* how much fits depends on when the kernel moves it on; the next time that will be another moment */
	for (int i = 0; i < FILL_TRIES && r == -ETIMEDOUT; i++) {
		if (i && (ioctl(h->slave, TCFLSH, TCIOFLUSH) < 0 || ioctl(h->master, TCFLSH, TCIOFLUSH) < 0))
			return -errno;
		r = put_input(h->master, h->slave, as, &how, q);
		if (r == 0)
			r = put_output(h->slave, as, q);
	}
	if (r == 0)
		r = hold_output(h->master, h->slave, as, q->stop, &how);
	return r;
}

static int take_and_put_back(struct handling *h, const struct termios2 *as)
{
	struct typist how = typist_for(as);
	struct tty_queues *q = h->q;
	int r = take_output(h->master, q), back;

	if (r == 0)
		r = release_output(h->master, h->slave, as, &how, &q->stop);
	/* what was echoed and held back comes now */
	if (r == 0 && q->stop)
		r = take_output(h->master, q);
	if (r == 0)
		r = take_input(h->slave, as, q);
	/* in canonical mode again before bytes come: changing it with bytes inside makes a line of them */
	back = put_all(h, as, q);
	return r < 0 ? r : back;
}

/* Locked modes could not be changed by anybody, and news of packet mode would be ours. */
static int handle(void *arg)
{
	struct handling *h = arg;
	struct termios locked, none = { 0 };
	struct termios2 as;
	int packet = 0, off = 0, r;
	bool lock = ioctl(h->master, TIOCGLCKTRMIOS, &locked) == 0 && memcmp(&locked, &none, sizeof(none)) != 0;

	if (ioctl(h->master, TCGETS2, &as) < 0)
		return -errno;
	if (ioctl(h->master, TIOCGPKT, &packet) == 0 && packet)
		ioctl(h->master, TIOCPKT, &off);
	if (lock)
		ioctl(h->master, TIOCSLCKTRMIOS, &none);
	r = h->fill ? put_all(h, &as, h->fill) : take_and_put_back(h, &as);
	if (set(h->slave, &as) < 0 && r == 0)
		r = -EIO;
	if (lock)
		ioctl(h->master, TIOCSLCKTRMIOS, &locked);
	if (packet)
		ioctl(h->master, TIOCPKT, &packet);
	return r;
}

/* A line that has no end yet shows in the other mode only, and looking there is harmless while there is none. */
static bool nothing_there(int master, int slave, struct tty_queues *q)
{
	struct termios2 t;

	if (ready(master, POLLIN, 0) || ioctl(slave, TCGETS2, &t) < 0 || !runs(slave, 0))
		return false;
	q->by_lines = by_lines(&t);
	return !q->by_lines && !ready(slave, POLLIN, 0) && !unread(slave);
}

int tty_queues_peek(int master, int slave, struct tty_queues *ret, struct cr_error *err)
{
	struct handling h = { .master = master, .slave = slave, .q = ret };
	int r;

	ret->nr_output = ret->nr_input = ret->nr_lines = 0;
	ret->by_lines = false;
	ret->stop = TTY_RUNS;
	if (nothing_there(master, slave, ret))
		return 0;
	r = apart_run(handle, &h, err);
	return r < 0 ? cr_fail(err, r, "look into the queues of a terminal") : 0;
}

int tty_queues_fill(int master, int slave, const struct tty_queues *q, struct cr_error *err)
{
	struct handling h = { .master = master, .slave = slave, .fill = q };
	int r;

	if (!q->nr_output && !q->nr_input && !q->nr_lines && !q->stop)
		return 0;
	r = handle(&h);
	return r < 0 ? cr_fail(err, r, "fill the queues of a terminal") : 0;
}
