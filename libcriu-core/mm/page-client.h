/* Who sends pages to a page server: a dump or pre-dump whose page maps and pages are stored elsewhere. */
#ifndef CR_MM_PAGE_CLIENT_H
#define CR_MM_PAGE_CLIENT_H

#include "mm/page-copy.h"

#include "base/own.h"

struct cr_context;
struct page_client;

/**
 * page_client_open() - connect to the server that the options name (ps), and hear whether it answers
 * Before anything is stopped: whatever is wrong with it shows here.
 */
int page_client_open(struct cr_context *ctx, struct page_client **ret, struct cr_error *err);
/** page_client_free() - breaks off what is not finished: the server then keeps nothing of it. NULL is fine. */
void page_client_free(struct page_client *c);
DEFINE_SLOT(struct page_client, page_client_free)

/** page_client_round() - id of this dump, as inventories have it: the server notes it beside the pages */
void page_client_round(struct page_client *c, const char *round);

/** page_client_ask() - does the server's parent have the memory of a process, as the dump @round left it? Answers are waited for later */
int page_client_ask(struct page_client *c, uint64_t ns_pid, const char *round, struct cr_error *err);
/** page_client_hear() - wait for the answers to all questions */
int page_client_hear(struct page_client *c, struct cr_error *err);
/** page_client_parent_has() - the answer for one process; false if it was not asked about */
bool page_client_parent_has(const struct page_client *c, uint64_t ns_pid);

/**
 * page_client_send() - the next content of job @at, after all of those before it
 * @jobs: all, in order. Their objects are announced as it goes on.
 */
int page_client_send(struct page_client *c, const struct copy_job *jobs, const struct copy_job *at, const void *buf,
		     size_t len, struct cr_error *err);
/** page_client_send_rest() - what of the jobs has no content */
int page_client_send_rest(struct page_client *c, const struct copy_job *jobs, size_t nr, struct cr_error *err);
/** page_client_finish() - that was all. Return: 0 the server has stored it; negative errno */
int page_client_finish(struct page_client *c, struct cr_error *err);

#endif
