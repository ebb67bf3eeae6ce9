/* Reading mm-PID.img and pagemap-PID.img. */
#include "mm/space.h"
#include "mm/page-select.h"

#include "base/io.h"
#include "kernel/context.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

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
	return stored_runs_find(&s->pages, at);
}

bool space_has_pages(const struct mm_space *s, uint64_t start, uint64_t end)
{
	size_t i = space_first_run(s, start);

	return i < s->pages.nr && s->pages.items[i].start < end;
}

/* Pages that come by once are not read here; what is needed of them beforehand is stored twice. */
static int read_kept_vdso(const struct mm_space *s, uint64_t start, void *ret, size_t len, struct cr_error *err)
{
	size_t i = space_find(s, start);
	const img_vma_entry *v = i < s->nr_vmas ? space_vma(s, i) : NULL;

	if (v && v->start == start && v->ext && v->ext->vdso.len == len) {
		memcpy(ret, v->ext->vdso.data, len);
		return 0;
	}
	cr_refuse(err, -EOPNOTSUPP, "what is streamed does not say which vDSO the process had: another program made it");
	cr_advise(err, "have the streamer extract the images into a directory, and restore without --stream");
	return -EOPNOTSUPP;
}

int space_read_stored(const struct mm_space *s, uint64_t start, void *ret, size_t len, struct cr_error *err)
{
	char *to = ret;
	uint64_t at = start, end = start + len;

	for (size_t i = space_first_run(s, at); at < end; i++) {
		const struct stored_run *run = &s->pages.items[i];

		if (i >= s->pages.nr || run->start > at)
			return 1;
		if (run->file & PAGES_AT_SOURCE)
			return cr_refuse(err, -EOPNOTSUPP, "pages at %" PRIx64 " were left at their source, and are needed at once", at);

		uint64_t stop = run->end < end ? run->end : end;
		uint64_t off = run->off + at - run->start;
		const struct page_file *file = &s->files.items[run->file];

		if (file->piped)
			return read_kept_vdso(s, start, ret, len, err);

		ssize_t n = page_file_read(file, to, stop - at, off);
		int r;

		if (n < 0 || (uint64_t)n != stop - at)
			return cr_fail(err, n < 0 ? (int)n : -EBADMSG, "read pages");
		r = page_file_check(file, off, to, stop - at, err);
		if (r < 0)
			return r;
		to += n;
		at = stop;
	}
	return 0;
}

static int check_run(void *arg, uint64_t start, uint64_t nr_pages, struct cr_error *err)
{
	return space_check_run(arg, start, nr_pages, err);
}

/* Every dump writes a page map of each process, if only for its vDSO. Without it all of its memory would be zeroes. */
static int check_page_map(const struct mm_space *s, struct image_set *set, struct cr_error *err)
{
	struct page_map map = { 0 };
	size_t i = 0;
	int r;

	while (i < s->nr_vmas && vma_content_of(space_vma(s, i)) == VMA_CONTENT_NONE)
		i++;
	if (i == s->nr_vmas)
		return 0;
	r = page_map_read(set, IMG_PAGEMAP, (uint64_t)s->ns_pid, &map, err);
	page_map_done(&map);
	if (r != 1)
		return r;
	cr_refuse(err, -EBADMSG, "no pagemap-%d.img in the set", s->ns_pid);
	cr_advise(err, "after a dump with --page-server, put the files of the server's directory beside the images");
	return -EBADMSG;
}

int mm_read(struct cr_context *ctx, struct image_set *set, pid_t ns_pid, struct mm_space **ret, struct cr_error *err)
{
	autofree_by(mm_space_free) struct mm_space *s = calloc(1, sizeof(*s));
	const rpc_criu_opts *o = ctx->opts->rpc;
	enum page_left left = o->has_lazy_pages && o->lazy_pages ? PAGE_LEFT_KNOWN : PAGE_LEFT_NONE;
	void *entry = NULL;
	int r;

	if (!s)
		return cr_fail(err, -ENOMEM, "read the memory of pid %d", ns_pid);
	s->ns_pid = ns_pid;
	r = image_read_single(set, IMG_MM, (uint64_t)ns_pid, &entry, err);
	if (r != 0)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no mm-%d.img in the set", ns_pid);
	s->entry = entry;
	r = space_check(s, err);
	if (r == 0)
		r = page_chain_read_left(set, (uint64_t)ns_pid, left, check_run, s, &s->pages, &s->files, err);
	if (r == 0 && !s->pages.nr)
		r = check_page_map(s, set, err);
	if (r < 0)
		return cr_within(err, r, "memory of pid %d", ns_pid);
	for (size_t i = 0; i < s->pages.nr; i++)
		s->left |= (s->pages.items[i].file & PAGES_AT_SOURCE) != 0;
	*ret = take_ptr(&s);
	return 0;
}

void mm_space_free(struct mm_space *s)
{
	if (!s)
		return;
	img_entry_free(s->entry);
	stored_runs_done(&s->pages);
	page_files_close(&s->files);
	free(s->later);
	free(s);
}

struct mm_planned mm_space_planned(const struct mm_space *s)
{
	return s->planned;
}

const img_mm_entry *mm_space_entry(const struct mm_space *s)
{
	return s->entry;
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

int mm_space_blame(const struct mm_space *s, uint64_t at, int code, struct cr_error *err)
{
	size_t i = space_first_run(s, at);

	return i < s->pages.nr && !(s->pages.items[i].file & PAGES_AT_SOURCE) ? page_file_within(&s->files.items[s->pages.items[i].file], code, err) : code;
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
	/* what is not here cannot be compared with what the parent has */
	if (child->left || parent->left)
		return false;
	for (size_t i = 0; i < child->nr_vmas; i++) {
		const img_vma_entry *v = space_vma(child, i);

		if (v->status & (MM_ST_ANON_PRIVATE | MM_ST_FILE_PRIVATE) && space_has_pages(child, v->start, v->end) &&
		    space_has_pages(parent, v->start, v->end) && space_kept(parent, v))
			return true;
	}
	return false;
}
