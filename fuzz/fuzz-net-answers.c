/*
 * What the kernel tells of sockets: answers of sock_diag(7) and nf_tables in the way of netlink, lists of multicast groups and of
 * netfilter's queues. The first byte says which.
 */
#include "base/error.h"
#include "net/inet-diag.h"
#include "net/inet-groups.h"
#include "net/netlink-port.h"
#include "net/packet-diag.h"
#include "net/unix-diag.h"
#include "net/xfrm.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INO  77 /* of the packet socket that is asked about */
#define PORT 78 /* of the netlink socket */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A failure has a code and words, anything else has neither. */
static void check_result(int r, const struct cr_error *err)
{
	if (r < -4095 || r > 1 || (r < 0 && r != -EAGAIN && (err->code != r || !err->text[0])) || (r >= 0 && err->code))
		abort();
}

static void inet_diag(const void *packet, size_t len)
{
	struct tcp_fact_vec facts = { 0 };
	struct cr_error err = { 0 };
	char text[INET_TEXT_MAX];

	check_result(inet_diag_parse(packet, len, &facts, &err), &err);
	for (size_t i = 0; i < facts.nr; i++)
		inet_end_text(&facts.items[i].own, text);
	tcp_fact_vec_done(&facts);
}

static void unix_diag(const void *packet, size_t len)
{
	struct unix_facts facts = { 0 };
	struct cr_error err = { 0 };

	check_result(unix_diag_parse(packet, len, &facts, &err), &err);
	for (size_t i = 0; i < facts.all.nr; i++)
		if (facts.all.items[i].first_icon + facts.all.items[i].nr_icons > facts.icons.nr)
			abort();
	unix_facts_done(&facts);
}

static void packet_diag(const void *packet, size_t len)
{
	struct packet_fact fact = { 0 };

	packet_diag_parse(packet, len, INO, &fact);
	packet_fact_done(&fact);
}

static void groups(const void *text, size_t len, int (*parse)(const char *, size_t, struct inet_group_seen_vec *))
{
	struct inet_group_seen_vec seen = { 0 };

	parse(text, len, &seen);
	for (size_t i = 0; i < seen.nr; i++)
		if (!memchr(seen.items[i].dev, 0, sizeof(seen.items[i].dev)))
			abort();
	inet_group_seen_vec_done(&seen);
}

static void tables(const void *packet, size_t len)
{
	struct owned_table table = { 0 };
	int r = nft_owner_parse(packet, len, PORT, &table);

	if (r < -4095 || r > 1 || !memchr(table.name, 0, sizeof(table.name)))
		abort();
}

static void queues(const char *text, size_t len)
{
	uint64_t number;

	netfilter_queue_find(text, len, PORT, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size ? size - 1 : 0;
	void *copy =
		malloc(len ? len : 1); /* aligned as a buffer of recv(2) is, with its end where the sanitizer sees it */

	if (!copy)
		return 0;
	if (len)
		memcpy(copy, data + 1, len);
	switch (size ? data[0] % 8 : 8) {
	case 0:
		inet_diag(copy, len);
		break;
	case 1:
		unix_diag(copy, len);
		break;
	case 2:
		packet_diag(copy, len);
		break;
	case 3:
		groups(copy, len, igmp_parse);
		break;
	case 4:
		groups(copy, len, igmp6_parse);
		break;
	case 5:
		tables(copy, len);
		break;
	case 6:
		queues(copy, len);
		break;
	case 7:
		xfrm_policies_parse(copy, len, &(struct xfrm_policies){ 0 });
		break;
	}
	free(copy);
	return 0;
}
