/*
 * Descriptors of one description stay so, whatever somebody outside of the tree does to it meanwhile; and descriptions of one file
 * that look alike stay apart.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 700

static int fds[MANY], nr, apart;

static int open_file(void)
{
	int fd = open(victim_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	need(fd >= 0);
	return fd;
}

/* Not in the tree, since its parent has ended, and there as long as that is: position and flags that the descriptions have in common change all the time. */
static void restless(void)
{
	pid_t root = getpid(), pid = fork();

	need(pid >= 0);
	if (pid == 0) {
		if (fork() != 0)
			_exit(0);
		setsid();
		for (int i = 0; i % 1000 || kill(root, 0) == 0; i++) {
			lseek(fds[0], i % 4096, SEEK_SET);
			fcntl(fds[0], F_SETFL, i & 1 ? O_NONBLOCK : 0);
		}
		_exit(0);
	}
	need(waitpid(pid, NULL, 0) == pid);
}

static void set_up(int count)
{
	struct rlimit rl = { MANY * 2, MANY * 2 };

	need(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	nr = count;
	fds[0] = open_file();
	for (int i = 1; i < nr; i++)
		need((fds[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0)) >= 0);
	apart = open_file();
	restless();
}

static void set_up_few(void)
{
	set_up(100);
}

static void set_up_many(void)
{
	set_up(MANY);
}

static void check(void)
{
	int astray = 0;

	expect(lseek(fds[0], 12345, SEEK_SET) == 12345, "lseek");
	for (int i = 1; i < nr; i++)
		astray += lseek(fds[i], 0, SEEK_CUR) != 12345;
	expect(astray == 0, "%d of %d descriptors have a position of their own", astray, nr);
	expect(lseek(apart, 0, SEEK_CUR) == 0, "another description has lost its position");
}

const struct victim_case victim_cases[] = {
	{ "restless", set_up_few, check, .flags = CASE_ALTERS },
	{ "restless-many", set_up_many, check, .flags = CASE_ALTERS },
	{ NULL },
};
