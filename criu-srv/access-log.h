/*
 * The log of requests: one line each, with who asked, for what, what came of it and how long it took. It is written by the
 * worker when the request is done. Requests without effect that repeat each other on one connection make one line.
 */
#ifndef CRIU_SRV_ACCESS_LOG_H
#define CRIU_SRV_ACCESS_LOG_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Where lines go; made by the daemon, used by its workers. */
struct access_log {
	int fd;          /* text; -1: nowhere */
	int journal_fd;  /* entries with fields; -1: text instead */
	bool priorities; /* fd belongs to the journal: "<6>" in front, and no time */
	int spare_fd; /* pipe to the daemon, for lines that a worker may not write (RLIMIT_FSIZE of its client); 0: none */
};

/* What is known of a request. Texts are the caller's. */
struct access_entry {
	const char *what; /* "DUMP"; never NULL */
	uid_t uid;
	pid_t pid;        /* 0: of another pid namespace */
	const char *comm; /* "" unknown */
	pid_t target;     /* process that was dumped or restored; 0: none */
	int error;        /* errno, with @why; 0: it was carried out */
	const char *why;
	uint64_t repeats;     /* how many requests this stands for, 1 or more */
	int64_t us;           /* from its arrival to its answer; of the last one where there were several */
	struct timespec when; /* time of day at its end */
};

/** access_text() - the line, with its newline. Return: 0; negative errno of the buffer. */
int access_text(struct buf *b, const struct access_entry *e, bool with_time);
/** access_fields() - the entry for the journal. Return: as access_text(). */
int access_fields(struct buf *b, const struct access_entry *e);

/** access_write() - to where the log says. What cannot be written is lost: a log must not fail the work it is about. */
void access_write(const struct access_log *log, const struct access_entry *e);

/** access_pass_on() - in the daemon: what workers could not write, from the other end of the pipe, which does not block */
void access_pass_on(const struct access_log *log, int pipe_fd);

#endif
