/*
 * Messages to nf_tables: a batch of them is carried out as a whole or not at all. Built by attributes, nested ones and
 * expressions of rules, as include/uapi/linux/netfilter/nf_tables.h has them.
 */
#ifndef CR_KERNEL_NFT_BATCH_H
#define CR_KERNEL_NFT_BATCH_H

#include "base/buf.h"
#include "base/error.h"

#include <netinet/in.h> /* first: the kernel's headers give way to it, not the other way round */

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NFT_BATCH_MAX (256u << 20)

/* A batch under way. Running short of memory is noted, and reported once. */
struct nft_batch {
	struct buf buf;
	uint32_t seq;
	size_t msg; /* where the message at hand begins */
	bool failed;
};

#define NFT_BATCH_INIT                         \
	{                                      \
		.buf = BUF_INIT(NFT_BATCH_MAX) \
	}

/** nft_begin(), nft_finish() - the first and the last message */
void nft_begin(struct nft_batch *b);
void nft_finish(struct nft_batch *b);

/** nft_message() - about tables of all families; ends with nft_message_end() */
void nft_message(struct nft_batch *b, uint16_t what, uint16_t flags);
void nft_message_end(struct nft_batch *b);

void nft_attr(struct nft_batch *b, uint16_t type, const void *data, size_t len);
void nft_text(struct nft_batch *b, uint16_t type, const char *text);
void nft_number(struct nft_batch *b, uint16_t type, uint32_t v);
/** nft_nest() - Return: what nft_nest_end() wants */
size_t nft_nest(struct nft_batch *b, uint16_t type);
void nft_nest_end(struct nft_batch *b, size_t at);

/* expressions of a rule, each an element of its list */
/** nft_meta() - a fact about the packet into register @reg */
void nft_meta(struct nft_batch *b, uint32_t key, uint32_t reg);
/** nft_meta_cmp() - go on if it compares so with @len bytes of @value */
void nft_meta_cmp(struct nft_batch *b, uint32_t key, uint32_t op, const void *value, size_t len);
/** nft_load() - @len bytes of the packet into register @reg */
void nft_load(struct nft_batch *b, uint32_t reg, uint32_t base, uint32_t offset, uint32_t len);
/** nft_masked_cmp() - go on if a byte in register @reg is @want where @mask has ones; the register is used up */
void nft_masked_cmp(struct nft_batch *b, uint32_t reg, uint8_t mask, uint8_t want);
/** nft_drop_if_listed() - drop if the registers from NFT_REG32_00 on are in the set */
void nft_drop_if_listed(struct nft_batch *b, const char *set, uint32_t set_id);

/** nft_open() - Return: a netlink socket; negative errno. */
int nft_open(struct cr_error *err);

/** nft_carry_out() - send @b, and wait for the answer to @last_seq, the last message that asks for one. Return: 0 or negative errno. */
int nft_carry_out(int fd, const struct nft_batch *b, uint32_t last_seq);

#endif
