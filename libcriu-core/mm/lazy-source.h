/*
 * Being the source of memory of a tree that is restored elsewhere: who comes asks for pages, in any order, until he says that it
 * was all. The memory itself is somebody else's business.
 */
#ifndef CR_MM_LAZY_SOURCE_H
#define CR_MM_LAZY_SOURCE_H

#include "base/error.h"
#include "base/own.h"

#include <stddef.h>
#include <stdint.h>

struct cr_context;
struct lazy_source;

struct lazy_store_ops {
	/* are all pages of [start, end) of a process to be had? Return: 0; -EPROTO they are not */
	int (*check)(void *arg, uint32_t ns_pid, uint64_t start, uint64_t end, struct cr_error *err);
	/* @len bytes from @at, whole pages that were checked */
	int (*read)(void *arg, uint32_t ns_pid, uint64_t at, void *buf, size_t len, struct cr_error *err);
	/* from now on the tree may be running elsewhere; called once at most. NULL: of no interest */
	void (*started)(void *arg);
};

/**
 * lazy_source_open() - listen where the options say (ps), or take the socket that they name
 * @ret_port: where; 0: nowhere, the socket is connected
 * Return: 0, negative errno
 */
int lazy_source_open(struct cr_context *ctx, struct lazy_source **ret, uint16_t *ret_port, struct cr_error *err);
/** lazy_source_free() - hang up; NULL is fine */
void lazy_source_free(struct lazy_source *s);
DEFINE_SLOT(struct lazy_source, lazy_source_free)

/**
 * lazy_source_serve() - wait for somebody, and give him what he asks for
 * @run_id: the dump that the memory is of; who asks for that of another is told so
 * Who has not said a word that can be understood is nobody; then the next one is waited for.
 * Return: 0 he has said that he needs no more; -ECONNRESET he has gone before; -EPROTO; -ECANCELED nobody waits for us;
 * negative errno
 */
int lazy_source_serve(struct lazy_source *s, const char *run_id, const struct lazy_store_ops *ops, void *arg, struct cr_error *err);

#endif
