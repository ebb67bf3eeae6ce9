/*
 * Permission to use ports of the machine: a bitmap (ioperm(2)) or all of them (iopl(2)). Both are obstacles; kernels may be
 * without them (CONFIG_X86_IOPL_IOPERM).
 */
#include "tasks/task-ops.h"

#if defined(__x86_64__)
#include <elf.h>
#include <errno.h>
#include <linux/capability.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ALL_PORTS 3 /* the only level of iopl(2) that permits anything */
#define NO_LEVEL  4
#define RAWIO     (UINT64_C(1) << CAP_SYS_RAWIO)
#define CAP_WORDS _LINUX_CAPABILITY_U32S_3

/* A bitmap, which a register set shows: ENXIO where none was given, ioperm_get() in arch/x86/kernel/ptrace.c */
static int ports_collect_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	uint64_t first;
	struct iovec iov = { &first, sizeof(first) };

	(void)ts;
	if (!th->tracee || d->ps->no_ports)
		return 0;
	if (ptrace(PTRACE_GETREGSET, th->host_tid, NT_386_IOPERM, &iov) < 0)
		return 0;
	return task_obstacle(d, th, "", "permission to use ports (ioperm)") < 0
		       ? cr_fail(err, -ENOMEM, "note an obstacle")
		       : 0;
}

/* One switch of the kernel's configuration is for both. Who has levels by a way that we do not know answers otherwise. */
static int ports_collect_process(struct task_dump *d, struct cr_error *err)
{
	(void)err;
	d->ps->no_ports = syscall(__NR_iopl, NO_LEVEL) < 0 && errno == ENOSYS;
	return 0;
}

static void ask_capabilities(struct asker *a, const char *what, uint64_t effective)
{
	const struct proc_status *s = &a->thread->status;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[CAP_WORDS];

	for (unsigned int i = 0; i < CAP_WORDS; i++)
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(effective >> 32 * i),
			.permitted = (uint32_t)(s->cap_prm >> 32 * i),
			.inheritable = (uint32_t)(s->cap_inh >> 32 * i),
		};
	emit_call(a->program, a->routine, what, __NR_capset, emit_data(a->program, a->routine, &head, sizeof(head), 8),
		  emit_data(a->program, a->routine, data, sizeof(data), 8));
}

/*
 * Nothing shows the level since it is no flag of the processor any more (Linux 5.5). But who asks for the level that it has gets
 * it without a look at capabilities, and who asks for a higher one needs CAP_SYS_RAWIO; sys_iopl() in arch/x86/kernel/ioport.c.
 * So the highest is asked for, without that capability. Should the thread not be able to lay it down, its program ends there.
 * A thread in a user namespace of its own has the capability in name only; it makes no difference.
 */
static void ports_ask_thread(struct asker *a)
{
	uint64_t effective = a->thread->status.cap_eff;

	if (a->ps->no_ports)
		return;
	if (effective & RAWIO)
		ask_capabilities(a, "lay down CAP_SYS_RAWIO", effective & ~RAWIO);
	ask_call(a, Q_IOPL, "input and output level", __NR_iopl, ALL_PORTS);
	if (effective & RAWIO)
		ask_capabilities(a, "take CAP_SYS_RAWIO up again", effective);
}

static int ports_dump_thread(struct task_dump *d, struct thread *th, struct thread_state *ts, struct cr_error *err)
{
	if (answer_of(d, ts, Q_IOPL) != 0)
		return 0;
	return task_obstacle(d, th, "", "permission to use all ports (iopl)") < 0
		       ? cr_fail(err, -ENOMEM, "note an obstacle")
		       : 0;
}
#endif

const struct task_kind ports_kind = {
	.name = "ports",
#if defined(__x86_64__)
	.collect_process = ports_collect_process,
	.collect_thread = ports_collect_thread,
	.ask_thread = ports_ask_thread,
	.dump_thread = ports_dump_thread,
#endif
};
