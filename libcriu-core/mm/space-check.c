/* Are the numbers of an mm image possible? Bytes from images are hostile until this has passed. */
#include "mm/page-select.h"
#include "mm/space.h"

#include "kernel/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* PR_SET_VMA_ANON_NAME takes 80 bytes with the NUL (ANON_VMA_NAME_MAX_LEN, mm/madvise.c). */
#define NAME_MAX_LEN 79
#define AUXV_MAX     512
#define NODES_MAX    128

#define FLAGS_KNOWN                                                                                                 \
	((uint32_t)(MAP_SHARED | MAP_PRIVATE | MAP_DROPPABLE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | 0x1800 | \
		    MAP_LOCKED | MAP_NORESERVE | MAP_STACK | MAP_HUGETLB) |                                         \
	 (uint32_t)MAP_HUGE_MASK << MAP_HUGE_SHIFT)

#define MADV_KNOWN                                                                                             \
	((UINT64_C(1) << MADV_RANDOM) | (UINT64_C(1) << MADV_SEQUENTIAL) | (UINT64_C(1) << MADV_DONTFORK) |    \
	 (UINT64_C(1) << MADV_MERGEABLE) | (UINT64_C(1) << MADV_HUGEPAGE) | (UINT64_C(1) << MADV_NOHUGEPAGE) | \
	 (UINT64_C(1) << MADV_DONTDUMP) | (UINT64_C(1) << MADV_WIPEONFORK))

static const struct {
	uint32_t bit;
	const char *what;
} unsupported[] = {
	{ MM_ST_AIO, "ring of native AIO" },
	{ MM_ST_SHSTK, "shadow stack" },
	{ MM_ST_UPROBES, "breakpoints of uprobes" },
	{ MM_ST_PLUGIN, "memory that a plugin saved" },
};

#define BAD(err, v, text) cr_refuse(err, -EBADMSG, "mapping %" PRIx64 "-%" PRIx64 ": %s", (v)->start, (v)->end, text)

static int check_status(const img_vma_entry *v, struct cr_error *err)
{
	const uint32_t kinds =
		MM_ST_FILE_PRIVATE | MM_ST_FILE_SHARED | MM_ST_ANON_SHARED | MM_ST_ANON_PRIVATE | MM_ST_SOCKET;
	uint32_t kind = v->status & kinds;
	bool shared = (v->flags & MAP_TYPE) == MAP_SHARED;

	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++)
		if (v->status & unsupported[i].bit)
			return cr_refuse(err, -EOPNOTSUPP, "mapping %" PRIx64 "-%" PRIx64 ": %s cannot be restored",
					 v->start, v->end, unsupported[i].what);
	if (v->status >> 28 || __builtin_popcount(kind) != 1)
		return BAD(err, v, "impossible status");
	if (shared != ((kind & (MM_ST_FILE_SHARED | MM_ST_ANON_SHARED | MM_ST_SOCKET)) != 0))
		return BAD(err, v, "status and flags disagree about sharing");
	if (v->status & MM_ST_SYSV && kind != MM_ST_ANON_SHARED)
		return BAD(err, v, "System V segment that is not shared");
	return 0;
}

static int check_flags(const img_vma_entry *v, struct cr_error *err)
{
	uint32_t type = v->flags & MAP_TYPE;

	if (v->flags & ~FLAGS_KNOWN)
		return BAD(err, v, "unknown flags");
	if (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_DROPPABLE && type != (MAP_DROPPABLE | MAP_PRIVATE))
		return BAD(err, v, "neither private nor shared");
	if (v->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC))
		return BAD(err, v, "unknown protection");
	if (v->has_madv && v->madv & ~MADV_KNOWN)
		return BAD(err, v, "unknown advice");
	return 0;
}

static int check_ext(const img_vma_entry *v, struct cr_error *err)
{
	const img_vma_ext *ext = v->ext;

	if (!ext)
		return 0;
	if (ext->has_pkey && ext->pkey > 15)
		return BAD(err, v, "protection key out of range");
	if (ext->anon_name && strlen(ext->anon_name) > NAME_MAX_LEN)
		return BAD(err, v, "name too long");
	if (ext->has_mempolicy_mode && (ext->mempolicy_mode > UAPI_MPOL_WEIGHTED_INTERLEAVE ||
					ext->mempolicy_nodes.len > NODES_MAX || ext->mempolicy_nodes.len % 8))
		return BAD(err, v, "memory policy out of range");
	return 0;
}

static int check_vma(const img_vma_entry *v, uint64_t floor, struct cr_error *err)
{
	int r;

	if (v->start % MM_PAGE || v->end % MM_PAGE || v->start >= v->end)
		return BAD(err, v, "not a range of pages");
	if (v->status != MM_ST_GUARD && v->start < floor)
		return BAD(err, v, "out of order");
	if (v->status & MM_ST_VSYSCALL)
		return 0;
	if (v->end > MM_SPACE_END)
		return BAD(err, v, "beyond user space");
	if (v->status == MM_ST_GUARD)
		return 0;
	if (v->pgoff % MM_PAGE || v->pgoff > INT64_MAX - (v->end - v->start))
		return BAD(err, v, "offset out of range");
	if (!(v->status & (MM_ST_SYSV | MM_ST_ANON_PRIVATE | MM_ST_ANON_SHARED)) &&
	    (v->shmid == 0 || v->shmid > UINT32_MAX))
		return BAD(err, v, "not a file id");
	r = check_status(v, err);
	if (r == 0)
		r = check_flags(v, err);
	return r < 0 ? r : check_ext(v, err);
}

/* A guard pseudo-mapping marks pages of real ones. */
static int check_guard(const struct mm_space *s, const img_vma_entry *g, struct cr_error *err)
{
	uint64_t at = g->start;

	for (size_t i = space_find(s, at); i < s->nr_vmas && at < g->end && space_vma(s, i)->start <= at; i++)
		at = space_vma(s, i)->end;
	return at < g->end ? BAD(err, g, "guard outside of all mappings") : 0;
}

static int check_layout(const img_mm_entry *e, struct cr_error *err)
{
	const uint64_t address[] = { e->mm_start_code,  e->mm_end_code,  e->mm_start_data, e->mm_end_data,
				     e->mm_start_stack, e->mm_start_brk, e->mm_brk,        e->mm_arg_start,
				     e->mm_arg_end,     e->mm_env_start, e->mm_env_end };

	for (size_t i = 0; i < ARRAY_LEN(address); i++)
		if (address[i] > MM_SPACE_END)
			return cr_refuse(err, -EBADMSG, "layout: address %" PRIx64 " is beyond user space", address[i]);
	if (e->mm_brk < e->mm_start_brk)
		return cr_refuse(err, -EBADMSG, "layout: the heap ends before it starts");
	if (e->mm_saved_auxv.nr > AUXV_MAX || e->mm_saved_auxv.nr % 2)
		return cr_refuse(err, -EBADMSG, "auxiliary vector of %zu words", e->mm_saved_auxv.nr);
	if (e->aios.nr)
		return cr_refuse(err, -EOPNOTSUPP, "native AIO rings cannot be restored");
	return 0;
}

int space_check(struct mm_space *s, struct cr_error *err)
{
	const img_mm_entry *e = s->entry;
	uint64_t floor = 0;
	size_t nr_vdso = 0;
	int r = check_layout(e, err);

	s->nr_vmas = 0;
	for (size_t i = 0; i < e->vmas.nr && r == 0; i++) {
		const img_vma_entry *v = &e->vmas.items[i];

		r = check_vma(v, floor, err);
		if (r < 0 || v->status == MM_ST_GUARD)
			continue;
		if (s->nr_vmas != i)
			return BAD(err, v, "mapping behind the guards");
		s->nr_vmas = i + 1;
		floor = v->end;
		nr_vdso += (v->status & MM_ST_VDSO) != 0;
		if (nr_vdso > 1)
			return BAD(err, v, "second vDSO");
	}
	for (size_t i = s->nr_vmas; i < e->vmas.nr && r == 0; i++)
		r = check_guard(s, &e->vmas.items[i], err);
	return r;
}

int space_check_run(const struct mm_space *s, uint64_t vaddr, uint64_t nr_pages, struct cr_error *err)
{
	const struct stored_run *last = s->pages.nr ? &s->pages.items[s->pages.nr - 1] : NULL;
	uint64_t at = vaddr, end;

	if (vaddr % MM_PAGE || vaddr > MM_SPACE_END || nr_pages == 0 || nr_pages > (MM_SPACE_END - vaddr) / MM_PAGE)
		return cr_refuse(err, -EBADMSG, "pages: %" PRIu64 " at %" PRIx64 " are out of range", nr_pages, vaddr);
	if (last && vaddr < last->end)
		return cr_refuse(err, -EBADMSG, "pages at %" PRIx64 " are out of order", vaddr);
	end = vaddr + nr_pages * MM_PAGE;
	for (size_t i = space_find(s, at); i < s->nr_vmas && at < end; i++) {
		const img_vma_entry *v = space_vma(s, i);

		if (v->start > at || vma_content_of(v) == VMA_CONTENT_NONE)
			break;
		at = v->end;
	}
	return at < end ? cr_refuse(err, -EBADMSG, "pages at %" PRIx64 " are not in private memory", at) : 0;
}
