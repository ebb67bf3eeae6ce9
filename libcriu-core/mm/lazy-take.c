/*
 * From a plan to what a pager needs. A userfaultfd answers for the memory of the process that makes it, so each task makes its
 * own, when nothing touches its memory yet, and waits until the coordinator has taken it: from then on no page of it can be
 * seen empty.
 */
#include "mm/lazy-pager.h"

#include "kernel/uapi.h"
#include "mm/lazy-io.h"
#include "mm/lazy.h"
#include "mm/planner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#define SEEN_MAX ((uint64_t)8 << 20) /* of arguments or environment; execve(2) takes three quarters of that at most */

size_t mm_lazy_size(void)
{
	return 4 * sizeof(struct abi_op) + 16;
}

uint64_t mm_lazy_plan(const struct mm_plan *plan, uint32_t stage)
{
	struct program *p = plan->program;
	struct routine *r = plan->routine;
	uint64_t at = emit_data(p, r, NULL, sizeof(uint64_t), 8);

	/* faults of the kernel are asked about as well, so it takes CAP_SYS_PTRACE or /proc/sys/vm/unprivileged_userfaultfd */
	op_keep(emit_call(p, r, "make a userfaultfd", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), SLOT_TMP);
	op_from_slot(emit(p, r, ABI_OP_STORE, "tell the userfaultfd", 0, at, SLOT_TMP, sizeof(uint64_t), 0, 0, 0), 1);
	emit(p, r, ABI_OP_BARRIER, "wait until memory is watched", 0, stage, 0, 0, 0, 0, 0);
	op_from_slot(emit_call(p, r, "close the userfaultfd", SYS_close, SLOT_TMP), 0);
	return at;
}

/* Neighbours together: where mappings begin and end is as in the process that was dumped. */
static int watch_all(const struct mm_space *s, int uffd, struct cr_error *err)
{
	for (size_t i = 0, n; i < s->nr_vmas; i += n) {
		struct mm_range range = { space_vma(s, i)->start };
		int r;

		n = 1;
		if (!space_comes_later(s, i))
			continue;
		while (i + n < s->nr_vmas && space_comes_later(s, i + n) &&
		       space_vma(s, i + n)->start == space_vma(s, i + n - 1)->end)
			n++;
		range.end = space_vma(s, i + n - 1)->end;
		r = lazy_watch(uffd, &range);
		if (r < 0)
			return cr_fail(err, r, "watch memory %" PRIx64 "-%" PRIx64, range.start, range.end);
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct mm_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Whole pages of the arguments or the environment; what others have set that to may be anything. */
static struct mm_range seen_from_outside(uint64_t start, uint64_t end)
{
	struct mm_range r = { start & ~(MM_PAGE - 1), (end + MM_PAGE - 1) & ~(MM_PAGE - 1) };

	return start < end && end <= MM_SPACE_END && end - start <= SEEN_MAX ? r : (struct mm_range){ 0 };
}

static int add_first(const struct lazy_run *part, uint64_t start, uint64_t end, struct lazy_runs *ret)
{
	struct lazy_run some = *part;

	if (start >= part->end || end <= part->start || start >= end)
		return 0;
	lazy_run_clip(&some, start, end);
	return lazy_runs_append(ret, &some);
}

/*
 * What is to be there when the task begins: what dumps have not marked as lazy, a page of each mapping (see lazy-pager.c), and
 * what /proc/PID shows of its command line and environment. The kernel does not wait for pages that it reads for others
 * there, and shows nothing. @now: all of the part
 */
static int add_firsts(const struct mm_space *s, const struct lazy_run *part, bool now, uint64_t page,
		      struct lazy_runs *ret)
{
	const img_mm_entry *e = s->entry;
	struct mm_range want[] = { seen_from_outside(e->mm_arg_start, e->mm_arg_end),
				   seen_from_outside(e->mm_env_start, e->mm_env_end),
				   { page, page + MM_PAGE } };
	uint64_t at = part->start;
	int r = 0;

	if (now)
		return lazy_runs_append(ret, part);
	qsort(want, ARRAY_LEN(want), sizeof(*want), by_start);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(want); i++) {
		r = add_first(part, want[i].start > at ? want[i].start : at, want[i].end, ret);
		at = want[i].end > at ? want[i].end : at;
	}
	return r;
}

/* @files: number of the first of this space */
static int list_todo(const struct mm_space *s, size_t files, struct lazy_space *ret)
{
	size_t at = 0;

	for (size_t i = 0; i < s->pages.nr; i++) {
		const struct stored_run *run = &s->pages.items[i];

		while (at < s->nr_vmas && space_vma(s, at)->end <= run->start)
			at++;
		for (size_t j = at; j < s->nr_vmas && space_vma(s, j)->start < run->end; j++) {
			const img_vma_entry *v = space_vma(s, j);
			struct lazy_run part = {
				.start = run->start > v->start ? run->start : v->start,
				.end = run->end < v->end ? run->end : v->end,
				.file = lazy_file(files, run->file),
			};

			part.off = run->off + (part.start - run->start);
			if (!space_comes_later(s, j))
				continue;
			if (lazy_runs_append(&ret->todo, &part) < 0 ||
			    add_firsts(s, &part, !run->lazy, s->later[j], &ret->firsts) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int take(pid_t pid, int number, struct cr_error *err)
{
	autofd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(__NR_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? cr_fail(err, -errno, "take the userfaultfd of pid %d", pid) : fd;
}

static int add_files(const struct mm_space *s, struct page_files *ret)
{
	for (size_t i = 0; i < s->files.nr; i++) {
		struct page_file *f = page_files_add(ret);

		if (!f)
			return -ENOMEM;
		*f = s->files.items[i];
	}
	return 0;
}

int mm_lazy_take(const struct mm_space *s, pid_t pid, int fd, struct lazy_load *ret, struct cr_error *err)
{
	size_t files = ret->files.nr;
	struct lazy_space *space = lazy_spaces_add(&ret->spaces);
	int r;

	if (!space)
		return cr_fail(err, -ENOMEM, "list memory");
	*space = (struct lazy_space){ .pid = pid, .ns_pid = s->ns_pid, .tie = LAZY_TIE_NONE, .pagemap = -1 };
	space->uffd = r = take(pid, fd, err);
	if (r >= 0)
		r = lazy_setup(space->uffd, err);
	if (r == 0)
		r = watch_all(s, space->uffd, err);
	if (r == 0 && (add_files(s, &ret->files) < 0 || list_todo(s, files, space) < 0))
		r = cr_fail(err, -ENOMEM, "list memory");
	return cr_within(err, r, "pid %d", pid);
}

void mm_lazy_drop(struct lazy_load *load)
{
	for (size_t i = 0; i < load->spaces.nr; i++) {
		if (load->spaces.items[i].uffd >= 0)
			close(load->spaces.items[i].uffd);
		lazy_runs_done(&load->spaces.items[i].todo);
		lazy_runs_done(&load->spaces.items[i].firsts);
	}
	lazy_spaces_done(&load->spaces);
	page_files_done(&load->files);
}
