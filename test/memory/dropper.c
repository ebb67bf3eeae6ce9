/*
 * A process that drops pages of a mapped file which it has written to, and writes to them again, a word each: the rest of them is the
 * file's then. A page that was write-protected leaves a mark behind, with which the next one comes.
 *
 * dropper DIR: for each SIGUSR1 it does that with all pages, looks at them and fills them again. DIR/step, 8 bytes, says how often it has;
 * DIR/fails tells of what was wrong.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 2048ul
#define WORDS (PAGE / sizeof(uint64_t))

static const char *dir;
static volatile sig_atomic_t told;

static void fail(int line, size_t page, size_t i, uint64_t is)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dprintf(fd, "line %d page %zu word %zu: %lx\n", line, page, i, (unsigned long)is);
	_exit(1);
}

#define must(cond) ((cond) ? (void)0 : fail(__LINE__, 0, 0, 0))

static void on_signal(int signo)
{
	(void)signo;
	told = 1;
}

static uint64_t *map_file(void)
{
	uint64_t page[WORDS], *mem;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0);
	for (size_t i = 0; i < WORDS; i++)
		page[i] = i;
	for (size_t i = 0; i < PAGES; i++)
		must(write(fd, page, PAGE) == PAGE);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(mem != MAP_FAILED);
	close(fd);
	return mem;
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	uint64_t *mem;
	int fd;

	if (argc != 2)
		return 2;
	dir = argv[1];
	mem = map_file();
	signal(SIGUSR1, on_signal);
	snprintf(path, sizeof(path), "%s/step", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0);
	for (uint64_t step = 1;; step++) {
		for (size_t i = 0; i < PAGES * WORDS; i++)
			mem[i] = step << 32 | i;
		must(pwrite(fd, &step, sizeof(step), 0) == sizeof(step));
		while (!told)
			usleep(1000);
		told = 0;
		must(madvise(mem, PAGES * PAGE, MADV_DONTNEED) == 0);
		for (size_t page = 0; page < PAGES; page++)
			((volatile uint64_t *)mem)[page * WORDS] = step;
		for (size_t page = 0; page < PAGES; page++)
			for (size_t i = 0; i < WORDS; i++)
				if (mem[page * WORDS + i] != (i ? i : step))
					fail(__LINE__, page, i, mem[page * WORDS + i]);
	}
}
