/*
 * A table that drops the first packet of new connections to sockets that listen: SYN without ACK and RST. What belongs to
 * connections that are made or being made comes in as before.
 */
#include "kernel/net-lock-internal.h"

#include <string.h>
#include <sys/socket.h>

#define FLAGS_AT 13 /* in the header of TCP */
#define SYN      0x02
#define RST      0x04
#define ACK      0x10

/* Listening on all addresses or one, on all devices or one: keys are what has to be compared, and the port. */
struct kind {
	struct net_lock_set set; /* first: a key leads from here to the kind */
	int family;
	uint32_t addr_len, dst_at; /* 0: any address */
	uint8_t nfproto;
	bool device;
};

static bool has_address(const struct net_port *p)
{
	static const uint8_t any[sizeof(p->addr)] = { 0 };

	return memcmp(p->addr, any, sizeof(any)) != 0;
}

/* IPv4 comes to IPv6 sockets as well, where these have no address */
static bool belongs(const struct kind *k, const struct net_port *p)
{
	bool both = p->family == AF_INET6 && k->family == AF_INET && !p->v6only && !has_address(p);

	return (p->family == k->family || both) && has_address(p) == (k->addr_len > 0) && (p->device > 0) == k->device;
}

static bool key_of(const struct net_lock_set *s, const void *list, size_t i, uint8_t ret[static NET_LOCK_KEY_MAX])
{
	const struct kind *k = (const void *)s;
	const struct net_port *p = (const struct net_port *)list + i;
	uint8_t *at = ret;

	if (!belongs(k, p))
		return false;
	if (k->device) {
		memcpy(at, &p->device, sizeof(p->device));
		at += sizeof(p->device);
	}
	memcpy(at, p->addr, k->addr_len);
	memcpy(at + k->addr_len, &p->port, sizeof(p->port));
	return true;
}

static const struct kind kinds[] = {
	{ { "ports4", 1, 4, key_of }, AF_INET, 0, 0, NFPROTO_IPV4, false },
	{ { "ports6", 2, 4, key_of }, AF_INET6, 0, 0, NFPROTO_IPV6, false },
	{ { "addresses4", 3, 8, key_of }, AF_INET, 4, 16, NFPROTO_IPV4, false },
	{ { "addresses6", 4, 20, key_of }, AF_INET6, 16, 24, NFPROTO_IPV6, false },
	{ { "device-ports4", 5, 8, key_of }, AF_INET, 0, 0, NFPROTO_IPV4, true },
	{ { "device-ports6", 6, 8, key_of }, AF_INET6, 0, 0, NFPROTO_IPV6, true },
	{ { "device-addresses4", 7, 12, key_of }, AF_INET, 4, 16, NFPROTO_IPV4, true },
	{ { "device-addresses6", 8, 24, key_of }, AF_INET6, 16, 24, NFPROTO_IPV6, true },
};

static void rule(struct nft_batch *b, const char *table, const char *chain, const struct kind *k)
{
	size_t list = net_lock_rule(b, table, chain, k->nfproto);
	uint32_t reg = NFT_REG32_00;

	nft_load(b, NFT_REG32_00, NFT_PAYLOAD_TRANSPORT_HEADER, FLAGS_AT, 1);
	nft_masked_cmp(b, NFT_REG32_00, SYN | RST | ACK, SYN);
	if (k->device)
		nft_meta(b, NFT_META_IIF, reg++);
	if (k->addr_len)
		nft_load(b, reg, NFT_PAYLOAD_NETWORK_HEADER, k->dst_at, k->addr_len);
	nft_load(b, reg + k->addr_len / 4, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
	nft_drop_if_listed(b, k->set.name, k->set.id);
	net_lock_rule_end(b, list);
}

/* A set that nothing belongs in costs time for itself, its rule, and each packet: it is left out. */
static bool is_needed(const struct kind *k, const struct net_port *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (belongs(k, &list[i]))
			return true;
	return false;
}

static void fill(struct nft_batch *b, const char *table, const void *list, size_t nr)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (is_needed(&kinds[i], list, nr))
			net_lock_set(b, table, &kinds[i].set, list, nr);
	net_lock_chain(b, table, "in", NF_INET_LOCAL_IN);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (is_needed(&kinds[i], list, nr))
			rule(b, table, "in", &kinds[i]);
}

int net_lock_new_ports(const char *name, const struct net_port *ports, size_t nr, struct net_lock **ret,
		       struct cr_error *err)
{
	return net_lock_make(name, true, fill, ports, nr, ret, err);
}
