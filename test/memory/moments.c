/*
 * Subject of the tests of snapshots: processes and threads whose memory is right only if all of it is of one instant.
 *
 * moments DIR MIB: three processes with two threads each stand in a ring. Each in turn writes a number, one higher each time
 * round, to all of its pages, one after the other, then to its page in shared memory, which is what the next waits for. So at
 * any instant the numbers go down by at most one along this way, and a page that is not being written has one number
 * throughout. All places are fixed, and known to run.py. The first process has MIB of other memory.
 *
 * DIR/beats is a shared mapping of a file, and no part of an image: who has got how far. DIR/fails gets a line for each
 * difference that a process finds in its own memory. SIGUSR1 to the first: do what DIR/order says (exit, exec, unmap, storm,
 * flag), SIGUSR2: look at the other memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE    4096ul
#define WORDS   (PAGE / 8)
#define RING    6
#define THREADS 2
#define CHAIN   64
#define APART   8 /* pages of a chain that fork(2) does not copy, and as many that it wipes */
#define CHAINS  0x100000000000ul
#define STRIDE  0x1000000ul
#define SHARED  0x200000000000ul
#define BULK    0x300000000000ul

struct beats {
	_Atomic uint64_t turns[RING], looks, passes, orders;
};

static struct beats *beats;
static const char *dir;
static size_t bulk_pages;
static volatile sig_atomic_t ordered, asked;

static void fail(const char *what, int who, uint64_t n, uint64_t is)
{
	char path[PATH_MAX], text[256];
	int fd, len = snprintf(text, sizeof(text), "pid %d, %d: %s %lu is %lu (%s)\n", getpid(), who, what,
			       (unsigned long)n, (unsigned long)is, strerror(errno));

	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		_exit(3);
	_exit(2);
}

#define must(cond) ((cond) ? (void)0 : fail(#cond, 0, __LINE__, 0))

static void *map(uintptr_t at, size_t len, int flags)
{
	void *p = mmap((void *)at, len, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	must(p == (void *)at);
	return p;
}

static uint64_t word(uint64_t n, uint64_t place, uint64_t i)
{
	return n * 0x9e3779b97f4a7c15u + place * 0x100000001b3u + i;
}

/* The first word says what is being written, the last what is whole. */
static void write_page(_Atomic uint64_t *page, uint64_t place, uint64_t n)
{
	atomic_store_explicit(&page[0], n, memory_order_release);
	for (size_t i = 1; i < WORDS - 1; i++)
		atomic_store_explicit(&page[i], word(n, place, i), memory_order_release);
	atomic_store_explicit(&page[WORDS - 1], n, memory_order_release);
}

static void check_page(const _Atomic uint64_t *page, uint64_t place, uint64_t n, int who)
{
	if (page[0] != n || page[WORDS - 1] != n)
		fail("page of turn", who, n, page[0]);
	for (size_t i = 1; i < WORDS - 1; i++)
		if (page[i] != word(n, place, i))
			fail("word of turn", who, n, page[i]);
}

static _Atomic uint64_t *page_at(uintptr_t base, size_t i)
{
	return (_Atomic uint64_t *)(base + i * PAGE);
}

static void *take_turns(void *arg)
{
	int who = (int)(intptr_t)arg;
	uintptr_t chain = CHAINS + (uintptr_t)who * STRIDE;
	_Atomic uint64_t *mine = page_at(SHARED, (size_t)who),
			 *before = page_at(SHARED, (size_t)(who + RING - 1) % RING);

	for (uint64_t n = 1;; n++) {
		while (atomic_load_explicit(&before[WORDS - 1], memory_order_acquire) < (who ? n : n - 1))
			usleep(200); /* with less, looking takes more of the processors than writing */
		if (n > 1 && n % 16 == 0)
			for (size_t i = 0; i < CHAIN; i++)
				check_page(page_at(chain, i), (uint64_t)who * CHAIN + i, n - 1, who);
		for (size_t i = 0; i < CHAIN; i++)
			write_page(page_at(chain, i), (uint64_t)who * CHAIN + i, n);
		write_page(mine, RING * CHAIN + (uint64_t)who, n);
		atomic_store(&beats->turns[who], n);
	}
	return NULL;
}

static void map_chain(int who)
{
	char *chain = map(CHAINS + (uintptr_t)who * STRIDE, CHAIN * PAGE, MAP_PRIVATE);

	must(madvise(chain + 16 * PAGE, APART * PAGE, MADV_DONTFORK) == 0);
	must(madvise(chain + 32 * PAGE, APART * PAGE, MADV_WIPEONFORK) == 0);
}

static void on_signal(int signo)
{
	if (signo == SIGUSR1)
		ordered = 1;
	else
		asked = 1;
}

static void look_at_bulk(void)
{
	for (size_t i = 0; i < bulk_pages; i++) {
		const uint64_t *page = (const uint64_t *)(BULK + i * PAGE);

		if (page[0] != i + 1 || page[WORDS - 1] != ~page[1])
			fail("page of the rest", (int)i, i + 1, page[0]);
	}
	atomic_fetch_add(&beats->looks, 1);
}

static void write_bulk(uint64_t n)
{
	for (size_t i = 0; i < bulk_pages; i++) {
		uint64_t *page = (uint64_t *)(BULK + i * PAGE);

		page[0] = i + 1;
		page[1] = n * 0x9e3779b97f4a7c15u + i;
		page[WORDS - 1] = ~page[1];
	}
}

static void storm(void)
{
	for (uint64_t n = 2; !asked; n++) {
		write_bulk(n);
		atomic_fetch_add(&beats->passes, 1);
	}
}

/* It stays busy: what was read of a process that only waits is as good later, and is not read again. */
static void flag(void)
{
	time_t end = time(NULL) + 2;

	must(madvise((void *)BULK, (bulk_pages + 1) * PAGE, MADV_DONTDUMP) == 0);
	while (time(NULL) < end)
		getppid();
}

static void obey(void)
{
	char path[PATH_MAX], order[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/order", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && read(fd, order, sizeof(order) - 1) > 0);
	close(fd);
	atomic_fetch_add(&beats->orders, 1);
	if (strcmp(order, "exit") == 0)
		_exit(0);
	if (strcmp(order, "exec") == 0)
		execl("/bin/sleep", "sleep", "1000", NULL);
	if (strcmp(order, "unmap") == 0)
		must(munmap((void *)BULK, bulk_pages * PAGE) == 0);
	if (strcmp(order, "flag") == 0)
		flag();
	if (strcmp(order, "storm") == 0)
		storm();
}

static void live(int process)
{
	prctl(PR_SET_PDEATHSIG, process ? SIGKILL : 0);
	for (int i = 0; i < THREADS; i++)
		map_chain(process * THREADS + i);
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, take_turns, (void *)(intptr_t)(process * THREADS + i));
		must(errno == 0);
	}
	while (process)
		pause();
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	map(BULK, (bulk_pages + 1) * PAGE, MAP_PRIVATE);
	write_bulk(1);
	look_at_bulk();
	for (;;) {
		usleep(2000);
		if (ordered) {
			ordered = 0;
			obey();
		}
		if (asked) {
			asked = 0;
			look_at_bulk();
		}
	}
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	int fd;

	if (argc != 3)
		return 1;
	dir = argv[1];
	bulk_pages = strtoul(argv[2], NULL, 0) * 256;
	snprintf(path, sizeof(path), "%s/beats", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && ftruncate(fd, PAGE) == 0);
	beats = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(beats != MAP_FAILED);
	close(fd);
	map(SHARED, RING * PAGE, MAP_SHARED);
	for (int i = 1; i < RING / THREADS; i++) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0)
			live(i);
	}
	live(0);
}
