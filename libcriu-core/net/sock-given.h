/* Sockets that the caller of a restore gives in the place of dumped ones. */
#ifndef CR_NET_SOCK_GIVEN_H
#define CR_NET_SOCK_GIVEN_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct files;

/**
 * sock_given() - inherit_find() for a socket
 * @type: SOCK_STREAM and so on, that a socket must have; @listens: and whether others connect to it
 * Return: as inherit_find(); -EINVAL also for a socket of another type, or one that listens if the old one did not.
 */
int sock_given(const struct files *fs, const char *key, uint32_t type, bool listens, struct cr_error *err);

#endif
