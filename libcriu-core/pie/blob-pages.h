/* What the interpreter does with contents of memory: its own files, and a host test, know of it. */
#ifndef CR_PIE_BLOB_PAGES_H
#define CR_PIE_BLOB_PAGES_H

#include "pie/abi/program.h"

#define E_INTR   4
#define E_IO     5
#define E_INVAL  22
#define E_BADMSG 74

static inline void *ptr(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static inline uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/*
 * Each carries out the operation of its name (pie/abi/program.h) with arguments @a. Return: 0; negative errno.
 * op_check() says in @op which page does not match.
 */
long op_read(const uint64_t *a);
long op_compare(const uint64_t *a);
long op_check(struct abi_op *op, const uint64_t *a);

#endif
