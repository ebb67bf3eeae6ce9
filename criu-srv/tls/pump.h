/* Moving bytes between a TLS session and a socket in clear. */
#ifndef CRIU_TLS_PUMP_H
#define CRIU_TLS_PUMP_H

#include "session.h"

/**
 * pump() - both ways, until both sides have nothing more to say
 * Who is inside ends it by closing. Goodbyes are said and waited for, since the connection may go on to be used by others.
 * Return: 0; negative errno: it was cut.
 */
int pump(struct session *s, int network, int inside);

#endif
