/* Which page server is meant, by options that have no field of their own on the wire. */
#ifndef CR_OPTIONS_PAGE_SERVER_H
#define CR_OPTIONS_PAGE_SERVER_H

#include "options/settings.h"

/**
 * settings_name_server() - put --page-server, --address, --port and --ps-socket where the engine reads them: rpc.ps
 * Does nothing for other commands, and where a request has said it already. Before settings_check().
 * Return: 0; -EINVAL they do not go together; -ENOMEM.
 */
int settings_name_server(struct settings *s, enum command c, struct cr_error *err);

#endif
