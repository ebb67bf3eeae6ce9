/*
 * Making the pager's process. It is nobody's child, so that who waits for the tree does not wait for it, and no descriptor of
 * the tool stays open in it but those of images that it reads, and the log.
 */
#include "mm/lazy-pager.h"

#include "base/io.h"
#include "base/stay-behind.h"
#include "kernel/context.h"
#include "mm/lazy-wire.h"
#include "mm/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

DEFINE_VEC(int_vec, int)

static int add_fd(struct int_vec *v, int fd)
{
	int *slot;

	for (size_t i = 0; i < v->nr; i++)
		if (v->items[i] == fd)
			return 0;
	slot = int_vec_add(v);
	if (!slot)
		return -ENOMEM;
	*slot = fd;
	return fd < 3 ? -EBADF : 0;
}

static int list_fds(const struct lazy_pager *p, int log_fd, int status, struct int_vec *ret)
{
	int r = add_fd(ret, p->go);

	if (r == 0)
		r = add_fd(ret, status);
	if (r == 0 && log_fd > 2)
		r = add_fd(ret, log_fd);
	for (size_t i = 0; r == 0 && i < p->spaces.nr; i++)
		r = add_fd(ret, p->spaces.items[i].uffd);
	for (size_t i = 0; r == 0 && i < p->files.nr; i++) {
		r = add_fd(ret, p->files.items[i].fd);
		if (r == 0 && p->files.items[i].sums >= 0)
			r = add_fd(ret, p->files.items[i].sums);
	}
	return r;
}

/* Owns nothing that must be given back: it ends with _exit(), and what is left then is the guard's business. */
static _Noreturn void be_pager(struct lazy_pager *p, int log_fd, int status)
{
	struct cr_error err = { 0 };
	struct int_vec fds = { 0 };
	int r = list_fds(p, log_fd, status, &fds);

	if (log_fd <= 2)
		p->log.line = NULL;
	if (r == 0)
		r = stay_behind(fds.items, fds.nr, "criu-lazy");
	lazy_pager_stay();
	if (r == 0)
		r = lazy_pager_init(p, &err);
	if (r == 0)
		r = lazy_pager_tie(p, &err);
	if (write(status, &r, sizeof(r)) != sizeof(r) || r < 0)
		_exit(1);
	close(status);
	r = lazy_pager_run(p, &err);
	if (r < 0)
		log_error(&p->log, "lazy restore fails, its tasks are ended: %s", err.text);
	_exit(r < 0);
}

/* Twice, so that it is nobody's child; who adopts the orphans of a tree that fails does not adopt this one. */
static int fork_away(struct lazy_pager *p, int log_fd, int status, struct cr_error *err)
{
	int was = 0, wstatus = 0;
	pid_t pid;

	prctl(PR_GET_CHILD_SUBREAPER, &was);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	pid = fork();
	if (pid == 0) {
		setsid();
		pid = fork();
		if (pid == 0)
			be_pager(p, log_fd, status);
		_exit(pid < 0 ? 1 : 0);
	}
	if (pid < 0)
		cr_fail(err, -errno, "make the pager: fork");
	while (pid > 0 && waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	prctl(PR_SET_CHILD_SUBREAPER, was);
	if (pid < 0)
		return err->code;
	return wstatus ? cr_refuse(err, -EAGAIN, "make the pager: no process could be made") : 0;
}

int mm_lazy_start(struct cr_context *ctx, const struct lazy_load *load, int *ret_go, struct cr_error *err)
{
	struct lazy_pager p = {
		.spaces = load->spaces,
		.files = load->files,
		.log = ctx->log,
		.outside = getsid(0),
		.bond = LAZY_BOND_NONE,
		.guard = LAZY_GUARD_NONE,
	};
	int go[2] = { -1, -1 }, status[2] = { -1, -1 }, said = 0, r;

	if (pipe2(go, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "make the pager: pipe");
	p.go = go[0];
	r = pipe2(status, O_CLOEXEC) < 0 ? cr_fail(err, -errno, "make the pager: pipe") : 0;
	if (r == 0)
		r = fork_away(&p, ctx->opts->log_fd, status[1], err);
	close(go[0]);
	if (status[1] >= 0)
		close(status[1]);
	if (r == 0 && fd_read_all(status[0], &said, sizeof(said)) != sizeof(said))
		r = cr_refuse(err, -ECHILD, "the pager ended before it began");
	else if (r == 0 && said < 0)
		r = cr_fail(err, said, "start the pager");
	if (status[0] >= 0)
		close(status[0]);
	if (r < 0)
		close(go[1]);
	else
		*ret_go = go[1];
	return r;
}

int mm_lazy_connect(struct cr_context *ctx, struct cr_error *err)
{
	autofd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int r = sock < 0 ? -errno : lazy_wire_connect(sock, ctx->opts->work_dirfd);

	if (r == 0)
		return take_fd(&sock);
	cr_fail(err, r, "connect to %s in the work directory", LAZY_SOCKET);
	cr_advise(err, "start criu lazy-pages with the same directories before, or restore with --lazy");
	return r;
}

int mm_lazy_send(int sock, const struct lazy_load *load, struct image_set *set, struct cr_error *err)
{
	const char *run_id = "";
	int r = image_set_run_id(set, &run_id, err);

	if (r >= 0)
		r = lazy_wire_send(sock, load, run_id, err);

	return r < 0 ? r : lazy_wire_hear(sock, err);
}

int mm_lazy_say_start(int sock, struct cr_error *err)
{
	int r = lazy_wire_say(sock, LAZY_STARTS, err);

	return r < 0 ? r : lazy_wire_hear(sock, err);
}

void mm_lazy_say_runs(int sock)
{
	struct cr_error ignored = { 0 };

	/* a daemon that does not hear it ends the tasks, whatever the reason is */
	lazy_wire_say(sock, LAZY_RUNS, &ignored);
}
