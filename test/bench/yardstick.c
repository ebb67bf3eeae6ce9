/*
 * What a dump and a restore are compared with: yardstick write FILE MIB [huge] writes that much random memory in calls of
 * 1 MiB; yardstick read FILE MIB [huge] reads it into memory that was never touched. Prints seconds. With "huge" that memory
 * is of huge pages: where a fault is expensive (page tables that the host of a virtual machine keeps a copy of), small
 * ones take many times as long, and are no measure for them. Writing small ones was seen to take 1.7 s a GiB there instead of
 * 0.2, since the first look of the kernel at each counts as a fault, too: ratios of such rows say little then, seconds do.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHUNK     (1ul << 20)
#define HUGE_PAGE (2ul << 20)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void fill(char *p, size_t len)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i * 8, &x, 8);
	}
}

static char *fresh(size_t len, int huge)
{
	char *p = mmap(NULL, len + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p += -(uintptr_t)p % HUGE_PAGE;
	return !huge || madvise(p, len, MADV_HUGEPAGE) == 0 ? p : NULL;
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 5)
		return 2;
	int writing = strcmp(argv[1], "write") == 0;
	size_t len = strtoul(argv[3], NULL, 10) * CHUNK;
	char *p = fresh(len, argc == 5);
	int fd = open(argv[2], writing ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);

	if (!p || fd < 0) {
		perror("yardstick");
		return 1;
	}
	if (writing)
		fill(p, len);
	double start = now();
	for (size_t at = 0; at < len; at += CHUNK) {
		ssize_t n = writing ? write(fd, p + at, CHUNK) : read(fd, p + at, CHUNK);
		if (n != (ssize_t)CHUNK) {
			perror("yardstick");
			return 1;
		}
	}
	printf("%.6f\n", now() - start);
	return 0;
}
