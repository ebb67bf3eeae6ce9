/*
 * Forks of a process that has ten thousand descriptors open: each would copy all of them and close them again, which is
 * milliseconds of both processors for every request while somebody floods the service. So it is done by a thread that
 * shares everything with the daemon but the table of descriptors (unshare(2), CLONE_FILES): in its own there is next to
 * nothing, and what a child is to have is taken over for the moment of the fork (pidfd_getfd(2), 5.6). The daemon waits for it
 * meanwhile, so that there is never more than one thread that does something.
 */
#ifndef CRIU_SRV_SPAWNER_H
#define CRIU_SRV_SPAWNER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#define SPAWNER_FDS 5

/* In the child. @fds: the descriptors that were asked for, under their numbers there. Does not return. */
typedef void spawner_fn(void *arg, int fds[static SPAWNER_FDS]);

struct spawner {
	bool running; /* no: forks are made by the caller, with all of its descriptors */
	pthread_t thread;
	int orders, answers; /* the caller's ends of two pipes */
};

/**
 * spawner_start() - before there are many descriptors, and with the credentials and signal mask that children are to have
 * Where it cannot be had there is none, and all works as well, though slower. To be given to spawner_stop().
 */
void spawner_start(struct spawner *s);

/**
 * spawner_fork() - a child process of the caller that runs @fn
 * @fds: what it is to have open besides the standard descriptors; below 0: none
 * Return: its pid; negative errno.
 */
pid_t spawner_fork(struct spawner *s, const int fds[static SPAWNER_FDS], spawner_fn *fn, void *arg);

/** spawner_stop() - end the thread; idempotent */
void spawner_stop(struct spawner *s);

#endif
