/*
 * Where log lines of a request go: a file, in the form that tools read. Errors begin with "Error (SCOPE): ", warnings
 * with "Warn  (SCOPE): ", and every line has a time in front from level 3 on. Lines that come before the file is open
 * are kept and written once it is. Lines may come from any thread.
 */
#ifndef CR_OPTIONS_LOG_SINK_H
#define CR_OPTIONS_LOG_SINK_H

#include "base/buf.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct cr_error;

#define LOG_FIRST_ERROR 1024 /* cr_errmsg: at most 1023 bytes and a NUL */

struct log_sink {
	int fd;          /* -1 until it is open */
	bool owned;      /* close it */
	bool priorities; /* lines begin with "<N>", their priority: the journal reads them */
	int level;
	const char *scope; /* "dump": what Error (...) names; constant text */
	struct timespec start;
	struct buf early; /* lines before the file was open: a byte of level, then text with its NUL */
	atomic_flag has_error;
	char first_error[LOG_FIRST_ERROR]; /* the first error line, without time; "" while there is none */
};

/** log_sink_init() - nothing is open yet. To be given to log_sink_done(). */
void log_sink_init(struct log_sink *s, const char *scope);

/**
 * log_sink_open() - begin to write
 * @file: relative to @dirfd, created with mode 0600 and truncated; NULL standard error; "-" standard output
 * Return: 0; negative errno with @err filled.
 */
int log_sink_open(struct log_sink *s, int dirfd, const char *file, int level, struct cr_error *err);

/**
 * log_sink_attach() - write to a descriptor that is open already; what was open before is closed if it is the sink's own
 * @owned: @fd is the sink's from here on
 */
void log_sink_attach(struct log_sink *s, int fd, bool owned, int level);

/** log_sink_line() - line() of struct cr_log; @arg is the sink. Control bytes and what is not UTF-8 come out as '?'. */
void log_sink_line(void *arg, enum cr_log_level level, const char *text);

/** log_sink_advise() - put what can be done behind the first error line, if that has no more than @max bytes then */
void log_sink_advise(struct log_sink *s, const char *hint, size_t max);

/** log_sink_log() - the library's view of it. The sink must outlive it. */
struct cr_log log_sink_log(struct log_sink *s);

/** log_sink_greet() - the first lines of every log: version, machine */
void log_sink_greet(struct log_sink *s);

/** log_sink_done() - close; idempotent */
void log_sink_done(struct log_sink *s);

static inline void log_sink_done_slot(struct log_sink *s)
{
	log_sink_done(s);
}

#define autosink __attribute__((cleanup(log_sink_done_slot)))

#endif
