/* A listening socket of the service: made here in the file system, or handed over by a service manager. */
#ifndef CRIU_SRV_LISTENER_H
#define CRIU_SRV_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

struct cr_error;

struct listener {
	int fd;
	bool legacy;      /* clients speak the first generation of the protocol here */
	const char *path; /* constant text of the caller; NULL: somebody else's, and not to be removed */
	dev_t dev;        /* of the socket file, so that only our own is removed */
	ino_t ino;
};

/**
 * listener_open() - bind to @path, mode 0666, and listen
 * A socket file that nobody listens on is what a daemon left that was killed: it is removed.
 * Return: 0; -EADDRINUSE a daemon runs there; -EEXIST something else has the name; negative errno with @err filled.
 */
int listener_open(const char *path, bool legacy, struct listener *ret, struct cr_error *err);

/** listener_seal() - no descriptors come along with what clients send; they are told so. Where the kernel has that (6.16). */
void listener_seal(int fd);

/** listener_sealed() - can nothing have come along in this connection, since it was made? */
bool listener_sealed(int sock);

/** listener_close() - close, and remove the file if it is still the one that was made; idempotent */
void listener_close(struct listener *l);

#endif
