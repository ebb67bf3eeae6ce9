/*
 * The connection of a lazy-pages daemon with whoever has the memory: a dump that keeps its tasks, or a page server with images.
 * Any number of pages may be asked for before the first answer is there.
 */
#ifndef CR_MM_LAZY_REMOTE_H
#define CR_MM_LAZY_REMOTE_H

#include "mm/page-wire.h"

#include "base/own.h"

#include <sys/types.h>

struct cr_context;
struct lazy_remote;

/* Pages of a process: asked for, or sent. */
struct lazy_piece {
	uint32_t ns_pid;
	uint64_t at, len;
};

/**
 * lazy_remote_open() - connect to what the options name (ps)
 * @run_id: the dump whose memory is wanted; "" if its images do not say. Return: 0; -EINVAL it has that of another; negative errno
 */
int lazy_remote_open(struct cr_context *ctx, const char *run_id, struct lazy_remote **ret, struct cr_error *err);
/** lazy_remote_begin() - find out who is there; by the process that goes on to use it. Return: 0, -EACCES, -EPROTO, negative errno */
int lazy_remote_begin(struct lazy_remote *rm, struct cr_error *err);
/** lazy_remote_free() - hang up; NULL is fine */
void lazy_remote_free(struct lazy_remote *rm);
DEFINE_SLOT(struct lazy_remote, lazy_remote_free)

/** lazy_remote_fd() - readable when something has come; borrowed */
int lazy_remote_fd(const struct lazy_remote *rm);

/** lazy_remote_ask() - for pages. Return: 0, negative errno */
int lazy_remote_ask(struct lazy_remote *rm, const struct lazy_piece *what, struct cr_error *err);

/**
 * lazy_answer_check() - is a record the head of the answer to one of @nr questions? Pure.
 * @ret: which, and what follows: all of it, or its beginning
 * Return: index of the question; -EPROTO
 */
ssize_t lazy_answer_check(const uint8_t rec[static PAGE_WIRE_SIZE], const struct lazy_piece *asked, size_t nr,
			  struct lazy_piece *ret, struct cr_error *err);

/**
 * lazy_remote_hear() - wait for one answer
 * @buf: for the pages, as much as the largest question wants
 * Return: as lazy_answer_check(); -ECONNRESET it has gone; -ETIMEDOUT; negative errno
 */
ssize_t lazy_remote_hear(struct lazy_remote *rm, const struct lazy_piece *asked, size_t nr, void *buf,
			 struct lazy_piece *ret, struct cr_error *err);

/** lazy_remote_start() - the tree is about to run here; nothing may be asked for that was not answered. Return: 0 it may; negative errno */
int lazy_remote_start(struct lazy_remote *rm, struct cr_error *err);

/** lazy_remote_close() - nothing is needed any more; as lazy_remote_start(). Return: 0 the other side knows; negative errno */
int lazy_remote_close(struct lazy_remote *rm, struct cr_error *err);

#endif
