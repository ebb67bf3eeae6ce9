/*
 * Which memory comes later. Only plain anonymous memory can, and of that only what dumps have marked. What is little is read at
 * once: a question and its answer cost as much as reading some dozen pages.
 */
#include "mm/lazy.h"
#include "mm/space.h"

#include "kernel/context.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LITTLE     ((uint64_t)64 << 10) /* of one mapping */
#define LITTLE_SUM ((uint64_t)1 << 20)  /* of all such mappings of a process */

int mm_lazy_check(struct cr_context *ctx, struct cr_error *err)
{
	int why = kernel_why(&ctx->probes, KERNEL_UFFD_NONCOOP);

	if (why == 0)
		return 0;
	if (why == -EPERM)
		return cr_refuse(err, why,
				 "a lazy restore needs CAP_SYS_PTRACE, for faults of the kernel and for forks");
	cr_refuse(err, -EOPNOTSUPP, "a lazy restore needs userfaultfd with all of its events (Linux 4.11)");
	cr_advise(err, "restore without --lazy and --lazy-pages");
	return -EOPNOTSUPP;
}

/* The kernel says nothing of what MADV_WIPEONFORK leaves out; locked memory is there to be without faults. */
bool mm_may_come_later(const img_vma_entry *v)
{
	const uint32_t not_plain = MM_ST_VDSO | MM_ST_VVAR | MM_ST_VSYSCALL | MM_ST_SHSTK | MM_ST_AIO | MM_ST_GUARD |
				   MM_ST_UPROBES | MM_ST_PLUGIN;

	return v->status & MM_ST_ANON_PRIVATE && !(v->status & not_plain) &&
	       !(v->flags & (MAP_HUGETLB | MAP_DROPPABLE | MAP_LOCKED)) &&
	       !(v->has_madv && v->madv >> MADV_WIPEONFORK & 1);
}

/* @ret_left: is some of it not here at all? */
static uint64_t lazy_bytes(const struct mm_space *s, const img_vma_entry *v, uint64_t *ret_first, bool *ret_left)
{
	uint64_t bytes = 0;

	for (size_t i = space_first_run(s, v->start); i < s->pages.nr && s->pages.items[i].start < v->end; i++) {
		const struct stored_run *run = &s->pages.items[i];
		uint64_t start = run->start > v->start ? run->start : v->start,
			 end = run->end < v->end ? run->end : v->end;

		if (!run->lazy)
			continue;
		if (!bytes)
			*ret_first = start;
		bytes += end - start;
		*ret_left |= (run->file & PAGES_AT_SOURCE) != 0;
	}
	return bytes;
}

/* What is not here must not be needed at once. */
static int check_left(const struct mm_space *s, struct cr_error *err)
{
	for (size_t i = 0; i < s->pages.nr; i++) {
		const struct stored_run *run = &s->pages.items[i];

		if (!(run->file & PAGES_AT_SOURCE))
			continue;
		for (size_t k = space_find(s, run->start); k < s->nr_vmas && space_vma(s, k)->start < run->end; k++)
			if (!s->later[k])
				return cr_refuse(err, -EOPNOTSUPP,
						 "pages at %" PRIx64 " were left at their source, and memory of their kind (flags %x) cannot come later",
						 run->start, space_vma(s, k)->flags);
	}
	return 0;
}

int mm_lazy_choose(struct mm_space *s, struct cr_error *err)
{
	uint64_t little = 0;

	s->later = calloc(s->nr_vmas + 1, sizeof(*s->later));
	if (!s->later)
		return cr_fail(err, -ENOMEM, "choose what comes later");
	for (size_t i = 0; i < s->nr_vmas; i++) {
		uint64_t first = 0, bytes = 0;
		bool left = false;

		if (mm_may_come_later(space_vma(s, i)))
			bytes = lazy_bytes(s, space_vma(s, i), &first, &left);
		if (bytes && !left && bytes <= LITTLE && little + bytes <= LITTLE_SUM)
			little += bytes;
		else
			s->later[i] = first;
	}
	return s->left ? cr_within(err, check_left(s, err), "pid %d", s->ns_pid) : 0;
}

void mm_lazy_share(struct mm_space *child, struct mm_space *parent)
{
	if (!mm_inherits(child, parent))
		return;
	for (size_t i = 0; i < child->nr_vmas; i++) {
		const img_vma_entry *v = space_vma(child, i), *p;

		if (!space_has_pages(child, v->start, v->end))
			continue;
		p = space_kept(parent, v);
		if (p) {
			child->later[i] = 0;
			parent->later[p - parent->entry->vmas.items] = 0;
		}
	}
}

bool mm_space_is_lazy(const struct mm_space *s)
{
	for (size_t i = 0; s->later && i < s->nr_vmas; i++)
		if (s->later[i])
			return true;
	return false;
}
