/* Engines that watch pages; see track.h. */
#include "mm/track.h"

#include "mm/page-select.h"

#include "infect/parasite.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "kernel/uapi.h"
#include "procfs/lists.h"
#include "xstate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ARENA_ROOM   4096u
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum track_engine track_engine(struct cr_context *ctx)
{
	if (kernel_has(&ctx->probes, KERNEL_UFFD_WP_ASYNC) && kernel_has(&ctx->probes, KERNEL_PAGEMAP_SCAN))
		return TRACK_UFFD;
	return kernel_has(&ctx->probes, KERNEL_SOFT_DIRTY) ? TRACK_SOFT_DIRTY : TRACK_NONE;
}

int tracker_begin(struct cr_context *ctx, const struct task *root, struct tracker **ret, struct cr_error *err)
{
	struct tracker *t = calloc(1, sizeof(*t));
	struct cr_error lost = { 0 };
	int r;

	if (!t)
		return cr_fail(err, -ENOMEM, "track memory");
	t->ctx = ctx;
	t->engine = track_engine(ctx);
	t->root = root->host_pid;
	t->root_start = root->stat.starttime;
	r = keeper_take(t->root, t->root_start, t->round, &t->items, &lost);
	t->taken = r == 0;
	if (r < 0)
		log_warn(&ctx->log, "%s, continuing as if nothing had been tracked", lost.text);
	*ret = t;
	return 0;
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	track_items_close(&t->items);
	free(t);
}

static struct track_item *find_item(struct tracker *t, const struct task *task)
{
	for (size_t i = 0; i < t->items.nr; i++)
		if (t->items.items[i].pid == task->host_pid && track_item_is(&t->items.items[i], task->host_pid))
			return &t->items.items[i];
	return NULL;
}

static int watch(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

bool tracker_owns(struct tracker *t, const struct task *task, const struct proc_vma *v)
{
	const struct track_item *item;

	/* of huge pages of a pool the kernel shows, before 6.7, the flag of the mapping alone, which is cleared with the bits */
	if (t->engine == TRACK_SOFT_DIRTY && v->vm_flags & (PROC_VM_SD | PROC_VM_HT))
		return false;
	if (t->engine == TRACK_UFFD && (v->vm_flags & (PROC_VM_UM | PROC_VM_UW | PROC_VM_UI)) != PROC_VM_UW)
		return false;
	item = t->engine == TRACK_NONE ? NULL : find_item(t, task);
	if (!item || (item->uffd >= 0) != (t->engine == TRACK_UFFD))
		return false;
	return t->engine == TRACK_SOFT_DIRTY || watch(item->uffd, v->start, v->end) == 0;
}

/* ------------------------------------------------ a descriptor made in the task */

static int one_call(struct parasite *host, struct task *task, const char *what, long nr, uint64_t arg, int64_t *ret,
		    struct cr_error *err)
{
	struct program *p = parasite_program(host);
	struct thread *lead = task->lead;
	const struct abi_routine *done;
	const struct abi_op *op;
	struct routine routine;
	uint32_t index;
	int r = routine_begin(p, &routine, err);

	if (r < 0)
		return r;
	index = routine.index;
	op_result(emit_call(p, &routine, what, nr, arg));
	emit(p, &routine, ABI_OP_TRAP, "end of a call", 0, 0, 0, 0, 0, 0, 0);
	r = routine_finish(p, &routine, err);
	if (r == 0)
		r = parasite_run(host, &lead, &index, 1, err);
	if (r < 0)
		return r;
	done = program_routine(p, index);
	op = done && done->nr_ops ? arena_at(&p->arena, done->ops, sizeof(*op)) : NULL;
	if (!op)
		return cr_refuse(err, -EPROTO, "%s: no answer", what);
	*ret = (int64_t)op->arg[0];
	return 0;
}

/* The number that the kernel gives to a new descriptor of a process of which no thread runs. */
static int lowest_free(const struct task *task, struct cr_error *err)
{
	autointvec struct int_vec fds = { 0 };
	int r = proc_fds_read(&task->dir, &fds, err), number = 0;

	for (size_t i = 0; r == 0 && i < fds.nr && fds.items[i] == number; i++)
		number++;
	return r < 0 ? r : number;
}

/*
 * The descriptor is in the task for the time between two runs, while all of its threads are stopped. User mode only: that
 * needs no right, and faults of the kernel are resolved like others when protection is asynchronous.
 */
static int make_inside(struct parasite *host, struct task *task, int *ret_fd, struct cr_error *err)
{
	int64_t there = -1, closed = 0;
	int r = lowest_free(task, err);

	if (r < 0)
		return r;
	parasite_note_descriptor(host, r);
	r = one_call(host, task, "make a userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, &there,
		     err);
	int fd, r2;

	if (r < 0)
		return r;
	if (there < 0 || there > INT32_MAX)
		return cr_fail(err, there < 0 && there >= -4095 ? (int)there : -EPROTO, "make a userfaultfd");
	parasite_note_descriptor(host, (int)there);
	fd = (int)syscall(__NR_pidfd_getfd, task->pidfd, (int)there, 0);
	if (fd < 0)
		r = cr_fail(err, -errno, "take the userfaultfd");
	r2 = one_call(host, task, "close the userfaultfd", SYS_close, (uint64_t)there, &closed, r < 0 ? NULL : err);
	if (r == 0 && (r2 < 0 || closed < 0)) {
		close(fd);
		r = r2 < 0 ? r2 : cr_fail(err, (int)closed, "close the userfaultfd");
	}
	if (r2 == 0 && closed == 0)
		parasite_note_descriptor(host, -1);
	if (r == 0)
		*ret_fd = fd;
	return r;
}

static int make_uffd(struct task *task, struct infect_aid *aid, int *ret, struct cr_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	struct xstate_layout layout;
	struct parasite *host = NULL;
	int fd = -1, r;

	xstate_layout_init(&layout);
	r = parasite_infect(task, &layout, aid, ARENA_ROOM, 2, &host, err);
	if (r < 0)
		return r;
	r = make_inside(host, task, &fd, err);
	if (parasite_cure(host, r < 0 ? NULL : err) < 0 && r == 0)
		r = -EIO;
	parasite_free(host);
	if (r == 0 && ioctl(fd, UFFDIO_API, &api) < 0)
		r = cr_fail(err, -errno, "set up the userfaultfd");
	if (r < 0 && fd >= 0)
		close(fd);
	else
		*ret = fd;
	return r;
}

/* The item of a task, with a descriptor of the memory that it has now. */
static int have_item(struct tracker *t, struct mm_task *mt, struct infect_aid *aid, struct track_item **ret,
		     struct cr_error *err)
{
	struct track_item *item = find_item(t, mt->task);
	int r = 0;

	if (!item) {
		item = track_items_add(&t->items);
		if (!item)
			return cr_fail(err, -ENOMEM, "track memory");
		*item = (struct track_item){ .pid = mt->task->host_pid, .uffd = -1 };
		item->pidfd = fcntl(mt->task->pidfd, F_DUPFD_CLOEXEC, 3);
		if (item->pidfd < 0)
			r = cr_fail(err, -errno, "keep a pidfd");
	}
	/* nothing is watched any more: perhaps the process has a new memory since exec */
	if (r == 0 && t->engine == TRACK_UFFD && (item->uffd < 0 || !mt->tracked.nr)) {
		int fd = -1;

		r = make_uffd(mt->task, aid, &fd, err);
		if (item->uffd >= 0)
			close(item->uffd);
		item->uffd = fd;
	}
	*ret = item;
	return r;
}

/* ------------------------------------------------ renewing */

/*
 * Memory of other kinds is stored as a whole each time. So are pages that a task has of a mapped file: a protected one that it drops
 * leaves a mark (zap_install_uffd_wp_if_needed() in mm/memory.c), with which the next one comes when it is written to, and looks
 * unchanged until the write itself is carried out, or for good if a signal handler goes elsewhere.
 */
static bool can_be_watched(const img_vma_entry *v)
{
	return vma_content_of(v) == VMA_CONTENT_PRIVATE && v->status & MM_ST_ANON_PRIVATE &&
	       !(v->flags & (MAP_HUGETLB | MAP_DROPPABLE)) && !(v->status & (MM_ST_SHSTK | MM_ST_AIO));
}

static int watch_mappings(struct tracker *t, struct mm_task *mt, const struct track_item *item, struct cr_error *err)
{
	size_t left_out = 0;

	for (size_t i = 0; i < mt->vmas.nr; i++) {
		const img_vma_entry *v = &mt->vmas.items[i];
		struct mm_range *to;

		if (!can_be_watched(v))
			continue;
		/* EBUSY: the task itself has a userfaultfd there; others are kinds that this kernel cannot watch */
		if (watch(item->uffd, v->start, v->end) < 0) {
			left_out++;
			continue;
		}
		to = mm_ranges_add(&mt->watched);
		if (!to)
			return cr_fail(err, -ENOMEM, "track memory");
		*to = (struct mm_range){ v->start, v->end };
	}
	log_debug(&t->ctx->log, "pid %d: memory is watched, %zu mappings left out", mt->task->host_pid, left_out);
	return 0;
}

static int renew_soft_dirty(struct mm_task *mt, struct cr_error *err)
{
	autofd int fd = proc_open(&mt->task->dir, "clear_refs", O_WRONLY, err);

	if (fd < 0)
		return fd;
	return write(fd, "4", 1) == 1 ? 0 : cr_fail(err, -errno, "clear soft-dirty bits");
}

int tracker_watch(struct tracker *t, struct mm_task *mt, struct infect_aid *aid, struct cr_error *err)
{
	struct track_item *item = NULL;
	int r;

	/* from here on the pages no longer refer to the round before */
	t->spoiled = true;
	r = have_item(t, mt, aid, &item, err);
	if (r == 0 && t->engine == TRACK_UFFD)
		r = watch_mappings(t, mt, item, err);
	return r;
}

int tracker_clear_marks(struct tracker *t, struct mm_task *mt, struct cr_error *err)
{
	const struct track_item *item = find_item(t, mt->task);

	for (size_t i = 0; i < mt->stale.nr; i++) {
		const struct mm_range *s = &mt->stale.items[i];
		struct uffdio_writeprotect plain = { .range = { s->start, s->end - s->start } };

		if (!item || ioctl(item->uffd, UFFDIO_WRITEPROTECT, &plain) < 0)
			return cr_fail(err, item ? -errno : -ENOENT, "clear marks of an earlier watch");
	}
	log_debug(&t->ctx->log, "pid %d: %zu ranges had marks of an earlier watch", mt->task->host_pid, mt->stale.nr);
	mm_ranges_done(&mt->stale);
	return 0;
}

int tracker_begin_round(struct tracker *t, struct mm_task *mt, struct cr_error *err)
{
	struct track_item *item = find_item(t, mt->task);
	int r = t->engine == TRACK_SOFT_DIRTY ? renew_soft_dirty(mt, err) : 0;

	if (r == 0 && item)
		track_ranges_done(&item->unread);
	return r;
}

void tracker_drop(struct tracker *t, struct mm_task *mt)
{
	struct track_item *item = find_item(t, mt->task);

	/* a task without an item is one of which nothing is known */
	if (item)
		track_items_drop(&t->items, (size_t)(item - t->items.items));
	mm_ranges_done(&mt->watched);
	mm_ranges_done(&mt->tracked);
	mm_ranges_done(&mt->stale);
}

const struct track_ranges *tracker_unread(struct tracker *t, const struct task *task)
{
	const struct track_item *item = find_item(t, task);

	return item ? &item->unread : NULL;
}

int tracker_note_unread(struct tracker *t, pid_t host_pid, const struct page_runs *runs)
{
	for (size_t i = 0; i < t->items.nr; i++) {
		struct track_item *item = &t->items.items[i];

		for (size_t k = 0; item->pid == host_pid && k < runs->nr; k++) {
			struct track_range *to = track_ranges_add(&item->unread);

			if (!to)
				return -ENOMEM;
			*to = (struct track_range){ runs->items[k].start, runs->items[k].end };
		}
	}
	return 0;
}

/* Items of tasks that have ended, or of which nothing was heard, are the keeper's to drop. */
int tracker_keep(struct tracker *t, const char *round, struct cr_error *err)
{
	return t->items.nr ? keeper_start(t->root, t->root_start, round, &t->items, err) : 0;
}
