/*
 * Who is connected to the service: clients that have not asked yet, clients that have and wait for a place, and workers;
 * each counted for its user. Pure book-keeping: descriptors are numbers here, and time is what the caller says.
 *
 * A client is in two lists: that of all (or of those who wait for a place) and that of its user, both in the order of
 * arrival, so that the one that has waited longest is found without looking at the others. Silent clients cost memory and
 * a descriptor, never a process. When there are too many, the oldest of a user that has too many goes: a user who floods
 * the service pushes out his own.
 */
#ifndef CRIU_SRV_CROWD_H
#define CRIU_SRV_CROWD_H

#include "srv-limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct crowd_user;

struct crowd_client {
	int fd;
	pid_t pid;        /* as the socket says; for messages */
	bool legacy;      /* came in by the second address */
	bool sealed;      /* no descriptors can have come along with what it has sent */
	bool asking;      /* has sent something, waits for a place */
	int64_t since_ms; /* arrival, or when it asked */
	struct crowd_user *user;
	struct crowd_client *prev, *next;           /* all of a kind */
	struct crowd_client *user_prev, *user_next; /* silent ones of the user */
};

struct crowd_queue {
	struct crowd_client *first, *last;
	size_t nr;
};

struct crowd_worker {
	pid_t pid;
	pid_t client_pid;
	int64_t since_ms;
	struct crowd_user *user;
};

#define CROWD_BUCKETS        256
#define CROWD_LINES_A_SECOND 20.0

struct crowd_user {
	uid_t uid;
	uint32_t clients, workers; /* asking ones are counted as clients */
	double lines;              /* of the log that it may still cause; see crowd_may_log() */
	int64_t lines_ms;          /* when that was true */
	uint64_t unlogged;
	struct crowd_queue silent;
	struct crowd_user *next;
};

struct crowd {
	const struct srv_limits *limits; /* may change between calls */
	struct crowd_queue silent, asking;
	struct crowd_worker *workers;
	size_t nr_workers, cap_workers;
	size_t nr_users;
	struct crowd_user *users[CROWD_BUCKETS];
};

void crowd_init(struct crowd *c, const struct srv_limits *limits);
/** crowd_done() - gives the memory back; descriptors are the caller's to close before */
void crowd_done(struct crowd *c);

/** crowd_enter() - a new connection. Return: the client; NULL: no memory */
struct crowd_client *crowd_enter(struct crowd *c, int fd, uid_t uid, pid_t pid, bool legacy, int64_t now_ms);

/** crowd_surplus() - whom to send away, right after crowd_enter() and until it says NULL: nobody */
struct crowd_client *crowd_surplus(const struct crowd *c, const struct crowd_client *newest);

/** crowd_asks() - the client has said something: it waits for a place from now on */
void crowd_asks(struct crowd *c, struct crowd_client *client, int64_t now_ms);

/** crowd_next() - the client that has waited longest for a place and may have one now; NULL: none */
struct crowd_client *crowd_next(const struct crowd *c);

/** crowd_late() - a client whose time to ask, or to wait for a place, is over; NULL: none */
struct crowd_client *crowd_late(const struct crowd *c, int64_t now_ms);

/** crowd_wait_ms() - until the next one is late; -1: nobody waits */
int crowd_wait_ms(const struct crowd *c, int64_t now_ms);

/** crowd_leave() - forget the client; it is freed */
void crowd_leave(struct crowd *c, struct crowd_client *client);

/** crowd_reserve() - memory for one more worker. Return: 0 or -ENOMEM. */
int crowd_reserve(struct crowd *c);
/** crowd_serve() - the client turns into a worker; it is freed. crowd_reserve() comes before. */
void crowd_serve(struct crowd *c, struct crowd_client *client, pid_t worker, int64_t now_ms);
/** crowd_reap() - the worker has ended. Return: true and what was known of it; false: it is none */
bool crowd_reap(struct crowd *c, pid_t worker, struct crowd_worker *ret, uid_t *ret_uid);

/**
 * crowd_may_log() - may another connection of that user fill the log?
 * A user other than root has 20 a second over the long run and 200 at a time; the rest is counted.
 */
bool crowd_may_log(struct crowd_user *u, int64_t now_ms);

/** crowd_may_tell() - the same of what is to be said of a worker, before crowd_reap() */
bool crowd_may_tell(struct crowd *c, pid_t worker, int64_t now_ms);

/** crowd_settle() - to be called now and then: users of whom nothing is left are forgotten; @tell hears of uncounted lines */
void crowd_settle(struct crowd *c, int64_t now_ms, void (*tell)(void *arg, uid_t uid, uint64_t nr), void *arg);

#endif
