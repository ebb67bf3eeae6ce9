/* The service from its start to its first connection, and what is given back at its end. */
#include "daemon-internal.h"
#include "journal.h"

#include "base/error.h"
#include "base/io.h"
#include "base/own.h"
#include "options/engine.h"
#include "options/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_ADDRESS "/var/run/criu-service.socket"
#define OWN_DESCRIPTORS 64 /* besides those of clients: log, sockets, epoll, what libraries open */

/* As many clients as there are descriptors for, whatever is allowed. */
void daemon_take_limits(struct daemon *d, const struct settings *s)
{
	struct cr_log log = daemon_log(d);
	struct rlimit nofile;

	limits_from(s, &d->limits);
	if (getrlimit(RLIMIT_NOFILE, &nofile) < 0)
		return;
	if (nofile.rlim_cur < nofile.rlim_max) {
		nofile.rlim_cur = nofile.rlim_max;
		setrlimit(RLIMIT_NOFILE, &nofile);
	}
	if (nofile.rlim_cur < (rlim_t)d->limits.clients + OWN_DESCRIPTORS) {
		d->limits.clients = nofile.rlim_cur > 2 * OWN_DESCRIPTORS ? (uint32_t)nofile.rlim_cur - OWN_DESCRIPTORS
									  : OWN_DESCRIPTORS;
		log_info(&log, "RLIMIT_NOFILE leaves room for %u clients that have not asked yet", d->limits.clients);
	}
}

/* The log goes on where it was: nobody wants it gone because the service was started again. */
static int open_file(const char *path, struct cr_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

	if (fd < 0)
		return cr_fail(err, -errno, "log file %s", path);
	fcntl(fd, F_SETFL, O_APPEND);
	return fd;
}

int daemon_open_log(struct daemon *d, const struct settings *s, struct cr_error *err)
{
	const char *file = s->rpc.log_file;
	bool to_file = file && strcmp(file, "-") != 0, wanted = s->has_journal && s->journal;
	bool stderr_is = !file && journal_is_stream(getenv("JOURNAL_STREAM"), STDERR_FILENO);
	bool forbidden = s->has_journal && !s->journal;
	autofd int journal = -1, text = -1;

	if (wanted || (stderr_is && !forbidden)) {
		journal = journal_open();
		if (journal < 0 && wanted)
			return cr_fail(err, journal, "connect to the journal");
	}
	if (to_file)
		text = open_file(file, err);
	else if (wanted && !stderr_is && !file)
		text = journal_open_stream();
	if (text < 0 && (to_file || (wanted && !stderr_is && !file)))
		return to_file ? text : cr_fail(err, text, "connect to the journal");
	d->sink.priorities = !file && (wanted || stderr_is) && !forbidden;
	if (d->access.journal_fd >= 0)
		close(d->access.journal_fd);
	d->access.journal_fd = take_fd(&journal);
	if (text >= 0)
		log_sink_attach(&d->sink, take_fd(&text), true, s->rpc.log_level);
	else
		log_sink_attach(&d->sink, file ? STDOUT_FILENO : STDERR_FILENO, false, s->rpc.log_level);
	d->access.fd = d->sink.fd;
	d->access.priorities = d->sink.priorities;
	return 0;
}

/* Signals come as descriptors: nothing of this program runs in a handler. */
static int open_events(struct daemon *d, struct cr_error *err)
{
	static const int signals[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &d->signal_fd };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return cr_fail(err, -errno, "signalfd");
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->epoll_fd < 0 || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->signal_fd, &ev) < 0)
		return cr_fail(err, -errno, "epoll");
	ev.data.ptr = &d->alive;
	if (pipe2(d->alive, O_CLOEXEC | O_NONBLOCK) < 0 || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->alive[0], &ev) < 0)
		return cr_fail(err, -errno, "pipe");
	return pipe2(d->stop, O_CLOEXEC) < 0 ? cr_fail(err, -errno, "pipe") : 0;
}

static int listen_at(struct daemon *d, const char *path, bool legacy, struct cr_error *err)
{
	int r = listener_open(path, legacy, &d->listeners[d->nr_listeners], err);

	if (r == 0)
		d->nr_listeners++;
	return r;
}

/* Sockets of the service manager take the place of the addresses, unless these are asked for by name. */
static int open_listeners(struct daemon *d, int handed, const bool *legacy, struct cr_error *err)
{
	int r = 0;

	for (int i = 0; i < handed; i++) {
		listener_seal(ACTIVATION_FD + i);
		d->listeners[d->nr_listeners++] = (struct listener){ .fd = ACTIVATION_FD + i, .legacy = legacy[i] };
	}
	if (handed == 0 || d->s->address)
		r = listen_at(d, d->s->address ? d->s->address : DEFAULT_ADDRESS, false, err);
	if (r == 0 && d->s->legacy_address)
		r = listen_at(d, d->s->legacy_address, true, err);
	return r;
}

static int enter_work_dir(struct daemon *d, struct cr_error *err)
{
	const struct settings *s = d->s;

	d->start_dirfd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->start_dirfd < 0)
		return cr_fail(err, -errno, "current directory");
	d->work_dirfd = engine_open_dir(s->work_dir         ? s->work_dir
					: s->rpc.images_dir ? s->rpc.images_dir
							    : ".",
					false, "work directory", err);
	if (d->work_dirfd < 0)
		return d->work_dirfd;
	return fchdir(d->work_dirfd) < 0 ? cr_fail(err, -errno, "enter the work directory") : 0;
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

/*
 * While clients come and go nothing is in effect. What is permitted stays so: a worker can have no capability that its
 * parent has given up for good.
 */
int daemon_caps(bool awake, struct cr_error *err)
{
	struct cap_sets caps;
	int r = caps_get(&caps);

	if (r == 0) {
		/* of a program that its caller was lent rights by, the daemon's files are the caller's */
		caps.effective = awake && !privilege_lent() ? caps.permitted : 0;
		caps.inheritable = 0;
		r = caps_set(&caps);
	}
	return r < 0 ? cr_fail(err, r, "capabilities of the service") : 0;
}

static void tell_ready(struct daemon *d, int background)
{
	struct cr_log log = daemon_log(d);

	for (int i = 0; i < d->nr_listeners; i++)
		log_info(&log, "The service socket is ready at %s%s",
			 d->listeners[i].path ? d->listeners[i].path : "the address of its unit",
			 d->listeners[i].legacy ? " for the first protocol" : "");
	if (d->s->has_status_fd) {
		if (write(d->s->status_fd, "", 1) != 1)
			log_warn(&log, "status descriptor %d cannot be written to, continuing", d->s->status_fd);
		close(d->s->status_fd);
	}
	if (background >= 0 && write(background, "", 1) != 1)
		log_warn(&log, "the starting process has gone, continuing");
	manager_tell(d->manager_fd, "READY=1");
}

int daemon_start(struct daemon *d, struct cr_error *err)
{
	bool legacy[ACTIVATION_MAX];
	autofd int background = -1;
	int handed = activation_take(legacy, err);
	int r = handed < 0 ? handed : privilege_check(d->s->rpc.unprivileged, err);

	if (r == 0)
		r = privilege_keep(err);
	if (r == 0)
		r = privilege_sleep(err);
	if (r == 0)
		r = enter_work_dir(d, err);
	if (r == 0)
		r = daemon_open_log(d, d->s, err);
	if (r < 0)
		return r;
	privilege_reach();
	tzset(); /* by the lines of the log; each worker would read the zone's file otherwise, though it prints UTC */
	log_sink_greet(&d->sink);
	daemon_take_limits(d, d->s);
	d->manager_fd = manager_open();
	r = open_listeners(d, handed, legacy, err);
	if (r == 0 && d->s->detached) {
		background = go_background(err);
		r = background < 0 ? background : 0;
	}
	/* in the child: what an epoll set tells of a signalfd are the signals of the process that has put it in */
	if (r == 0)
		r = open_events(d, err);
	if (r == 0 && d->s->detached)
		r = drop_terminal(err);
	if (r == 0)
		r = write_pidfile(d, err);
	if (r == 0)
		r = daemon_caps(false, err);
	if (r == 0) {
		spawner_start(&d->spawner);
		r = daemon_watch_listeners(d, true);
		if (r < 0)
			return cr_fail(err, r, "watch the listening sockets");
	}
	if (r < 0)
		return r;
	tell_ready(d, background);
	return 0;
}

void daemon_end(struct daemon *d)
{
	int *fds[] = { &d->epoll_fd, &d->signal_fd, &d->manager_fd, &d->work_dirfd, &d->start_dirfd,
		       &d->alive[0], &d->alive[1],  &d->stop[0],    &d->stop[1],    &d->access.journal_fd };

	daemon_settle(d);
	spawner_stop(&d->spawner);
	for (int i = 0; i < d->nr_listeners; i++)
		listener_close(&d->listeners[i]);
	if (d->has_pidfile)
		unlink(d->s->pidfile);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	crowd_done(&d->crowd);
	log_sink_done(&d->sink);
}
