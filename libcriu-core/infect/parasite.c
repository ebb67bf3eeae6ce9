#include "infect/parasite.h"

#include "infect/blob.h"
#include "infect/remote-call.h"
#include "infect/remote-mem.h"
#include "infect/tracee.h"
#include "sigframe.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE 4096u
#define ROUND(x) (((x) + PAGE - 1) & ~(size_t)(PAGE - 1))
#define BATCH 64u        /* threads at a time: more than processors anywhere, and little memory */
#define RUN_MS 10000
#define DATA_MAX ((size_t)1 << 30)

#define BIT_OF(signo) (UINT64_C(1) << ((signo) - 1))

struct parasite {
	struct task   *task;
	struct tracee *via;           /* the thread that makes remote calls */
	uint64_t insn;                /* a system call instruction of the process */
	uint64_t base;                /* code, then arena, then places for threads; 0: nothing is mapped */
	size_t   size, code_size;
	uint64_t places;              /* remote: BATCH places of place_size bytes, each frame first, stack above */
	size_t   place_size, frame_room, nr_places;
	bool     stuck;               /* a thread could not be called back: the mappings must stay */
	struct xstate_layout layout;
	char    *frames;              /* local: nr_places frames of frame_room bytes */
	struct program program;
};

struct program *parasite_program(struct parasite *p)
{
	return &p->program;
}

/*
 * The signal that says "done". Ignored by default, so that it does nothing when no tracer is left to catch it; not
 * pending in the process or one of its threads, so that none that is not ours is taken for it; best without a handler.
 */
static int trap_signal(const struct task *t)
{
	static const int candidates[] = { SIGURG, SIGWINCH, SIGCHLD };
	uint64_t pending = t->status.shd_pnd, caught = t->status.sig_cgt;

	for (size_t i = 0; i < t->threads.nr; i++)
		pending |= t->threads.items[i].status.sig_pnd;
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++)
		if (!((pending | caught) & BIT_OF(candidates[i])))
			return candidates[i];
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++)
		if (!(pending & BIT_OF(candidates[i])))
			return candidates[i];
	return SIGURG;
}

static int remote_mmap(struct parasite *p, uint64_t at, size_t size, int prot, int flags, uint64_t *ret, struct cr_error *err)
{
	uint64_t arg[6] = { at, size, (uint64_t)prot, (uint64_t)(MAP_PRIVATE | MAP_ANONYMOUS | flags), (uint64_t)-1, 0 };
	int64_t result;
	int r = remote_syscall(p->via, p->insn, SYS_mmap, arg, &result, err);

	if (r < 0)
		return r;
	if (result < 0 && result >= -4095)
		return cr_fail(err, (int)result, "map %zu bytes in pid %d", size, p->task->host_pid);
	*ret = (uint64_t)result;
	return 0;
}

static int remote_munmap(struct parasite *p, struct cr_error *err)
{
	uint64_t arg[6] = { p->base, p->size };
	int64_t result;
	int r = remote_syscall(p->via, p->insn, SYS_munmap, arg, &result, err);

	if (r == 0 && result < 0)
		r = cr_fail(err, (int)result, "unmap our memory in pid %d", p->task->host_pid);
	if (r == 0)
		p->base = 0;
	return r;
}

/* Seccomp filters of the process would see our calls, too; needs CAP_SYS_ADMIN, the kernel forgets it on detach */
static int suspend_seccomp(const struct task *t, struct cr_error *err)
{
	for (size_t i = 0; i < t->threads.nr; i++) {
		const struct thread *th = &t->threads.items[i];

		if (!th->tracee || !th->status.seccomp)
			continue;
		if (ptrace(PTRACE_SETOPTIONS, th->host_tid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP) < 0)
			return cr_fail(err, -errno, "suspend seccomp of thread %d", th->host_tid);
	}
	return 0;
}

static int map_all(struct parasite *p, struct cr_error *err)
{
	const void *code;
	size_t code_len;
	uint64_t data;
	int r = remote_find_syscall(p->via, &p->insn, err);

	if (r < 0)
		return r;
	/* one range, so that one call removes it */
	r = remote_mmap(p, 0, p->size, PROT_READ | PROT_EXEC, 0, &p->base, err);
	if (r < 0)
		return r;
	r = remote_mmap(p, p->base + p->code_size, p->size - p->code_size, PROT_READ | PROT_WRITE, MAP_FIXED, &data, err);
	if (r < 0)
		return r;
	blob_image(&code, &code_len);
	r = remote_force_write(p->via->tid, p->base, code, code_len);
	if (r < 0)
		return cr_fail(err, r, "write our code into pid %d", p->task->host_pid);
	return tracee_return(p->via, err);
}

static int lay_out(struct parasite *p, size_t data_size, uint32_t max_routines, struct cr_error *err)
{
	const void *code;
	size_t code_len, nr = p->task->threads.nr;
	struct arena arena = { .size = ROUND(data_size) };
	int r;

	blob_image(&code, &code_len);
	xstate_layout_init(&p->layout);
	p->code_size = ROUND(code_len);
	p->nr_places = nr < BATCH ? nr : BATCH;
	p->frame_room = (sigframe_size(p->via->xstate_size) + 63) & ~(size_t)63;
	p->place_size = ROUND(p->frame_room + BLOB_STACK + 256);
	p->size = p->code_size + arena.size + p->nr_places * p->place_size;
	r = map_all(p, err);
	if (r < 0)
		return r;
	p->places = p->base + p->code_size + arena.size;
	p->frames = calloc(p->nr_places, p->frame_room);
	arena.local = calloc(1, arena.size);
	arena.remote = p->base + p->code_size;
	if (!arena.local || !p->frames) {
		free(arena.local);
		return cr_fail(err, -ENOMEM, "prepare %zu bytes for pid %d", arena.size, p->task->host_pid);
	}
	r = program_init(&p->program, &arena, max_routines, err);
	if (r < 0)
		return r;
	program_control(&p->program)->trap_signal = (uint32_t)trap_signal(p->task);
	return 0;
}

int parasite_infect(struct task *t, size_t data_size, uint32_t max_routines, struct parasite **ret, struct cr_error *err)
{
	autofree_by(parasite_free) struct parasite *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return cr_fail(err, -ENOMEM, "infect pid %d", t->host_pid);
	if (!t->lead || !t->lead->tracee)
		return cr_refuse(err, -EINVAL, "pid %d has no thread to infect", t->host_pid);
	if (data_size > DATA_MAX)
		return cr_refuse(err, -E2BIG, "pid %d: a program of %zu bytes is too large", t->host_pid, data_size);
	p->task = t;
	p->via = t->lead->tracee;
	r = suspend_seccomp(t, err);
	if (r == 0)
		r = tracee_read_xstate(p->via, err);
	if (r == 0)
		r = lay_out(p, data_size, max_routines, err);
	if (r < 0)
		return cr_within(err, r, "infect pid %d", t->host_pid);
	*ret = take_ptr(&p);
	return 0;
}

static uint64_t place_of(const struct parasite *p, size_t i)
{
	return p->places + i * p->place_size;
}

/* Frames of a batch, in one transfer */
static int write_frames(struct parasite *p, struct thread *const *threads, size_t nr, struct cr_error *err)
{
	struct iovec local[BATCH], remote[BATCH];
	size_t total = 0;
	ssize_t n;

	for (size_t i = 0; i < nr; i++) {
		struct tracee *t = threads[i]->tracee;
		char *buf = p->frames + i * p->frame_room;
		struct regs own;
		int r = tracee_settle(t, err);

		if (r == 0)
			r = tracee_read_xstate(t, err);
		if (r < 0)
			return r;
		if (sigframe_size(t->xstate_size) > p->frame_room)
			return cr_refuse(err, -E2BIG, "thread %d has more extended state than its process", t->tid);
		tracee_own_regs(t, &own);
		sigframe_build(buf, place_of(p, i), &own, t->mask, &p->layout, t->xstate, t->xstate_size);
		local[i] = (struct iovec){ buf, p->frame_room };
		remote[i] = (struct iovec){ (void *)(uintptr_t)place_of(p, i), p->frame_room };
		total += p->frame_room;
	}
	n = process_vm_writev(p->via->tid, local, nr, remote, nr, 0);
	if (n < 0 || (size_t)n != total)
		return cr_fail(err, n < 0 ? -errno : -EFAULT, "write signal frames into pid %d", p->task->host_pid);
	return 0;
}

static int start_one(struct parasite *p, struct tracee *t, uint32_t routine, size_t place, struct cr_error *err)
{
	uint64_t frame = place_of(p, place);
	struct regs r = t->regs;

	regs_enter_blob(&r, p->base + BLOB_OFF_ENTRY, frame + p->place_size, p->program.control, routine, 0, frame);
	return tracee_start(t, &r, BIT_OF(program_control(&p->program)->trap_signal), false, err);
}

/* Starts all, then collects all: also those that were started when one of them failed. */
static int run_batch(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr,
		     struct cr_error *err)
{
	int signo = (int)program_control(&p->program)->trap_signal;
	uint64_t deadline = deadline_in(RUN_MS);
	size_t started = 0;
	int r = write_frames(p, threads, nr, err);

	for (; started < nr && r == 0; started++)
		r = start_one(p, threads[started]->tracee, routines[started], started, err);
	for (size_t i = 0; i < started; i++) {
		struct tracee *t = threads[i]->tracee;
		int e = 0;

		if (t->state == TRACEE_RUNS)
			e = tracee_await(t, signo, false, deadline, r < 0 ? NULL : err);
		if (e >= 0)
			e = tracee_return(t, r < 0 ? NULL : err);
		else if (t->state != TRACEE_GONE && tracee_recall(t, NULL) < 0)
			p->stuck = t->state != TRACEE_GONE;
		if (r == 0 && e < 0)
			r = e;
	}
	return r;
}

int parasite_run(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr, struct cr_error *err)
{
	const struct arena *a = &p->program.arena;
	const struct abi_control *c = program_control(&p->program);
	int r = remote_write(p->via->tid, a->remote, a->local, a->used);

	if (r < 0)
		return cr_fail(err, r, "write a program into pid %d", p->task->host_pid);
	for (size_t i = 0; i < nr; i += p->nr_places) {
		size_t now = nr - i < p->nr_places ? nr - i : p->nr_places;

		r = run_batch(p, threads + i, routines + i, now, err);
		if (r < 0)
			return cr_within(err, r, "pid %d", p->task->host_pid);
	}
	r = remote_read(p->via->tid, a->remote, a->local, a->used);
	if (r < 0)
		return cr_fail(err, r, "read answers of pid %d", p->task->host_pid);
	if (c->failed)
		return cr_within(err, program_explain(&p->program, c->first_failed - 1, err), "pid %d", p->task->host_pid);
	for (size_t i = 0; i < nr; i++) {
		const struct abi_routine *done = program_routine(&p->program, routines[i]);

		if (!done || done->state != ABI_DONE)
			return cr_refuse(err, -EPROTO, "pid %d: routine %" PRIu32 " did not come to its end", p->task->host_pid, routines[i]);
	}
	return 0;
}

int parasite_cure(struct parasite *p, struct cr_error *err)
{
	int r = 0, e;

	if (p->via->state == TRACEE_GONE)
		return 0;
	if (!p->base)
		return tracee_return(p->via, err);
	if (p->stuck)
		return cr_refuse(err, -EBUSY, "pid %d: a thread is still in our code, which stays mapped", p->task->host_pid);
	r = remote_munmap(p, err);
	e = tracee_return(p->via, r < 0 ? NULL : err);
	return r < 0 ? r : e;
}

void parasite_free(struct parasite *p)
{
	if (!p)
		return;
	if (p->task && p->via)
		parasite_cure(p, NULL);
	free(p->program.arena.local);
	program_done(&p->program);
	free(p->frames);
	free(p);
}
