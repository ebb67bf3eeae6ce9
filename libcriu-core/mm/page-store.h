/*
 * Where a page server puts what it receives: page maps and pages files in its images directory, numbered from 0x10001 on so
 * that the images of a local dump can lie beside them. What one connection has sent stays from the moment in which it is told
 * that all is well, since its tree may be gone then; of one that is not finished nothing stays.
 */
#ifndef CR_MM_PAGE_STORE_H
#define CR_MM_PAGE_STORE_H

#include "mm/page-session.h"

#include "base/own.h"

struct cr_context;

/* All that one server receives, on all of its connections. */
struct page_store;

/** page_store_new() - @ctx: images directory and options (parent_img). Nothing is touched yet. */
int page_store_new(struct cr_context *ctx, struct page_store **ret, struct cr_error *err);

/** page_store_end() - all connections have ended well. Frees what earlier images need no longer have, if that is wanted. */
void page_store_end(struct page_store *st);

/** page_store_free() - whatever happened meanwhile, what a connection was told to be kept stays */
void page_store_free(struct page_store *st);
DEFINE_SLOT(struct page_store, page_store_free)

/* What comes on one connection: the argument of page_store_ops. */
struct page_intake;

int page_intake_new(struct page_store *st, struct page_intake **ret, struct cr_error *err);
void page_intake_free(struct page_intake *in);
DEFINE_SLOT(struct page_intake, page_intake_free)

/** page_intake_withdraw() - the other side has not heard that all is well: nothing of it is to stay after all */
void page_intake_withdraw(struct page_intake *in);

extern const struct page_store_ops page_store_ops;

/**
 * page_intake_room() - where the next content is to be put, and how much of it: some whole pages
 * It is written behind, see page-behind.h. Return: 0; negative errno, also for what came before
 */
int page_intake_room(struct page_intake *in, char **ret, size_t *ret_len, struct cr_error *err);

/** page_intake_put() - @len bytes of content are there now */
void page_intake_put(struct page_intake *in, size_t len);

#endif
