/*
 * A process that moves memory nobody has touched behind memory that is full, so that the kernel makes one mapping of both: what
 * watched the full part is forgotten then, its marks on the pages are not.
 *
 * joiner DIR KIND: KIND is "pages", "huge" or "file". Each SIGUSR1 takes it one step on: it joins and writes, writes again, and looks at
 * everything. DIR/step, 8 bytes, says how far it is; DIR/fails tells of what was wrong.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE  4096ul
#define HUGE  ((size_t)2 << 20)
#define FULL  (2 * HUGE)
#define PAGES (FULL / PAGE)
#define WORDS (PAGE / sizeof(uint64_t))

static const char *dir;
static unsigned int written[PAGES];
static volatile sig_atomic_t told;

static void fail(int line, size_t page, uint64_t is, uint64_t want)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dprintf(fd, "line %d page %zu: %lx and not %lx\n", line, page, (unsigned long)is, (unsigned long)want);
	_exit(1);
}

#define must(cond) ((cond) ? (void)0 : fail(__LINE__, 0, 0, 0))

static uint64_t word(size_t page, size_t i)
{
	return ((uint64_t)written[page] << 32 | page) * 0x9e3779b97f4a7c15u + i;
}

static void fill(char *at, size_t page)
{
	written[page]++;
	for (size_t i = 0; i < WORDS; i++)
		((uint64_t *)(at + page * PAGE))[i] = word(page, i);
}

static void look(const char *at)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < WORDS; i++) {
			uint64_t is = ((const volatile uint64_t *)(at + page * PAGE))[i];

			if (is != word(page, i))
				fail(__LINE__, page, is, word(page, i));
		}
}

/* Some pages of each of both huge ones, so that each write is the first one to some page, and a later one to others. */
static void write_some(char *at, size_t step)
{
	for (size_t page = step; page < PAGES; page += 61)
		fill(at, page);
	for (size_t page = 0; page < PAGES; page += 67)
		fill(at, page);
}

static void on_signal(int signo)
{
	(void)signo;
	told = 1;
}

/* Address space of its own, with nothing at both ends that could join. */
static char *room(size_t len)
{
	char *at = mmap(NULL, len + 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(at != MAP_FAILED);
	return (char *)(((uintptr_t)at + 2 * HUGE - 1) & ~(HUGE - 1));
}

static void map(char *at, size_t len, int fd, size_t off)
{
	must(mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, (off_t)off) == at);
}

static int a_file(void)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && ftruncate(fd, 2 * FULL) == 0);
	return fd;
}

static void say(int fd, uint64_t step)
{
	must(pwrite(fd, &step, sizeof(step), 0) == sizeof(step));
}

int main(int argc, char **argv)
{
	bool huge = argc == 3 && strcmp(argv[2], "huge") == 0;
	char path[PATH_MAX], *full, *fresh;
	int fd, file;

	if (argc != 3)
		return 2;
	dir = argv[1];
	file = strcmp(argv[2], "file") == 0 ? a_file() : -1;
	full = room(2 * FULL);
	fresh = room(FULL);
	map(full, FULL, file, 0);
	map(fresh, FULL, file, FULL);
	must(madvise(full, FULL, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0);
	must(madvise(fresh, FULL, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0);
	for (size_t i = 0; i < PAGES; i++)
		fill(full, i);
	signal(SIGUSR1, on_signal);
	snprintf(path, sizeof(path), "%s/step", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0);
	for (uint64_t step = 0;; step++) {
		say(fd, step + 1);
		while (!told)
			usleep(1000);
		told = 0;
		if (step == 0)
			must(mremap(fresh, FULL, FULL, MREMAP_MAYMOVE | MREMAP_FIXED, full + FULL) == full + FULL);
		if (step < 3)
			write_some(full, step + 1);
		look(full);
	}
}
