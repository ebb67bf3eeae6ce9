#include "kernel/probe-internal.h"

#include "base/own.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/memfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE          4096u
#define PM_SOFT_DIRTY (UINT64_C(1) << 55)
#define PM_PFN        ((UINT64_C(1) << 55) - 1)

/* A fresh page that has been written to; NULL with errno. Given back with munmap(). */
static char *fresh_page(void)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	page[0] = 1;
	return page;
}

static int scan(uint64_t categories)
{
	autofd int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	char *page = fd < 0 ? NULL : fresh_page();
	struct uapi_pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uint64_t)(uintptr_t)page,
		.end = (uint64_t)(uintptr_t)page + PAGE,
		.category_mask = categories,
		.return_mask = categories,
	};
	struct {
		uint64_t start, end, categories;
	} region;
	int r;

	if (!page)
		return -errno;
	arg.vec = (uint64_t)(uintptr_t)&region;
	arg.vec_len = 1;
	r = ioctl(fd, UAPI_PAGEMAP_SCAN, &arg) < 0 ? -errno : 0;
	munmap(page, PAGE);
	return r;
}

int probe_pagemap_scan(void)
{
	return scan(PAGE_IS_PRESENT);
}

int probe_pagemap_guard(void)
{
	return scan(PAGE_IS_GUARD);
}

int probe_procmap_query(void)
{
	autofd int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct uapi_procmap_query q = { .size = sizeof(q), .query_flags = UAPI_PROCMAP_COVERING_OR_NEXT };

	if (fd < 0)
		return -errno;
	return ioctl(fd, UAPI_PROCMAP_QUERY, &q) < 0 ? -errno : 0;
}

/* The first mapping of a program is its executable. */
int probe_map_files(void)
{
	autofd int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	char text[64] = "", path[96];

	if (maps < 0)
		return -errno;
	if (read(maps, text, sizeof(text) - 1) <= 0)
		return -EIO;
	/* the link is called as the line begins: both addresses in hexadecimal */
	text[strcspn(text, " ")] = '\0';
	snprintf(path, sizeof(path), "/proc/self/map_files/%s", text);

	/* following the link is what needs permission */
	autofd int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

static int pagemap_entry(uint64_t *ret)
{
	autofd int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	char *page = fd < 0 ? NULL : fresh_page();
	ssize_t n;

	if (!page)
		return -errno;
	n = pread(fd, ret, sizeof(*ret), (off_t)((uintptr_t)page / PAGE * sizeof(*ret)));
	munmap(page, PAGE);
	return n == (ssize_t)sizeof(*ret) ? 0 : n < 0 ? -errno : -EIO;
}

int probe_pagemap_pfn(void)
{
	uint64_t entry = 0;
	int r = pagemap_entry(&entry);

	return r < 0 ? r : entry & PM_PFN ? 0 : -EPERM;
}

/* A fresh mapping is dirty from the start, without a reset. */
int probe_soft_dirty(void)
{
	uint64_t entry = 0;
	int r = pagemap_entry(&entry);

	return r < 0 ? r : entry & PM_SOFT_DIRTY ? 0 : -ENOSYS;
}

int probe_mm_map(void)
{
	unsigned int size = 0;

	return prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) < 0 ? -errno : 0;
}

int probe_guard_install(void)
{
	char *page = fresh_page();
	int r;

	if (!page)
		return -errno;
	r = madvise(page, PAGE, MADV_GUARD_INSTALL) < 0 ? -errno : 0;
	munmap(page, PAGE);
	return r;
}

/* Is there a mapping with it? A page of ours that is guarded, with the answer somewhere among ours. */
static int find_guard_flag(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	int r = -ENOSYS;

	if (!f)
		return -errno;
	while (r < 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " gu"))
			r = 0;
	fclose(f);
	return r;
}

int probe_guard_flag(void)
{
	char *page = fresh_page();
	int r;

	if (!page)
		return -errno;
	r = madvise(page, PAGE, MADV_GUARD_INSTALL) < 0 ? -errno : find_guard_flag();
	munmap(page, PAGE);
	return r;
}

static int uffd_features(uint64_t *ret)
{
	autofd int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	*ret = api.features;
	return 0;
}

static int uffd_has(uint64_t features)
{
	uint64_t there = 0;
	int r = uffd_features(&there);

	return r < 0 ? r : (there & features) == features ? 0 : -ENOSYS;
}

int probe_uffd(void)
{
	return uffd_has(0);
}

int probe_uffd_noncoop(void)
{
	return uffd_has(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
			UFFD_FEATURE_EVENT_REMOVE);
}

int probe_uffd_wp_async(void)
{
	return uffd_has(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
}

/* Either way of tracking will do. */
int probe_mem_track(void)
{
	int r = probe_soft_dirty();

	if (r == 0)
		return 0;
	r = probe_uffd_wp_async();
	return r == 0 ? probe_pagemap_scan() : r;
}

/* The number of a context is the address of its ring, so it must follow a move. */
int probe_aio_remap(void)
{
	aio_context_t ctx = 0;
	void *ring, *moved, *place;
	int r = 0;

	if (syscall(SYS_io_setup, 1, &ctx) < 0)
		return -errno;
	ring = (void *)(uintptr_t)ctx;
	place = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = place == MAP_FAILED ? MAP_FAILED : mremap(ring, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	if (moved == MAP_FAILED)
		r = -errno;
	else
		ctx = (aio_context_t)(uintptr_t)moved;
	if (syscall(SYS_io_getevents, ctx, 0, 1, NULL, NULL) < 0 && r == 0)
		r = -errno;
	syscall(SYS_io_destroy, ctx);
	if (place != MAP_FAILED && moved == MAP_FAILED)
		munmap(place, PAGE);
	return r;
}

int probe_memfd_hugetlb(void)
{
	autofd int fd = memfd_create("probe", MFD_CLOEXEC | MFD_HUGETLB);

	return fd < 0 ? -errno : 0;
}
