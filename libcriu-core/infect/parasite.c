#include "infect/parasite.h"

#include "infect/blob.h"
#include "infect/leftovers.h"
#include "infect/remote-call.h"
#include "infect/remote-mem.h"
#include "infect/room.h"
#include "infect/tracee.h"
#include "infect/way-back.h"
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

#define PAGE       4096u
#define ROUND(x)   (((x) + PAGE - 1) & ~(size_t)(PAGE - 1))
#define BATCH      64u /* threads at a time: more than processors anywhere, and little memory */
#define RUN_MS     10000
#define LEFT_BELOW (1u << 20)  /* addresses that stay free: the lowest may not be mapped (vm.mmap_min_addr) */
#define GAP        (64u << 10) /* between us and the lowest mapping */
#define DATA_MAX   ((size_t)1 << 30)

#define BIT_OF(signo) (UINT64_C(1) << ((signo)-1))

/* What the process does for us at the moment */
enum deed { DEED_NONE, DEED_MAP_CODE, DEED_MAP_DATA, DEED_RUN, DEED_UNMAP };

struct parasite {
	struct task *task;
	struct tracee *via; /* the thread that makes remote calls */
	uint64_t insn;      /* a system call instruction of the process */
	uint64_t base;      /* code, then arena, then places for threads; 0: nothing is mapped */
	size_t size, code_size;
	uint64_t places; /* remote: BATCH places of place_size bytes, each frame first, stack above */
	size_t place_size, frame_room, nr_places;
	struct way_back way; /* for remote calls, if there is one */
	struct leftover *note;
	struct room room; /* a limit that is raised while we map */
	bool stuck;       /* a thread could not be called back: the mappings must stay */
	enum deed deed;
	const struct xstate_layout *layout;
	char *frames; /* local: nr_places frames of frame_room bytes */
	size_t data_size;
	uint32_t max_routines;
	struct program program;
	struct {
		struct thread *const *threads;
		const uint32_t *routines;
		size_t nr, next, batch; /* batch: how many run, those before next */
		uint64_t deadline;
	} run;
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

/*
 * Not by single steps, although each would stop once instead of twice: a step ends in a stop for SIGTRAP, and when the
 * tracer dies while it lasts, that signal is delivered and ends the process. A stop at a system call delivers nothing.
 */
static int begin_call(struct parasite *p, enum deed deed, long nr, const uint64_t arg[6], struct cr_error *err)
{
	int r = p->way.call ? remote_start(p->via, p->way.call, p->way.sp, nr, arg, err)
			    : remote_start(p->via, p->insn, 0, nr, arg, err);

	if (r == 0)
		p->deed = deed;
	else
		tracee_return(p->via, NULL);
	return r;
}

static int begin_mmap(struct parasite *p, enum deed deed, uint64_t at, size_t size, int prot, int flags,
		      struct cr_error *err)
{
	uint64_t arg[6] = {
		at, size, (uint64_t)prot, (uint64_t)(MAP_PRIVATE | MAP_ANONYMOUS | flags), (uint64_t)-1, 0
	};

	return begin_call(p, deed, SYS_mmap, arg, err);
}

/* Collects a system call; the thread has its own registers again afterwards. */
static int end_call(struct parasite *p, const char *what, uint64_t *ret, struct cr_error *err)
{
	int64_t result = 0;
	int r = remote_finish(p->via, &result, err), e = 0;

	if (p->via->state == TRACEE_STOPPED)
		e = tracee_return(p->via, r < 0 ? NULL : err);
	if (r == 0)
		r = e;
	if (r == 0 && result < 0 && result >= -4095)
		r = cr_fail(err, (int)result, "%s pid %d", what, p->task->host_pid);
	if (r == 0)
		*ret = (uint64_t)result;
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

static void measure(struct parasite *p, size_t nr_places)
{
	const void *code;
	size_t code_len;

	blob_image(&code, &code_len);
	p->code_size = ROUND(code_len);
	p->nr_places = nr_places;
	p->frame_room = (sigframe_size(p->via->xstate_size) + 63) & ~(size_t)63;
	p->place_size = ROUND(p->frame_room + BLOB_STACK + 256);
	p->size = p->code_size + p->data_size + p->nr_places * p->place_size;
}

/* Everything is mapped: fill it on their side, and make room on ours. */
static int settle_in(struct parasite *p, struct cr_error *err)
{
	struct arena arena = { .size = p->data_size, .remote = p->base + p->code_size };
	const void *code;
	size_t code_len;
	int r;

	blob_image(&code, &code_len);
	r = remote_force_write(p->via->tid, p->base, code, code_len);
	if (r < 0)
		return cr_fail(err, r, "write our code into pid %d", p->task->host_pid);
	p->places = arena.remote + arena.size;
	p->frames = calloc(p->nr_places, p->frame_room);
	arena.local = calloc(1, arena.size);
	if (!arena.local || !p->frames) {
		free(arena.local);
		return cr_fail(err, -ENOMEM, "prepare %zu bytes for pid %d", arena.size, p->task->host_pid);
	}
	r = program_init(&p->program, &arena, p->max_routines, err);
	if (r < 0)
		return r;
	program_control(&p->program)->trap_signal = (uint32_t)trap_signal(p->task);
	return 0;
}

/*
 * One range, so that one call removes it. Where it will be is noted before it is there: below all that the process has, if
 * that is known; the kernel takes another place only if that one is not free.
 */
static int begin_map_code(struct parasite *p, size_t nr_places, struct cr_error *err)
{
	uint64_t at = 0;

	measure(p, nr_places);
	if (p->way.lowest > p->size + LEFT_BELOW)
		at = (p->way.lowest - p->size - GAP) & ~(uint64_t)(PAGE - 1);
	leftover_mapped(p->note, at, at ? p->size : 0);
	return begin_mmap(p, DEED_MAP_CODE, at, p->size, PROT_READ | PROT_EXEC, 0, err);
}

/* EAGAIN: all its memory is to be locked (mlockall() with MCL_FUTURE), and there would be more than RLIMIT_MEMLOCK of it. */
static bool is_short(int r)
{
	return r == -EAGAIN || r == -ENOMEM;
}

static int begin_map_data(struct parasite *p, struct cr_error *err)
{
	int r = begin_mmap(p, DEED_MAP_DATA, p->base + p->code_size, p->size - p->code_size, PROT_READ | PROT_WRITE,
			   MAP_FIXED, err);

	return r < 0 ? r : PARASITE_GOES_ON;
}

/* Room for one thread at a time may still be had, and if not that, the limit may be ours to raise for the moment. */
static int end_map_code(struct parasite *p, struct cr_error *err)
{
	int r = end_call(p, "map memory in", &p->base, err);

	if (is_short(r) && (p->nr_places > 1 || room_make(&p->room, p->task, ROOM_SPACE, p->size, p->note)))
		return begin_map_code(p, 1, err) < 0 ? r : PARASITE_GOES_ON;
	if (r < 0)
		return room_explain(p->task, ROOM_SPACE, p->size, r, err);
	leftover_mapped(p->note, p->base, p->size);
	return begin_map_data(p, err);
}

static int end_map_data(struct parasite *p, struct cr_error *err)
{
	uint64_t data;
	size_t size = p->size - p->code_size;
	int r = end_call(p, "map memory in", &data, err);

	if (r == -ENOMEM && room_make(&p->room, p->task, ROOM_DATA, size, p->note))
		return begin_map_data(p, err);
	room_give_back(&p->room, p->task);
	return r == 0 ? settle_in(p, err) : room_explain(p->task, ROOM_DATA, size, r, err);
}

static int infect(struct parasite *p, struct infect_aid *aid, struct cr_error *err)
{
	int r = suspend_seccomp(p->task, err);

	if (r == 0)
		r = tracee_read_xstate(p->via, err);
	if (r == 0 && aid)
		p->note = leftover_begin(aid->leftovers, p->task->host_pid);
	if (r == 0 && aid)
		r = way_back_lay(&p->way, &aid->ways, p->task, p->task->lead, p->layout, err);
	if (r == 0 && !p->way.call)
		r = remote_find_syscall(p->via, &p->insn, err);
	if (r < 0)
		return r;
	return begin_map_code(p, p->task->threads.nr < BATCH ? p->task->threads.nr : BATCH, err);
}

int parasite_infect_begin(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t data_size,
			  uint32_t max_routines, struct parasite **ret, struct cr_error *err)
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
	p->layout = layout;
	p->data_size = ROUND(data_size);
	p->max_routines = max_routines;
	r = infect(p, aid, err);
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
		sigframe_build(buf, place_of(p, i), &own, t->mask, p->layout, t->xstate, t->xstate_size);
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
	return tracee_start(t, &r, BIT_OF(program_control(&p->program)->trap_signal), TRACEE_FREELY, err);
}

/* Return: 0; the first failure. How many were started is noted also then: they have to be collected. */
static int begin_batch(struct parasite *p, struct cr_error *err)
{
	struct thread *const *threads = p->run.threads + p->run.next;
	const uint32_t *routines = p->run.routines + p->run.next;
	size_t left = p->run.nr - p->run.next, nr = left < p->nr_places ? left : p->nr_places;
	int r = write_frames(p, threads, nr, err);

	p->deed = DEED_RUN;
	p->run.deadline = deadline_in(RUN_MS);
	p->run.batch = 0;
	while (p->run.batch < nr && r == 0) {
		r = start_one(p, threads[p->run.batch]->tracee, routines[p->run.batch], p->run.batch, err);
		p->run.batch++;
	}
	p->run.next += p->run.batch;
	return r;
}

/* What the routines of a batch say of themselves, in one transfer: their numbers are near each other. */
static int read_states(struct parasite *p, const uint32_t *routines, size_t nr)
{
	uint32_t low = UINT32_MAX, high = 0;
	uint64_t at;
	size_t len;
	void *local;

	for (size_t i = 0; i < nr; i++) {
		low = routines[i] < low ? routines[i] : low;
		high = routines[i] > high ? routines[i] : high;
	}
	if (low > high)
		return -EINVAL;
	at = p->program.routines + (uint64_t)low * sizeof(struct abi_routine);
	len = ((size_t)high - low + 1) * sizeof(struct abi_routine);
	local = arena_at(&p->program.arena, at, len);
	return local ? remote_read(p->via->tid, at, local, len) : -EINVAL;
}

static bool has_ended(const struct parasite *p, uint32_t routine)
{
	const struct abi_routine *r = program_routine(&p->program, routine);

	return r && (r->state == ABI_DONE || r->state == ABI_FAILED);
}

/* All that were started come back, also when one of them failed. */
static int end_batch(struct parasite *p, struct cr_error *err)
{
	int r = 0, came[BATCH], signo = (int)program_control(&p->program)->trap_signal;
	size_t nr = p->run.batch, first = p->run.next - nr;
	bool known;

	for (size_t i = 0; i < nr; i++) {
		struct tracee *t = p->run.threads[first + i]->tracee;

		came[i] = t->state == TRACEE_RUNS ? tracee_await_trusting(t, signo, p->run.deadline, r < 0 ? NULL : err) : 0;
		r = r < 0 ? r : came[i];
	}
	known = nr && read_states(p, p->run.routines + first, nr) == 0;
	for (size_t i = 0; i < nr; i++) {
		struct tracee *t = p->run.threads[first + i]->tracee;
		struct cr_error *e = r < 0 ? NULL : err;

		if (came[i] == TRACEE_AT_SIGNAL && !(known && has_ended(p, p->run.routines[first + i])))
			came[i] = tracee_await_on(t, signo, p->run.deadline, e);
		if (came[i] >= 0)
			came[i] = tracee_return(t, e);
		else if (t->state != TRACEE_GONE && tracee_recall(t, NULL) < 0)
			p->stuck = t->state != TRACEE_GONE;
		r = r < 0 ? r : came[i];
	}
	p->run.batch = 0;
	return r < 0 ? r : 0;
}

int parasite_run_begin(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr,
		       struct cr_error *err)
{
	const struct arena *a = &p->program.arena;
	int r = remote_write(p->via->tid, a->remote, a->local, a->used);

	if (r < 0)
		return cr_fail(err, r, "write a program into pid %d", p->task->host_pid);
	p->run.threads = threads;
	p->run.routines = routines;
	p->run.nr = nr;
	p->run.next = 0;
	r = begin_batch(p, err);
	if (r < 0) {
		end_batch(p, NULL);
		p->deed = DEED_NONE;
		return cr_within(err, r, "pid %d", p->task->host_pid);
	}
	return 0;
}

static int read_answers(struct parasite *p, struct cr_error *err)
{
	const struct arena *a = &p->program.arena;
	const struct abi_control *c = program_control(&p->program);
	int r = remote_read(p->via->tid, a->remote, a->local, a->used);

	if (r < 0)
		return cr_fail(err, r, "read answers");
	if (c->failed)
		return program_explain(&p->program, c->first_failed - 1, err);
	for (size_t i = 0; i < p->run.nr; i++) {
		const struct abi_routine *done = program_routine(&p->program, p->run.routines[i]);

		if (!done || done->state != ABI_DONE)
			return cr_refuse(err, -EPROTO, "routine %" PRIu32 " did not come to its end",
					 p->run.routines[i]);
		p->run.threads[i]->tracee->facts = done->facts;
	}
	return 0;
}

static int end_run(struct parasite *p, struct cr_error *err)
{
	int r = end_batch(p, err);

	if (r == 0 && p->run.next < p->run.nr) {
		r = begin_batch(p, err);
		if (r < 0)
			end_batch(p, NULL);
		else
			return PARASITE_GOES_ON;
	}
	if (r == 0)
		r = read_answers(p, err);
	return cr_within(err, r, "pid %d", p->task->host_pid);
}

void parasite_note_descriptor(struct parasite *p, int fd)
{
	leftover_descriptor(p->note, fd);
}

int parasite_mend(const struct parasite *p, pid_t copy, struct cr_error *err)
{
	int r = p->way.was ? remote_write(copy, p->way.at, p->way.was, p->way.size) : 0;

	return r < 0 ? cr_fail(err, r, "put back the stack in the copy of pid %d", p->task->host_pid) : 0;
}

int parasite_cure_begin(struct parasite *p, struct cr_error *err)
{
	uint64_t arg[6] = { p->base, p->size };

	if (p->via->state == TRACEE_GONE)
		return 0;
	if (!p->base)
		return tracee_return(p->via, err);
	if (p->stuck)
		return cr_refuse(err, -EBUSY, "pid %d: a thread is still in our code, which stays mapped",
				 p->task->host_pid);
	return begin_call(p, DEED_UNMAP, SYS_munmap, arg, err);
}

static int end_unmap(struct parasite *p, struct cr_error *err)
{
	uint64_t zero;
	int r = end_call(p, "unmap our memory in", &zero, err);

	if (r == 0) {
		p->base = 0;
		way_back_clear(&p->way, p->task->lead);
	}
	return r;
}

int parasite_continue(struct parasite *p, struct cr_error *err)
{
	enum deed deed = p->deed;
	int r = PARASITE_DONE;

	if (deed != DEED_RUN && deed != DEED_NONE && p->via->run == TRACEE_TO_SYSCALL) {
		r = remote_advance(p->via, err);
		if (r == 0)
			return PARASITE_GOES_ON;
		tracee_recall(p->via, NULL);
	}
	p->deed = DEED_NONE;
	if (r < 0)
		return r;
	switch (deed) {
	case DEED_MAP_CODE:
		r = cr_within(err, end_map_code(p, err), "infect pid %d", p->task->host_pid);
		break;
	case DEED_MAP_DATA:
		r = cr_within(err, end_map_data(p, err), "infect pid %d", p->task->host_pid);
		break;
	case DEED_RUN:
		r = end_run(p, err);
		break;
	case DEED_UNMAP:
		r = end_unmap(p, err);
		break;
	case DEED_NONE:
		break;
	}
	/* what could not be begun is not going on */
	if (r != PARASITE_GOES_ON)
		p->deed = DEED_NONE;
	return r;
}

static int wait_for(struct parasite *p, struct cr_error *err)
{
	int r;

	do
		r = parasite_continue(p, err);
	while (r == PARASITE_GOES_ON);
	return r;
}

int parasite_infect(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t data_size,
		    uint32_t max_routines, struct parasite **ret, struct cr_error *err)
{
	autofree_by(parasite_free) struct parasite *p = NULL;
	int r = parasite_infect_begin(t, layout, aid, data_size, max_routines, &p, err);

	if (r == 0)
		r = wait_for(p, err);
	if (r == 0)
		*ret = take_ptr(&p);
	return r;
}

int parasite_run(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr,
		 struct cr_error *err)
{
	int r = parasite_run_begin(p, threads, routines, nr, err);

	return r == 0 ? wait_for(p, err) : r;
}

int parasite_cure(struct parasite *p, struct cr_error *err)
{
	int r = parasite_cure_begin(p, err);

	return r == 0 ? wait_for(p, err) : r;
}

void parasite_free(struct parasite *p)
{
	if (!p)
		return;
	if (p->task && p->via) {
		wait_for(p, NULL);
		parasite_cure(p, NULL);
	}
	if (p->task && p->task->lead) {
		room_give_back(&p->room, p->task);
		way_back_clear(&p->way, p->task->lead);
		leftover_end(p->note);
	}
	free(p->program.arena.local);
	program_done(&p->program);
	free(p->frames);
	free(p);
}
