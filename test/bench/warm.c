/*
 * warm MIB: makes so much free memory quick to get, prints how much it holds back for that, and stays until it is ended. For
 * virtual machines: a guest that reports free memory to its host (mm/page_reporting.c: blocks of pageblock order, two
 * seconds after they became free) has it taken away, and the first touch of each page then costs many times what is measured
 * here. So this touches memory and gives it back but for one page of each such block: what is free of a block is in
 * smaller pieces then, which are not reported, and which the kernel hands out before it splits a larger one.
 *
 * warm MIB huge: free huge pages are such blocks themselves, so nothing keeps them. They are touched, held until what became
 * free before has been reported, and given back right before they are wanted: then there are two seconds.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE     4096ul
#define BLOCK    512ul /* pages */
#define PFN_MASK ((1ull << 55) - 1)
#define MAX_PFN  (1ull << 30)
#define REPORTED 2200000 /* us */

/* Returns the number of pages that stay: of each block the first that is met. Neighbours go in one call. */
static size_t give_back(char *p, size_t pages, const uint64_t *entries, uint64_t *seen)
{
	size_t kept = 0, from = 0;

	for (size_t i = 0; i < pages; i++) {
		uint64_t block = (entries[i] & PFN_MASK) / BLOCK;

		if (block >= MAX_PFN / BLOCK || seen[block / 64] >> block % 64 & 1)
			continue;
		seen[block / 64] |= 1ull << block % 64;
		kept++;
		if (i > from)
			madvise(p + from * PAGE, (i - from) * PAGE, MADV_DONTNEED);
		from = i + 1;
	}
	if (pages > from)
		madvise(p + from * PAGE, (pages - from) * PAGE, MADV_DONTNEED);
	return kept;
}

static int touch_huge(size_t len)
{
	char *p = mmap(NULL, len + BLOCK * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	p += -(uintptr_t)p % (BLOCK * PAGE);
	madvise(p, len, MADV_HUGEPAGE);
	for (size_t at = 0; at < len; at += PAGE)
		p[at] = 1;
	usleep(REPORTED);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return touch_huge(strtoul(argv[1], NULL, 10) << 20);

	size_t pages = argc == 2 ? strtoul(argv[1], NULL, 10) << 8 : 0;
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *entries = malloc(pages * sizeof(*entries));
	uint64_t *seen = calloc(MAX_PFN / BLOCK / 64, sizeof(*seen));
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (!pages || p == MAP_FAILED || !entries || !seen || fd < 0) {
		fprintf(stderr, "usage: warm MIB [huge], as root\n");
		return 2;
	}
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	for (size_t at = 0; at < pages * sizeof(*entries);) {
		ssize_t n = pread(fd, (char *)entries + at, pages * sizeof(*entries) - at, (off_t)((uintptr_t)p / PAGE * sizeof(*entries) + at));

		if (n <= 0) {
			perror("pagemap");
			return 1;
		}
		at += (size_t)n;
	}
	printf("%zu\n", give_back(p, pages, entries, seen));
	fflush(stdout);
	for (;;)
		pause();
}
