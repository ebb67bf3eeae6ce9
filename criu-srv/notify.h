/* Stage notifications: a question to the client in the middle of its request, then to its action scripts. */
#ifndef CRIU_SRV_NOTIFY_H
#define CRIU_SRV_NOTIFY_H

#include <sys/types.h>

struct session;

/** notify_setup() - put notify() and give_fd() into the session's observer, if anybody wants to know */
void notify_setup(struct session *n);

/**
 * notify_stage() - notify() of the observer; @arg is the session
 * Return: 0; -ECANCELED the client or a script refused, or the client has gone; -ETIMEDOUT it does not answer.
 */
int notify_stage(void *arg, const char *script, pid_t pid);

/** notify_give_fd() - give_fd() of the observer; @arg is the session. Return: 0 the client has it; -ECANCELED */
int notify_give_fd(void *arg, const char *script, int fd);

#endif
