/*
 * How many requests the service answers: VERSION over one connection that is kept open, over a new connection each, and
 * with silent clients in the way.
 *
 *	rpc ADDRESS keep SECONDS [CLIENTS]    requests a second, of CLIENTS at a time
 *	rpc ADDRESS new SECONDS [CLIENTS]     the same with a new connection for each request
 *	rpc ADDRESS silent SECONDS NUMBER     open NUMBER connections, say nothing, and close them after SECONDS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* criu_req: type 10 is VERSION; field 4 is keep_open */
static const unsigned char version[] = { 0x08, 0x0a }, version_and_more[] = { 0x08, 0x0a, 0x20, 0x01 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "rpc: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		die("connect");
	return fd;
}

static void ask(int fd, const void *req, size_t len)
{
	unsigned char answer[256];
	ssize_t got;

	if (send(fd, req, len, 0) != (ssize_t)len)
		die("send");
	got = recv(fd, answer, sizeof(answer), 0);
	/* type VERSION, success */
	if (got < 4 || memcmp(answer, "\x08\x0a\x10\x01", 4) != 0)
		die("no answer");
}

static unsigned long run(const char *path, int fresh, double until)
{
	unsigned long nr = 0;
	int fd = -1;

	while (now() < until) {
		if (fd < 0)
			fd = connect_to(path);
		if (fresh) {
			ask(fd, version, sizeof(version));
			close(fd);
			fd = -1;
		} else {
			ask(fd, version_and_more, sizeof(version_and_more));
		}
		nr++;
	}
	if (fd >= 0)
		close(fd);
	return nr;
}

static void measure(const char *path, int fresh, double seconds, int clients)
{
	double start = now();
	unsigned long all = 0, nr;
	int result[2];

	if (pipe(result) < 0)
		die("pipe");
	for (int i = 0; i < clients; i++) {
		if (fork() != 0)
			continue;
		nr = run(path, fresh, start + seconds);
		exit(write(result[1], &nr, sizeof(nr)) == sizeof(nr) ? 0 : 1);
	}
	close(result[1]);
	while (read(result[0], &nr, sizeof(nr)) == sizeof(nr))
		all += nr;
	while (wait(NULL) > 0)
		;
	printf("%s: %.0f requests a second, %d clients, %lu requests\n", fresh ? "new connections" : "kept open",
	       (double)all / (now() - start), clients, all);
}

static void silent(const char *path, double seconds, int number)
{
	struct rlimit files;
	double start = now();

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < number; i++)
		connect_to(path);
	printf("silent: %d connections in %.0f ms\n", number, (now() - start) * 1000);
	fflush(stdout);
	usleep((useconds_t)(seconds * 1e6));
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: rpc ADDRESS keep|new|silent SECONDS [CLIENTS]\n");
		return 2;
	}
	if (strcmp(argv[2], "silent") == 0)
		silent(argv[1], atof(argv[3]), argc > 4 ? atoi(argv[4]) : 1000);
	else
		measure(argv[1], strcmp(argv[2], "new") == 0, atof(argv[3]), argc > 4 ? atoi(argv[4]) : 1);
	return 0;
}
