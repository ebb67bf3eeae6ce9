/*
 * Areas in a thread's memory that the kernel knows of: robust futex list, the word it clears at exit, restartable sequences
 * (registered here, described by arch/), and the selector of syscall user dispatch.
 */
#include "tasks/task-ops.h"

#include "infect/tracee.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROBUST_LIST_LEN 24
#define RSEQ_UNREGISTER 1
#define RSEQ_SIZE_FIRST 32 /* what the C library registers with kernels before 6.3, whatever it uses of it */

static int collect_sud(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	const struct uapi_ptrace_sud_config *c = &th->tracee->sud;
	int r;

	if (!kernel_has(&d->ctx->probes, KERNEL_GET_SUD))
		return 0;
	r = tracee_settle(th->tracee, err);
	if (r < 0 || c->mode == PR_SYS_DISPATCH_OFF)
		return r;
	ts->sud = (img_sud_ext){ .mode = c->mode, .offset = c->offset, .len = c->len, .selector = c->selector };
	ts->ext.sud = &ts->sud;
	return 0;
}

static int areas_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	uint64_t head = 0, len = 0;

	if (syscall(__NR_get_robust_list, th->host_tid, &head, &len) < 0)
		return cr_fail(err, -errno, "thread %d: ask for the robust futex list", (int)th->host_tid);
	ts->tc.futex_rla = head;
	ts->tc.futex_rla_len = (uint32_t)len;
	return th->tracee ? collect_sud(d, th, ts, err) : 0;
}

static void areas_ask_thread(struct asker *a)
{
	ask_call(a, Q_TID_ADDRESS, "address cleared at exit", __NR_prctl, PR_GET_TID_ADDRESS,
		 a->answers + offsetof(struct thread_answers, tid_address), 0, 0, 0);
}

static int areas_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	int64_t r = answer_of(d, ts, Q_TID_ADDRESS);

	(void)err;
	if (r < 0)
		return task_obstacle(d, th, "use a kernel with CONFIG_CHECKPOINT_RESTORE",
				     "the kernel does not tell which word is cleared when the thread ends");
	ts->clear_tid = thread_answers_of(d, th)->tid_address;
	return 0;
}

static int areas_check_thread(const img_core_entry *core, struct cr_error *err)
{
	const img_thread_core_entry *tc = core->thread_core;

	if (tc->futex_rla && tc->futex_rla_len != ROBUST_LIST_LEN)
		return cr_refuse(err, -EBADMSG, "robust futex list of length %u", tc->futex_rla_len);
	/* 1: all but a range, 2: only a range (6.18) */
	if (tc->ext && tc->ext->sud && tc->ext->sud->mode > 2)
		return cr_refuse(err, -EOPNOTSUPP, "syscall user dispatch of mode %llu",
				 (unsigned long long)tc->ext->sud->mode);
	return 0;
}

/*
 * fork() hands the restorer's registration down. Its area will be unmapped, and the kernel kills a task whose area it
 * cannot write. Later children inherit that there is none, so that this fails in them.
 */
static void plan_rseq_off(struct planner *p)
{
	const struct restorer *own = p->t->restorer;

	if (!own->rseq_address)
		return;
	op_may_fail(plan_call(p, "unregister rseq", __NR_rseq, own->rseq_address, own->rseq_size, RSEQ_UNREGISTER,
			      own->rseq_signature));
	if (own->rseq_size != RSEQ_SIZE_FIRST)
		op_may_fail(plan_call(p, "unregister rseq", __NR_rseq, own->rseq_address, RSEQ_SIZE_FIRST,
				      RSEQ_UNREGISTER, own->rseq_signature));
}

static int areas_plan_process(struct planner *p)
{
	if (p->phase == TASK_PHASE_EARLY)
		plan_rseq_off(p);
	return 0;
}

static int areas_plan_thread(struct planner *p)
{
	const img_thread_core_entry *tc = p->core->thread_core;
	const img_rseq_entry *rseq = tc->rseq_entry;

	if (p->phase != TASK_PHASE_MAIN)
		return 0;
	if (tc->futex_rla)
		plan_call(p, "set robust futex list", __NR_set_robust_list, tc->futex_rla, tc->futex_rla_len);
	if (p->core->thread_info)
		plan_call(p, "set address cleared at exit", __NR_set_tid_address, p->core->thread_info->clear_tid_addr);
	if (rseq && rseq->rseq_abi_pointer)
		plan_call(p, "register rseq", __NR_rseq, rseq->rseq_abi_pointer, rseq->rseq_abi_size, 0,
			  rseq->signature);
	return 0;
}

const struct task_kind user_areas_kind = {
	.name = "areas known to the kernel",
	.collect_thread = areas_collect_thread,
	.ask_thread = areas_ask_thread,
	.dump_thread = areas_dump_thread,
	.check_thread = areas_check_thread,
	.plan_process = areas_plan_process,
	.plan_thread = areas_plan_thread,
};
