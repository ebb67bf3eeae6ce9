/*
 * Library side of the interpreter blob: building programs (see pie/abi/program.h).
 *
 * Emission never returns an error: the first failure (memory, arena full) is remembered in the routine and
 * reported by routine_finish(). So a kind's plan reads as the list of what will be done.
 */
#ifndef CR_INFECT_PROGRAM_H
#define CR_INFECT_PROGRAM_H

#include "base/array.h"
#include "base/error.h"
#include "pie/abi/program.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that the program will see: filled at @local here, appears at @remote there. Never moves, never grows. */
struct arena {
	char    *local;
	uint64_t remote;
	size_t   size, used;
};

/** arena_put() - copy @len bytes in, aligned. Return: their remote address, 0 if the arena is full. @data NULL: zeroes. */
uint64_t arena_put(struct arena *a, const void *data, size_t len, size_t align);
/** arena_at() - the local view of a remote address inside the arena (NULL outside) */
void *arena_at(const struct arena *a, uint64_t remote, size_t len);

DEFINE_VEC(op_vec, struct abi_op)

struct routine {
	struct arena *arena;
	struct op_vec ops;
	int           error;     /* first failure of an emission, 0 = none */
	uint32_t      index;     /* its place in the control's table */
	struct abi_op scratch;   /* what emit() hands out after a failure */
};

/* Names of operations for errors: tag = index. Texts are string literals; the table lives as long as the programs. */
struct tag_table;
struct tag_table *tag_table_new(void);
void tag_table_free(struct tag_table *t);
const char *tag_text(const struct tag_table *t, uint32_t tag);
/** tag_of() - the number of @text, a string literal. Return: 0, -ENOMEM, -ENOSPC. */
int tag_of(struct tag_table *t, const char *text, uint32_t *ret);

struct program {
	struct arena       arena;
	struct tag_table  *tags;
	uint64_t           control;      /* remote address of abi_control */
	uint32_t           nr_routines;  /* given out so far */
	uint32_t           max_routines;
	uint64_t           routines;     /* remote address of the table */
};

/**
 * program_init() - lay out control block and routine table at the start of an arena
 * @p:     filled; p->tags is owned by the program until program_done()
 * @arena: local memory of arena->size bytes, all zero, that will be seen at arena->remote
 * Return: 0, -ENOMEM, -ENOSPC.
 */
int program_init(struct program *p, const struct arena *arena, uint32_t max_routines, struct cr_error *err);
void program_done(struct program *p);
struct abi_control *program_control(const struct program *p);
struct abi_routine *program_routine(const struct program *p, uint32_t index);

/** routine_begin() - start a routine; its number is given out now, so that others may refer to it. Return: 0, -ENOSPC. */
int routine_begin(struct program *p, struct routine *ret, struct cr_error *err);
/** routine_finish() - copy the operations into the arena and free the local ones. Return: 0 or the first failure. */
int routine_finish(struct program *p, struct routine *r, struct cr_error *err);
/** routine_drop() - free a routine that will not be finished */
void routine_drop(struct routine *r);

/*
 * Emission. @what is a string literal that names the operation for a person ("set uids", "map memory").
 * Arguments are passed as uint64_t; unused ones are 0. Each returns the operation, so that flags can be added
 * (never NULL: after a failure it is a scratch operation).
 */
struct abi_op *emit(struct program *p, struct routine *r, enum abi_op_kind kind, const char *what, long nr,
		    uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

#define EMIT_PICK_(x0, x1, x2, x3, x4, x5, ...) (uint64_t)(x0), (uint64_t)(x1), (uint64_t)(x2), (uint64_t)(x3), (uint64_t)(x4), (uint64_t)(x5)
#define emit_call(p, r, what, nr, ...) emit(p, r, ABI_OP_SYSCALL, what, nr, EMIT_PICK_(__VA_ARGS__, 0, 0, 0, 0, 0, 0))

/** emit_data() - put data for the routine into the arena. Return: remote address, 0 after a failure. */
uint64_t emit_data(struct program *p, struct routine *r, const void *data, size_t len, size_t align);

static inline struct abi_op *op_may_fail(struct abi_op *op) { op->flags |= ABI_F_MAY_FAIL; return op; }
static inline struct abi_op *op_result(struct abi_op *op) { op->flags |= ABI_F_RESULT | ABI_F_MAY_FAIL; return op; }
static inline struct abi_op *op_keep(struct abi_op *op, unsigned int slot) { op->flags |= ABI_F_KEEP; op->slot = (uint8_t)slot; return op; }
static inline struct abi_op *op_equal(struct abi_op *op, uint64_t value) { op->flags |= ABI_F_EQUAL; op->arg[5] = value; return op; }
/* pass the value of slot arg[i] as argument i */
static inline struct abi_op *op_from_slot(struct abi_op *op, unsigned int i) { op->slot_args |= (uint8_t)(1u << i); return op; }

/* Slots with an agreed meaning in restore programs. */
enum { SLOT_PIDFD = ABI_SLOT_COORDINATOR, SLOT_TMP = 1, SLOT_TMP2 = 2, SLOT_PAGES = 3 /* open pages image */, SLOT_FILE = 4,
	SLOT_SUMS = 5 /* open checksums of pages */, SLOT_SCRATCH = 6 /* memory of the thread for them */ };

/**
 * program_explain() - sentence for a routine that failed: "map memory (mmap 0x7f... 0x1000 0x3 0x22): Cannot allocate memory"
 * Return: the negative errno it failed with.
 */
int program_explain(const struct program *p, uint32_t routine, struct cr_error *err);

/** program_failed_call() - number of the system call that a routine has failed in, -1: it was none; and its first argument */
long program_failed_call(const struct program *p, uint32_t routine, uint64_t *ret_arg);

/** program_bad_page() - has the routine failed at a page that does not match its checksum? Where is it? */
bool program_bad_page(const struct program *p, uint32_t routine, uint64_t *ret_at);

/** program_equal_pages() - how many pages were as they should be before they were read, in all routines, once these have run */
uint64_t program_equal_pages(const struct program *p);

#endif
