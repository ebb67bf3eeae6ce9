/* Live subjects for the tests of infect/: children that do something and can tell whether they were disturbed. */
#ifndef TEST_UNIT_INFECT_LIVE_H
#define TEST_UNIT_INFECT_LIVE_H

#include "infect/freeze.h"
#include "infect/parasite.h"
#include "infect/tracee.h"
#include "xstate.h"

#include <stdint.h>
#include <sys/types.h>

/* Shared by test and child. */
struct live {
	volatile uint64_t rounds; /* grows while the child works */
	volatile uint32_t wrong;  /* set when it finds something changed */
	volatile uint32_t ready;
	volatile uint32_t handled; /* signals seen by a handler */
	volatile int32_t result;   /* of a call, test by test */
	volatile int32_t pid;
	volatile uint32_t flags[8];
};

struct live *live_new(void);
void live_free(struct live *l);

/** live_fork() - a child that runs @fn; dies with us */
pid_t live_fork(void (*fn)(struct live *l), struct live *l);
void live_kill(pid_t pid);
/** live_ready() - wait until the child has set ready to @n */
void live_ready(struct live *l, uint32_t n);
/** live_works() - does rounds still grow, and is nothing wrong? */
void live_works(struct live *l);
void live_nap(unsigned int ms);

/** compute() - general, floating point and vector registers are loaded, held for a while and compared, for ever */
void compute(struct live *l);
/** compute_once() - one such round. Return: 1 nothing changed. */
int compute_once(uint64_t seed);

/* A context with default options */
struct live_ctx {
	rpc_criu_opts rpc;
	struct cr_options opts;
	struct cr_context ctx;
};
struct cr_context *live_ctx(struct live_ctx *c);

/** live_layout() - of this processor */
const struct xstate_layout *live_layout(void);

/* A routine of one call, then the end; its result is the first argument afterwards */
uint32_t live_routine(struct program *p, const char *what, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
int64_t live_answer(struct program *p, uint32_t routine);

/* freeze, infect, run a routine on every thread of the root, cure: everything must succeed */
struct tree *live_freeze(struct cr_context *ctx, pid_t pid);
void live_question(struct task *t);

#endif
