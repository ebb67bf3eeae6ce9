/* File locks of several processes on one file, of each kind, and who is in whose way afterwards. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

static int shared, own, duplicate;
static pid_t kids[3];

static int lock(int fd, int cmd, int type, long start, long len)
{
	struct flock fl = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &fl);
}

/* Who would be in the way of a lock: 0 nobody, -1 a description, else a process */
static pid_t in_the_way(int fd, int cmd, int type, long start, long len)
{
	struct flock fl = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	if (fcntl(fd, cmd, &fl) < 0)
		return -2;
	return fl.l_type == F_UNLCK ? 0 : fl.l_pid;
}

static int open_file(void)
{
	int fd = open(victim_path("file"), O_RDWR | O_CREAT, 0600);

	need(fd >= 0);
	return fd;
}

static void kid(long n)
{
	int fd = open_file();

	/* records of its own between those of others, one for reading that all have */
	need(lock(fd, F_SETLK, F_WRLCK, 100 + n * 10, 10) == 0 && lock(fd, F_SETLK, F_RDLCK, 1000, 0) == 0);
	victim_hold();
	for (int i = 0; i < 3; i++) {
		pid_t pid = in_the_way(fd, F_GETLK, F_WRLCK, 100 + i * 10, 10);

		expect(i == n ? pid == 0 : pid > 0 && pid != getpid(), "record %d: process %d", i, (int)pid);
	}
	expect(in_the_way(fd, F_GETLK, F_RDLCK, 2000, 1) == 0 && in_the_way(fd, F_GETLK, F_WRLCK, 2000, 1) > 0,
	       "the lock for reading is none");
	/* the description of the parent has it, so it is here too */
	expect(flock(shared, LOCK_EX | LOCK_NB) == 0, "flock of the shared description");
	expect(flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK, "nothing is in the way of flock");
	expect(in_the_way(fd, F_OFD_GETLK, F_RDLCK, 50, 1) == -1, "description lock: %d",
	       (int)in_the_way(fd, F_OFD_GETLK, F_RDLCK, 50, 1));
	/* the others look, too */
	sleep_ms(700);
}

static void set_up_many(void)
{
	shared = open_file();
	own = open_file();
	need(flock(shared, LOCK_EX) == 0 && lock(own, F_OFD_SETLK, F_WRLCK, 0, 60) == 0);
	need((duplicate = dup(own)) >= 0);
	for (int i = 0; i < 3; i++)
		kids[i] = victim_fork(kid, i);
	need(lock(own, F_SETLK, F_RDLCK, 1000, 0) == 0);
}

static void check_many(void)
{
	for (int i = 0; i < 3; i++)
		victim_reap(kids[i]);
	expect(in_the_way(own, F_GETLK, F_WRLCK, 100, 100) == 0, "somebody who ended has a lock");
	close(own);
	/* the duplicate keeps the lock of the description, and the process lost its own */
	int fd = open_file();
	expect(in_the_way(fd, F_OFD_GETLK, F_RDLCK, 50, 1) == -1, "the duplicate has lost the lock");
	close(duplicate);
	expect(in_the_way(fd, F_OFD_GETLK, F_RDLCK, 50, 1) == 0, "the lock outlives its description");
}

/* ------------------------------- whose taker has ended: in a pid namespace /proc/locks does not have it */

#define MANY 1600 /* more than are looked at one by one elsewhere */

static void take_and_end(long unused)
{
	(void)unused;
	need(flock(shared, LOCK_EX) == 0);
	victim_held();
}

static void set_up_orphan(void)
{
	struct rlimit rl = { MANY * 2, MANY * 2 };

	need(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	shared = open_file();
	victim_reap(victim_fork(take_and_end, 0));
	for (int i = 0; i < MANY; i++)
		need(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

static void check_orphan(void)
{
	int fd = open_file();

	expect(flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK, "nothing is in the way of flock");
	expect(flock(shared, LOCK_UN) == 0 && flock(fd, LOCK_SH | LOCK_NB) == 0, "flock");
}

const struct victim_case victim_cases[] = {
	{ "many", set_up_many, check_many, "--file-locks", "--file-locks", .flags = CASE_MORE },
	/* whose number fdinfo shows as 0 has one afterwards */
	{ "orphan", set_up_orphan, check_orphan, "--file-locks", "--file-locks", .flags = CASE_ALTERS },
	{ "orphan-unasked", set_up_orphan, .refuse = "flock lock|--file-locks" },
	{ NULL },
};
