/* Commands that serve: what happens when they are ready. */
#ifndef CRIU_CLI_READY_H
#define CRIU_CLI_READY_H

struct cli;
struct cr_error;

/**
 * server_ready() - go to the background if that is asked for, write the pidfile, tell scripts and status descriptor
 * In the background the caller's command has ended, with success, when this returns: only the server returns.
 */
int server_ready(struct cli *c, struct cr_error *err);

/** status_ready() - tell the status descriptor, if there is one, and close it */
void status_ready(struct cli *c);

#endif
