/* Shared by the tables that net-lock.h makes: what is common to them. */
#ifndef CR_KERNEL_NET_LOCK_INTERNAL_H
#define CR_KERNEL_NET_LOCK_INTERNAL_H

#include "kernel/net-lock.h"
#include "kernel/nft-batch.h"

#define NET_LOCK_KEY_MAX 40

/* A set of keys in a table. Each part of a key begins at a word of its own. */
struct net_lock_set {
	const char *name;
	uint32_t id, key_len; /* at most NET_LOCK_KEY_MAX */
	/* the i-th of what is listed, zeroed beforehand. Return: false it does not belong in here */
	bool (*key)(const struct net_lock_set *s, const void *list, size_t i, uint8_t ret[static NET_LOCK_KEY_MAX]);
};

/** net_lock_set() - the set, with those of @nr items of @list that belong in it */
void net_lock_set(struct nft_batch *b, const char *table, const struct net_lock_set *s, const void *list, size_t nr);

/** net_lock_chain() - packets that come by at @hook go through its rules */
void net_lock_chain(struct nft_batch *b, const char *table, const char *name, uint32_t hook);

/** net_lock_rule() - begins a rule for TCP over @nfproto; the caller adds expressions. Return: what net_lock_rule_end() wants */
size_t net_lock_rule(struct nft_batch *b, const char *table, const char *chain, uint8_t nfproto);
void net_lock_rule_end(struct nft_batch *b, size_t list);

/**
 * net_lock_make() - a table
 * @fill: sets, chains, and rules as the last; @list, @nr: what it is about
 * Return: as net_lock_new()
 */
int net_lock_make(const char *name, bool owned,
		  void (*fill)(struct nft_batch *b, const char *table, const void *list, size_t nr), const void *list,
		  size_t nr, struct net_lock **ret, struct cr_error *err);

#endif
