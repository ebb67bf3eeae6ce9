/* Keeping account of requests; see record.h. */
#include "record.h"

#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define LINES_AT_ONCE 4.0

void record_limit(struct record *r, double per_second)
{
	if (!r)
		return;
	r->per_second = per_second;
	r->lines = LINES_AT_ONCE;
	clock_gettime(CLOCK_MONOTONIC, &r->start);
}

static void refill(struct record *r, const struct timespec *now)
{
	double seconds = (double)(now->tv_sec - r->start.tv_sec) + (double)(now->tv_nsec - r->start.tv_nsec) / 1e9;

	r->lines += seconds * r->per_second;
	if (r->lines > LINES_AT_ONCE)
		r->lines = LINES_AT_ONCE;
}

void record_begin(struct record *r)
{
	struct timespec now;

	if (!r)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (r->per_second > 0)
		refill(r, &now);
	r->mute = r->quiet || (r->per_second > 0 && r->lines < 1);
	r->start = now;
	r->target = 0;
	r->error = 0;
	r->why[0] = '\0';
}

bool record_is_mute(const struct record *r)
{
	return r && r->mute;
}

void record_target(struct record *r, pid_t pid)
{
	if (r)
		r->target = pid;
}

void record_failure(struct record *r, const struct cr_error *err)
{
	if (!r || r->error)
		return;
	r->error = err->code < 0 ? -err->code : EIO;
	memcpy(r->why, err->text, sizeof(r->why));
}

static void read_comm(struct record *r)
{
	autofd int fd = -1;
	char path[32];
	ssize_t len;

	if (r->comm[0] || r->peer->pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)r->peer->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? 0 : fd_read_all(fd, r->comm, sizeof(r->comm) - 1);
	while (len > 0 && r->comm[len - 1] == '\n')
		len--;
	/* alive after the read means that the number was not somebody else's before */
	r->comm[len > 0 && !peer_is_gone(r->peer) ? len : 0] = '\0';
}

static void write_entry(struct record *r, const char *what, uint64_t repeats, int64_t us)
{
	struct access_entry e = {
		.what = what,
		.uid = r->peer->who.uid,
		.pid = r->peer->pid,
		.comm = r->comm,
		.target = r->target,
		.error = r->error,
		.why = r->why,
		.repeats = repeats,
		.us = us,
	};

	r->lines -= 1;
	read_comm(r);
	clock_gettime(CLOCK_REALTIME, &e.when);
	access_write(r->log, &e);
}

static void flush_repeats(struct record *r)
{
	if (!r->repeated)
		return;
	if (r->repeats) {
		int error = r->error;

		r->error = 0;
		write_entry(r, r->repeated, r->repeats, r->repeat_us);
		r->error = error;
	}
	r->repeated = NULL;
	r->repeats = 0;
}

void record_end(struct record *r, const char *what, bool effect)
{
	struct timespec now;
	int64_t us;

	if (!r || (r->quiet && (!effect || r->error)))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	us = (int64_t)(now.tv_sec - r->start.tv_sec) * 1000000 + (now.tv_nsec - r->start.tv_nsec) / 1000;
	if (!effect && !r->error && r->repeated && strcmp(r->repeated, what) == 0) {
		r->repeats++;
		r->repeat_us = us;
		return;
	}
	if (r->mute && (!effect || r->error)) {
		r->unlogged++;
		return;
	}
	flush_repeats(r);
	write_entry(r, what, 1, us);
	r->repeated = effect || r->error ? NULL : what;
}

uint64_t record_flush(struct record *r)
{
	if (!r)
		return 0;
	flush_repeats(r);
	return r->unlogged;
}
