/*
 * The parts of the service. The daemon reads no byte of what clients send: it looks how long a packet is, and forks. It
 * has no capability in effect while it runs (those that are permitted are what workers inherit); files, sockets and
 * processes that it handles belong to its own user.
 */
#ifndef CRIU_SRV_DAEMON_INTERNAL_H
#define CRIU_SRV_DAEMON_INTERNAL_H

#include "access-log.h"
#include "activation.h"
#include "crowd.h"
#include "departure.h"
#include "srv-limits.h"
#include "listener.h"
#include "spawner.h"

#include "options/args.h"
#include "options/log-sink.h"
#include "options/settings.h"

#include <stdbool.h>
#include <stdint.h>

#define LISTENERS_MAX (ACTIVATION_MAX + 2)

struct daemon {
	const struct settings *s; /* as started with; addresses and files stay those of the start */
	const struct args *args;
	struct srv_limits limits; /* as of the last time that configuration was read */
	struct log_sink sink;
	struct access_log access;
	struct listener listeners[LISTENERS_MAX];
	int nr_listeners;
	bool paused;       /* no descriptors left: connections wait in the backlog */
	int64_t paused_ms; /* since when */
	int epoll_fd, signal_fd, manager_fd;
	int work_dirfd;
	int start_dirfd; /* where paths of the command line are relative to; the work directory is the current one */
	int alive[2];    /* pipe that workers and those they leave in charge hold open for writing; lines come by it */
	int stop[2];     /* pipe that says by its end that the service takes no further requests; workers can read */
	bool has_pidfile;
	int64_t settle_ms; /* when users were looked through last */
	struct spawner spawner;
	struct crowd crowd;
	struct departure leaving; /* connections of clients that have left the crowd */
};

struct cr_log daemon_log(struct daemon *d);
int64_t daemon_now_ms(void);

/* --- daemon-start.c: everything up to the first connection */
int daemon_start(struct daemon *d, struct cr_error *err);
/** daemon_open_log() - by @s; what was open is closed only when the new one is there */
int daemon_open_log(struct daemon *d, const struct settings *s, struct cr_error *err);
void daemon_take_limits(struct daemon *d, const struct settings *s);
/** daemon_caps() - wake the capabilities up, for work on the daemon's own files, or put them to sleep */
int daemon_caps(bool awake, struct cr_error *err);
void daemon_end(struct daemon *d);

/* --- daemon-serve.c: connections and workers */
void daemon_accept(struct daemon *d, const struct listener *l);
/** daemon_let_go() - close the connection, at once or with the next departure_go(): @client is still in the crowd */
void daemon_let_go(struct daemon *d, const struct crowd_client *client);
/** daemon_heard() - @client has sent something or has gone */
void daemon_heard(struct daemon *d, struct crowd_client *client);
/** daemon_serve_waiting() - start workers for those who have asked, as long as there are places */
void daemon_serve_waiting(struct daemon *d);
/** daemon_settle() - the account of lines that were left out of the log, as far as it has not been given yet */
void daemon_settle(struct daemon *d);
/** daemon_send_away() - clients whose time is over; settles now and then */
void daemon_send_away(struct daemon *d);
void daemon_reap(struct daemon *d);
/** daemon_watch_listeners() - take new connections, or let them wait in the backlog. Return: 0; negative errno. */
int daemon_watch_listeners(struct daemon *d, bool on);

/* --- daemon-stop.c */
/** daemon_stop() - no new requests; those under way finish, or are called off when the time is over */
void daemon_stop(struct daemon *d);

#endif
