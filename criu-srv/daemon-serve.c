/* Connections and workers of the service. */
#include "daemon-internal.h"
#include "worker.h"

#include "base/error.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACCEPT_AT_ONCE 64 /* then the others have their turn */
#define SETTLE_MS      10000

int daemon_watch_listeners(struct daemon *d, bool on)
{
	int r = 0;

	for (int i = 0; i < d->nr_listeners; i++) {
		struct epoll_event ev = { .events = on ? EPOLLIN : 0, .data.ptr = &d->listeners[i] };

		if (epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, d->listeners[i].fd, &ev) < 0 && errno == ENOENT &&
		    epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->listeners[i].fd, &ev) < 0)
			r = -errno;
	}
	d->paused = !on || r < 0;
	d->paused_ms = daemon_now_ms();
	return r;
}

void daemon_let_go(struct daemon *d, const struct crowd_client *client)
{
	if (client->sealed)
		close(client->fd);
	else
		departure_add(&d->leaving, client->fd);
}

static void drop(struct daemon *d, struct crowd_client *client)
{
	/*
	 * Closing alone takes it out of the epoll set only once no process has it open: a worker that was forked a moment ago
	 * may not have closed it yet, and the event of a client that has gone would come.
	 */
	epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
	daemon_let_go(d, client);
	crowd_leave(&d->crowd, client);
}

static void welcome(struct daemon *d, int sock, bool legacy)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT };
	struct crowd_client *client, *surplus;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		departure_add(&d->leaving, sock);
		return;
	}
	client = crowd_enter(&d->crowd, sock, cred.uid, cred.pid, legacy, daemon_now_ms());
	ev.data.ptr = client;
	if (!client || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, sock, &ev) < 0) {
		departure_add(&d->leaving, sock);
		if (client)
			crowd_leave(&d->crowd, client);
		return;
	}
	client->sealed = listener_sealed(sock);
	while ((surplus = crowd_surplus(&d->crowd, client)) != NULL) {
		bool was_newest = surplus == client;

		drop(d, surplus);
		if (was_newest)
			break;
	}
}

void daemon_accept(struct daemon *d, const struct listener *l)
{
	struct cr_log log = daemon_log(d);

	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int sock = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);

		if (sock >= 0) {
			welcome(d, sock, l->legacy);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* asking again at once would be answered the same way, for ever */
			log_warn(&log, "no room for more connections (%s), continuing in a moment",
				 strerrordesc_np(errno));
			daemon_watch_listeners(d, false);
		}
		return; /* nobody is left, or the client has given up meanwhile */
	}
}

/* The length of what was sent is all that is looked at here. */
void daemon_heard(struct daemon *d, struct crowd_client *client)
{
	ssize_t len = recv(client->fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);

	if (len <= 0) {
		drop(d, client);
		return;
	}
	epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
	crowd_asks(&d->crowd, client, daemon_now_ms());
}

/* What a worker takes over; the numbers of the descriptors are told by the spawner. */
struct start {
	const struct daemon *d;
	bool legacy, may_log;
};

/* The daemon's output does not come along for clients that have said too much already, unless the log is there. */
static void leave_daemon(int log_fd, bool may_log)
{
	autofd int null = may_log ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		if (fd != log_fd)
			dup2(null, fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child. Options of the daemon do not carry over to requests. */
static void serve(void *arg, int fds[static SPAWNER_FDS])
{
	const struct start *start = arg;
	const struct daemon *d = start->d;
	autosettings struct settings fresh;
	struct access_log access = {
		.fd = fds[1], .journal_fd = fds[2], .priorities = d->access.priorities, .spare_fd = fds[3]
	};
	struct worker_terms terms = {
		.generation = start->legacy ? RPC_GENERATION_FIRST : RPC_GENERATION_TODAY,
		.log_fd = start->may_log ? fds[1] : STDIN_FILENO, /* complaints are lines too */
		.alive_fd = fds[3],
		.stop_fd = fds[4],
		.base = &fresh,
		.limits = &d->limits,
		.access = &access,
		.quiet = !start->may_log,
	};

	leave_daemon(fds[1], start->may_log);
	settings_init(&fresh);
	_exit(worker_run(fds[0], &terms));
}

static void start_worker(struct daemon *d, struct crowd_client *client)
{
	const int fds[SPAWNER_FDS] = { client->fd, d->sink.fd, d->access.journal_fd, d->alive[1], d->stop[0] };
	struct cr_log log = daemon_log(d);
	int64_t now = daemon_now_ms();
	struct start start = { d, client->legacy, crowd_may_log(client->user, now) };
	pid_t pid = crowd_reserve(&d->crowd);

	if (pid == 0)
		pid = spawner_fork(&d->spawner, fds, serve, &start);
	if (pid < 0) {
		if (start.may_log)
			log_warn(&log, "no worker for client %d: %s", (int)client->pid, strerrordesc_np(-pid));
		drop(d, client);
		return;
	}
	log_debug(&log, "worker %d serves client %d of user %u", (int)pid, (int)client->pid, client->user->uid);
	/* the worker may have ended already */
	daemon_let_go(d, client);
	crowd_serve(&d->crowd, client, pid, now);
}

void daemon_serve_waiting(struct daemon *d)
{
	struct crowd_client *client;

	while ((client = crowd_next(&d->crowd)) != NULL)
		start_worker(d, client);
}

static void tell_unlogged(void *arg, uid_t uid, uint64_t nr)
{
	struct cr_log log = daemon_log(arg);

	log_warn(&log, "user %u: %llu connections are not in this log, there were too many at a time", uid,
		 (unsigned long long)nr);
}

void daemon_settle(struct daemon *d)
{
	d->settle_ms = daemon_now_ms();
	crowd_settle(&d->crowd, d->settle_ms, tell_unlogged, d);
}

void daemon_send_away(struct daemon *d)
{
	struct cr_log log = daemon_log(d);
	int64_t now = daemon_now_ms();
	struct crowd_client *client;

	while ((client = crowd_late(&d->crowd, now)) != NULL) {
		if (client->asking && crowd_may_log(client->user, now))
			log_warn(&log, "client %d of user %u has waited %u s for a place, sent away", (int)client->pid,
				 client->user->uid, d->limits.request_s);
		drop(d, client);
	}
	if (now - d->settle_ms >= SETTLE_MS)
		daemon_settle(d);
}

void daemon_reap(struct daemon *d)
{
	struct cr_log log = daemon_log(d);
	struct crowd_worker w;
	uid_t uid = 0;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		/* that he may kill his own workers is no way to fill the log */
		bool tell = WIFSIGNALED(status) && crowd_may_tell(&d->crowd, pid, daemon_now_ms());

		if (!crowd_reap(&d->crowd, pid, &w, &uid))
			continue;
		if (tell)
			log_warn(&log, "worker %d was killed by signal %d while it served client %d of user %u",
				 (int)pid, WTERMSIG(status), (int)w.client_pid, uid);
		else if (WIFEXITED(status))
			log_debug(&log, "worker %d has left with code %d", (int)pid, WEXITSTATUS(status));
	}
}
