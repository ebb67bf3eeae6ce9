#include "kernel/nft-batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER_SECONDS 10

/* ---------------------------------------------------------------- messages */

static void add(struct nft_batch *b, const void *data, size_t len)
{
	static const char zeroes[NLMSG_ALIGNTO] = { 0 };

	if (buf_add(&b->buf, data, len) < 0 || buf_add(&b->buf, zeroes, NLMSG_ALIGN(len) - len) < 0)
		b->failed = true;
}

static void message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->seq };
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res) };

	b->msg = b->buf.len;
	add(b, &h, sizeof(h));
	add(b, &g, sizeof(g));
}

void nft_message_end(struct nft_batch *b)
{
	uint32_t len = (uint32_t)(b->buf.len - b->msg);

	if (!b->failed)
		memcpy(b->buf.data + b->msg, &len, sizeof(len));
}

void nft_message(struct nft_batch *b, uint16_t what, uint16_t flags)
{
	message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, NFPROTO_INET, 0);
}

void nft_attr(struct nft_batch *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };

	add(b, &a, sizeof(a));
	add(b, data, len);
}

void nft_text(struct nft_batch *b, uint16_t type, const char *text)
{
	nft_attr(b, type, text, strlen(text) + 1);
}

void nft_number(struct nft_batch *b, uint16_t type, uint32_t v)
{
	v = htonl(v);
	nft_attr(b, type, &v, sizeof(v));
}

size_t nft_nest(struct nft_batch *b, uint16_t type)
{
	size_t at = b->buf.len;

	nft_attr(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nft_nest_end(struct nft_batch *b, size_t at)
{
	uint16_t len = (uint16_t)(b->buf.len - at);

	if (!b->failed)
		memcpy(b->buf.data + at, &len, sizeof(len));
}

void nft_begin(struct nft_batch *b)
{
	message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	nft_message_end(b);
}

void nft_finish(struct nft_batch *b)
{
	message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	nft_message_end(b);
}

/* ------------------------------------------------------------------- rules */

static size_t expr(struct nft_batch *b, const char *name, size_t *ret_data)
{
	size_t at = nft_nest(b, NFTA_LIST_ELEM);

	nft_text(b, NFTA_EXPR_NAME, name);
	*ret_data = nft_nest(b, NFTA_EXPR_DATA);
	return at;
}

static void end_expr(struct nft_batch *b, size_t at, size_t data)
{
	nft_nest_end(b, data);
	nft_nest_end(b, at);
}

void nft_meta(struct nft_batch *b, uint32_t key, uint32_t reg)
{
	size_t data, at = expr(b, "meta", &data);

	nft_number(b, NFTA_META_KEY, key);
	nft_number(b, NFTA_META_DREG, reg);
	end_expr(b, at, data);
}

static void data_value(struct nft_batch *b, uint16_t type, const void *value, size_t len)
{
	size_t at = nft_nest(b, type);

	nft_attr(b, NFTA_DATA_VALUE, value, len);
	nft_nest_end(b, at);
}

static void cmp(struct nft_batch *b, uint32_t reg, uint32_t op, const void *value, size_t len)
{
	size_t data, at = expr(b, "cmp", &data);

	nft_number(b, NFTA_CMP_SREG, reg);
	nft_number(b, NFTA_CMP_OP, op);
	data_value(b, NFTA_CMP_DATA, value, len);
	end_expr(b, at, data);
}

void nft_meta_cmp(struct nft_batch *b, uint32_t key, uint32_t op, const void *value, size_t len)
{
	nft_meta(b, key, NFT_REG_1);
	cmp(b, NFT_REG_1, op, value, len);
}

void nft_masked_cmp(struct nft_batch *b, uint32_t reg, uint8_t mask, uint8_t want)
{
	const uint8_t none = 0;
	size_t data, at = expr(b, "bitwise", &data);

	nft_number(b, NFTA_BITWISE_SREG, reg);
	nft_number(b, NFTA_BITWISE_DREG, reg);
	nft_number(b, NFTA_BITWISE_LEN, sizeof(mask));
	data_value(b, NFTA_BITWISE_MASK, &mask, sizeof(mask));
	data_value(b, NFTA_BITWISE_XOR, &none, sizeof(none));
	end_expr(b, at, data);
	cmp(b, reg, NFT_CMP_EQ, &want, sizeof(want));
}

void nft_load(struct nft_batch *b, uint32_t reg, uint32_t base, uint32_t offset, uint32_t len)
{
	size_t data, at = expr(b, "payload", &data);

	nft_number(b, NFTA_PAYLOAD_DREG, reg);
	nft_number(b, NFTA_PAYLOAD_BASE, base);
	nft_number(b, NFTA_PAYLOAD_OFFSET, offset);
	nft_number(b, NFTA_PAYLOAD_LEN, len);
	end_expr(b, at, data);
}

void nft_drop_if_listed(struct nft_batch *b, const char *set, uint32_t set_id)
{
	size_t data, at = expr(b, "lookup", &data), value, verdict;

	nft_text(b, NFTA_LOOKUP_SET, set);
	nft_number(b, NFTA_LOOKUP_SET_ID, set_id);
	nft_number(b, NFTA_LOOKUP_SREG, NFT_REG32_00);
	end_expr(b, at, data);
	at = expr(b, "immediate", &data);
	nft_number(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	value = nft_nest(b, NFTA_IMMEDIATE_DATA);
	verdict = nft_nest(b, NFTA_DATA_VERDICT);
	nft_number(b, NFTA_VERDICT_CODE, NF_DROP);
	nft_nest_end(b, verdict);
	nft_nest_end(b, value);
	end_expr(b, at, data);
}

/* ---------------------------------------------------------------- exchange */

int nft_open(struct cr_error *err)
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
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
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

int nft_carry_out(int fd, const struct nft_batch *b, uint32_t last_seq)
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
