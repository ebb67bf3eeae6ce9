/*
 * How many requests the service answers: VERSION over one connection that is kept open, over a new connection each, and
 * with silent clients in the way.
 *
 *	rpc ADDRESS keep SECONDS [CLIENTS]    requests a second, of CLIENTS at a time
 *	rpc ADDRESS new SECONDS [CLIENTS]     the same with a new connection for each request
 *	rpc ADDRESS silent SECONDS NUMBER     open NUMBER connections, say nothing, and close them after SECONDS
 */
#include "service-client.h"

#include <sys/resource.h>
#include <sys/wait.h>

static int open_one(const char *path)
{
	int fd = connect_to(path);

	if (fd < 0)
		die("rpc: connect");
	return fd;
}

static void ask_version(int fd, int keep_open)
{
	unsigned char req[REQUEST_MAX];

	if (ask(fd, req, put_plain(req, REQ_VERSION, keep_open)) < 0)
		die("rpc: no answer");
}

static unsigned long run(const char *path, int fresh, double until)
{
	unsigned long nr = 0;
	int fd = -1;

	while (now() < until) {
		if (fd < 0)
			fd = open_one(path);
		if (fresh) {
			ask_version(fd, 0);
			close(fd);
			fd = -1;
		} else {
			ask_version(fd, 1);
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
		die("rpc: pipe");
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
		open_one(path);
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
