/*
 * A connection between a page server and who sends pages to it: whole reads and writes that do not wait forever in the
 * middle of something, whatever the socket's own mode is. With TLS another process
 * is in between (page-tls.h).
 */
#ifndef CR_MM_PAGE_CONN_H
#define CR_MM_PAGE_CONN_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct page_conn {
	int fd;
	pid_t tls;    /* process between us and the network, which fd leads to; 0: none */
	bool hears;   /* what comes while we send is that the other side gives up */
	int stall_ms; /* without a byte in the middle of something */
	pid_t guard;  /* our parent, whose end calls all of this off; 0: nobody's does */
	int gathers;  /* bytes that have to be there before poll() says so */
	char *ahead;  /* room for what comes after what is asked for; NULL: nothing is read ahead */
	size_t ahead_at, ahead_nr; /* of PAGE_CONN_AHEAD bytes there: what was not asked for yet */
};

#define PAGE_CONN_AHEAD ((size_t)64 * 1024)

/** page_conn_init() - take over a connected socket. */
void page_conn_init(struct page_conn *c, int fd);

/** page_conn_close() - the end of it; also in any state after page_conn_init(), and twice */
void page_conn_close(struct page_conn *c);

/**
 * page_conn_read_ahead() - from now on take small things out of larger pieces, by fewer calls; or, with NULL, no longer
 * @room: PAGE_CONN_AHEAD bytes, the caller's; for a connection of which nobody else wants what comes later
 * Not while something that was read ahead was not asked for yet.
 */
void page_conn_read_ahead(struct page_conn *c, char *room);

/**
 * page_conn_recv() - all of @len bytes
 * @patient: wait for the first one as long as it takes
 * Return: 0; 1 the other side has closed it, before the first byte; -ECONNRESET it has in the middle; -ETIMEDOUT nothing comes; -ECANCELED it was called off;
 * negative errno.
 */
int page_conn_recv(struct page_conn *c, void *buf, size_t len, bool patient, struct cr_error *err);

/** page_conn_recv_some() - at most @len bytes, at least one. Return: their number, 0 at the end; negative errno */
ssize_t page_conn_recv_some(struct page_conn *c, void *buf, size_t len, struct cr_error *err);

/**
 * page_conn_send() - all of @iov, which is used up
 * Return: 0; 1 the other side has said something while it should not have (if @hears); -ETIMEDOUT it takes nothing; -ECANCELED it was
 * called off; negative errno.
 */
int page_conn_send(struct page_conn *c, struct iovec *iov, size_t nr, struct cr_error *err);

/** page_conn_rest() - for who polls the descriptor himself: any byte that comes makes it readable */
void page_conn_rest(struct page_conn *c);

/** page_conn_linger() - nothing more will be said or read; wait until the other side has seen that, some seconds at most */
void page_conn_linger(struct page_conn *c);

#endif
