/* Repair mode of TCP sockets (TCP_REPAIR), which needs CAP_NET_ADMIN: what it is to read and to set with it, step by step. */
#ifndef CR_NET_TCP_REPAIR_H
#define CR_NET_TCP_REPAIR_H

#include "base/error.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>

/** tcp_repair_on() - Return: 0 or negative errno */
int tcp_repair_on(int fd, struct cr_error *err);

/**
 * tcp_repair_off() - @reuse: SO_REUSEADDR as it was; repair mode forgets it. @probe: ask the other side to go on
 * Return: 0 or negative errno
 */
int tcp_repair_off(int fd, bool reuse, bool probe, struct cr_error *err);

/* What is read of a connection. */
struct tcp_saved {
	uint32_t state; /* TCP_* of include/net/tcp_states.h */
	img_tcp_stream_entry stream;
	char *in, *out; /* queues, of the lengths in stream; malloc() */
};

void tcp_saved_done(struct tcp_saved *s);

/**
 * tcp_repair_read() - everything about a connection in repair mode, without changing it
 * Return: 0; negative errno. @ret is to be given to tcp_saved_done() in both cases.
 */
int tcp_repair_read(int fd, struct tcp_saved *ret, struct cr_error *err);

/** tcp_behind_urgent() - how many bytes wait behind a byte of urgent data that was read already; those would be lost */
int tcp_behind_urgent(int fd);

/* One end's FIN, in the state of a connection: was it received, was one sent, and is that acknowledged? */
struct tcp_fins {
	bool received, sent, acked;
};

struct tcp_fins tcp_fins_of(uint32_t state);

/** tcp_repair_state() - Return: TCP_* state of a socket; negative errno */
int tcp_repair_state(int fd);

/** tcp_repair_sequences() - of a socket in repair mode that is not bound yet: where its queues begin */
int tcp_repair_sequences(int fd, uint32_t state, const img_tcp_stream_entry *s, struct cr_error *err);

/** tcp_repair_limit() - the other side's limit of segments, before it is connected; @family: of the socket */
int tcp_repair_limit(int fd, int family, const img_tcp_stream_entry *s, struct cr_error *err);

/** tcp_repair_options() - what the two ends had agreed upon; once it is connected */
int tcp_repair_options(int fd, int family, const img_tcp_stream_entry *s, struct cr_error *err);

/** tcp_repair_queues() - refill them, but for what was never sent */
int tcp_repair_queues(int fd, const img_tcp_stream_entry *s, const char *in, const char *out, struct cr_error *err);

/** tcp_repair_window() - as it was, if that is known; last of all */
int tcp_repair_window(int fd, const img_tcp_stream_entry *s, struct cr_error *err);

/** tcp_repair_check() - of an image: every number in range? Pure. Return: 0; -EBADMSG. */
int tcp_repair_check(const img_tcp_stream_entry *s, uint32_t state, struct cr_error *err);

#endif
