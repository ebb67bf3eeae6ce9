/*
 * Sockets in images. The first byte says which message follows: one of files.img, or that of a TCP connection. Whatever passes
 * the checks of its kind must be fit for what a restore computes from it.
 */
#include "files/restore-internal.h"
#include "net/inet-internal.h"
#include "net/inet-packet.h"
#include "proto/images.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct inet_end end_of(const struct proto_bytes *addr, uint32_t port)
{
	struct inet_end end = { .family = addr->len == 4 ? AF_INET : AF_INET6, .port = (uint16_t)port };

	memcpy(end.addr, addr->data, addr->len);
	return end;
}

/* Packets are made, and sent nowhere. */
static void use_inet(const img_inet_sk_entry *e)
{
	struct inet_end own, peer;
	char text[INET_TEXT_MAX];

	if (inet_entry_ends(e, &own, &peer, NULL) < 0)
		return;
	inet_end_text(&own, text);
	for (size_t i = 0; e->ext && i < e->ext->queue.nr; i++) {
		const img_inet_datagram *d = &e->ext->queue.items[i];
		struct inet_end from = end_of(&d->from, d->from_port);

		inet_packet_udp(-1, (int)e->proto, &from, &own, d->data.data, d->data.len, NULL);
	}
}

static void check_file(const img_file_entry *e)
{
	const struct file_ops *ops = file_ops_of_type(e->type);
	struct cr_error err = { 0 };
	int r = entry_check(e, &err);

	if (r == 0 && ops && ops->check)
		r = ops->check(e, &err);
	if (r < 0 ? err.code != r || !err.text[0] : err.code)
		abort();
	if (r == 0 && e->type == img_fd_types_INETSK)
		use_inet(e->isk);
}

static void check_stream(uint32_t state, const img_tcp_stream_entry *e)
{
	struct cr_error err = { 0 };
	int r = tcp_repair_check(e, state, &err);

	if (r < 0 ? err.code != r || !err.text[0] : e->has_unsq_len && e->unsq_len > e->outq_len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool file = size && data[0] % 2 == 0;
	void *entry = NULL;

	if (!size || img_entry_decode(file ? IMG_MSG_file_entry : IMG_MSG_tcp_stream_entry, data + 1, size - 1, NULL,
				      &entry, NULL) < 0)
		return 0;
	if (file)
		check_file(entry);
	else
		check_stream(data[0] / 2, entry);
	img_entry_free(entry);
	return 0;
}
