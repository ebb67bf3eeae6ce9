/* The service: listening sockets, and one worker process for each client that has asked for something. */
#ifndef CRIU_SRV_DAEMON_H
#define CRIU_SRV_DAEMON_H

#include "options/args.h"
#include "options/settings.h"

/**
 * daemon_run() - until a signal or a failure ends it
 * @args: tells where the configuration is read from again on SIGHUP
 * Return: exit code; 0 after SIGTERM or SIGINT.
 */
int daemon_run(const struct settings *s, const struct args *args);

#endif
