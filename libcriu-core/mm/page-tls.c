/* Starting criu-tls; see page-tls.h. */
#include "mm/page-tls.h"
#include "mm/page-conn.h"

#include "base/io.h"
#include "base/own.h"
#include "base/tls-abi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROGRAM "criu-tls"
#define END_MS  15000 /* more than it waits for the other side itself */

/* Beside our own program, of which there may be several versions. */
static int find_program(char *ret, size_t size, struct cr_error *err)
{
	ssize_t len = readlink("/proc/self/exe", ret, size - 1);
	char *slash;

	if (len < 0)
		return cr_fail(err, -errno, "find " PROGRAM);
	ret[len] = 0;
	slash = strrchr(ret, '/');
	if (!slash || (size_t)(slash + 1 - ret) + sizeof(PROGRAM) > size)
		return cr_fail(err, -ENAMETOOLONG, "find " PROGRAM);
	memcpy(slash + 1, PROGRAM, sizeof(PROGRAM));
	if (access(ret, X_OK) < 0) {
		int r = cr_fail(err, -errno, "TLS needs the program %.200s", ret);

		cr_advise(err, "install " PROGRAM " beside criu");
		return r;
	}
	return 0;
}

/* @network, @inside: -1: only a check. Return: pid; negative errno */
static pid_t start(const char *const *argv, int verdict, int network, int inside, struct cr_error *err)
{
	char path[PATH_MAX];
	char *none[] = { NULL };
	posix_spawn_file_actions_t acts;
	pid_t pid = 0;
	int r = find_program(path, sizeof(path), err);

	if (r < 0)
		return r;
	r = posix_spawn_file_actions_init(&acts);
	if (r)
		return cr_fail(err, -r, "start " PROGRAM);
	r = posix_spawn_file_actions_adddup2(&acts, verdict, TLS_FD_VERDICT);
	if (r == 0 && network >= 0)
		r = posix_spawn_file_actions_adddup2(&acts, network, TLS_FD_NETWORK);
	if (r == 0 && network >= 0)
		r = posix_spawn_file_actions_adddup2(&acts, inside, TLS_FD_INSIDE);
	if (r == 0)
		r = posix_spawn(&pid, path, &acts, NULL, (char *const *)argv, none);
	posix_spawn_file_actions_destroy(&acts);
	return r ? cr_fail(err, -r, "start %.200s", path) : pid;
}

static int hear_verdict(int fd, struct cr_error *err)
{
	struct tls_verdict v = { 0 };
	ssize_t n = fd_read_all(fd, &v, sizeof(v));

	if (n < 0)
		return cr_fail(err, (int)n, "hear of " PROGRAM);
	if (n != sizeof(v) || v.code > 0 || v.code < -4095)
		return cr_refuse(err, -EIO, PROGRAM " has ended without a word");
	v.text[sizeof(v.text) - 1] = 0;
	return v.code < 0 ? cr_refuse(err, v.code, "TLS: %s", v.text) : 0;
}

/* Descriptors that are handed on must not be among those they are put onto. */
static int move_up(int *fd)
{
	int up = fcntl(*fd, F_DUPFD_CLOEXEC, TLS_FD_INSIDE + 1);

	if (up < 0)
		return -errno;
	close(*fd);
	*fd = up;
	return 0;
}

struct arguments {
	const char *argv[9];
};

static void fill_arguments(struct arguments *a, const char *role, const rpc_criu_opts *o, const char *host)
{
	*a = (struct arguments){ {
		PROGRAM,
		role,
		o->tls_cacert ? o->tls_cacert : "",
		o->tls_cacrl ? o->tls_cacrl : "",
		o->tls_cert ? o->tls_cert : "",
		o->tls_key ? o->tls_key : "",
		host,
		NULL,
	} };
}

int page_tls_check(const rpc_criu_opts *o, struct cr_error *err)
{
	struct arguments a;
	int fds[2], r;
	pid_t pid;

	fill_arguments(&a, TLS_ROLE_CHECK, o, "");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	r = move_up(&fds[1]);
	pid = r < 0 ? cr_fail(err, r, "pipe") : start(a.argv, fds[1], -1, -1, err);
	close(fds[1]);
	r = pid < 0 ? pid : hear_verdict(fds[0], err);
	close(fds[0]);
	if (pid > 0)
		page_tls_end(pid);
	return r;
}

/* @pair: our end and the program's of what goes in clear */
static int begin(struct page_conn *c, const struct arguments *a, int pair[2], struct cr_error *err)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	r = move_up(&fds[1]);
	if (r == 0)
		r = move_up(&c->fd);
	if (r == 0)
		r = move_up(&pair[1]);
	if (r < 0)
		cr_fail(err, r, "descriptors for " PROGRAM);
	else
		c->tls = r = start(a->argv, fds[1], c->fd, pair[1], err);
	close(fds[1]);
	r = r < 0 ? r : hear_verdict(fds[0], err);
	close(fds[0]);
	return r;
}

int page_tls_begin(struct page_conn *c, const rpc_criu_opts *o, enum page_tls_role role, struct cr_error *err)
{
	bool any = o->has_tls_no_cn_verify && o->tls_no_cn_verify;
	const char *host = role == PAGE_TLS_SERVES || any || !o->ps || !o->ps->address ? "" : o->ps->address;
	struct arguments a;
	int pair[2], r;

	fill_arguments(&a, role == PAGE_TLS_SERVES ? TLS_ROLE_SERVE : TLS_ROLE_CALL, o, host);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return cr_fail(err, -errno, "socketpair");
	r = begin(c, &a, pair, err);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	/* from here on the connection is the program's alone */
	close(c->fd);
	c->fd = pair[0];
	return 0;
}

void page_tls_end(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int r = 0;

	if (pidfd >= 0) {
		do {
			r = poll(&p, 1, END_MS);
		} while (r < 0 && errno == EINTR);
		close(pidfd);
	}
	/* nothing keeps it from ending by itself but a peer that does not; it is our child, so the number is its own */
	if (r == 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
