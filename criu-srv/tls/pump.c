/* Moving bytes; see pump.h. One thread, never blocked but in poll(). */
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define ROOM   (128 * 1024)
#define BYE_MS 10000 /* for the other side to say goodbye, too */

struct way {
	char bytes[ROOM];
	size_t at, len; /* what is not passed on yet */
	bool ended;     /* nothing more comes */
	bool passed;    /* and the other end has been told */
};

struct pump {
	struct session *s;
	int network, inside;
	struct way out, in;
	bool out_full, in_full; /* the next step has to wait until something more is taken */
};

/* Return: true something was moved, or has ended */
static bool read_inside(struct pump *p)
{
	struct way *w = &p->out;
	ssize_t n;

	if (w->ended || w->at < w->len)
		return false;
	n = recv(p->inside, w->bytes, ROOM, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	w->at = 0;
	w->len = n > 0 ? (size_t)n : 0;
	w->ended = n <= 0;
	return true;
}

/* Return: 1 something was moved; 0; negative errno */
static int write_network(struct pump *p)
{
	struct way *w = &p->out;
	ssize_t n;

	if (w->at < w->len) {
		n = session_send(p->s, w->bytes + w->at, w->len - w->at);
		p->out_full = n == -EAGAIN;
		if (n > 0)
			w->at += (size_t)n;
		return n > 0 ? 1 : n == -EAGAIN ? 0 : (int)n;
	}
	if (!w->ended || w->passed)
		return 0;
	n = session_bye(p->s);
	p->out_full = n == -EAGAIN;
	if (n == -EAGAIN)
		return 0;
	w->passed = true;
	return n < 0 ? (int)n : 1;
}

static int read_network(struct pump *p)
{
	struct way *w = &p->in;
	ssize_t n;

	if (w->ended || w->at < w->len)
		return 0;
	n = session_recv(p->s, w->bytes, ROOM);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	w->at = 0;
	w->len = (size_t)n;
	w->ended = n == 0;
	return 1;
}

static bool write_inside(struct pump *p)
{
	struct way *w = &p->in;
	ssize_t n;

	p->in_full = false;
	if (w->at < w->len) {
		n = send(p->inside, w->bytes + w->at, w->len - w->at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			p->in_full = true;
			return false;
		}
		/* nobody is there any more who would read it */
		w->at = n < 0 ? w->len : w->at + (size_t)n;
		return true;
	}
	if (!w->ended || w->passed)
		return false;
	shutdown(p->inside, SHUT_WR);
	w->passed = true;
	return true;
}

static int step(struct pump *p)
{
	int moved = read_inside(p), r = write_network(p);

	if (r < 0)
		return r;
	moved |= r;
	r = read_network(p);
	if (r < 0)
		return r;
	moved |= r;
	return moved | write_inside(p);
}

static int wait_for_more(struct pump *p)
{
	short inside = (short)((!p->out.ended && p->out.at == p->out.len ? POLLIN : 0) | (p->in_full ? POLLOUT : 0));
	short network = (short)((!p->in.ended && p->in.at == p->in.len ? POLLIN : 0) | (p->out_full ? POLLOUT : 0));
	struct pollfd fds[] = {
		{ .fd = inside ? p->inside : -1, .events = inside },
		{ .fd = network ? p->network : -1, .events = network },
	};
	int r;

	if (session_pending(p->s) && p->in.at == p->in.len)
		return 0;
	do {
		r = poll(fds, 2, p->out.passed ? BYE_MS : -1);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static int run(struct pump *p)
{
	while (!(p->out.passed && p->in.passed)) {
		int r = step(p);

		if (r == 0)
			r = wait_for_more(p);
		if (r < 0)
			return r;
	}
	return 0;
}

int pump(struct session *s, int network, int inside)
{
	struct pump *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->s = s;
	p->network = network;
	p->inside = inside;
	r = run(p);
	free(p);
	return r;
}
