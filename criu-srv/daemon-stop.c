/* The orderly end of the service. */
#include "daemon-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define KILL_MS 1000  /* from asking a worker to end to making it end */
#define UNDO_MS 20000 /* for undoing a dump that was called off */

/* Clients that have not been served see the end of the connection: as if there had been no service. */
static void close_doors(struct daemon *d)
{
	for (int i = 0; i < d->nr_listeners; i++) {
		/* in those that nobody has accepted yet something may lie as well */
		int again = fcntl(d->listeners[i].fd, F_DUPFD_CLOEXEC, 3);

		if (again >= 0)
			departure_add(&d->leaving, again);
		listener_close(&d->listeners[i]);
	}
	while (d->crowd.silent.first) {
		daemon_let_go(d, d->crowd.silent.first);
		crowd_leave(&d->crowd, d->crowd.silent.first);
	}
	while (d->crowd.asking.first) {
		daemon_let_go(d, d->crowd.asking.first);
		crowd_leave(&d->crowd, d->crowd.asking.first);
	}
	departure_go(&d->leaving);
}

/* Until the write end of the pipe is closed: workers have it, and the children in which they dump. */
static bool all_gone(const struct daemon *d)
{
	struct pollfd pfd = { .fd = d->alive[0], .events = POLLIN };

	access_pass_on(&d->access, d->alive[0]);
	return d->crowd.nr_workers == 0 && poll(&pfd, 1, 0) > 0 && pfd.revents == POLLHUP;
}

/* Return: true all have ended; false the time is over, or a second signal says that it is */
static bool wait_for_workers(struct daemon *d, int64_t until_ms)
{
	bool hurry = false;

	while (!all_gone(d)) {
		struct pollfd fds[] = { { .fd = d->signal_fd, .events = POLLIN },
					{ .fd = d->crowd.nr_workers ? -1 : d->alive[0], .events = POLLIN } };
		int64_t left = until_ms - daemon_now_ms();
		struct signalfd_siginfo info;

		if (hurry || left <= 0)
			return false;
		if (poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR)
			return false;
		while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info))
			hurry |= info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
		daemon_reap(d);
	}
	return true;
}

static void signal_workers(const struct daemon *d, int sig)
{
	for (size_t i = 0; i < d->crowd.nr_workers; i++)
		kill(d->crowd.workers[i].pid, sig);
}

/*
 * A worker that is killed calls off its request: the child in which a dump is done sees that it is alone and undoes it
 * (options/shield.h); what a restore has made so far ends with the one that makes it.
 */
void daemon_stop(struct daemon *d)
{
	struct cr_log log = daemon_log(d);
	int64_t now = daemon_now_ms();

	close_doors(d);
	if (d->signal_fd < 0 || d->stop[0] < 0)
		return; /* it had not begun */
	close(d->alive[1]);
	d->alive[1] = -1;
	/* clients of whom nothing is under way are let go by their workers */
	close(d->stop[1]);
	d->stop[1] = -1;
	manager_tell(d->manager_fd, "STOPPING=1");
	if (d->crowd.nr_workers)
		log_info(&log, "%zu requests are under way, waiting for them for at most %u s", d->crowd.nr_workers,
			 d->limits.stop_s);
	if (wait_for_workers(d, now + (int64_t)d->limits.stop_s * 1000))
		return;
	log_warn(&log, "%zu requests are called off", d->crowd.nr_workers);
	signal_workers(d, SIGTERM);
	/* a restore has all signals blocked while it makes processes; killed, it takes along what it has made */
	if (wait_for_workers(d, daemon_now_ms() + KILL_MS))
		return;
	signal_workers(d, SIGKILL);
	if (!wait_for_workers(d, daemon_now_ms() + UNDO_MS))
		log_warn(&log, "some of them are not undone yet, leaving all the same");
}
