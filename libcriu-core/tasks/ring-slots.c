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

#ifndef IORING_ENTER_REGISTERED_RING
#define IORING_ENTER_REGISTERED_RING (1U << 4)
#endif

static void rings_ask_thread(struct asker *a)
{
	a->ts->ring_op = (uint32_t)a->routine->ops.nr;
	for (unsigned int i = 0; i < RING_SLOTS; i++)
		op_result(emit_call(a->program, a->routine, "registered ring of io_uring", __NR_io_uring_enter, i, 0, 0,
				    IORING_ENTER_REGISTERED_RING));
}

static int rings_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	unsigned int taken = 0;

	for (unsigned int i = 0; i < RING_SLOTS; i++) {
		int64_t answer = answer_at(d, ts, ts->ring_op + i);

		/* one that is disabled as yet answers EBADFD, one whose polling thread has ended EOWNERDEAD */
		taken += answer >= 0 || answer == -EBADFD || answer == -EOWNERDEAD;
	}
	if (!taken)
		return 0;
	return task_obstacle(d, th, "the process must close its rings first, or run with kernel.io_uring_disabled=2",
			     "%u registered rings of io_uring", taken) < 0
		       ? cr_fail(err, -ENOMEM, "note an obstacle")
		       : 0;
}

const struct task_kind ring_slots_kind = {
	.name = "registered rings",
	.ask_thread = rings_ask_thread,
	.dump_thread = rings_dump_thread,
};
