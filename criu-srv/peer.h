/* Who is at the other end of a socket: told by the kernel, never by a message. */
#ifndef CRIU_SRV_PEER_H
#define CRIU_SRV_PEER_H

#include "policy.h"

#include <stdbool.h>
#include <sys/types.h>

struct cr_error;

struct peer {
	pid_t pid;    /* 0: it cannot be seen from here (another pid namespace) */
	int pidfd;    /* -1: none, see gone */
	bool gone;    /* had ended before anybody asked for it */
	bool trusted; /* root, or this process has no rights that the client lacks */
	bool judged;  /* it was found to be root indeed, not just user 0 */
	bool learned; /* see peer_learn() */
	bool spawned; /* it started this process */
	bool equal;   /* started this process and has all of its rights: none of them is put to sleep */
	bool awake;   /* capabilities may be in effect: since the last peer_raise() */
	struct policy_client who;
};

/**
 * peer_read() - of a connected socket
 * @spawned: the client started this process itself (swrk), so that it runs with the client's rights unless the
 *           program carries rights of its own
 * Return: 0; negative errno with @err filled. To be given to peer_done() either way.
 */
int peer_read(int sock, bool spawned, struct peer *ret, struct cr_error *err);
void peer_done(struct peer *p);

/**
 * peer_assume() - reach files as the client would, for the rest of this process, and put all capabilities to sleep
 * For a client that is its equal nothing has to change.
 */
int peer_assume(const struct peer *p, struct cr_error *err);

/* What a request needs. For a client that is trusted the last three are everything that there is. */
enum peer_need { PEER_NEED_NOTHING, PEER_NEED_FILES, PEER_NEED_PROBE, PEER_NEED_DUMP, PEER_NEED_RESTORE };

/**
 * peer_raise() - wake up the capabilities for one request; before a dump or restore others are given up for good
 * User 0 is looked at before anything but PEER_NEED_NOTHING: without root's capabilities it is a client like others.
 */
int peer_raise(struct peer *p, enum peer_need need, struct cr_error *err);
/** peer_lower() - put them to sleep again: the next request is decoded without any. Return: 0; negative errno. */
int peer_lower(struct peer *p);

/** peer_doze() - the same in the middle of a request. Return: what peer_wake() takes to go on as before */
uint64_t peer_doze(const struct peer *p);
void peer_wake(const struct peer *p, uint64_t awake);

/**
 * peer_open_dir() - the directory that the client has open as descriptor @fd
 * Opened anew with the client's rights, through a link of procfs that leads to the very directory.
 * Return: descriptor, owned by the caller; negative errno with @err filled.
 */
int peer_open_dir(const struct peer *p, int fd, const char *what, struct cr_error *err);

/** peer_is_gone() - has the client ended, so that its number may be somebody else's? */
bool peer_is_gone(const struct peer *p);

/**
 * peer_learn() - fill in what only procfs tells about a client that is not trusted; before any path of it is looked at
 * Return: 0; -EPERM it is held in by something that we are not (policy_serve()); negative errno with @err filled.
 */
int peer_learn(struct peer *p, struct cr_error *err);

#endif
