/*
 * Many clients at a time, for a long time: each asks for the version, for a check, and now and then for dumps and pre-dumps of a
 * small process of its own, always on a new connection. Some go away in the middle of a series of pre-dumps.
 *
 *	soak ADDRESS DIRECTORY CLIENTS REQUESTS [no-pre-dumps]
 *
 * REQUESTS of all together. Prints how many of each kind were answered and how long; exit status 1 if one failed.
 */
#include "service-client.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum kind { VERSION, CHECK, DUMP, SINGLE, SERIES, LEAVE, KINDS };

#define ROUNDS 2 /* pre-dumps of a series, before its dump */

struct tally {
	unsigned long done[KINDS], failed;
	double longest;
};

struct client {
	const char *address;
	int dir, dir_of_left; /* descriptors */
	pid_t pid;            /* is dumped */
	pid_t left;           /* is dumped by those who do not wait for the end */
};

/* Without ties: a session of its own, the null device, nothing else open; so by the time this returns. */
static pid_t victim(void)
{
	int ready[2];
	char none;
	pid_t pid;

	if (pipe(ready) < 0)
		die("soak: pipe");
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		if (chdir("/") < 0)
			_exit(1);
		/* the pipe as well, last of all: that is the sign */
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (pid < 0 || read(ready[0], &none, 1) != 0)
		die("soak: fork");
	close(ready[0]);
	return pid;
}

static int say(int fd, int type, int dir, pid_t pid)
{
	unsigned char req[REQUEST_MAX];
	int r = ask(fd, req, pid ? put_dump(req, type, dir, pid) : put_plain(req, type, 0));

	if (r < 0)
		fprintf(stderr, "soak: request %d: %s\n", type, errno ? strerror(errno) : "refused");
	return r;
}

static int series(const struct client *c, int fd)
{
	int r = 0;

	for (int i = 0; i < ROUNDS && r == 0; i++)
		r = say(fd, REQ_PRE_DUMP, c->dir, c->pid);
	return r < 0 ? r : say(fd, REQ_DUMP, c->dir, c->pid);
}

/* Whether it is done, called off or refused, since the one before is still under way: nobody is there to be told. */
static int leave(const struct client *c, int fd)
{
	unsigned char req[REQUEST_MAX];

	return send(fd, req, put_dump(req, REQ_PRE_DUMP, c->dir_of_left, c->left), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int one(const struct client *c, enum kind kind)
{
	int fd = connect_to(c->address), r = -1;

	if (fd < 0) {
		fprintf(stderr, "soak: connect: %s\n", strerror(errno));
		return -1;
	}
	switch (kind) {
	case VERSION:
		r = say(fd, REQ_VERSION, -1, 0);
		break;
	case CHECK:
		r = say(fd, REQ_CHECK, -1, 0);
		break;
	case DUMP:
		r = say(fd, REQ_DUMP, c->dir, c->pid);
		break;
	case SINGLE:
		r = say(fd, REQ_SINGLE_PRE_DUMP, c->dir, c->pid);
		break;
	case SERIES:
		r = series(c, fd);
		break;
	case LEAVE:
		r = leave(c, fd);
		break;
	case KINDS:
		break;
	}
	close(fd);
	return r;
}

static int open_dir(const char *where, int number, const char *more)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%d%s", where, number, more);
	fd = mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

/* Is it whole: not stopped, traced by nobody? The last of those who have left may not be through yet. */
static int is_free(pid_t pid)
{
	char path[64], text[4096];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	for (double end = now() + 20; now() < end; usleep(20000)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		close(fd);
		if (n <= 0)
			return 0;
		text[n] = '\0';
		if (strstr(text, "TracerPid:\t0\n") && !strstr(text, "State:\tT") && !strstr(text, "State:\tt"))
			return 1;
	}
	return 0;
}

/* It has outlived all of its dumps. */
static int end_victim(pid_t pid)
{
	return is_free(pid) && kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static enum kind kind_of(unsigned long turn, int pre_dumps)
{
	static const enum kind kinds[20] = {
		[0] = DUMP, [3] = SINGLE, [5] = CHECK, [8] = SERIES, [11] = CHECK, [14] = LEAVE, [17] = CHECK
	};
	enum kind kind = kinds[turn % 20];

	return kind >= SINGLE && !pre_dumps ? VERSION : kind;
}

static void be_client(const char *address, const char *where, int number, unsigned long nr, int pre_dumps, int result)
{
	struct client c = { address, open_dir(where, number, ""), open_dir(where, number, "-left"), victim(),
			    victim() };
	struct tally t = { 0 };

	for (unsigned long i = 0; i < nr; i++) {
		enum kind kind = kind_of(i + (unsigned long)number, pre_dumps);
		double start = now();

		if (one(&c, kind) < 0)
			t.failed++;
		else
			t.done[kind]++;
		if (now() - start > t.longest)
			t.longest = now() - start;
	}
	t.failed += (unsigned long)(end_victim(c.pid) < 0) + (unsigned long)(end_victim(c.left) < 0);
	exit(write(result, &t, sizeof(t)) == sizeof(t) ? 0 : 1);
}

int main(int argc, char **argv)
{
	int clients = argc > 4 ? atoi(argv[3]) : 0, pre_dumps = argc < 6, result[2], ended = 0;
	unsigned long requests = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	struct tally all = { 0 }, t;
	double start = now();

	if (clients < 1 || pipe(result) < 0) {
		fprintf(stderr, "usage: soak ADDRESS DIRECTORY CLIENTS REQUESTS [no-pre-dumps]\n");
		return 2;
	}
	for (int i = 0; i < clients; i++) {
		if (fork() == 0) {
			close(result[0]);
			be_client(argv[1], argv[2], i, (requests + (unsigned long)clients - 1) / (unsigned long)clients,
				  pre_dumps, result[1]);
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
	printf("%lu VERSION, %lu CHECK, %lu DUMP, %lu SINGLE_PRE_DUMP, %lu series of %d pre-dumps and a dump answered, "
	       "%lu "
	       "left in the middle, %lu failed, %d of %d clients came to the end; %.1f s, longest %.0f ms\n",
	       all.done[VERSION], all.done[CHECK], all.done[DUMP], all.done[SINGLE], all.done[SERIES], ROUNDS,
	       all.done[LEAVE], all.failed, ended, clients, now() - start, all.longest * 1000);
	return all.failed || ended != clients;
}
