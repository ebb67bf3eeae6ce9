/* The service; see daemon.h. */
#include "daemon.h"
#include "listener.h"
#include "worker.h"

#include "base/io.h"
#include "base/own.h"
#include "options/engine.h"
#include "options/log-sink.h"
#include "options/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define WORKERS_PER_USER 64   /* but root's */

struct daemon {
	const struct settings *s;
	struct log_sink sink;
	struct listener listener;
	int    signal_fd;
	int    work_dirfd;
	bool   has_pidfile;
	struct { pid_t pid; uid_t uid; } workers[WORKERS_MAX];
	int    nr_workers;
};

static struct cr_log log_of(struct daemon *d)
{
	return log_sink_log(&d->sink);
}

/* Signals come as descriptors: nothing of this program runs in a handler. */
static int block_signals(struct daemon *d, struct cr_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signal_fd < 0 ? cr_fail(err, -errno, "signalfd") : 0;
}

static int write_pidfile(struct daemon *d, struct cr_error *err)
{
	autofd int fd = -1;
	char text[16];
	int len, r;

	if (!d->s->pidfile)
		return 0;
	fd = open(d->s->pidfile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return cr_fail(err, -errno, "pidfile %s", d->s->pidfile);
	d->has_pidfile = true;
	len = snprintf(text, sizeof(text), "%d", (int)getpid());
	r = fd_write_all(fd, text, (size_t)len);
	return r < 0 ? cr_fail(err, r, "pidfile %s", d->s->pidfile) : 0;
}

static void tell_ready(struct daemon *d)
{
	struct cr_log log = log_of(d);

	if (!d->s->has_status_fd)
		return;
	if (write(d->s->status_fd, "", 1) != 1)
		log_warn(&log, "status descriptor %d cannot be written to, continuing", d->s->status_fd);
	close(d->s->status_fd);
}

static int drop_terminal(struct cr_error *err)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			return cr_fail(err, -errno, "give up the terminal");
	return 0;
}

/*
 * To the background. The parent leaves when the child says that it is up, so that a failure until then is still seen.
 * Return: in the child the descriptor to say so on; the parent does not return.
 */
static int go_background(struct cr_error *err)
{
	int pipe_fds[2];
	char byte;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	pid = fork();
	if (pid < 0) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return cr_fail(err, -errno, "fork");
	}
	if (pid > 0) {
		ssize_t got;

		close(pipe_fds[1]);
		do {
			got = read(pipe_fds[0], &byte, 1);
		} while (got < 0 && errno == EINTR);
		_exit(got == 1 ? 0 : 1);
	}
	close(pipe_fds[0]);
	setsid();
	return pipe_fds[1];
}

static void reap(struct daemon *d)
{
	struct cr_log log = log_of(d);
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < d->nr_workers; i++) {
			if (d->workers[i].pid != pid)
				continue;
			d->workers[i] = d->workers[--d->nr_workers];
			break;
		}
		if (WIFSIGNALED(status))
			log_warn(&log, "worker %d was killed by signal %d", (int)pid, WTERMSIG(status));
		else
			log_info(&log, "worker %d has left with code %d", (int)pid, WEXITSTATUS(status));
	}
}

/* Return: false the service is to end */
static bool handle_signals(struct daemon *d)
{
	struct signalfd_siginfo info;

	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGCHLD)
			return false;
		reap(d);
	}
	return true;
}

static int nr_of_user(const struct daemon *d, uid_t uid)
{
	int nr = 0;

	for (int i = 0; i < d->nr_workers; i++)
		nr += d->workers[i].uid == uid;
	return nr;
}

/* In the child: nothing of the daemon's own but its log. Options of the daemon do not carry over to requests. */
static void serve(struct daemon *d, int sock)
{
	autosettings struct settings fresh;
	sigset_t none;
	int code;

	close(d->listener.fd);
	close(d->signal_fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	settings_init(&fresh);
	code = worker_run(sock, RPC_GENERATION_TODAY, false, d->sink.fd, &fresh);
	_exit(code);
}

static void accept_one(struct daemon *d)
{
	autofd int sock = accept4(d->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	struct cr_log log = log_of(d);
	struct ucred cred;
	socklen_t len = sizeof(cred);
	pid_t pid;

	if (sock < 0)
		return; /* the client has given up meanwhile, or there is no memory: the next one will be asked for */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	if (cred.uid != 0 && nr_of_user(d, cred.uid) >= WORKERS_PER_USER) {
		log_warn(&log, "user %u has %d requests open, one more was refused", cred.uid, WORKERS_PER_USER);
		return;
	}
	pid = fork();
	if (pid == 0)
		serve(d, sock);
	if (pid < 0) {
		log_warn(&log, "no worker for client %d: %s", (int)cred.pid, strerrordesc_np(errno));
		return;
	}
	log_info(&log, "worker %d serves client %d of user %u", (int)pid, (int)cred.pid, cred.uid);
	d->workers[d->nr_workers].pid = pid;
	d->workers[d->nr_workers++].uid = cred.uid;
}

static int loop(struct daemon *d, struct cr_error *err)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = d->signal_fd, .events = POLLIN },
			/* with all places taken, clients wait in the backlog */
			{ .fd = d->nr_workers < WORKERS_MAX ? d->listener.fd : -1, .events = POLLIN },
		};

		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return cr_fail(err, -errno, "poll");
		}
		if (fds[0].revents && !handle_signals(d))
			return 0;
		if (fds[1].revents & (POLLERR | POLLNVAL))
			return cr_refuse(err, -EIO, "the listening socket has failed");
		if (fds[1].revents)
			accept_one(d);
	}
}

static int start(struct daemon *d, struct cr_error *err)
{
	const struct settings *s = d->s;
	int r = privilege_check(s->rpc.unprivileged, err);

	if (r < 0)
		return r;
	d->work_dirfd = engine_open_dir(s->work_dir ? s->work_dir : s->rpc.images_dir ? s->rpc.images_dir : ".",
					"work directory", err);
	if (d->work_dirfd < 0)
		return d->work_dirfd;
	if (fchdir(d->work_dirfd) < 0)
		return cr_fail(err, -errno, "enter the work directory");
	r = log_sink_open(&d->sink, AT_FDCWD, s->rpc.log_file, s->rpc.log_level, err);
	if (r < 0)
		return r;
	log_sink_greet(&d->sink);
	r = listener_open(s->address ? s->address : "criu_service.socket", &d->listener, err);
	return r == 0 ? block_signals(d, err) : r;
}

static int run(struct daemon *d, struct cr_error *err)
{
	autofd int ready = -1;
	struct cr_log log;
	int r = start(d, err);

	if (r == 0 && d->s->detached) {
		ready = go_background(err);
		r = ready < 0 ? ready : drop_terminal(err);
	}
	if (r == 0)
		r = write_pidfile(d, err);
	if (r < 0)
		return r;
	log = log_of(d);
	log_info(&log, "The service socket is ready at %s", d->listener.path);
	tell_ready(d);
	if (ready >= 0 && write(ready, "", 1) != 1)
		log_warn(&log, "the starting process has gone, continuing");
	return loop(d, err);
}

int daemon_run(const struct settings *s)
{
	struct daemon d = { .s = s, .signal_fd = -1, .work_dirfd = -1, .listener = { .fd = -1 } };
	struct cr_error err = { 0 };
	struct cr_log log;
	int r;

	log_sink_init(&d.sink, "service");
	r = run(&d, &err);
	if (d.sink.fd < 0)
		log_sink_open(&d.sink, AT_FDCWD, NULL, CR_LOG_WARN, &(struct cr_error){ 0 });
	log = log_of(&d);
	if (r < 0)
		log_error(&log, "%s", err.text);
	/* workers carry on: a dump is not to be cut off because nobody takes new ones */
	listener_close(&d.listener);
	if (d.has_pidfile)
		unlink(s->pidfile);
	if (d.signal_fd >= 0)
		close(d.signal_fd);
	if (d.work_dirfd >= 0)
		close(d.work_dirfd);
	log_sink_done(&d.sink);
	return r < 0 ? 1 : 0;
}
