/* Children of a worker; see aside.h. */
#include "aside.h"
#include "verbs.h"

#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What goes through the pipe, in one piece: less than PIPE_BUF. */
struct said {
	int code;
	struct cr_error err;
};

_Static_assert(sizeof(struct said) <= 4096, "pipe(7): longer writes may be torn");

void aside_say(struct aside *a, int code)
{
	struct said said = { .code = code, .err = a->err };

	if (a->said_fd < 0)
		return;
	/* if the worker has gone, nobody is there to be told */
	(void)!write(a->said_fd, &said, sizeof(said));
	close(a->said_fd);
	a->said_fd = -1;
}

static void drop_standard_files(void)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
}

/* In the child. The one that is forked here is left to whoever takes orphans in. */
static void become_daemon(void)
{
	pid_t pid;

	setsid();
	pid = fork();
	if (pid != 0)
		_exit(pid < 0 ? WORKER_FAILED : WORKER_DONE);
	drop_standard_files();
}

static void run_child(struct worker *w, const rpc_criu_req *req, enum aside_kind kind, struct aside a, aside_fn *fn)
{
	int code;

	if (kind == ASIDE_DAEMON)
		become_daemon();
	/* what may live on is not what the end of the service waits for */
	if (kind != ASIDE_TASK && w->alive_fd > 0)
		close(w->alive_fd);
	code = fn(w, req, &a);
	aside_say(&a, code);
	_exit(code);
}

static int answer_for(struct worker *w, const rpc_criu_req *req, rpc_criu_req_type type, const struct cr_error *err)
{
	rpc_criu_resp resp = { .type = type };
	struct session n;

	session_init(&n, w, req, "service");
	n.ready = true;
	session_fail(&n, err, NULL, &resp);
	session_answer(&n, &resp);
	session_done(&n);
	return WORKER_FAILED;
}

static int reap(pid_t pid)
{
	int status = 0, r;

	do {
		r = waitpid(pid, &status, 0);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? 0 : status;
}

int aside_run(struct worker *w, const rpc_criu_req *req, rpc_criu_req_type type, enum aside_kind kind, aside_fn *fn)
{
	pid_t own = getpid(), pid;
	struct cr_error err = { 0 };
	struct said said;
	int fds[2], status;
	ssize_t got;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		cr_fail(&err, -errno, "pipe");
		return answer_for(w, req, type, &err);
	}
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		run_child(w, req, kind, (struct aside){ .said_fd = fds[1], .worker = own }, fn);
	}
	close(fds[1]);
	if (pid < 0) {
		cr_fail(&err, -errno, "fork");
		close(fds[0]);
		return answer_for(w, req, type, &err);
	}
	do {
		got = read(fds[0], &said, sizeof(said));
	} while (got < 0 && errno == EINTR);
	close(fds[0]);
	if (got == sizeof(said) && said.err.code < 0)
		record_failure(w->record, &said.err);
	if (got == sizeof(said) && kind == ASIDE_CHILD && said.code == WORKER_DONE)
		return WORKER_DONE; /* it lives on, WAIT_PID is for its end */
	status = reap(pid);
	if (got == sizeof(said))
		return said.code;
	if (WIFSIGNALED(status))
		cr_refuse(&err, -EIO, "the process that carried out the request was killed by signal %d",
			  WTERMSIG(status));
	else
		cr_refuse(&err, -EIO, "the process that carried out the request has ended with code %d",
			  WEXITSTATUS(status));
	return answer_for(w, req, type, &err);
}
