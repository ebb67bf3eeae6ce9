#include "kernel/net-lock.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 2 /* 5.12 */
#endif

#define BATCH_MAX      (256u << 20)
#define ELEMENTS_MAX   400 /* in one message, whose attributes may not exceed 64 KiB */
#define PRIORITY       (-400)
#define KEY4           16 /* bytes of a key: source address and port, destination address and port, each in words */
#define KEY6           40
#define ANSWER_SECONDS 10

struct net_lock {
	char name[NET_LOCK_NAME];
	bool owned, auto_removed;
	int fd; /* the owner */
};

/* ---------------------------------------------------------------- messages */

/* A batch of messages under way. Running short of memory is noted, and reported once. */
struct batch {
	struct buf buf;
	uint32_t seq;
	size_t msg; /* where the message at hand begins */
	bool failed;
};

static void add(struct batch *b, const void *data, size_t len)
{
	static const char zeroes[NLMSG_ALIGNTO] = { 0 };

	if (buf_add(&b->buf, data, len) < 0 || buf_add(&b->buf, zeroes, NLMSG_ALIGN(len) - len) < 0)
		b->failed = true;
}

static void message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->seq };
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res) };

	b->msg = b->buf.len;
	add(b, &h, sizeof(h));
	add(b, &g, sizeof(g));
}

static void end_message(struct batch *b)
{
	uint32_t len = (uint32_t)(b->buf.len - b->msg);

	if (!b->failed)
		memcpy(b->buf.data + b->msg, &len, sizeof(len));
}

static void nft(struct batch *b, uint16_t what, uint16_t flags)
{
	message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, NFPROTO_INET, 0);
}

static void attr(struct batch *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };

	add(b, &a, sizeof(a));
	add(b, data, len);
}

static void attr_text(struct batch *b, uint16_t type, const char *text)
{
	attr(b, type, text, strlen(text) + 1);
}

static void attr_number(struct batch *b, uint16_t type, uint32_t v)
{
	v = htonl(v);
	attr(b, type, &v, sizeof(v));
}

static size_t nest(struct batch *b, uint16_t type)
{
	size_t at = b->buf.len;

	attr(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

static void end_nest(struct batch *b, size_t at)
{
	uint16_t len = (uint16_t)(b->buf.len - at);

	if (!b->failed)
		memcpy(b->buf.data + at, &len, sizeof(len));
}

/* ------------------------------------------------------------------- rules */

static size_t expr(struct batch *b, const char *name, size_t *ret_data)
{
	size_t at = nest(b, NFTA_LIST_ELEM);

	attr_text(b, NFTA_EXPR_NAME, name);
	*ret_data = nest(b, NFTA_EXPR_DATA);
	return at;
}

static void end_expr(struct batch *b, size_t at, size_t data)
{
	end_nest(b, data);
	end_nest(b, at);
}

/* A fact about the packet, compared with @len bytes of @value */
static void meta_cmp(struct batch *b, uint32_t key, uint32_t op, const void *value, size_t len)
{
	size_t data, at = expr(b, "meta", &data), nested;

	attr_number(b, NFTA_META_KEY, key);
	attr_number(b, NFTA_META_DREG, NFT_REG_1);
	end_expr(b, at, data);
	at = expr(b, "cmp", &data);
	attr_number(b, NFTA_CMP_SREG, NFT_REG_1);
	attr_number(b, NFTA_CMP_OP, op);
	nested = nest(b, NFTA_CMP_DATA);
	attr(b, NFTA_DATA_VALUE, value, len);
	end_nest(b, nested);
	end_expr(b, at, data);
}

static void load(struct batch *b, uint32_t reg, uint32_t base, uint32_t offset, uint32_t len)
{
	size_t data, at = expr(b, "payload", &data);

	attr_number(b, NFTA_PAYLOAD_DREG, reg);
	attr_number(b, NFTA_PAYLOAD_BASE, base);
	attr_number(b, NFTA_PAYLOAD_OFFSET, offset);
	attr_number(b, NFTA_PAYLOAD_LEN, len);
	end_expr(b, at, data);
}

static void drop_if_listed(struct batch *b, const char *set, uint32_t set_id)
{
	size_t data, at = expr(b, "lookup", &data), value, verdict;

	attr_text(b, NFTA_LOOKUP_SET, set);
	attr_number(b, NFTA_LOOKUP_SET_ID, set_id);
	attr_number(b, NFTA_LOOKUP_SREG, NFT_REG32_00);
	end_expr(b, at, data);
	at = expr(b, "immediate", &data);
	attr_number(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	value = nest(b, NFTA_IMMEDIATE_DATA);
	verdict = nest(b, NFTA_DATA_VERDICT);
	attr_number(b, NFTA_VERDICT_CODE, NF_DROP);
	end_nest(b, verdict);
	end_nest(b, value);
	end_expr(b, at, data);
}

struct kind {
	int family;
	uint8_t nfproto;
	const char *set;
	uint32_t set_id, addr_len, src_at, dst_at, key_len;
};

static const struct kind kinds[] = {
	{ AF_INET, NFPROTO_IPV4, "connections4", 1, 4, 12, 16, KEY4 },
	{ AF_INET6, NFPROTO_IPV6, "connections6", 2, 16, 8, 24, KEY6 },
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void rule(struct batch *b, const char *table, const char *chain, const struct kind *k)
{
	uint32_t mark = NET_LOCK_MARK, words = k->addr_len / 4;
	uint8_t tcp = IPPROTO_TCP;
	size_t list;

	nft(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
	attr_text(b, NFTA_RULE_TABLE, table);
	attr_text(b, NFTA_RULE_CHAIN, chain);
	list = nest(b, NFTA_RULE_EXPRESSIONS);
	meta_cmp(b, NFT_META_MARK, NFT_CMP_NEQ, &mark, sizeof(mark));
	meta_cmp(b, NFT_META_NFPROTO, NFT_CMP_EQ, &k->nfproto, sizeof(k->nfproto));
	meta_cmp(b, NFT_META_L4PROTO, NFT_CMP_EQ, &tcp, sizeof(tcp));
	load(b, NFT_REG32_00, NFT_PAYLOAD_NETWORK_HEADER, k->src_at, k->addr_len);
	load(b, NFT_REG32_00 + words, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2);
	load(b, NFT_REG32_00 + words + 1, NFT_PAYLOAD_NETWORK_HEADER, k->dst_at, k->addr_len);
	load(b, NFT_REG32_00 + 2 * words + 1, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
	drop_if_listed(b, k->set, k->set_id);
	end_nest(b, list);
	end_message(b);
}

static void chain(struct batch *b, const char *table, const char *name, uint32_t hook)
{
	size_t at;

	nft(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
	attr_text(b, NFTA_CHAIN_TABLE, table);
	attr_text(b, NFTA_CHAIN_NAME, name);
	at = nest(b, NFTA_CHAIN_HOOK);
	attr_number(b, NFTA_HOOK_HOOKNUM, hook);
	attr_number(b, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY);
	end_nest(b, at);
	attr_text(b, NFTA_CHAIN_TYPE, "filter");
	end_message(b);
	for (size_t i = 0; i < NR_KINDS; i++)
		rule(b, table, name, &kinds[i]);
}

/* Each part of a key begins at a word of its own. */
static void element(struct batch *b, const struct kind *k, const struct net_tuple *t)
{
	uint8_t key[KEY6] = { 0 };
	size_t elem = nest(b, NFTA_LIST_ELEM), nested = nest(b, NFTA_SET_ELEM_KEY);

	memcpy(key, t->src, k->addr_len);
	memcpy(key + k->addr_len, &t->sport, 2);
	memcpy(key + k->addr_len + 4, t->dst, k->addr_len);
	memcpy(key + 2 * k->addr_len + 4, &t->dport, 2);
	attr(b, NFTA_DATA_VALUE, key, k->key_len);
	end_nest(b, nested);
	end_nest(b, elem);
}

static void elements(struct batch *b, const char *table, const struct kind *k, const struct net_tuple *tuples,
		     size_t nr)
{
	size_t list = 0, n = 0;

	for (size_t i = 0; i < nr; i++) {
		if (tuples[i].family != k->family)
			continue;
		if (n == 0) {
			nft(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
			attr_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
			attr_text(b, NFTA_SET_ELEM_LIST_SET, k->set);
			attr_number(b, NFTA_SET_ELEM_LIST_SET_ID, k->set_id);
			list = nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
		}
		element(b, k, &tuples[i]);
		if (++n == ELEMENTS_MAX) {
			end_nest(b, list);
			end_message(b);
			n = 0;
		}
	}
	if (n) {
		end_nest(b, list);
		end_message(b);
	}
}

static void set(struct batch *b, const char *table, const struct kind *k)
{
	nft(b, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
	attr_text(b, NFTA_SET_TABLE, table);
	attr_text(b, NFTA_SET_NAME, k->set);
	attr_number(b, NFTA_SET_FLAGS, 0);
	attr_number(b, NFTA_SET_KEY_TYPE, 0);
	attr_number(b, NFTA_SET_KEY_LEN, k->key_len);
	attr_number(b, NFTA_SET_ID, k->set_id);
	end_message(b);
}

static void begin(struct batch *b)
{
	message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(b);
}

static void finish(struct batch *b)
{
	message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(b);
}

static void whole_table(struct batch *b, const char *name, bool owned, const struct net_tuple *tuples, size_t nr)
{
	begin(b);
	nft(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	attr_text(b, NFTA_TABLE_NAME, name);
	if (owned)
		attr_number(b, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	end_message(b);
	for (size_t i = 0; i < NR_KINDS; i++) {
		set(b, name, &kinds[i]);
		elements(b, name, &kinds[i], tuples, nr);
	}
	chain(b, name, "in", NF_INET_LOCAL_IN);
	chain(b, name, "out", NF_INET_LOCAL_OUT);
	finish(b);
}

/* ---------------------------------------------------------------- exchange */

static int open_netlink(struct cr_error *err)
{
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return cr_fail(err, -errno, "socket of nf_tables");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* A batch is carried out as a whole or not at all; each message that failed is answered, and those that ask for an answer. */
static int answers(int fd, uint32_t last_seq)
{
	char buf[16384] __attribute__((aligned(8)));
	int r = 0;

	for (bool done = false;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), done ? MSG_DONTWAIT : 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? r : -errno;
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
				continue;
			if (e->error && !r)
				r = e->error;
			/* the batch as a whole was refused: nothing else is answered */
			done |= h->nlmsg_seq >= last_seq || (e->error && h->nlmsg_seq == 1);
		}
	}
}

/* @last_seq: of the last message that asks for an answer */
static int carry_out(int fd, const struct batch *b, uint32_t last_seq)
{
	int room = (int)b->buf.len + 65536;

	if (b->failed)
		return -ENOMEM;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (send(fd, b->buf.data, b->buf.len, 0) < 0)
		return -errno;
	return answers(fd, last_seq);
}

static int make_table(int fd, const char *name, bool owned, const struct net_tuple *tuples, size_t nr)
{
	struct batch b = { .buf = BUF_INIT(BATCH_MAX) };
	int r;

	whole_table(&b, name, owned, tuples, nr);
	r = carry_out(fd, &b, b.seq - 1);
	buf_done(&b.buf);
	return r;
}

int net_lock_new(const char *name, bool owned, const struct net_tuple *tuples, size_t nr, struct net_lock **ret,
		 struct cr_error *err)
{
	struct net_lock *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return cr_fail(err, -ENOMEM, "lock connections");
	l->owned = owned;
	memcpy(l->name, name, strnlen(name, sizeof(l->name) - 1));
	l->fd = open_netlink(err);
	if (l->fd < 0) {
		r = l->fd;
		free(l);
		return r;
	}
	r = make_table(l->fd, l->name, owned, tuples, nr);
	l->auto_removed = owned && r == 0;
	/* a kernel that does not know owners */
	if (owned && (r == -EINVAL || r == -EOPNOTSUPP))
		r = make_table(l->fd, l->name, false, tuples, nr);
	if (r < 0) {
		close(l->fd);
		free(l);
		return cr_fail(err, r, "lock connections by nf_tables");
	}
	*ret = l;
	return 0;
}

void net_lock_free(struct net_lock *l)
{
	if (!l)
		return;
	close(l->fd);
	/* what is closed is taken away by the kernel a little later; by name it is gone at once where that is allowed */
	if (l->owned && !l->auto_removed)
		net_lock_remove(l->name, NULL);
	free(l);
}

int net_lock_remove(const char *name, struct cr_error *err)
{
	struct batch b = { .buf = BUF_INIT(BATCH_MAX) };
	int fd = open_netlink(err), r;

	if (fd < 0)
		return fd;
	begin(&b);
	nft(&b, NFT_MSG_DELTABLE, NLM_F_ACK);
	attr_text(&b, NFTA_TABLE_NAME, name);
	end_message(&b);
	finish(&b);
	r = carry_out(fd, &b, b.seq - 1);
	buf_done(&b.buf);
	close(fd);
	return r == 0 || r == -ENOENT ? 0 : cr_fail(err, r, "unlock connections, table %s of nf_tables", name);
}
