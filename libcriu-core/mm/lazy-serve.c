/*
 * The daemon of `criu lazy-pages`: the pager of a restore that was started by hand, before it. It waits for one restore in the
 * work directory, finds in its images what that lacks, or where the memory was left, and brings it in until all is there.
 */
#include "mm/lazy-pager.h"

#include "kernel/context.h"
#include "mm/lazy-remote.h"
#include "mm/lazy-wire.h"
#include "mm/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody listens behind a name that was left behind. Return: 0, -EADDRINUSE, negative errno */
static int bind_name(int sock, int dirfd)
{
	int r = lazy_wire_bind(sock, dirfd), probe;
	struct stat st;

	if (r != -EADDRINUSE || fstatat(dirfd, LAZY_SOCKET, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode))
		return r;
	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return -errno;
	r = lazy_wire_connect(probe, dirfd);
	close(probe);
	if (r != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlinkat(dirfd, LAZY_SOCKET, 0) < 0 ? -errno : lazy_wire_bind(sock, dirfd);
}

static int open_listener(struct cr_context *ctx, struct cr_error *err)
{
	int dirfd = ctx->opts->work_dirfd, r;
	autofd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	mode_t mask;

	if (sock < 0)
		return cr_fail(err, -errno, "make a socket");
	mask = umask(0077);
	r = bind_name(sock, dirfd);
	umask(mask);
	if (r < 0)
		return cr_fail(err, r, "%s in the work directory", LAZY_SOCKET);
	if (listen(sock, 1) < 0) {
		r = cr_fail(err, -errno, "listen on %s", LAZY_SOCKET);
		unlinkat(dirfd, LAZY_SOCKET, 0);
		return r;
	}
	return take_fd(&sock);
}

/* Return: 0 there is something; -EINTR somebody wants us to end; negative errno */
static int await_something(int fd, int signals, struct cr_error *err)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = signals, .events = POLLIN } };

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return cr_fail(err, -errno, "wait for a restore");
	return p[1].revents ? cr_refuse(err, -EINTR, "interrupted before there was a restore") : 0;
}

/*
 * A restore connects before it makes anything and speaks when its tasks are there. One that fails in between, and who only
 * looks whether anybody listens, go without a word. Return: connection; negative errno
 */
static int await_restore(int listener, int signals, struct cr_error *err)
{
	for (;;) {
		int r = await_something(listener, signals, err);
		autofd int sock = r < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		char byte;

		if (r < 0)
			return r;
		if (sock < 0)
			return cr_fail(err, -errno, "accept a restore");
		r = await_something(sock, signals, err);
		if (r < 0)
			return r;
		if (recv(sock, &byte, 1, MSG_PEEK) > 0)
			return take_fd(&sock);
	}
}

/* Where the content of [start, end) is. @runs: of its images */
static int find_range(const struct mm_range *range, const struct stored_runs *runs, size_t files, struct lazy_runs *ret,
		      struct cr_error *err)
{
	uint64_t at = range->start;

	for (size_t i = stored_runs_find(runs, at); at < range->end; i++) {
		const struct stored_run *run = i < runs->nr ? &runs->items[i] : NULL;
		struct lazy_run part;

		if (!run || run->start > at)
			return cr_refuse(err, -EBADMSG,
					 "the images have no page at %" PRIx64 ", which the restore lacks", at);
		part = (struct lazy_run){ at, run->end < range->end ? run->end : range->end,
					  run->off + (at - run->start), lazy_file(files, run->file) };
		at = part.end;
		if (lazy_runs_append(ret, &part) < 0)
			return cr_fail(err, -ENOMEM, "list memory");
	}
	return 0;
}

static int find_ranges(const struct lazy_ranges *ranges, const struct stored_runs *runs, size_t files,
		       struct lazy_runs *ret, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ranges->nr; i++)
		r = find_range(&ranges->items[i], runs, files, ret, err);
	return r;
}

static int take_one(struct lazy_pager *p, struct image_set *set, struct lazy_told *t, struct cr_error *err)
{
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	size_t first = p->files.nr;
	struct lazy_space *s = lazy_spaces_add(&p->spaces);
	int r;

	if (!s)
		return cr_fail(err, -ENOMEM, "list memory");
	*s = (struct lazy_space){ .uffd = take_fd(&t->uffd), .pid = t->pid, .tie = LAZY_TIE_NONE, .pagemap = -1 };
	r = page_chain_read_left(set, (uint64_t)t->ns_pid, p->remote ? PAGE_LEFT_ALL : PAGE_LEFT_NONE, NULL, NULL, &runs,
				 &files, err);
	if (r == 0)
		r = find_ranges(&t->todo, &runs, first, &s->todo, err);
	if (r == 0)
		r = find_ranges(&t->firsts, &runs, first, &s->firsts, err);
	for (size_t i = 0; r == 0 && i < files.nr; i++) {
		struct page_file *f = page_files_add(&p->files);

		if (!f)
			r = cr_fail(err, -ENOMEM, "list memory");
		else
			*f = files.items[i];
	}
	stored_runs_done(&runs);
	page_files_done(&files);
	return cr_within(err, r, "memory of pid %d", t->ns_pid);
}

/* Return: 0 the pager is ready; negative errno, and the restore knows it */
static int take_all(struct lazy_pager *p, struct image_set *set, int sock, struct cr_error *err)
{
	struct lazy_tolds told = { 0 };
	const char *run_id = "";
	int r = image_set_run_id(set, &run_id, err);

	if (r >= 0)
		r = lazy_wire_receive(sock, run_id, &told, &p->outside, err);
	for (size_t i = 0; r == 0 && i < told.nr; i++)
		r = take_one(p, set, &told.items[i], err);
	lazy_tolds_drop(&told);
	if (r == 0)
		r = lazy_pager_tie(p, err);
	lazy_wire_answer(sock, r, err);
	return r;
}

static int serve(struct cr_context *ctx, struct lazy_pager *p, struct image_set *set, int listener, int signals,
		 struct cr_error *err)
{
	int sock = await_restore(listener, signals, err), r;

	/* no sooner: whoever asks us to end while nobody has come is heard above */
	lazy_pager_stay();
	unlinkat(ctx->opts->work_dirfd, LAZY_SOCKET, 0);
	if (sock < 0)
		return sock;
	r = take_all(p, set, sock, err);
	p->go = sock;
	p->hears_start = true;
	if (r == 0)
		r = lazy_pager_run(p, err);
	return r;
}

/* What the options name is asked before anybody is told that the daemon is there. */
static int open_source(struct cr_context *ctx, struct image_set *set, struct lazy_remote **ret, struct cr_error *err)
{
	const char *run_id = "";
	int r = ctx->opts->rpc->ps ? image_set_run_id(set, &run_id, err) : 0;

	*ret = NULL;
	return r >= 0 && ctx->opts->rpc->ps ? lazy_remote_open(ctx, run_id, ret, err) : r;
}

int mm_lazy_serve(struct cr_context *ctx, struct image_set *set, int (*listening)(void *arg, struct cr_error *err),
		  void *arg, struct cr_error *err)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
	autofree_by(lazy_remote_free) struct lazy_remote *remote = NULL;
	struct lazy_pager p = { .log = ctx->log, .go = -1 };
	autofd int listener = -1, signals = -1;
	sigset_t mask, was;
	int r = open_source(ctx, set, &remote, err);

	if (r < 0)
		return r;
	p.remote = remote;
	listener = open_listener(ctx, err);
	if (listener < 0)
		return listener;
	sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		sigaddset(&mask, ends[i]);
	sigprocmask(SIG_BLOCK, &mask, &was);
	signals = signalfd(-1, &mask, SFD_CLOEXEC);
	r = signals < 0 ? cr_fail(err, -errno, "wait for signals") : listening(arg, err);
	if (r == 0 && remote)
		r = lazy_remote_begin(remote, err);
	if (r == 0)
		r = lazy_pager_init(&p, err);
	if (r == 0)
		r = serve(ctx, &p, set, listener, signals, err);
	else
		unlinkat(ctx->opts->work_dirfd, LAZY_SOCKET, 0);
	sigprocmask(SIG_SETMASK, &was, NULL);
	return r;
}
