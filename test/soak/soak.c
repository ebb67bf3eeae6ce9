/*
 * Many clients at a time, for a long time: each asks for the version, for a check and now and then for a dump of a small
 * process of its own, always on a new connection.
 *
 *	soak ADDRESS DIRECTORY CLIENTS REQUESTS
 *
 * REQUESTS of all together. Prints how many of each kind were answered and how long; exit status 1 if one failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { VERSION, CHECK, DUMP, KINDS };

struct tally {
	unsigned long done[KINDS], failed;
	double longest;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Without ties: a session of its own, the null device, nothing else open. */
static pid_t victim(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		if (chdir("/") < 0)
			_exit(1);
		for (;;)
			pause();
	}
	if (pid < 0)
		die("fork");
	return pid;
}

static size_t put(unsigned char *at, unsigned long n)
{
	size_t len = 0;

	for (; n > 0x7f; n >>= 7)
		at[len++] = (unsigned char)(n | 0x80);
	at[len++] = (unsigned char)n;
	return len;
}

/* criu_req { type = 1, opts = 2 { images_dir_fd = 1, pid = 2, leave_running = 3, log_level = 9 } } */
static size_t request(unsigned char *at, enum kind kind, int dir, pid_t pid)
{
	static const unsigned char types[] = { 10, 3, 1 };
	unsigned char opts[32];
	size_t len = 0, used = 0;

	at[used++] = 1 << 3;
	at[used++] = types[kind];
	if (kind != DUMP)
		return used;
	opts[len++] = 1 << 3;
	len += put(opts + len, (unsigned long)dir);
	opts[len++] = 2 << 3;
	len += put(opts + len, (unsigned long)pid);
	opts[len++] = 3 << 3;
	opts[len++] = 1;
	opts[len++] = 9 << 3;
	opts[len++] = 1;
	at[used++] = 2 << 3 | 2;
	used += put(at + used, len);
	memcpy(at + used, opts, len);
	return used + len;
}

static int ask(const char *address, const unsigned char *req, size_t len)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = 60 };
	unsigned char answer[1024];
	ssize_t got = -1;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", address);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (sock >= 0 && connect(sock, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    send(sock, req, len, MSG_NOSIGNAL) > 0)
		got = recv(sock, answer, sizeof(answer), 0);
	if (sock >= 0)
		close(sock);
	/* type as asked, success */
	if (got >= 4 && answer[1] == req[1] && answer[2] == 2 << 3 && answer[3] == 1)
		return 0;
	fprintf(stderr, "soak: request %d: %s\n", req[1], got < 0 ? strerror(errno) : got == 0 ? "closed" : "refused");
	return -1;
}

/* Of twenty requests one is a dump and three are checks. */
static void be_client(const char *address, const char *where, int number, unsigned long nr, int result)
{
	struct tally t = { 0 };
	char dir[4096];
	pid_t pid = victim();
	int fd;

	snprintf(dir, sizeof(dir), "%s/%d", where, number);
	fd = mkdir(dir, 0700) < 0 && errno != EEXIST ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die(dir);
	for (unsigned long i = 0; i < nr; i++) {
		unsigned long turn = (i + (unsigned long)number) % 20;
		enum kind kind = turn == 0 ? DUMP : turn % 6 == 5 ? CHECK : VERSION;
		unsigned char req[64];
		double start = now();

		if (ask(address, req, request(req, kind, fd, pid)) < 0)
			t.failed++;
		else
			t.done[kind]++;
		if (now() - start > t.longest)
			t.longest = now() - start;
	}
	/* it has outlived all of its dumps */
	if (kill(pid, SIGKILL) < 0 || waitpid(pid, NULL, 0) != pid)
		t.failed++;
	exit(write(result, &t, sizeof(t)) == sizeof(t) ? 0 : 1);
}

int main(int argc, char **argv)
{
	int clients = argc > 4 ? atoi(argv[3]) : 0, result[2], ended = 0;
	unsigned long requests = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	struct tally all = { 0 }, t;
	double start = now();

	if (clients < 1 || pipe(result) < 0) {
		fprintf(stderr, "usage: soak ADDRESS DIRECTORY CLIENTS REQUESTS\n");
		return 2;
	}
	for (int i = 0; i < clients; i++) {
		if (fork() == 0) {
			close(result[0]);
			be_client(argv[1], argv[2], i, (requests + (unsigned long)clients - 1) / (unsigned long)clients,
				  result[1]);
		}
	}
	close(result[1]);
	for (; read(result[0], &t, sizeof(t)) == sizeof(t); ended++) {
		for (int k = 0; k < KINDS; k++)
			all.done[k] += t.done[k];
		all.failed += t.failed;
		all.longest = t.longest > all.longest ? t.longest : all.longest;
	}
	while (wait(NULL) > 0)
		;
	printf("%lu VERSION, %lu CHECK, %lu DUMP answered, %lu failed, %d of %d clients came to the end; %.1f s, "
	       "longest %.0f ms\n",
	       all.done[VERSION], all.done[CHECK], all.done[DUMP], all.failed, ended, clients, now() - start,
	       all.longest * 1000);
	return all.failed || ended != clients;
}
