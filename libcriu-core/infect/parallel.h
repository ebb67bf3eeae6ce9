/* Many small independent jobs on two processors: reading procfs of a large tree while it is frozen. */
#ifndef CR_INFECT_PARALLEL_H
#define CR_INFECT_PARALLEL_H

#include "base/error.h"

#include <stddef.h>

/**
 * parallel_each() - job(arg, i, err) for each i below @nr, in any order, from two threads if there are enough of them
 * After the first failure no new job is begun. The jobs must not ptrace: the tracer is the calling thread.
 * Return: 0, or the failure.
 */
int parallel_each(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void *arg, struct cr_error *err);

/** parallel_beside() - the same, where the calling thread has something else to do first: meanwhile(arg), which may ptrace */
int parallel_beside(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void (*meanwhile)(void *arg), void *arg,
		    struct cr_error *err);

/** parallel_pieces() - the same for few and long jobs: a second thread from two on */
int parallel_pieces(size_t nr, int (*job)(void *arg, size_t i, struct cr_error *err), void *arg, struct cr_error *err);

#endif
