/*
 * Memory that is large enough to be read by several threads at once: what each page holds, what is a hole, and that none of
 * these threads is left or has taken a number of one of ours.
 */
#include "victim.h"

#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE    4096ul
#define PAGES   12288ul /* 48 MiB */
#define HOLE    2000ul  /* of so many pages, the last 100 were never touched */
#define THREADS 3

static char *large, *fixed;
static pthread_t threads[THREADS];
static pid_t tids[THREADS];
static long sums[THREADS];
static pthread_barrier_t begun;

static uint64_t word_of(size_t page, size_t i)
{
	uint64_t x = (page << 12 | i) * 0x9e3779b97f4a7c15u + 1;

	return x ^ x >> 29;
}

static bool is_hole(size_t page)
{
	return page % HOLE >= HOLE - 100;
}

static void fill(char *p, size_t first, size_t nr)
{
	for (size_t n = 0; n < nr; n++)
		for (size_t i = 0; i < PAGE / 8 && !is_hole(n); i++) {
			uint64_t w = word_of(first + n, i);

			memcpy(p + n * PAGE + i * 8, &w, 8);
		}
}

/* Each page once, so that a wrong one is named once. */
static void look(const char *p, size_t first, size_t nr)
{
	for (size_t n = 0; n < nr; n++)
		for (size_t i = 0; i < PAGE / 8; i++) {
			uint64_t w, want = is_hole(n) ? 0 : word_of(first + n, i);

			memcpy(&w, p + n * PAGE + i * 8, 8);
			if (w == want)
				continue;
			expect(false, "page %zu holds %lx instead of %lx", first + n, (unsigned long)w,
			       (unsigned long)want);
			break;
		}
}

static void *sleeper(void *arg)
{
	size_t n = (size_t)arg;

	tids[n] = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&begun);
	victim_wait();
	expect(tids[n] == (pid_t)syscall(SYS_gettid), "thread %zu has another number", n);
	/* it still computes: over memory that another thread may have brought back */
	for (size_t page = n; page < PAGES; page += THREADS)
		sums[n] += large[page * PAGE + 100];
	return NULL;
}

static void setup_pieces(void)
{
	size_t half = PAGES / 2 * PAGE;

	large = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fixed = mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(large != MAP_FAILED && fixed != MAP_FAILED);
	fill(large, 0, PAGES);
	fill(fixed, PAGES, PAGES / 8);
	need(mprotect(fixed, half, PROT_READ) == 0);
	need(pthread_barrier_init(&begun, NULL, THREADS + 1) == 0);
	for (size_t n = 0; n < THREADS; n++)
		need(pthread_create(&threads[n], NULL, sleeper, (void *)n) == 0);
	pthread_barrier_wait(&begun);
}

static int nr_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	int nr = 0;

	need(d);
	for (struct dirent *e; (e = readdir(d));)
		nr += e->d_name[0] != '.';
	closedir(d);
	return nr;
}

static void check_pieces(void)
{
	/* before ours are joined: a thread that ended can be seen for a moment longer */
	expect(nr_threads() <= THREADS + 1, "there are %d threads", nr_threads());
	for (size_t n = 0; n < THREADS; n++) {
		long sum = 0;

		pthread_join(threads[n], NULL);
		for (size_t page = n; page < PAGES; page += THREADS)
			sum += is_hole(page) ? 0 : (char)(word_of(page, 12) >> 32);
		expect(sums[n] == sum, "thread %zu has summed up to %ld instead of %ld", n, sums[n], sum);
	}
	look(large, 0, PAGES);
	look(fixed, PAGES, PAGES / 8);
}

const struct victim_case victim_cases[] = {
	{ .name = "pieces", .setup = setup_pieces, .check = check_pieces, .flags = CASE_MORE },
	{ 0 },
};
