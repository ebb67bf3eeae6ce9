/* Tables: how they are made, owned and taken away. What is in them is in net-lock-connections.c and net-lock-ports.c. */
#include "kernel/net-lock.h"

#include "kernel/net-lock-internal.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 2 /* 5.12 */
#endif

#define PRIORITY     (-400)
#define ELEMENTS_MAX 400 /* in one message, whose attributes may not exceed 64 KiB */

struct net_lock {
	char name[NET_LOCK_NAME];
	bool owned;
	int fd; /* the owner */
};

/* ------------------------------------------------------------------- parts */

static void new_set(struct nft_batch *b, const char *table, const struct net_lock_set *s)
{
	nft_message(b, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
	nft_text(b, NFTA_SET_TABLE, table);
	nft_text(b, NFTA_SET_NAME, s->name);
	nft_number(b, NFTA_SET_FLAGS, 0);
	nft_number(b, NFTA_SET_KEY_TYPE, 0);
	nft_number(b, NFTA_SET_KEY_LEN, s->key_len);
	nft_number(b, NFTA_SET_ID, s->id);
	nft_message_end(b);
}

static void element(struct nft_batch *b, const uint8_t *key, uint32_t len)
{
	size_t elem = nft_nest(b, NFTA_LIST_ELEM), nested = nft_nest(b, NFTA_SET_ELEM_KEY);

	nft_attr(b, NFTA_DATA_VALUE, key, len);
	nft_nest_end(b, nested);
	nft_nest_end(b, elem);
}

void net_lock_set(struct nft_batch *b, const char *table, const struct net_lock_set *s, const void *list, size_t nr)
{
	size_t at = 0, n = 0;

	new_set(b, table, s);
	for (size_t i = 0; i < nr; i++) {
		uint8_t key[NET_LOCK_KEY_MAX] = { 0 };

		if (!s->key(s, list, i, key))
			continue;
		if (n == 0) {
			nft_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
			nft_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
			nft_text(b, NFTA_SET_ELEM_LIST_SET, s->name);
			nft_number(b, NFTA_SET_ELEM_LIST_SET_ID, s->id);
			at = nft_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
		}
		element(b, key, s->key_len);
		if (++n == ELEMENTS_MAX) {
			nft_nest_end(b, at);
			nft_message_end(b);
			n = 0;
		}
	}
	if (n) {
		nft_nest_end(b, at);
		nft_message_end(b);
	}
}

void net_lock_chain(struct nft_batch *b, const char *table, const char *name, uint32_t hook)
{
	size_t at;

	nft_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
	nft_text(b, NFTA_CHAIN_TABLE, table);
	nft_text(b, NFTA_CHAIN_NAME, name);
	at = nft_nest(b, NFTA_CHAIN_HOOK);
	nft_number(b, NFTA_HOOK_HOOKNUM, hook);
	nft_number(b, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY);
	nft_nest_end(b, at);
	nft_text(b, NFTA_CHAIN_TYPE, "filter");
	nft_message_end(b);
}

size_t net_lock_rule(struct nft_batch *b, const char *table, const char *chain, uint8_t nfproto)
{
	uint32_t mark = NET_LOCK_MARK;
	uint8_t tcp = IPPROTO_TCP;
	size_t list;

	nft_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
	nft_text(b, NFTA_RULE_TABLE, table);
	nft_text(b, NFTA_RULE_CHAIN, chain);
	list = nft_nest(b, NFTA_RULE_EXPRESSIONS);
	nft_meta_cmp(b, NFT_META_MARK, NFT_CMP_NEQ, &mark, sizeof(mark));
	nft_meta_cmp(b, NFT_META_NFPROTO, NFT_CMP_EQ, &nfproto, sizeof(nfproto));
	nft_meta_cmp(b, NFT_META_L4PROTO, NFT_CMP_EQ, &tcp, sizeof(tcp));
	return list;
}

void net_lock_rule_end(struct nft_batch *b, size_t list)
{
	nft_nest_end(b, list);
	nft_message_end(b);
}

/* ------------------------------------------------------------------ tables */

/* The last message but the end of the batch asks for an answer. */
static int send_batch(int fd, struct nft_batch *b)
{
	int r;

	nft_finish(b);
	r = nft_carry_out(fd, b, b->seq - 1);
	buf_done(&b->buf);
	return r;
}

static void new_table(struct nft_batch *b, const char *name, bool owned)
{
	nft_begin(b);
	nft_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	nft_text(b, NFTA_TABLE_NAME, name);
	if (owned)
		nft_number(b, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	nft_message_end(b);
}

static int delete_table(int fd, const char *name)
{
	struct nft_batch b = NFT_BATCH_INIT;

	nft_begin(&b);
	nft_message(&b, NFT_MSG_DELTABLE, NLM_F_ACK);
	nft_text(&b, NFTA_TABLE_NAME, name);
	nft_message_end(&b);
	return send_batch(fd, &b);
}

int net_lock_make(const char *name, bool owned,
		  void (*fill)(struct nft_batch *b, const char *table, const void *list, size_t nr), const void *list,
		  size_t nr, struct net_lock **ret, struct cr_error *err)
{
	struct net_lock *l = calloc(1, sizeof(*l));
	int r = -EOPNOTSUPP;

	if (!l)
		return cr_fail(err, -ENOMEM, "lock connections");
	l->owned = owned;
	memcpy(l->name, name, strnlen(name, sizeof(l->name) - 1));
	l->fd = nft_open(err);
	if (l->fd < 0) {
		r = l->fd;
		free(l);
		return r;
	}
	/* a kernel that does not know owners is asked a second time without */
	for (int owner = owned; owner >= 0 && (r == -EINVAL || r == -EOPNOTSUPP); owner--) {
		struct nft_batch b = NFT_BATCH_INIT;

		new_table(&b, l->name, owner);
		fill(&b, l->name, list, nr);
		r = send_batch(l->fd, &b);
	}
	if (r < 0) {
		close(l->fd);
		free(l);
		return cr_fail(err, r, "lock connections by nf_tables");
	}
	*ret = l;
	return 0;
}

void net_lock_lift(struct net_lock *l)
{
	if (l && l->owned)
		delete_table(l->fd, l->name);
	if (l)
		l->owned = false;
}

/* close(2) waits for RCU, some 10 ms, also if the table is gone already; nft_rcv_nl_event() in net/netfilter/nf_tables_api.c */
void net_lock_free(struct net_lock *l)
{
	if (!l)
		return;
	net_lock_lift(l);
	close(l->fd);
	free(l);
}

int net_lock_remove(const char *name, struct cr_error *err)
{
	int fd = nft_open(err), r;

	if (fd < 0)
		return fd;
	r = delete_table(fd, name);
	close(fd);
	return r == 0 || r == -ENOENT ? 0 : cr_fail(err, r, "unlock connections, table %s of nf_tables", name);
}
