/*
 * What the benchmark of snapshots checkpoints: beat MIB, in the directory given as working directory. MIB of private memory,
 * and a thread that does nothing but look at the clock. "board" is a file with two words, mapped: the longest time between two
 * of these looks, in nanoseconds, and a word that the benchmark changes to have it begin anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct board {
	_Atomic uint64_t longest, turn, seen;
};

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "beat: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *beat(void *arg)
{
	struct board *b = arg;

	for (uint64_t last = now(), longest = 0;;) {
		uint64_t at = now(), turn = b->turn;

		if (turn != b->seen) {
			longest = 0;
			b->longest = 0;
			b->seen = turn;
		} else if (at - last > longest) {
			longest = at - last;
			b->longest = longest;
		}
		last = at;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t len = argc == 2 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	uint64_t *memory, x = 88172645463325252u;
	struct board *board;
	pthread_t thread;
	int fd;

	if (!len)
		return 2;
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memory[i] = x;
	}
	fd = open("board", O_RDWR | O_CLOEXEC);
	need(fd >= 0, "open board");
	board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(board != MAP_FAILED, "map board");
	close(fd);
	errno = pthread_create(&thread, NULL, beat, board);
	need(errno == 0, "pthread_create");
	close(open("almost", O_WRONLY | O_CREAT, 0644));
	need(rename("almost", "ready") == 0, "rename");
	for (;;)
		pause();
}
