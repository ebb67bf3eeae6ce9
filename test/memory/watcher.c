/*
 * A process that fills memory by a userfaultfd of its own: a page that is missed gets what belongs there from its thread.
 *
 * watcher DIR: each SIGUSR1 has it touch one more page, and write to memory that it does not watch; SIGUSR2 closes the userfaultfd,
 * after which all is filled. DIR/count, mapped, tells how often it has looked at everything, and DIR/fails of what was wrong.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 512ul
#define WORDS (PAGE / sizeof(uint64_t))

static char *own, *plain;
static const char *dir;
static int uffd;
static volatile sig_atomic_t touch, finish;

static void fail(int line)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dprintf(fd, "line %d\n", line);
	_exit(1);
}

#define must(cond) ((cond) ? (void)0 : fail(__LINE__))

static void fill(uint64_t *page, uint64_t seed)
{
	for (size_t i = 0; i < WORDS; i++)
		page[i] = seed * 0x9e3779b97f4a7c15u + i;
}

static void expect(const char *at, uint64_t seed)
{
	uint64_t want[WORDS];

	fill(want, seed);
	for (size_t i = 0; i < WORDS; i++)
		must(((const volatile uint64_t *)at)[i] == want[i]);
}

static void *serve(void *arg)
{
	static uint64_t page[WORDS] __attribute__((aligned(4096)));
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		uint64_t at = msg.arg.pagefault.address & ~(PAGE - 1);
		struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)page, .len = PAGE };

		must(msg.event == UFFD_EVENT_PAGEFAULT);
		fill(page, 1 + (at - (uintptr_t)own) / PAGE);
		must(ioctl(uffd, UFFDIO_COPY, &copy) == 0);
	}
	return arg;
}

static void on_signal(int signo)
{
	if (signo == SIGUSR1)
		touch = 1;
	else
		finish = 1;
}

static void watch(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)own, PAGES * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	must(uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0 && ioctl(uffd, UFFDIO_REGISTER, &reg) == 0);
	must(pthread_create(&thread, NULL, serve, NULL) == 0 && pthread_detach(thread) == 0);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 0, touched = 0;
	char path[PATH_MAX];
	volatile uint64_t *count;
	int fd;

	if (argc != 2)
		return 2;
	dir = argv[1];
	snprintf(path, sizeof(path), "%s/count", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && ftruncate(fd, PAGE) == 0);
	count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	own = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* between them, so that they do not join */
	must(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	plain = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(count != MAP_FAILED && own != MAP_FAILED && plain != MAP_FAILED);
	close(fd);
	watch();
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	for (;; usleep(1000)) {
		if (touch || rounds == 0) {
			touch = 0;
			rounds++;
			touched += touched < PAGES;
			for (size_t i = 0; i < PAGES; i += 1 + rounds % 3)
				fill((uint64_t *)(plain + i * PAGE), rounds * PAGES + i);
		}
		for (size_t i = 0; i < PAGES; i += 1 + rounds % 3)
			expect(plain + i * PAGE, rounds * PAGES + i);
		if (finish) {
			finish = 0;
			for (; touched < PAGES; touched++)
				expect(own + touched * PAGE, 1 + touched);
			must(close(uffd) == 0);
		}
		for (size_t i = 0; i < touched; i++)
			expect(own + i * PAGE, 1 + i);
		*count = *count + 1;
		count[1] = touched;
		count[2] = rounds;
	}
}
