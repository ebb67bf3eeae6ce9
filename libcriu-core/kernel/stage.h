/*
 * Dump and restore are tables of stages. The runner names the stage in errors, times it, can be told to fail there,
 * and on failure undoes in reverse: one failure path, tested for every stage.
 */
#ifndef CR_KERNEL_STAGE_H
#define CR_KERNEL_STAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_context;

struct stage {
	const char *name;
	int (*run)(void *op, struct cr_error *err);
	void (*undo)(
		void *op); /* NULL: nothing to undo. Also called for the stage that failed, half done; must stand that */
	bool final;        /* once it has run there is no way back: a failure on purpose comes before it */
};

/**
 * stages_run() - run a table from top to bottom
 * @op:     handed to every function
 * @fail_at: 1 + index of the stage after which (final ones: before which) to fail on purpose, 0 = none
 * @ret_us: microseconds each stage took, @nr of them; may be NULL
 * Return: 0; the failure of a stage, after all undos ran; -ECANCELED for a failure on purpose.
 */
int stages_run(struct cr_context *ctx, const struct stage *table, size_t nr, void *op, int fail_at, uint64_t *ret_us,
	       struct cr_error *err);

/** stage_called_off() - has the process ended that waits for the result? For stages that take long. Return: 0, -ECANCELED */
int stage_called_off(const struct cr_context *ctx, struct cr_error *err);

#endif
