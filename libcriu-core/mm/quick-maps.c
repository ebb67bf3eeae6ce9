/* Mappings without smaps; see quick-maps.h. */
#include "mm/quick-maps.h"

#include "mm/track.h"

#include "infect/task.h"
#include "kernel/context.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

bool quick_maps_fit(const struct mm_dump *d, const struct task *task)
{
	/* soft-dirty bits come with a flag of the mapping; so do locks, and shadow stacks */
	if (!d->config.memory_only || track_engine(d->ctx) != TRACK_UFFD || task->status.vm_lck_kb ||
	    !kernel_has(&d->ctx->probes, KERNEL_PROCMAP_QUERY))
		return false;
	for (size_t i = 0; i < task->threads.nr; i++)
		if (task->threads.items[i].status.shadow_stack)
			return false;
	return true;
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Memory of a device, which the flags tell. */
static bool may_be_device(const char *path)
{
	return starts(path, "/dev/") && strcmp(path, "/dev/zero") != 0 && !starts(path, "/dev/shm/");
}

static int has_small_pages(int maps, const struct proc_vma *v)
{
	struct uapi_procmap_query q = { .size = sizeof(q), .query_addr = v->start };

	return ioctl(maps, UAPI_PROCMAP_QUERY, &q) < 0 ? -errno : q.vma_start == v->start && q.vma_page_size == MM_PAGE;
}

/* PAGE_IS_WPALLOWED is said of the mapping, also for holes: one page is enough. */
static int is_registered(int pagemap, const struct proc_vma *v)
{
	struct uapi_page_region region;
	struct uapi_pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = v->start,
		.end = v->start + MM_PAGE,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WPALLOWED,
		.return_mask = PAGE_IS_WPALLOWED,
	};
	int n = ioctl(pagemap, UAPI_PAGEMAP_SCAN, &arg);

	return n < 0 ? -errno : n > 0;
}

static int look(int maps, int pagemap, struct proc_vma *v, const char *path)
{
	bool file = v->ino || path[0] == '/';
	int r;

	/* contents of shared memory are those of its object */
	if (v->shared || starts(path, "[v"))
		return 0;
	if (file && may_be_device(path))
		return 1;
	if (file) {
		r = has_small_pages(maps, v);
		if (r <= 0)
			return r < 0 ? r : 1;
	}
	r = is_registered(pagemap, v);
	if (r > 0)
		v->vm_flags |= PROC_VM_UW;
	return r < 0 ? r : 0;
}

int quick_maps_read(const struct task *task, struct proc_vma_list *ret, struct cr_error *err)
{
	autofd int maps = proc_open(&task->dir, "maps", O_RDONLY, err);
	autofd int pagemap = maps < 0 ? -1 : proc_open(&task->dir, "pagemap", O_RDONLY, err);
	int r;

	if (pagemap < 0)
		return maps < 0 ? maps : pagemap;
	r = proc_maps_read(&task->dir, ret, err);
	for (size_t i = 0; i < ret->nr && r == 0; i++) {
		r = look(maps, pagemap, &ret->items[i], proc_vma_path(ret, &ret->items[i]));
		if (r < 0)
			cr_fail(err, r, "look at the mapping at %llx", (unsigned long long)ret->items[i].start);
	}
	return r;
}
