/*
 * The end of connections in which something may lie that nobody has read, and descriptors with it (SCM_RIGHTS). Whoever closes
 * the last descriptor of a file waits for what its end waits for, and that may be the sender's choice: a TCP connection with
 * SO_LINGER waits for its other side for as long as was said, a large memfd is taken apart. The service has no time for that.
 *
 * A thread that ends does not linger: inet_release() in net/ipv4/af_inet.c asks for PF_EXITING. So the last descriptors are those
 * of a thread which has a table of its own (unshare(2), CLONE_FILES) and does nothing but end.
 */
#ifndef CRIU_SRV_DEPARTURE_H
#define CRIU_SRV_DEPARTURE_H

#include <stddef.h>

#define DEPARTURE_MAX 256

struct departure {
	int fds[DEPARTURE_MAX];
	size_t nr;
};

/** departure_add() - takes @fd over; it stays open until departure_go() */
void departure_add(struct departure *d, int fd);

/**
 * departure_go() - close them all, without waiting for what that takes
 * Without memory for a thread they stay for the next time; when there is no room for more, they are closed all the same.
 */
void departure_go(struct departure *d);

#endif
