/* The service: a listening socket and one worker process for each connection. */
#ifndef CRIU_SRV_DAEMON_H
#define CRIU_SRV_DAEMON_H

#include "options/settings.h"

/** daemon_run() - until a signal or a failure ends it. Return: exit code; 0 after SIGTERM or SIGINT. */
int daemon_run(const struct settings *s);

#endif
