/* The service's loop; see daemon.h. */
#include "daemon.h"
#include "daemon-internal.h"

#include "base/error.h"
#include "options/config.h"
#include "options/request.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS    64
#define PAUSE_MS  200
#define SETTLE_MS 10000

struct cr_log daemon_log(struct daemon *d)
{
	return log_sink_log(&d->sink);
}

int64_t daemon_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * What the command line said stays; all else is read again. Values of the command line are put on top by name, since the
 * line itself is not to be read twice: some of its options act.
 */
static int read_again(struct daemon *d, struct settings *fresh, struct cr_error *err)
{
	int r = fchdir(d->start_dirfd) < 0
			? cr_fail(err, -errno, "enter the directory of the start")
			: config_read_defaults(fresh, d->args->config_file, d->args->default_config, err);

	for (size_t i = 0; r == 0 && i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];

		if (d->s->origin[i] == ORIGIN_COMMAND_LINE && (row->valid & COMMAND_SERVICE))
			option_copy(fresh, d->s, row);
	}
	return r == 0 ? settings_check(fresh, COMMAND_SERVICE, err) : r;
}

static bool differs(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

static void reload(struct daemon *d)
{
	autosettings struct settings fresh;
	struct cr_log log = daemon_log(d);
	struct cr_error err = { 0 };
	struct timespec now;
	char state[64];
	int r;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	manager_tell(d->manager_fd, state);
	settings_init(&fresh);
	r = daemon_caps(true, &err);
	if (r == 0)
		r = read_again(d, &fresh, &err);
	if (fchdir(d->work_dirfd) < 0 && r == 0)
		r = cr_fail(&err, -errno, "return to the work directory");
	if (r == 0)
		r = daemon_open_log(d, &fresh, &err);
	if (r == 0)
		daemon_take_limits(d, &fresh);
	daemon_caps(false, NULL);
	log = daemon_log(d);
	if (r < 0)
		log_error(&log, "configuration is not read again, the former one stays: %s", err.text);
	else
		log_info(&log, "configuration was read again");
	if (r == 0 && (differs(fresh.address, d->s->address) || differs(fresh.legacy_address, d->s->legacy_address) ||
		       differs(fresh.pidfile, d->s->pidfile)))
		log_warn(&log, "addresses and pidfile cannot be changed while the service runs, continuing with the "
			       "former ones");
	manager_tell(d->manager_fd, "READY=1");
}

/* Return: false the service is to end */
static bool handle_signals(struct daemon *d)
{
	struct signalfd_siginfo info;
	bool hup = false;

	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			daemon_reap(d);
		else if (info.ssi_signo == SIGHUP)
			hup = true;
		else
			return false;
	}
	if (hup)
		reload(d);
	return true;
}

static int wait_ms(const struct daemon *d, int64_t now_ms)
{
	int wait = crowd_wait_ms(&d->crowd, now_ms);

	if (d->paused && (wait < 0 || wait > PAUSE_MS))
		wait = PAUSE_MS;
	if (d->crowd.nr_users && (wait < 0 || wait > SETTLE_MS))
		wait = SETTLE_MS;
	return wait;
}

static const struct listener *listener_of(const struct daemon *d, const void *ptr)
{
	for (int i = 0; i < d->nr_listeners; i++)
		if (ptr == &d->listeners[i])
			return &d->listeners[i];
	return NULL;
}

/*
 * Clients before listeners: a new connection may send an old one away, whose event would then be of nobody.
 * Return: 1 go on; 0 the service is to end; negative errno with @err filled.
 */
static int handle(struct daemon *d, const struct epoll_event *events, int nr, struct cr_error *err)
{
	for (int i = 0; i < nr; i++)
		if (events[i].data.ptr == &d->alive)
			access_pass_on(&d->access, d->alive[0]);
		else if (events[i].data.ptr != &d->signal_fd && !listener_of(d, events[i].data.ptr))
			daemon_heard(d, events[i].data.ptr);
	for (int i = 0; i < nr; i++)
		if (events[i].data.ptr == &d->signal_fd && !handle_signals(d))
			return 0;
	daemon_serve_waiting(d);
	for (int i = 0; i < nr; i++) {
		const struct listener *l = listener_of(d, events[i].data.ptr);

		if (l && (events[i].events & (EPOLLERR | EPOLLHUP)))
			return cr_refuse(err, -EIO, "a listening socket has failed");
		if (l)
			daemon_accept(d, l);
	}
	return 1;
}

static int loop(struct daemon *d, struct cr_error *err)
{
	struct epoll_event events[EVENTS];
	int r = 1;

	while (r > 0) {
		int64_t now = daemon_now_ms();
		int nr = epoll_wait(d->epoll_fd, events, EVENTS, wait_ms(d, now));

		if (nr < 0 && errno != EINTR)
			return cr_fail(err, -errno, "epoll_wait");
		if (nr >= 0)
			r = handle(d, events, nr, err);
		if (d->paused && daemon_now_ms() - d->paused_ms >= PAUSE_MS)
			daemon_watch_listeners(d, true);
		daemon_send_away(d);
		departure_go(&d->leaving);
	}
	return r;
}

int daemon_run(const struct settings *s, const struct args *args)
{
	struct daemon d = {
		.s = s,
		.args = args,
		.signal_fd = -1,
		.epoll_fd = -1,
		.manager_fd = -1,
		.work_dirfd = -1,
		.start_dirfd = -1,
		.alive = { -1, -1 },
		.stop = { -1, -1 },
		.access = { .fd = -1, .journal_fd = -1 },
	};
	struct cr_error err = { 0 };
	struct cr_log log;
	int r;

	log_sink_init(&d.sink, "service");
	crowd_init(&d.crowd, &d.limits);
	r = daemon_start(&d, &err);
	if (r == 0)
		r = loop(&d, &err);
	if (d.sink.fd < 0)
		log_sink_open(&d.sink, AT_FDCWD, NULL, CR_LOG_WARN, &(struct cr_error){ 0 });
	log = daemon_log(&d);
	if (r < 0 && err.hint[0])
		log_error(&log, "%s (try: %s)", err.text, err.hint);
	else if (r < 0)
		log_error(&log, "%s", err.text);
	/* sockets and pidfile may be in directories of other users */
	daemon_caps(true, NULL);
	daemon_stop(&d);
	daemon_end(&d);
	return r < 0 ? 1 : 0;
}
