/*
 * What a page server hears on one connection: records, one after another, checked, and turned into calls of a store.
 * Without any I/O of its own: who has the connection gives it the records, and moves the content that follows them.
 */
#ifndef CR_MM_PAGE_SESSION_H
#define CR_MM_PAGE_SESSION_H

#include "mm/page-wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where it all goes. Each returns 0 or negative errno, which ends the session. */
struct page_store_ops {
	/*
	 * Has the parent all of this image? @round: of which dump the asker wants to know that, all zero: of any.
	 * Return: 1 yes; 0 no.
	 */
	int (*parent)(void *arg, enum img_type type, uint64_t id, const uint8_t round[static PAGE_ROUND_SIZE],
		      struct cr_error *err);
	/* Begin an image, which ends the one before. @round: of the dump that it is part of, all zero: unknown. */
	int (*open)(void *arg, enum img_type type, uint64_t id, const uint8_t round[static PAGE_ROUND_SIZE],
		    struct cr_error *err);
	/* Pages of it: ascending, in range. With MM_PE_PRESENT the content follows; with MM_PE_PARENT the parent must have them. */
	int (*add)(void *arg, uint64_t start, uint64_t end, uint32_t flags, struct cr_error *err);
	/* That was all. */
	int (*finish)(void *arg, struct cr_error *err);
};

struct page_session {
	const struct page_store_ops *ops;
	void *arg;
	bool open;     /* an image was begun */
	uint64_t next; /* first address that may follow in it */
	bool ended;    /* by word of the other side */
	bool leaves;   /* after which it closes the connection: it is ours alone */
};

struct page_answer {
	uint8_t bytes[4];
	size_t nr; /* 0: nothing is to be said */
};

/**
 * page_session_take() - one record
 * @ret_content: bytes of content that come next, to be given to the store by the caller
 * Return: 0; -EPROTO the other side does not keep to the protocol; negative errno of the store.
 */
int page_session_take(struct page_session *s, const uint8_t *rec, struct page_answer *ret, uint64_t *ret_content,
		      struct cr_error *err);

/** page_session_status() - the last word: 0, or the negative errno that was the end of it */
void page_session_status(int code, struct page_answer *ret);

#endif
