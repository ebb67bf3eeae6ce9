/*
 * Rings of io_uring that a thread uses by a number of its own (IORING_REGISTER_RING_FDS, Linux 5.18) in place of a descriptor.
 * Such a ring may have no descriptor and no mapping any more, so that nothing else shows it. Named as an obstacle.
 *
 * An io_uring_enter(2) that hands in nothing and waits for nothing says which numbers are taken: EINVAL, the thread has never used
 * io_uring; EBADF, the number is free; io_uring/io_uring.c (6.18). Earlier kernels know no such numbers, and say EINVAL.
 */
#include "tasks/task-ops.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>

#define RING_SLOTS 16 /* IO_RINGFD_REG_MAX of the kernel */

#ifndef IORING_ENTER_REGISTERED_RING
#define IORING_ENTER_REGISTERED_RING (1U << 4)
#endif

static void rings_ask_thread(struct asker *a)
{
	ask_note(a, Q_RINGS, op_result(emit(a->program, a->routine, ABI_OP_SWEEP, "registered rings of io_uring", __NR_io_uring_enter,
					    RING_SLOTS, 0, 0, IORING_ENTER_REGISTERED_RING, 0, 0)));
}

/* One that is disabled as yet answers EBADFD, one whose polling thread has ended EOWNERDEAD: those are taken, too. */
static int rings_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t taken = answer_of(d, ts, Q_RINGS);

	if (!taken)
		return 0;
	if (taken < 0)
		return cr_fail(err, (int)taken, "ask thread %d for registered rings of io_uring", (int)th->host_tid);
	return task_obstacle(d, th, "the process must close its rings first, or run with kernel.io_uring_disabled=2",
			     "%d registered rings of io_uring", __builtin_popcountll((uint64_t)taken)) < 0
		       ? cr_fail(err, -ENOMEM, "note an obstacle")
		       : 0;
}

const struct task_kind ring_slots_kind = {
	.name = "registered rings",
	.ask_thread = rings_ask_thread,
	.dump_thread = rings_dump_thread,
};
