/*
 * The page server: one dump's pages, on one connection or on several at once. It ends when the last of them has; what came on
 * one is kept if that has said that it was all.
 */
#include "mm/lazy-stored.h"
#include "mm/page-line.h"
#include "mm/page-socket.h"
#include "mm/page-store.h"
#include "mm/page-tls.h"

#include "criu-core.h"
#include "kernel/context.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_MAX     16
#define SHOW_EVERY_MS 100

struct server;

struct caller {
	struct server *server;
	struct page_line line;
	pthread_t thread;
	int fd; /* ours, of the same connection: the line closes its own whenever it is done */
	bool there, began;
	int result;
	struct cr_error err;
};

struct server {
	struct cr_context *ctx;
	struct page_store *store;
	int listener;
	int ends[2]; /* pipe: each thread that ends puts its number there */
	struct caller callers[LINES_MAX];
	size_t nr; /* that are there */
	uint64_t received; /* bytes of pages */
	bool served;
	int failed;
	struct cr_error err;
};

static void *serve(void *arg)
{
	struct caller *c = arg;
	unsigned char number = (unsigned char)(c - c->server->callers);

	c->result = page_line_serve(&c->line, &c->err);
	/* one byte into an empty enough pipe: LINES_MAX of them fit */
	(void)!write(c->server->ends[1], &number, 1);
	return NULL;
}

static int begin_caller(struct server *s, int fd, struct cr_error *err)
{
	struct caller *c = s->callers;
	int r;

	while (c->there)
		c++;
	*c = (struct caller){ .server = s, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3) };
	c->line = (struct page_line){
		.fd = fd, .received = &s->received, .began = &c->began, .ctx = s->ctx, .store = s->store
	};
	r = c->fd < 0 ? errno : pthread_create(&c->thread, NULL, serve, c);
	if (r) {
		if (c->fd >= 0)
			close(c->fd);
		close(fd);
		return cr_fail(err, -r, "serve a connection");
	}
	c->there = true;
	s->nr++;
	return 0;
}

static void note_failure(struct server *s, int code, const struct cr_error *err)
{
	if (s->failed)
		return;
	s->failed = code;
	s->err = *err;
	/* what the others send is of no use any more: each notices it when it reads on */
	for (size_t i = 0; i < LINES_MAX; i++)
		if (s->callers[i].there)
			shutdown(s->callers[i].fd, SHUT_RD);
}

/*
 * Somebody who has not sent anything that was taken is no reason to give up what others send; nor who could not show, by
 * TLS, to be the one who is waited for.
 */
static void end_caller(struct server *s, struct caller *c)
{
	bool tls = s->ctx->opts->rpc->has_tls && s->ctx->opts->rpc->tls;

	pthread_join(c->thread, NULL);
	close(c->fd);
	c->there = false;
	s->nr--;
	if (c->result == 0) {
		s->served = true;
		return;
	}
	if (!c->began && (s->nr || s->served || tls))
		log_warn(&s->ctx->log, "a connection that is none of a dump: %s, continuing without it", c->err.text);
	else
		note_failure(s, c->result, &c->err);
}

/* Return: how long to wait until there is something new to be shown, in milliseconds; -1 nobody is to be shown anything */
static int show(const struct server *s)
{
	const struct cr_observer *obs = s->ctx->obs;
	uint64_t received = __atomic_load_n(&s->received, __ATOMIC_RELAXED);

	if (!obs || !obs->progress || !s->nr)
		return -1;
	if (received)
		obs->progress(obs->arg, "memory", received, CR_TOTAL_UNKNOWN);
	return SHOW_EVERY_MS;
}

static int wait_once(struct server *s, struct cr_error *err)
{
	bool full = s->nr == LINES_MAX || s->failed;
	struct pollfd fds[2] = {
		{ .fd = s->ends[0], .events = POLLIN },
		{ .fd = full ? -1 : s->listener, .events = POLLIN },
	};
	unsigned char number;
	int r, fd;

	r = poll(fds, 2, show(s));
	if (r < 0)
		return errno == EINTR ? 0 : cr_fail(err, -errno, "wait for connections");
	if (fds[0].revents && read(s->ends[0], &number, 1) == 1)
		end_caller(s, &s->callers[number]);
	if (fds[1].revents && !s->failed) {
		fd = page_socket_accept(s->listener, err);
		return fd < 0 ? fd : begin_caller(s, fd, err);
	}
	return 0;
}

static int serve_all(struct server *s, struct cr_error *err)
{
	int r = 0;

	if (pipe2(s->ends, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	while (r == 0 && (s->nr || !(s->served || s->failed)))
		r = wait_once(s, err);
	if (r < 0)
		note_failure(s, r, err);
	for (size_t i = 0; i < LINES_MAX; i++)
		if (s->callers[i].there)
			end_caller(s, &s->callers[i]);
	close(s->ends[0]);
	close(s->ends[1]);
	if (s->failed && err)
		*err = s->err;
	return s->failed;
}

static int serve_given(struct server *s, int fd, struct cr_error *err)
{
	bool began = false;
	struct page_line line = {
		.fd = fd, .received = &s->received, .began = &began, .ctx = s->ctx, .store = s->store
	};

	return page_line_serve(&line, err);
}

static int run(struct server *s, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
	       struct cr_error *err)
{
	const rpc_criu_page_server_info *ps = s->ctx->opts->rpc->ps;
	bool given = ps && ps->has_fd;
	uint16_t port = 0;
	autofd int fd = given ? page_socket_given(ps->fd, err)
			      : page_socket_listen(ps ? ps->address : NULL, ps && ps->has_port ? (uint16_t)ps->port : 0,
						   &port, err);
	int r = fd < 0 ? fd : listening(arg, port, err);

	if (r < 0)
		return r;
	if (given)
		return serve_given(s, take_fd(&fd), err);
	s->listener = fd;
	return serve_all(s, err);
}

int cr_page_server(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
		   struct cr_error *err)
{
	struct server s = { .ctx = ctx, .listener = -1 };
	const rpc_criu_opts *o = ctx->opts->rpc;
	int r;

	if (o->has_lazy_pages && o->lazy_pages)
		return lazy_stored_serve(ctx, listening, arg, err);
	/* what is wrong with certificates shows before anybody is told that the server is there */
	r = o->has_tls && o->tls ? page_tls_check(o, err) : 0;
	if (r == 0)
		r = page_store_new(ctx, &s.store, err);
	if (r == 0)
		r = run(&s, listening, arg, err);
	if (r == 0)
		page_store_end(s.store);
	page_store_free(s.store);
	if (r == 0)
		log_info(&ctx->log, "Page server finished successfully");
	return r;
}
