/* Reading mm-PID.img and pagemap-PID.img. */
#include "mm/space.h"

#include "base/io.h"
#include "kernel/context.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

size_t space_find(const struct mm_space *s, uint64_t at)
{
	size_t lo = 0, hi = s->nr_vmas;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (space_vma(s, mid)->end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

size_t space_first_run(const struct mm_space *s, uint64_t at)
{
	size_t lo = 0, hi = s->pages.nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->pages.items[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

bool space_has_pages(const struct mm_space *s, uint64_t start, uint64_t end)
{
	size_t i = space_first_run(s, start);

	return i < s->pages.nr && s->pages.items[i].start < end;
}

int space_read_stored(const struct mm_space *s, uint64_t start, void *ret, size_t len)
{
	char *to = ret;
	uint64_t at = start, end = start + len;

	for (size_t i = space_first_run(s, at); at < end; i++) {
		const struct stored_run *run = &s->pages.items[i];

		if (i >= s->pages.nr || run->start > at)
			return 1;

		uint64_t stop = run->end < end ? run->end : end;
		ssize_t n = fd_pread_all(s->pages_fd, to, stop - at, (off_t)(run->off + at - run->start));

		if (n < 0 || (uint64_t)n != stop - at)
			return n < 0 ? (int)n : -EBADMSG;
		to += n;
		at = stop;
	}
	return 0;
}

static int add_run(struct mm_space *s, const img_pagemap_entry *e, uint64_t *off, struct cr_error *err)
{
	uint64_t nr = e->has_nr_pages ? e->nr_pages : e->compat_nr_pages;
	uint32_t flags = e->has_flags ? e->flags : e->has_in_parent && e->in_parent ? MM_PE_PARENT : MM_PE_PRESENT;
	struct stored_run *run;
	int r = space_check_run(s, e->vaddr, nr, err);

	if (r < 0)
		return r;
	if (flags & MM_PE_PARENT)
		return cr_refuse(err, -EOPNOTSUPP,
				 "pages at %" PRIx64 " are in an earlier set: incremental sets cannot be restored",
				 e->vaddr);
	if (!(flags & MM_PE_PRESENT))
		return cr_refuse(err, -EOPNOTSUPP, "pages at %" PRIx64 " were left at their source (lazy dump)",
				 e->vaddr);
	run = stored_runs_add(&s->pages);
	if (!run)
		return cr_fail(err, -ENOMEM, "remember where pages are");
	*run = (struct stored_run){ .start = e->vaddr, .end = e->vaddr + nr * MM_PAGE, .off = *off };
	*off += nr * MM_PAGE;
	return 0;
}

static int read_runs(struct mm_space *s, struct image_reader *reader, uint32_t *ret_pages_id, uint64_t *ret_bytes,
		     struct cr_error *err)
{
	void *entry = NULL;
	uint64_t off = 0;
	int r = image_read(reader, &entry, err);

	if (r <= 0)
		return r < 0 ? r : cr_refuse(err, -EBADMSG, "page map without a head");
	*ret_pages_id = ((img_pagemap_head *)entry)->pages_id;
	img_entry_free(entry);
	for (;;) {
		r = image_read(reader, &entry, err);
		if (r <= 0)
			break;
		r = add_run(s, entry, &off, err);
		img_entry_free(entry);
		if (r < 0)
			break;
	}
	*ret_bytes = off;
	return r;
}

/* One descriptor for each process stays open: large trees need more than the usual limit. */
static int open_pages(struct image_set *set, uint32_t pages_id, struct cr_error *err)
{
	int fd = image_open_raw(set, IMG_PAGES, pages_id, err);
	struct rlimit lim;

	if (fd != -EMFILE || getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == lim.rlim_max)
		return fd;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		return fd;
	cr_error_clear(err);
	return image_open_raw(set, IMG_PAGES, pages_id, err);
}

static int read_pages(struct mm_space *s, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	uint32_t pages_id = 0;
	uint64_t bytes = 0;
	struct stat st;
	int r = image_reader_open(set, IMG_PAGEMAP, (uint64_t)s->ns_pid, &reader, err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = read_runs(s, reader, &pages_id, &bytes, err);
	if (r < 0 || !bytes)
		return r;
	s->pages_fd = open_pages(set, pages_id, err);
	if (s->pages_fd < 0)
		return s->pages_fd;
	if (fstat(s->pages_fd, &st) < 0)
		return cr_fail(err, -errno, "look at pages-%" PRIu32 ".img", pages_id);
	if ((uint64_t)st.st_size < bytes)
		return cr_refuse(err, -EBADMSG, "pages-%" PRIu32 ".img has %lld bytes and should have %" PRIu64,
				 pages_id, (long long)st.st_size, bytes);
	return 0;
}

int mm_read(struct cr_context *ctx, struct image_set *set, pid_t ns_pid, struct mm_space **ret, struct cr_error *err)
{
	autofree_by(mm_space_free) struct mm_space *s = calloc(1, sizeof(*s));
	void *entry = NULL;
	int r;

	(void)ctx;
	if (!s)
		return cr_fail(err, -ENOMEM, "read the memory of pid %d", ns_pid);
	s->ns_pid = ns_pid;
	s->pages_fd = -1;
	r = image_read_single(set, IMG_MM, (uint64_t)ns_pid, &entry, err);
	if (r != 0)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no mm-%d.img in the set", ns_pid);
	s->entry = entry;
	r = space_check(s, err);
	if (r == 0)
		r = read_pages(s, set, err);
	if (r < 0)
		return cr_within(err, r, "memory of pid %d", ns_pid);
	*ret = take_ptr(&s);
	return 0;
}

void mm_space_free(struct mm_space *s)
{
	if (!s)
		return;
	img_entry_free(s->entry);
	stored_runs_done(&s->pages);
	if (s->pages_fd >= 0)
		close(s->pages_fd);
	free(s);
}

const img_mm_entry *mm_space_entry(const struct mm_space *s)
{
	return s->entry;
}

int mm_space_pages_fd(const struct mm_space *s)
{
	return s->pages_fd;
}

bool mm_space_uses_file(const struct mm_space *s, uint32_t id)
{
	if (s->entry->exe_file_id == id)
		return true;
	for (size_t i = 0; i < s->nr_vmas; i++) {
		const img_vma_entry *v = space_vma(s, i);

		if (v->status & (MM_ST_FILE_PRIVATE | MM_ST_FILE_SHARED) && v->shmid == id)
			return true;
	}
	return false;
}

static bool same_ext(const img_vma_ext *a, const img_vma_ext *b)
{
	const img_vma_ext none = { 0 };

	a = a ? a : &none;
	b = b ? b : &none;
	if (a->has_mempolicy_mode || b->has_mempolicy_mode)
		return false;
	if ((a->has_pkey ? a->pkey : 0) != (b->has_pkey ? b->pkey : 0))
		return false;
	return a->anon_name && b->anon_name ? strcmp(a->anon_name, b->anon_name) == 0 : a->anon_name == b->anon_name;
}

const img_vma_entry *space_kept(const struct mm_space *parent, const img_vma_entry *v)
{
	const uint64_t not_copied = (UINT64_C(1) << MADV_DONTFORK) | (UINT64_C(1) << MADV_WIPEONFORK);
	const uint32_t never = MM_ST_VDSO | MM_ST_VVAR | MM_ST_VSYSCALL | MM_ST_SYSV;
	const uint32_t locked = MAP_LOCKED;
	size_t i = space_find(parent, v->start);
	const img_vma_entry *p = i < parent->nr_vmas ? space_vma(parent, i) : NULL;

	if (!p || p->start != v->start || p->end != v->end || p->pgoff != v->pgoff || p->shmid != v->shmid ||
	    p->prot != v->prot)
		return NULL;
	/* locks are not inherited, and put in place at the end */
	if ((p->flags & ~locked) != (v->flags & ~locked) || p->status != v->status || v->status & never)
		return NULL;
	if ((p->has_madv ? p->madv : 0) != (v->has_madv ? v->madv : 0) || (p->has_madv && p->madv & not_copied))
		return NULL;
	if (v->flags & (MAP_HUGETLB | MAP_DROPPABLE) || !same_ext(p->ext, v->ext))
		return NULL;
	return p;
}

bool mm_inherits(const struct mm_space *child, const struct mm_space *parent)
{
	for (size_t i = 0; i < child->nr_vmas; i++) {
		const img_vma_entry *v = space_vma(child, i);

		if (v->status & (MM_ST_ANON_PRIVATE | MM_ST_FILE_PRIVATE) && space_has_pages(child, v->start, v->end) &&
		    space_has_pages(parent, v->start, v->end) && space_kept(parent, v))
			return true;
	}
	return false;
}
