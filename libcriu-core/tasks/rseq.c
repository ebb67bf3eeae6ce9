/*
 * Restartable sequences on kernels that do not tell of them (PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13): looked for where C
 * libraries have their area, relative to the thread pointer. Restoring and the usual way of finding are in user-areas.c and
 * infect/rseq.c. Critical sections are not known then: who was stopped inside one goes on in it.
 */
#include "tasks/task-ops.h"

#include "regs.h"
#include "infect/tracee.h"

#include <assert.h>
#include <errno.h>
#include <sys/syscall.h>

#define RSEQ_UNREGISTER 1
#define AREA_SIZE       32 /* the only size before Linux 6.3; also the alignment */
#define AREA_SIGNATURE  0x53053053
#define NO_SIGNATURE    0x2a2a2a2a

/* In glibc 2.35 to 2.39 a member of struct pthread (0x920, 0x9a0, ...), later and in other libraries a thread variable. */
#define FIRST_MEMBER 0x800
#define NR_MEMBERS   24
#define NR_VARIABLES 32
static_assert(NR_MEMBERS + NR_VARIABLES == RSEQ_PLACES, "room for their questions");

static uint64_t place(const struct thread *th, unsigned int i)
{
	uint64_t tp = regs_thread_pointer(&th->tracee->regs) & ~(uint64_t)(AREA_SIZE - 1);

	return i < NR_MEMBERS ? tp + FIRST_MEMBER + (uint64_t)i * AREA_SIZE
			      : tp - (uint64_t)(i - NR_MEMBERS + 1) * AREA_SIZE;
}

static int rseq_collect_process(struct task_dump *d, struct cr_error *err)
{
	(void)err;
	d->ps->rseq_searched = !kernel_has(&d->ctx->probes, KERNEL_GET_RSEQ);
	return 0;
}

/*
 * To unregister with a wrong signature changes nothing and fails with EPERM at the registered address, with EINVAL at any
 */
static void rseq_ask_thread(struct asker *a)
{
	a->ts->rseq_op = (uint32_t)a->routine->ops.nr;
	if (!a->ps->rseq_searched || !a->thread->tracee || !a->thread->tracee->settled)
		return;
	for (unsigned int i = 0; i < RSEQ_PLACES; i++)
		op_result(emit_call(a->program, a->routine, "rseq registration", __NR_rseq, place(a->thread, i),
				    AREA_SIZE, RSEQ_UNREGISTER, NO_SIGNATURE));
}

static int rseq_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	(void)err;
	if (!d->ps->rseq_searched || !th->tracee || !th->tracee->settled)
		return 0;
	for (unsigned int i = 0; i < RSEQ_PLACES; i++) {
		if (answer_at(d, ts, ts->rseq_op + i) != -EPERM)
			continue;
		/* the signature cannot be asked for, but has one value on each architecture */
		ts->rseq = (img_rseq_entry){ .rseq_abi_pointer = place(th, i),
					     .rseq_abi_size = AREA_SIZE,
					     .signature = AREA_SIGNATURE };
		ts->tc.rseq_entry = &ts->rseq;
		break;
	}
	return 0;
}

const struct task_kind rseq_kind = {
	.name = "restartable sequences",
	.collect_process = rseq_collect_process,
	.ask_thread = rseq_ask_thread,
	.dump_thread = rseq_dump_thread,
};
