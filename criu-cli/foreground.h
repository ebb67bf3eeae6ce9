/*
 * Waiting in front of a restored job that was given the terminal: what a shell sees of us is what it would see of the job.
 */
#ifndef CRIU_CLI_FOREGROUND_H
#define CRIU_CLI_FOREGROUND_H

#include <stdbool.h>
#include <sys/types.h>

struct foreground {
	int tty;
	pid_t root, group; /* the job's first process, and its process group */
	pid_t holder;      /* the group of the tree that had the terminal last */
	bool left_stopped; /* it was restored stopped, and nobody has continued it yet */
};

/**
 * foreground_begin() - after a restore
 * @holder: who was given the terminal; 0: nobody, then there is nothing to do. @stopped: the restore left @root stopped. What
 * stops it later is ^Z, be it before we have come to wait.
 */
void foreground_begin(struct foreground *f, pid_t root, pid_t holder, bool stopped);

/** foreground_stopped() - the job was stopped: the terminal comes back and we stop, too; continued, we continue it */
void foreground_stopped(struct foreground *f);

/** foreground_end() - the job has ended: the terminal comes back */
void foreground_end(struct foreground *f);

#endif
