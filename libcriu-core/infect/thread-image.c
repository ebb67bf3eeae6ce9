#include "infect/thread-image.h"

#include "infect/tracee.h"
#include "thread-facts.h"
#include "xstate.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#ifndef NT_X86_SHSTK
#define NT_X86_SHSTK 0x204
#endif

/* What few threads have, and only their tracer can ask for */
struct tracee_rare {
	struct regs_tls tls[REGS_TLS_NR];
	bool has_tls[REGS_TLS_NR], has_ssp;
	uint64_t ssp;
};

/* Nearly no thread has any, and of most it is known from themselves. A kernel without 32-bit emulation has none. */
static int ask_tls(const struct tracee *t, struct tracee_rare *rare, struct cr_error *err)
{
	for (uint32_t i = 0; i < REGS_TLS_NR; i++) {
		int r = t->facts & THREAD_FACTS_KNOWN && !(t->facts & THREAD_FACT_TLS(i))
				? -EINVAL
				: regs_tls_get(t->tid, REGS_TLS_FIRST + i, &rare->tls[i]);

		if (r < 0 && r != -EIO && r != -EINVAL)
			return cr_fail(err, r, "read descriptor %u of thread %d", REGS_TLS_FIRST + i, t->tid);
		rare->has_tls[i] = r == 0;
	}
	return 0;
}

/* Whether a thread has enabled one is in its status since there are any, Linux 6.6. */
static void ask_shadow_stack(const struct thread *t, struct tracee_rare *rare)
{
	struct iovec iov = { &rare->ssp, sizeof(rare->ssp) };

	rare->has_ssp = t->status.shadow_stack && ptrace(PTRACE_GETREGSET, t->host_tid, NT_X86_SHSTK, &iov) == 0;
}

int thread_image_ask(struct thread *t, struct cr_error *err)
{
	struct tracee *tracee = t->tracee;
	struct tracee_rare rare = { 0 };
	int r;

	if (!tracee || !t->core || !t->core->thread_core)
		return cr_refuse(err, -EINVAL, "thread %d is not at hand", t->host_tid);
	r = tracee_settle(tracee, err);
	if (r == 0)
		r = tracee_read_xstate(tracee, err);
	if (r == 0)
		r = ask_tls(tracee, &rare, err);
	if (r < 0)
		return r;
	ask_shadow_stack(t, &rare);
	if (!rare.has_ssp && !rare.has_tls[0] && !rare.has_tls[1] && !rare.has_tls[2])
		return 0;
	free(tracee->rare);
	tracee->rare = malloc(sizeof(rare));
	if (!tracee->rare)
		return cr_fail(err, -ENOMEM, "registers of thread %d", t->host_tid);
	*tracee->rare = rare;
	return 0;
}

static void put_rare(const struct tracee_rare *rare, struct thread_image *im)
{
	for (uint32_t i = 0; i < REGS_TLS_NR; i++) {
		im->tls[i] = (img_user_desc_t){
			.entry_number = REGS_TLS_FIRST + i, .read_exec_only = true, .seg_not_present = true
		};
		if (rare && rare->has_tls[i])
			regs_tls_to_image(&rare->tls[i], &im->tls[i]);
	}
	im->info.tls.items = im->tls;
	im->info.tls.nr = REGS_TLS_NR;
	if (!rare || !rare->has_ssp || !im->xstate.fpregs.xsave)
		return;
	im->xstate.cet.cet = 1; /* MSR_IA32_U_CET: shadow stack enabled */
	im->xstate.cet.ssp = rare->ssp;
}

static void put_rseq(const struct tracee *t, struct thread_image *im)
{
	if (!t->rseq.abi_pointer)
		return;
	im->rseq = (img_rseq_entry){
		.rseq_abi_pointer = t->rseq.abi_pointer, .rseq_abi_size = t->rseq.abi_size, .signature = t->rseq.signature,
		.has_rseq_cs_pointer = t->rseq.abort_ip != 0, .rseq_cs_pointer = t->rseq.cs_pointer,
	};
	im->tc.rseq_entry = &im->rseq;
}

int thread_image_make(const struct thread *thread, const struct xstate_layout *layout, struct thread_image *im, struct cr_error *err)
{
	const struct tracee *t = thread->tracee;
	struct regs own;
	uint64_t raw;
	int r, restart;

	*im = (struct thread_image){ .core = *thread->core, .tc = *thread->core->thread_core };
	restart = tracee_own_regs(t, &own);
	regs_to_image(&own, &im->gpregs);
	r = xstate_to_image(layout, t->xstate, t->xstate_size, &im->xstate, &raw, err);
	if (r < 0)
		return r;
	put_rare(t->rare, im);
	put_rseq(t, im);
	im->info.gpregs = &im->gpregs;
	im->info.fpregs = &im->xstate.fpregs;
	im->core.mtype = img_core_entry_march_X86_64;
	im->core.thread_info = &im->info;
	im->core.thread_core = &im->tc;
	if (!raw && !restart)
		return 0;
	if (im->tc.ext)
		im->ext = *im->tc.ext;
	im->tc.ext = &im->ext;
	if (restart) {
		im->ext.has_restart = true;
		im->ext.restart = (uint32_t)restart;
	}
	if (raw) {
		im->ext.xsave_raw = (struct proto_bytes){ t->xstate, t->xstate_size };
		im->ext.has_xsave_xfeatures = true;
		im->ext.xsave_xfeatures = raw;
	}
	return 0;
}

uint64_t thread_sp(const struct thread *t)
{
	struct regs own;

	if (!t->tracee || !t->tracee->settled)
		return 0;
	tracee_own_regs(t->tracee, &own);
	return regs_sp(&own);
}

bool thread_in_range(struct thread *t, uint64_t start, uint64_t end, struct cr_error *err)
{
	struct regs own;

	if (!t->tracee || tracee_settle(t->tracee, err) < 0)
		return false;
	tracee_own_regs(t->tracee, &own);
	return regs_ip(&own) >= start && regs_ip(&own) < end;
}
