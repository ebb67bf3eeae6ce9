/* Mapping of the region; see region.h. Order: blob, scratch memory and stacks, spare room, arena. */
#include "restore/region.h"
#include "infect/blob.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define PAGE         4096ull
#define LEADER_STACK (32ull << 10)
#define SCRATCH      (64ull << 10)
#define HELPERS      (MM_HELPERS * MM_HELPER_ROOM)

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t blob_size(void)
{
	const void *bytes;
	size_t size;

	blob_image(&bytes, &size);
	return page_up(size);
}

static uint64_t stacks_size(size_t max_threads)
{
	return SCRATCH + HELPERS + LEADER_STACK + page_up(max_threads * (uint64_t)BLOB_STACK);
}

uint64_t region_size(uint64_t spare, size_t max_threads, size_t arena_size)
{
	return blob_size() + stacks_size(max_threads) + page_up(spare) + page_up(arena_size);
}

static int map_at(uint64_t at, uint64_t size, int prot, int flags, int fd, struct cr_error *err)
{
	void *want = (void *)(uintptr_t)at;
	void *p = mmap(want, size, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (p == MAP_FAILED)
		return cr_fail(err, -errno, "map the restore region at %#llx", (unsigned long long)at);
	if (p != want) {
		/* kernels before 4.17 take the flag for a hint */
		munmap(p, size);
		return cr_fail(err, -EEXIST, "map the restore region at %#llx", (unsigned long long)at);
	}
	return 0;
}

static int map_blob(uint64_t at, struct cr_error *err)
{
	const void *bytes;
	size_t size;
	int r = map_at(at, blob_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, err);

	if (r < 0)
		return r;
	blob_image(&bytes, &size);
	memcpy((void *)(uintptr_t)at, bytes, size);
	if (mprotect((void *)(uintptr_t)at, blob_size(), PROT_READ | PROT_EXEC) < 0)
		return cr_fail(err, -errno, "make the interpreter executable");
	return 0;
}

/* Shared between all tasks: programs are read, states and counters written. */
static int map_arena(uint64_t at, uint64_t size, struct cr_error *err)
{
	int r, fd = memfd_create("restore-programs", MFD_CLOEXEC);

	if (fd < 0)
		return cr_fail(err, -errno, "create memory for programs");
	if (ftruncate(fd, (off_t)size) < 0)
		r = cr_fail(err, -errno, "size memory for programs");
	else
		r = map_at(at, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, err);
	close(fd);
	return r;
}

int region_map(struct region *ret, struct mm_range at, uint64_t spare, size_t max_threads, size_t arena_size,
	       struct cr_error *err)
{
	uint64_t stacks = at.start + blob_size();
	uint64_t room = stacks + stacks_size(max_threads);
	uint64_t arena = room + page_up(spare);
	int r;

	if (at.end - at.start < region_size(spare, max_threads, arena_size))
		return cr_fail(err, -ENOSPC, "map the restore region");
	memset(ret, 0, sizeof(*ret));
	ret->all = at;
	r = map_blob(at.start, err);
	if (r == 0)
		r = map_at(stacks, room - stacks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, err);
	if (r == 0 && spare)
		r = map_at(room, page_up(spare), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, err);
	if (r == 0)
		r = map_arena(arena, page_up(arena_size), err);
	if (r < 0) {
		region_unmap(ret);
		return r;
	}
	ret->entry = at.start + BLOB_OFF_ENTRY;
	ret->scratch = (struct mm_range){ stacks, stacks + SCRATCH };
	ret->helpers = stacks + SCRATCH;
	ret->leader_top = stacks + SCRATCH + HELPERS + LEADER_STACK;
	ret->stacks = ret->leader_top;
	ret->spare = (struct mm_range){ room, room + page_up(spare) };
	ret->arena = (struct arena){ .local = (char *)(uintptr_t)arena, .remote = arena, .size = page_up(arena_size) };
	return 0;
}

void region_unmap(struct region *r)
{
	if (r->all.start)
		munmap((void *)(uintptr_t)r->all.start, r->all.end - r->all.start);
	memset(r, 0, sizeof(*r));
}

uint64_t region_thread_top(const struct region *r, size_t n)
{
	return r->stacks + n * (uint64_t)BLOB_STACK;
}
