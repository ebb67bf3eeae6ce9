/*
 * Subject of the tests of lazy restores: a process with a large piece of memory of which it knows every word, and that does
 * with it what it is told to. Orders and answers are in a shared file, which is no part of any image.
 *
 * sleeper DIR MIB [family|huge]: DIR/board is made by whoever starts it, with room for a struct board. A family shares its memory
 * copy-on-write, but for some pages, and each member has as much of its own. With "huge" it has more memory for which it wants
 * huge pages, and a thread whose stack is in the midst of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE    4096ul
#define WORDS   (PAGE / 8)
#define THREADS 4
#define STACK   (256ul << 10)
#define MEMBERS 4
#define HUGE    (2ul << 20)
#define HUGES   4

enum order { NOTHING, CHECK, FORK, REMAP, CALLS, EXEC, LOOP, CHILD_LOOP, GUARDS, FAMILY, NR_ORDERS };

struct board {
	uint64_t ready, order, done; /* done: the order that was carried out last */
	uint64_t bad, zero;          /* words that were not what they must be; of these, zeroes */
	uint64_t beats;              /* pages looked at */
	uint64_t failed;             /* line of what could not be done at all */
	uint64_t members;            /* of a family, that have looked at everything */
};

static volatile struct board *board;
static uint64_t *mem, *huge;
static size_t pages;
static const char *dir;

#define must(cond) ((cond) ? (void)0 : give_up(__LINE__))

static void give_up(int line)
{
	board->failed = (uint64_t)line;
	_exit(3);
}

static uint64_t word(size_t page, size_t i)
{
	uint64_t x = (page << 9 | i) * 0x9e3779b97f4a7c15u + 0x1234567;

	return x ^ x >> 31 ^ 1ull << 63;
}

static void compare(const uint64_t *at, size_t page)
{
	for (size_t i = 0; i < WORDS; i++)
		if (at[i] != word(page, i)) {
			__atomic_add_fetch(&board->bad, 1, __ATOMIC_SEQ_CST);
			if (at[i] == 0)
				__atomic_add_fetch(&board->zero, 1, __ATOMIC_SEQ_CST);
		}
	__atomic_add_fetch(&board->beats, 1, __ATOMIC_RELAXED);
}

static void must_be_empty(const uint64_t *at, size_t nr)
{
	for (size_t i = 0; i < nr * WORDS; i++)
		if (at[i])
			__atomic_add_fetch(&board->bad, 1, __ATOMIC_SEQ_CST);
}

static void check_range(const uint64_t *at, size_t first, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		compare(at + i * WORDS, first + i);
}

/* Each thread its own, from the low end, with leaps: prime steps come by every page. */
static void *check_some(void *arg)
{
	size_t n = (size_t)arg, at = n * 37 % pages;

	for (size_t i = n; i < pages; i += THREADS) {
		compare(mem + at * WORDS, at);
		at = (at + 7919) % pages;
	}
	return NULL;
}

static void in_threads(void *(*fn)(void *))
{
	pthread_t t[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		must(pthread_create(&t[i], NULL, fn, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		must(pthread_join(t[i], NULL) == 0);
}

static void do_check(void)
{
	in_threads(check_some);
	check_range(mem, 0, pages);
	for (size_t i = 0; huge && i < HUGES * HUGE / PAGE; i++)
		if (i * PAGE < HUGE || i * PAGE >= HUGE + STACK)
			compare(huge + i * WORDS, pages + i);
}

/* Three generations; what one writes the others do not see. */
static void do_fork(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		pid_t sub = fork();

		must(sub >= 0);
		mem[0] = sub ? 1 : 2;
		check_range(mem + WORDS, 1, pages - 1);
		if (mem[0] != (sub ? 1u : 2u))
			board->bad++;
		if (sub)
			must(waitpid(sub, NULL, 0) == sub);
		_exit(0);
	}
	mem[WORDS * (pages - 1)] = 3;
	check_range(mem, 0, pages / 2);
	must(waitpid(pid, NULL, 0) == pid);
	mem[WORDS * (pages - 1)] = word(pages - 1, 0);
	check_range(mem, 0, pages);
}

/* Moved, unmapped, dropped, replaced, protected, grown; an eighth of the memory each. */
static void do_remap(void)
{
	size_t part = pages / 8, len = part * PAGE;
	uint64_t *part_at[8], *to, *back;

	for (size_t i = 0; i < 8; i++)
		part_at[i] = mem + i * part * WORDS;
	must(mprotect(part_at[5] + WORDS, PAGE, PROT_READ) == 0);
	must(madvise(part_at[1], len, MADV_DONTNEED) == 0);
	must(munmap(part_at[2], len) == 0);
	must(mmap(part_at[3], len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	     part_at[3]);
	to = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(to != MAP_FAILED);
	must(mremap(part_at[4], len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	/* there and back, to where something else was meanwhile */
	back = mremap(part_at[0], len, len, MREMAP_MAYMOVE | MREMAP_FIXED, part_at[2]);
	must(back == part_at[2]);
	must(mremap(back, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, part_at[0]) == part_at[0]);
	/* the old place stays, empty */
	back = mremap(part_at[6], len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	must(back != MAP_FAILED);
	check_range(part_at[0], 0, part);
	must_be_empty(part_at[1], part);
	must_be_empty(part_at[3], part);
	check_range(to, 4 * part, part);
	check_range(part_at[5], 5 * part, part);
	must_be_empty(part_at[6], part);
	check_range(back, 6 * part, part);
	check_range(part_at[7], 7 * part, part);
	/* of what has been unmapped nothing comes back */
	must(mmap(part_at[2], len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	     part_at[2]);
	usleep(50000);
	must_be_empty(part_at[2], part);
	must_be_empty(part_at[1], part);
}

/* The kernel touches what is missing: whole, and the middle of a page. */
static void do_calls(void)
{
	static uint64_t copy[WORDS];
	int fds[2];

	must(pipe(fds) == 0);
	for (size_t i = 0; i < pages; i++) {
		must(write(fds[1], mem + i * WORDS, PAGE) == (ssize_t)PAGE);
		if (i % 2 == 0) {
			must(read(fds[0], copy, PAGE) == (ssize_t)PAGE);
			compare(copy, i);
		} else {
			size_t other = pages - 1 - i / 2;
			uint64_t *half = mem + other * WORDS + WORDS / 2;

			must(read(fds[0], half, PAGE / 2) == (ssize_t)PAGE / 2);
			if (half[-1] != word(other, WORDS / 2 - 1) || half[0] != word(i, 0))
				board->bad++;
			must(read(fds[0], copy, PAGE / 2) == (ssize_t)PAGE / 2);
			for (size_t k = 0; k < WORDS / 2; k++)
				half[k] = word(other, WORDS / 2 + k);
		}
	}
	close(fds[0]);
	close(fds[1]);
	check_range(mem, 0, pages);
}

/* Looks at everything for ever; half of the threads through the kernel. */
static void *look_for_ever(void *arg)
{
	size_t n = (size_t)arg, at = n * 37 % pages;
	uint64_t copy[WORDS];
	int fds[2];

	must(pipe(fds) == 0);
	for (;;) {
		if (n % 2) {
			ssize_t got = write(fds[1], mem + at * WORDS, PAGE);

			/* EFAULT is no lie */
			if (got > 0) {
				must(read(fds[0], copy, (size_t)got) == got);
				if (got == (ssize_t)PAGE)
					compare(copy, at);
			}
		} else {
			compare(mem + at * WORDS, at);
		}
		at = (at + 7919) % pages;
	}
	return NULL;
}

static void do_child_loop(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_NAME, "sleeper-child");
	in_threads(look_for_ever);
}

/* A range of which nothing more is wanted gets guard pages; whoever touches them gets SIGSEGV, in a child that is for that. */
static void do_guards(void)
{
	size_t part = pages / 8;
	int status = 0;
	pid_t pid;

	if (madvise(mem, part * PAGE, 102) < 0) { /* MADV_GUARD_INSTALL, Linux 6.13 */
		must(errno == EINVAL);
		return;
	}
	check_range(mem + part * WORDS, part, pages - part);
	usleep(50000);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		for (size_t i = 0; i < part; i++)
			if (mem[i * WORDS])
				board->bad++;
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		board->bad++;
}

/* @who: 0 for the parent. Every sixteenth page is one's own. */
static void look_as_member(size_t who, const uint64_t *own)
{
	for (size_t i = 0; i < pages; i++)
		compare(mem + i * WORDS, who && i % 16 == who ? i + who * pages : i);
	check_range(own, (who + 20) * pages, pages);
	__atomic_add_fetch(&board->members, 1, __ATOMIC_SEQ_CST);
}

static uint64_t *become_member(size_t who)
{
	uint64_t *own = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(own != MAP_FAILED);
	for (size_t i = 0; i < pages; i++)
		for (size_t k = 0; k < WORDS; k++) {
			own[i * WORDS + k] = word((who + 20) * pages + i, k);
			if (who && i % 16 == who)
				mem[i * WORDS + k] = word(i + who * pages, k);
		}
	return own;
}

static void make_family(void)
{
	uint64_t *own = become_member(0);

	for (size_t who = 1; who < MEMBERS; who++) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0) {
			own = become_member(who);
			board->members++;
			while (board->order != FAMILY)
				usleep(200);
			look_as_member(who, own);
			for (;;)
				pause();
		}
		/* one after the other: they count */
		while (board->members != who)
			usleep(200);
	}
	board->members = 0;
	board->ready = 1;
	while (board->order != FAMILY)
		usleep(200);
	look_as_member(0, own);
	while (__atomic_load_n(&board->members, __ATOMIC_SEQ_CST) != MEMBERS)
		usleep(200);
	board->done = FAMILY;
}

static void carry_out(enum order order)
{
	char text[24];

	switch (order) {
	case CHECK:
		do_check();
		break;
	case FORK:
		do_fork();
		break;
	case REMAP:
		do_remap();
		break;
	case CALLS:
		do_calls();
		break;
	case EXEC:
		snprintf(text, sizeof(text), "%zu", pages >> 8);
		execl("/proc/self/exe", "sleeper", dir, text, "again", NULL);
		give_up(__LINE__);
		break;
	case LOOP:
		in_threads(look_for_ever);
		break;
	case CHILD_LOOP:
		do_child_loop();
		break;
	case GUARDS:
		do_guards();
		break;
	default:
		break;
	}
}

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void make_huge(void)
{
	char *at = mmap(NULL, (HUGES + 1) * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t t;

	must(at != MAP_FAILED);
	huge = (uint64_t *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	must(madvise(huge, HUGES * HUGE, MADV_HUGEPAGE) == 0 || errno == EINVAL);
	for (size_t i = 0; i < HUGES * HUGE / PAGE; i++)
		for (size_t k = 0; k < WORDS; k++)
			huge[i * WORDS + k] = word(pages + i, k);
	must(pthread_attr_init(&attr) == 0 && pthread_attr_setstack(&attr, (char *)huge + HUGE, STACK) == 0);
	must(pthread_create(&t, &attr, sleep_for_ever, NULL) == 0);
	/* it is on its stack, and has come to rest there */
	usleep(100000);
}

/* So much that it does not come at once. */
static void use_stack(void)
{
	volatile char deep[STACK];

	for (size_t i = 0; i < sizeof(deep); i += 512)
		deep[i] = (char)(i | 1);
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	int fd;

	if (argc < 3)
		return 1;
	dir = argv[1];
	pages = strtoul(argv[2], NULL, 10) << 8;
	snprintf(path, sizeof(path), "%s/board", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	board = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (board == MAP_FAILED)
		return 1;
	close(fd);
	if (argc > 3 && strcmp(argv[3], "again") == 0)
		board->done = EXEC;
	/* a mapping of its own: neighbours would become part of it */
	mem = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mem != MAP_FAILED);
	mem += WORDS;
	must(mprotect(mem, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
	for (size_t i = 0; i < pages; i++)
		for (size_t k = 0; k < WORDS; k++)
			mem[i * WORDS + k] = word(i, k);
	use_stack();
	if (argc > 3 && strcmp(argv[3], "family") == 0)
		make_family();
	if (argc > 3 && strcmp(argv[3], "huge") == 0)
		make_huge();
	board->ready = 1;
	for (;;) {
		uint64_t order = board->order;

		if (order != board->done && order < NR_ORDERS) {
			carry_out((enum order)order);
			board->done = order;
		}
		usleep(200);
	}
}
