/*
 * A process that can be taken for another: every address of it is the same in each, and what its memory holds follows from a seed.
 * For the tests of pids that are used again, and of exec, between the rounds of a series.
 *
 * reborn DIR NAME SEED: DIR/NAME, mapped, is how it talks; DIR/fails gets a line if memory is not what it must be. A kid, made by
 * an order, has DIR/NAME-kid.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 2048ul
#define WORDS (PAGE / 8)
#define AREA  0x200000000000ul

enum order { NOTHING, WRITE, EXEC, EXEC_BY_THREAD, KID, NEW_KID };

/* Shared with the test, and so no part of what is dumped. */
struct talk {
	uint64_t looks, seed, written, order, done, kid;
};

/* Private: which pages have been written to how often is a subject itself. */
static uint64_t own_seed;
static uint32_t counts[PAGES];
static struct talk *talk;
static const char *dir;

static _Noreturn void fail(const char *what, uint64_t page)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dprintf(fd, "pid %d, seed %llu: %s, page %llu\n", (int)getpid(), (unsigned long long)talk->seed, what,
		(unsigned long long)page);
	_exit(1);
}

static uint64_t *page(uint64_t i)
{
	return (uint64_t *)(AREA + i * PAGE);
}

static uint64_t word(uint64_t i)
{
	return (own_seed << 40 | (uint64_t)counts[i] << 20 | i) * 0x9e3779b97f4a7c15u;
}

/* Never written to by this one, but by one with another seed. */
static int is_hole(uint64_t i)
{
	return i % 4 == own_seed % 4;
}

static void put(uint64_t i)
{
	counts[i]++;
	for (size_t k = 0; k < WORDS; k++)
		page(i)[k] = word(i) + k;
	talk->written++;
}

static void look(void)
{
	uint64_t sum = 0;

	if (own_seed != talk->seed)
		fail("it is another", 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		sum += counts[i];
		for (size_t k = 0; k < WORDS; k++)
			if (page(i)[k] != (is_hole(i) ? 0 : word(i) + k))
				fail(is_hole(i) ? "something where nothing was written" : "not what was written", i);
	}
	if (sum != talk->written)
		fail("another number of writes", sum);
	talk->looks++;
}

static void begin(const char *name, uint64_t seed)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, PAGE) < 0)
		_exit(3);
	talk = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (talk == MAP_FAILED)
		_exit(3);
	memset(talk, 0, sizeof(*talk));
	memset(counts, 0, sizeof(counts));
	own_seed = talk->seed = seed;
	if (mmap((void *)AREA, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(3);
	for (uint64_t i = 0; i < PAGES; i++)
		if (!is_hole(i))
			put(i);
}

static _Noreturn void serve(const char *name);

/* Ends the kid that there is; the new one has that very number. */
static void make_kid(const char *name, int again)
{
	pid_t number = again ? (pid_t)talk->kid : 0;
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = again ? (uintptr_t)&number : 0, .set_tid_size = again ? 1 : 0
	};
	uint64_t seed = own_seed + (again ? 2 : 1);
	char other[NAME_MAX];
	long pid;

	if (again && (kill(number, SIGKILL) < 0 || waitpid(number, NULL, 0) != number))
		_exit(4);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		/* its group would keep the number of the root from being had again */
		setsid();
		snprintf(other, sizeof(other), "%s-kid", name);
		begin(other, seed);
		serve(other);
	}
	if (pid < 0 || (again && pid != number))
		_exit(5);
	talk->kid = (uint64_t)pid;
}

static void *become_another(void *arg)
{
	char seed[32];

	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)own_seed + 1);
	execl("/proc/self/exe", "reborn", dir, (char *)arg, seed, NULL);
	_exit(6);
}

static void obey(const char *name)
{
	pthread_t thread;

	switch (talk->order) {
	case WRITE:
		for (uint64_t i = talk->done % 16; i < PAGES; i += 16)
			if (!is_hole(i))
				put(i);
		break;
	case EXEC:
		become_another((void *)(uintptr_t)name);
		break;
	case EXEC_BY_THREAD:
		if (pthread_create(&thread, NULL, become_another, (void *)(uintptr_t)name))
			_exit(7);
		for (;;)
			pause();
	case KID:
	case NEW_KID:
		make_kid(name, talk->order == NEW_KID);
		break;
	default:
		return;
	}
	talk->order = NOTHING;
	talk->done++;
}

static _Noreturn void serve(const char *name)
{
	for (;; usleep(1000)) {
		obey(name);
		look();
	}
}

int main(int argc, char **argv)
{
	int as = personality(0xffffffff);

	if (argc != 4)
		return 2;
	if (!(as & ADDR_NO_RANDOMIZE)) {
		personality((unsigned long)as | ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		return 2;
	}
	dir = argv[1];
	begin(argv[2], strtoull(argv[3], NULL, 10));
	serve(argv[2]);
}
