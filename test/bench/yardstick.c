/*
 * What a dump and a restore are compared with: yardstick write FILE MIB [huge] writes that much random memory in calls of
 * 1 MiB; yardstick read FILE MIB [huge] reads it into memory that was never touched. Prints seconds. With "huge" that memory
 * is of huge pages, which a fault brings 512 times as much of.
 *
 * Before it is written the memory is once read by the kernel, into one place: a virtual machine whose host keeps a copy of its page
 * tables was seen to take 7 us for the kernel's first look at each page by the address of a program, 1.7 s a GiB instead of 0.2,
 * which a dump has nothing to do with.
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

static int look_at(const char *p, size_t len)
{
	int fd = memfd_create("seen", MFD_CLOEXEC);
	int good = fd >= 0;

	for (size_t at = 0; good && at < len; at += CHUNK)
		good = pwrite(fd, p + at, CHUNK, 0) == (ssize_t)CHUNK;
	if (fd >= 0)
		close(fd);
	return good;
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
	if (writing) {
		fill(p, len);
		if (!look_at(p, len))
			return 1;
	}
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
