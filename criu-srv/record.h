/* What the log of requests will say about the request under way. All of it does nothing with NULL: swrk has no such log. */
#ifndef CRIU_SRV_RECORD_H
#define CRIU_SRV_RECORD_H

#include "access-log.h"
#include "peer.h"

#include "base/error.h"

struct record {
	const struct access_log *log;
	const struct peer *peer;
	bool quiet;        /* only what had an effect is written */
	double per_second; /* lines that the connection may add over time, besides those; 0: as many as there are */
	double lines;      /* that it may add now */
	uint64_t unlogged; /* requests that have no line for that reason */
	bool mute;         /* the one under way will have none, unless it has an effect */
	struct timespec start;
	pid_t target;
	int error;
	char why[CR_ERROR_TEXT];
	char comm[64];        /* "" until it was asked for */
	const char *repeated; /* type that was written last and may repeat itself; constant text */
	uint64_t repeats;     /* how often it has since */
	int64_t repeat_us;
};

/** record_limit() - a few lines and @per_second over time, besides what has an effect: the log is not the client's to fill */
void record_limit(struct record *r, double per_second);

/** record_begin() - a request has arrived. record_is_mute() says whether there will be a line if it fails. */
void record_begin(struct record *r);
bool record_is_mute(const struct record *r);
/** record_target() - the process that it is about, or that came of it */
void record_target(struct record *r, pid_t pid);
/** record_failure() - it has failed; the first reason counts */
void record_failure(struct record *r, const struct cr_error *err);
/** record_end() - it was answered. @what: its type, constant text; @effect: it changes something, so it is always written */
void record_end(struct record *r, const char *what, bool effect);
/** record_flush() - the connection has ended. Return: how many requests are not in the log because there were too many */
uint64_t record_flush(struct record *r);

#endif
