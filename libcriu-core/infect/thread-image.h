/* What ptrace shows of a stopped thread, as image entries: registers, extended state, thread descriptors, rseq. */
#ifndef CR_INFECT_THREAD_IMAGE_H
#define CR_INFECT_THREAD_IMAGE_H

#include "base/error.h"
#include "infect/task.h"
#include "regs.h"
#include "xstate.h"

#include <stdbool.h>
#include <stdint.h>

/* The entry of one thread's core image, and all that it points at beyond what @thread->core does. */
struct thread_image {
	img_core_entry          core;
	img_thread_core_entry   tc;
	img_thread_info_x86     info;
	img_user_x86_regs_entry gpregs;
	struct xstate_store     xstate;
	img_user_desc_t         tls[REGS_TLS_NR];
	img_rseq_entry          rseq;
	img_thread_ext          ext;
};

/**
 * thread_image_ask() - read what only the tracer can ask for and is not known yet
 * The thread is stopped and has its own registers; it is not changed. Return: 0, negative errno.
 */
int thread_image_ask(struct thread *t, struct cr_error *err);

/**
 * thread_image_make() - the core entry of a thread, after thread_image_ask()
 * No tracing: any thread of ours may do it, at any time before the thread's state is freed.
 * @layout: xstate_layout_init(), once per dump
 * @im:     filled; im->core is @t->core with registers, extended state and rseq. clear_tid_addr is left 0.
 * Return: 0, negative errno.
 */
int thread_image_make(const struct thread *t, const struct xstate_layout *layout, struct thread_image *im, struct cr_error *err);

/** thread_sp() - where the stack pointer of a thread of a tree that was asked is; 0: not known */
uint64_t thread_sp(const struct thread *t);

/** thread_in_range() - was the thread stopped with its instruction pointer in [start, end)? For the vDSO: mm/ may not replace it then. */
bool thread_in_range(struct thread *t, uint64_t start, uint64_t end, struct cr_error *err);

#endif
