/*
 * A way back for a borrowed system call, before and after anything of ours is mapped. In the task's own code is a call
 * instruction with a return behind it, and the C library's trampoline that ends signal handlers; on the task's stack, below
 * what the ABI lets it use, a return address and a signal frame with its own context. If we are killed in the middle of the
 * call, the thread finishes it and goes back through these to where it was, with its registers and its signal mask.
 */
#ifndef CR_INFECT_WAY_BACK_H
#define CR_INFECT_WAY_BACK_H

#include "base/error.h"
#include "infect/task.h"

#include <stddef.h>
#include <stdint.h>

struct xstate_layout;

/* Where in which file the code is, so that it is looked for once: most processes have the same C library. */
#define WAY_FILES 32
struct way_file {
	uint64_t inode, dev;
	uint64_t call, back; /* offsets in the file; both 0: it has none */
};
struct way_cache {
	struct way_file files[WAY_FILES];
	size_t nr;
};

struct way_back {
	uint64_t call,
		sp; /* the instruction to make a call with, and the stack pointer to make it with; 0: there is no way */
	uint64_t lowest; /* where the first mapping of the process begins; 0: not known */
	uint64_t at;     /* where it lies on the stack */
	size_t size;
	char *was; /* what was there before */
};

/**
 * way_back_lay() - look for a way back for @t's thread, and write what it takes
 * Only where that is safe beyond doubt: on the stack that the kernel made, without shadow stacks. The thread is stopped and
 * its extended state has been read.
 * Return: 0, also if there is no way (way->call is 0 then); negative errno.
 */
int way_back_lay(struct way_back *way, struct way_cache *cache, const struct task *t, const struct thread *th,
		 const struct xstate_layout *layout, struct cr_error *err);

/** way_back_clear() - the stack as it was, once the thread has its own registers again. Nothing if nothing is laid. */
void way_back_clear(struct way_back *way, const struct thread *th);

#endif
