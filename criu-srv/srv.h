/* The service: requests over sockets. */
#ifndef CRIU_SRV_H
#define CRIU_SRV_H

#include "options/args.h"
#include "options/settings.h"

/** srv_run() - service or swrk, as the words of @args say. Return: exit code. */
int srv_run(const struct settings *s, const struct args *args);

#endif
