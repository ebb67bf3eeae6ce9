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

/* Everything that the entries point at, one block per thread */
struct tracee_image {
	img_thread_info_x86     info;
	img_user_x86_regs_entry gpregs;
	struct xstate_store     xstate;
	img_user_desc_t         tls[REGS_TLS_NR];
	img_rseq_entry          rseq;
	img_thread_ext          ext;
};

/* Nearly no thread has any, and of most it is known from themselves. */
static int put_tls(const struct tracee *t, struct tracee_image *im, struct cr_error *err)
{
	for (uint32_t i = 0; i < REGS_TLS_NR; i++) {
		bool empty = t->facts & THREAD_FACTS_KNOWN && !(t->facts & THREAD_FACT_TLS(i));
		struct regs_tls d;
		int r = empty ? 0 : regs_tls_get(t->tid, REGS_TLS_FIRST + i, &d);

		if (empty || r == -EIO || r == -EINVAL) {
			/* a kernel without 32-bit emulation has no such descriptors */
			im->tls[i] = (img_user_desc_t){ .entry_number = REGS_TLS_FIRST + i, .read_exec_only = true, .seg_not_present = true };
			continue;
		}
		if (r < 0)
			return cr_fail(err, r, "read descriptor %u of thread %d", REGS_TLS_FIRST + i, t->tid);
		regs_tls_to_image(&d, &im->tls[i]);
	}
	im->info.tls.items = im->tls;
	im->info.tls.nr = REGS_TLS_NR;
	return 0;
}

/* Whether a thread has enabled one is in its status since there are any, Linux 6.6. */
static void put_shadow_stack(const struct thread *t, struct tracee_image *im)
{
	uint64_t ssp = 0;
	struct iovec iov = { &ssp, sizeof(ssp) };

	if (!t->status.shadow_stack || !im->xstate.fpregs.xsave ||
	    ptrace(PTRACE_GETREGSET, t->host_tid, NT_X86_SHSTK, &iov) < 0)
		return;
	im->xstate.cet.cet = 1; /* MSR_IA32_U_CET: shadow stack enabled */
	im->xstate.cet.ssp = ssp;
}

static void put_rseq(const struct tracee *t, struct tracee_image *im, img_thread_core_entry *tc)
{
	if (!t->rseq.abi_pointer)
		return;
	im->rseq = (img_rseq_entry){
		.rseq_abi_pointer = t->rseq.abi_pointer, .rseq_abi_size = t->rseq.abi_size, .signature = t->rseq.signature,
		.has_rseq_cs_pointer = t->rseq.abort_ip != 0, .rseq_cs_pointer = t->rseq.cs_pointer,
	};
	tc->rseq_entry = &im->rseq;
}

static int fill(const struct thread *thread, const struct xstate_layout *layout, struct tracee_image *im, struct cr_error *err)
{
	const struct tracee *t = thread->tracee;
	img_core_entry *core = thread->core;
	struct regs own;
	uint64_t raw;
	int r;

	tracee_own_regs(t, &own);
	regs_to_image(&own, &im->gpregs);
	r = xstate_to_image(layout, t->xstate, t->xstate_size, &im->xstate, &raw, err);
	if (r == 0)
		r = put_tls(t, im, err);
	if (r < 0)
		return r;
	put_shadow_stack(thread, im);
	im->info.gpregs = &im->gpregs;
	im->info.fpregs = &im->xstate.fpregs;
	core->mtype = img_core_entry_march_X86_64;
	core->thread_info = &im->info;
	if (!core->thread_core)
		return 0;
	put_rseq(t, im, core->thread_core);
	if (raw) {
		img_thread_ext *ext = core->thread_core->ext ? core->thread_core->ext : &im->ext;

		ext->xsave_raw = (struct proto_bytes){ t->xstate, t->xstate_size };
		ext->has_xsave_xfeatures = true;
		ext->xsave_xfeatures = raw;
		core->thread_core->ext = ext;
	}
	return 0;
}

int thread_image(struct thread *t, const struct xstate_layout *layout, struct cr_error *err)
{
	struct tracee *tracee = t->tracee;
	int r;

	if (!tracee || !t->core)
		return cr_refuse(err, -EINVAL, "thread %d is not at hand", t->host_tid);
	r = tracee_settle(tracee, err);
	if (r == 0)
		r = tracee_read_xstate(tracee, err);
	if (r < 0)
		return r;
	free(tracee->image);
	tracee->image = calloc(1, sizeof(*tracee->image));
	if (!tracee->image)
		return cr_fail(err, -ENOMEM, "registers of thread %d", t->host_tid);
	r = fill(t, layout, tracee->image, err);
	/* kept only where the entries point into it: with a thousand processes that is the better part of our memory */
	if (r == 0 && !(t->core->thread_core && t->core->thread_core->ext && t->core->thread_core->ext->xsave_raw.data)) {
		free(tracee->xstate);
		tracee->xstate = NULL;
		tracee->xstate_size = 0;
	}
	return r;
}

bool thread_in_range(struct thread *t, uint64_t start, uint64_t end, struct cr_error *err)
{
	struct regs own;

	if (!t->tracee || tracee_settle(t->tracee, err) < 0)
		return false;
	tracee_own_regs(t->tracee, &own);
	return regs_ip(&own) >= start && regs_ip(&own) < end;
}
