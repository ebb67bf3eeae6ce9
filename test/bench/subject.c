/*
 * What the benchmark checkpoints: subject KIND N, in the directory given as working directory. Makes "ready" when all
 * is set up, then sleeps for good.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "subject: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* random bytes, so that nothing is a zero page and nothing can be shared or packed */
static void fill(uint64_t *p, size_t len)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

static void memory(unsigned long mib)
{
	uint64_t *p = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	fill(p, mib << 20);
}

/* a third of each page, the rest is the same everywhere */
static void threefold(unsigned long mib)
{
	char *p = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	fill((uint64_t *)p, mib << 20);
	for (size_t at = 0; at < mib << 20; at += 4096)
		memset(p + at + 1365, 0x5a, 4096 - 1365);
}

/* the same in huge pages, all of it: it begins at the boundary of one */
static void huge(unsigned long mib)
{
	size_t len = mib << 20, huge_page = (size_t)2 << 20;
	char *p = mmap(NULL, len + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	p += -(uintptr_t)p % huge_page;
	need(madvise(p, len, MADV_HUGEPAGE) == 0, "madvise");
	fill((uint64_t *)p, len);
}

/* in four processes, a quarter in each */
static void tasks(unsigned long mib)
{
	int ends[2];
	char byte;

	need(pipe(ends) == 0, "pipe");
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (pid)
			continue;
		memory(mib / 4);
		close(ends[0]);
		close(ends[1]);
		for (;;)
			pause();
	}
	memory(mib - mib / 4 * 3);
	close(ends[1]);
	while (read(ends[0], &byte, 1) > 0)
		;
	close(ends[0]);
}

static void processes(unsigned long n)
{
	int ends[2];
	char byte;

	need(pipe(ends) == 0, "pipe");
	for (unsigned long i = 1; i < n; i++) {
		pid_t pid = fork();
		need(pid >= 0, "fork");
		if (pid)
			continue;
		close(ends[0]);
		close(ends[1]);
		for (;;)
			pause();
	}
	/* the end of file comes when the last of them has closed its copy */
	close(ends[1]);
	while (read(ends[0], &byte, 1) > 0)
		;
	close(ends[0]);
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void threads(unsigned long n)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (unsigned long i = 1; i < n; i++) {
		errno = pthread_create(&thread, &attr, sleeper, NULL);
		need(errno == 0, "pthread_create");
	}
}

static void many_files(void)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* openings of their own of 100 files, at different positions */
static void descriptors(unsigned long n)
{
	many_files();
	for (unsigned long i = 0; i < n; i++) {
		char name[32];
		snprintf(name, sizeof(name), "file-%02lu", i % 100);
		int fd = open(name, O_RDWR | O_CREAT, 0644);
		need(fd >= 0, "open");
		lseek(fd, (off_t)i, SEEK_SET);
	}
}

/* bound UDP sockets */
static void sockets(unsigned long n)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	many_files();
	for (unsigned long i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		need(fd >= 0, "socket");
		need(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0, "bind");
	}
}

/* counters that one epoll descriptor watches */
static void targets(unsigned long n)
{
	int ep = epoll_create1(0);

	many_files();
	need(ep >= 0, "epoll_create1");
	for (unsigned long i = 0; i < n; i++) {
		int fd = eventfd(0, 0);
		struct epoll_event ev = { .events = EPOLLIN, .data.u64 = i };

		need(fd >= 0, "eventfd");
		need(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
	}
}

/* neighbours of different protection, every tenth with a page in it */
static void mappings(unsigned long n)
{
	char *p = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	for (unsigned long i = 0; i < n; i += 2) {
		need(mprotect(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
		if (i % 10 == 0)
			p[i * PAGE] = 1;
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*make)(unsigned long n);
	} kinds[] = {
		{ "memory", memory },           { "processes", processes }, { "threads", threads },
		{ "descriptors", descriptors }, { "mappings", mappings },   { "sockets", sockets },
		{ "targets", targets },         { "huge", huge },           { "tasks", tasks },
		{ "threefold", threefold },
	};
	unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	int known = argc == 3 && strcmp(argv[1], "small") == 0;

	for (size_t i = 0; argc == 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, argv[1]) == 0) {
			kinds[i].make(n);
			known = 1;
		}
	}
	if (!known) {
		fprintf(stderr, "usage: subject "
				"small|memory|huge|tasks|processes|threads|descriptors|mappings|sockets|targets|threefold N\n");
		return 2;
	}
	close(open("almost", O_WRONLY | O_CREAT, 0644));
	need(rename("almost", "ready") == 0, "rename");
	for (;;)
		pause();
}
