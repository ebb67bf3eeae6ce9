/* What ptrace shows of a stopped thread, as image entries: registers, extended state, thread descriptors, rseq. */
#ifndef CR_INFECT_THREAD_IMAGE_H
#define CR_INFECT_THREAD_IMAGE_H

#include "base/error.h"
#include "infect/task.h"

#include <stdbool.h>
#include <stdint.h>

struct xstate_layout;

/**
 * thread_image() - fill mtype, thread_info and thread_core->rseq_entry of t->core, and xsave_raw of its ext if needed
 * @layout: xstate_layout_init(), once per dump
 * clear_tid_addr is left 0. What is attached to t->core belongs to the tracee and lives until tracee_free(): so
 * t->core must not be encoded after that, nor freed as a decoded entry. The tracee's xstate is given back if nothing needs it.
 * Return: 0, negative errno. The thread is not changed.
 */
int thread_image(struct thread *t, const struct xstate_layout *layout, struct cr_error *err);

/** thread_in_range() - was the thread stopped with its instruction pointer in [start, end)? For the vDSO: mm/ may not replace it then. */
bool thread_in_range(struct thread *t, uint64_t start, uint64_t end, struct cr_error *err);

#endif
