/* A table that drops the packets of connections, both ways. */
#include "kernel/net-lock-internal.h"

#include <string.h>
#include <sys/socket.h>

#define KEY4 16 /* source address and port, destination address and port, each in words */
#define KEY6 40

struct kind {
	struct net_lock_set set; /* first: a key leads from here to the kind */
	int family;
	uint8_t nfproto;
	uint32_t addr_len, src_at, dst_at;
};

static bool key_of(const struct net_lock_set *s, const void *list, size_t i, uint8_t ret[static NET_LOCK_KEY_MAX])
{
	const struct kind *k = (const void *)s;
	const struct net_tuple *t = (const struct net_tuple *)list + i;

	memcpy(ret, t->src, k->addr_len);
	memcpy(ret + k->addr_len, &t->sport, 2);
	memcpy(ret + k->addr_len + 4, t->dst, k->addr_len);
	memcpy(ret + 2 * k->addr_len + 4, &t->dport, 2);
	return t->family == k->family;
}

static const struct kind kinds[] = {
	{ { "connections4", 1, KEY4, key_of }, AF_INET, NFPROTO_IPV4, 4, 12, 16 },
	{ { "connections6", 2, KEY6, key_of }, AF_INET6, NFPROTO_IPV6, 16, 8, 24 },
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void rule(struct nft_batch *b, const char *table, const char *chain, const struct kind *k)
{
	size_t list = net_lock_rule(b, table, chain, k->nfproto);
	uint32_t words = k->addr_len / 4;

	nft_load(b, NFT_REG32_00, NFT_PAYLOAD_NETWORK_HEADER, k->src_at, k->addr_len);
	nft_load(b, NFT_REG32_00 + words, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2);
	nft_load(b, NFT_REG32_00 + words + 1, NFT_PAYLOAD_NETWORK_HEADER, k->dst_at, k->addr_len);
	nft_load(b, NFT_REG32_00 + 2 * words + 1, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
	nft_drop_if_listed(b, k->set.name, k->set.id);
	net_lock_rule_end(b, list);
}

static void fill(struct nft_batch *b, const char *table, const void *list, size_t nr)
{
	static const struct {
		const char *chain;
		uint32_t hook;
	} ways[] = { { "in", NF_INET_LOCAL_IN }, { "out", NF_INET_LOCAL_OUT } };

	for (size_t i = 0; i < NR_KINDS; i++)
		net_lock_set(b, table, &kinds[i].set, list, nr);
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		net_lock_chain(b, table, ways[w].chain, ways[w].hook);
		for (size_t i = 0; i < NR_KINDS; i++)
			rule(b, table, ways[w].chain, &kinds[i]);
	}
}

int net_lock_new(const char *name, bool owned, const struct net_tuple *tuples, size_t nr, struct net_lock **ret,
		 struct cr_error *err)
{
	return net_lock_make(name, owned, fill, tuples, nr, ret, err);
}
