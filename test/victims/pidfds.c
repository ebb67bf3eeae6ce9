/* Descriptors of processes: alive, ended and not waited for, ended and forgotten. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int fd, twin, other;
static pid_t kid;

static int open_pid(pid_t pid, unsigned int flags)
{
	int r = (int)syscall(SYS_pidfd_open, pid, flags);

	need(r >= 0);
	return r;
}

static bool has_ended(int of)
{
	struct pollfd p = { .fd = of, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void waits(long arg)
{
	victim_hold();
}

static void set_up_alive(void)
{
	kid = victim_fork(waits, 0);
	fd = open_pid(kid, O_NONBLOCK);
	other = open_pid(getpid(), 0);
}

static void check_alive(void)
{
	siginfo_t info;

	expect(fcntl(fd, F_GETFL) & O_NONBLOCK, "flags are %o", fcntl(fd, F_GETFL));
	expect(syscall(SYS_pidfd_send_signal, other, 0, NULL, 0) == 0, "our own is of nobody");
	for (int i = 0; i < 300 && !has_ended(fd); i++)
		sleep_ms(10);
	expect(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == kid && info.si_status == 0, "wait");
}

static void set_up_zombie(void)
{
	siginfo_t info;

	kid = fork();
	need(kid >= 0);
	if (kid == 0)
		_exit(33);
	fd = open_pid(kid, 0);
	need(waitid(P_PID, (id_t)kid, &info, WEXITED | WNOWAIT) == 0);
}

static void check_zombie(void)
{
	siginfo_t info;

	expect(has_ended(fd), "it runs");
	expect(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == kid && info.si_status == 33, "status is %d",
	       info.si_status);
}

struct info {
	uint64_t mask, cgroupid;
	uint32_t pids[11];
	int32_t exit_code;
};

static int exit_code(int of)
{
	struct info i = { .mask = 1 << 3 };

	_Static_assert(sizeof(i) == 64, "as in linux/pidfd.h");
	return ioctl(of, _IOWR(0xFF, 11, struct info), &i) < 0 || !(i.mask & 1 << 3) ? -1 : i.exit_code;
}

static int codes[2];

static void set_up_forgotten(void)
{
	kid = fork();
	need(kid >= 0);
	if (kid == 0)
		_exit(44);
	fd = open_pid(kid, 0);
	twin = open_pid(kid, O_NONBLOCK);
	need(waitpid(kid, NULL, 0) == kid);
	kid = fork();
	need(kid >= 0);
	if (kid == 0)
		for (;;)
			pause();
	other = open_pid(kid, 0);
	kill(kid, SIGTERM);
	need(waitpid(kid, NULL, 0) == kid);
	codes[0] = exit_code(fd);
	codes[1] = exit_code(other);
}

static void check_forgotten(void)
{
	int all[] = { fd, twin, other };

	for (int i = 0; i < 3; i++) {
		expect(has_ended(all[i]), "%d runs", i);
		expect(syscall(SYS_pidfd_send_signal, all[i], 0, NULL, 0) < 0 && errno == ESRCH, "%d takes a signal", i);
	}
	expect(fcntl(twin, F_GETFL) & O_NONBLOCK && !(fcntl(fd, F_GETFL) & O_NONBLOCK), "flags");
	expect(exit_code(fd) == codes[0] && exit_code(twin) == codes[0] && exit_code(other) == codes[1],
	       "ended with %x %x %x, was %x %x", exit_code(fd), exit_code(twin), exit_code(other), codes[0], codes[1]);
}

static void set_up_outside(void)
{
	fd = open_pid(getppid(), 0);
}

const struct victim_case victim_cases[] = {
	{ "alive", set_up_alive, check_alive, .flags = CASE_MORE },
	{ "zombie", set_up_zombie, check_zombie, .flags = CASE_MORE },
	{ "forgotten", set_up_forgotten, check_forgotten, .flags = CASE_MORE },
	{ "outside", set_up_outside, NULL, .refuse = "outside of the tree" },
	{ NULL },
};
