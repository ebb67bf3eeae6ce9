/*
 * The records of the protocol of page servers: 32 bytes each, as CRIU 4.2 has them (up to 4.1 they had 24, without the
 * padding; the two do not understand each other). Pure: bytes to struct and back.
 */
#ifndef CR_MM_PAGE_WIRE_H
#define CR_MM_PAGE_WIRE_H

#include "base/error.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE_WIRE_SIZE 32

enum page_wire_cmd {
	PAGE_WIRE_ADD = 1,              /* content of nr_pages at vaddr follows */
	PAGE_WIRE_HOLE = 2,             /* nr_pages at vaddr are in the parent */
	PAGE_WIRE_OPEN = 3,             /* what follows is of dst_id */
	PAGE_WIRE_OPEN2 = 4,            /* the same; answered with a byte: does the parent have it */
	PAGE_WIRE_PARENT = 5,           /* does the parent have dst_id? Answered with 4 bytes, 0 or 1 */
	PAGE_WIRE_ADD_F = 6,            /* nr_pages at vaddr with flags; content follows if they say MM_PE_PRESENT */
	PAGE_WIRE_GET = 7,              /* give nr_pages at vaddr of the process dst_id: answered with ADD_F and content */
	PAGE_WIRE_CLOSE = 0x1023,       /* the end; answered with a status of 4 bytes */
	PAGE_WIRE_FORCE_CLOSE = 0x1024, /* the same, of a socket that others go on to use */
};

struct page_wire {
	uint32_t cmd;   /* enum page_wire_cmd */
	uint32_t flags; /* of ADD_F: MM_PE_* */
	uint64_t nr_pages, vaddr;
	uint64_t dst_id; /* of a pagemap image, see below; with GET the pid inside its namespace alone */
};

void page_wire_encode(const struct page_wire *w, uint8_t ret[static PAGE_WIRE_SIZE]);

/**
 * page_wire_decode() - what one record says
 * Ranges and ids are not looked at, apart from what a record of their kind needs: see page_wire_check_range().
 * Return: 0; -EPROTO no such record.
 */
int page_wire_decode(const uint8_t rec[static PAGE_WIRE_SIZE], struct page_wire *ret, struct cr_error *err);

/** page_wire_check_range() - nr_pages at vaddr: some, aligned, of an address space. Return: 0; -EPROTO */
int page_wire_check_range(const struct page_wire *w, struct cr_error *err);

/*
 * Records that ask or open have no use for a range. There our own side puts which dump it is about, the id of its inventory
 * as 16 bytes; everybody else sends zeroes, and does not look.
 */
#define PAGE_ROUND_SIZE 16
#define PAGE_ROUND_TEXT 37 /* in text, with its end */

/** page_round_parse() - a UUID in text; all zero: it is none */
void page_round_parse(const char *text, uint8_t ret[static PAGE_ROUND_SIZE]);
/** page_round_text() - the UUID again, as dumps write it */
void page_round_text(const uint8_t round[static PAGE_ROUND_SIZE], char ret[static PAGE_ROUND_TEXT]);
bool page_round_is_set(const uint8_t round[static PAGE_ROUND_SIZE]);
void page_wire_set_round(struct page_wire *w, const uint8_t round[static PAGE_ROUND_SIZE]);
void page_wire_get_round(const struct page_wire *w, uint8_t ret[static PAGE_ROUND_SIZE]);

/*
 * What our own daemon says to whoever has the memory of a tree, as the round of a question about a process that nobody has:
 * that it will say so before the tree runs, and that it runs now. Answered with 1 by our own side, with 0 by everybody else.
 */
#define PAGE_LAZY_HELLO "criu-lazy-hello!"
#define PAGE_LAZY_START "criu-lazy-start!"

/** page_wire_id() - dst_id of IMG_PAGEMAP (pid) or IMG_PAGEMAP_SHMEM (number of the segment) */
uint64_t page_wire_id(enum img_type type, uint64_t id);

/** page_wire_of() - which image dst_id is, numbers of older versions included. Return: 0; -EPROTO none */
int page_wire_of(uint64_t dst_id, enum img_type *ret_type, uint64_t *ret_id, struct cr_error *err);

#endif
