/* Controlling terminals of sessions in the tree: who has them, who is in the foreground, and what signals they make. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SESSIONS 3

static struct session {
	int master;
	pid_t leader;
	char name[32];
} sessions[SESSIONS];

static int pipe_in[2]; /* what processes of sessions say */

static int pair_new(char name[static 32])
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	need(fd >= 0 && unlockpt(fd) == 0 && ptsname_r(fd, name, 32) == 0);
	return fd;
}

static void lead(const char *name)
{
	int fd;

	need(setsid() == getpid());
	fd = open(name, O_RDWR);
	need(fd >= 0 && tcgetsid(fd) == getpid());
	need(dup2(fd, 10) == 10);
	if (fd != 10)
		close(fd);
}

static void say(const char *text)
{
	if (write(pipe_in[1], text, strlen(text)) < 0)
		_exit(97);
}

static void expect_said(const char *text)
{
	char buf[100];
	size_t got = 0;
	struct pollfd p = { .fd = pipe_in[0], .events = POLLIN };

	while (got < strlen(text) && poll(&p, 1, 3000) == 1) {
		ssize_t n = read(pipe_in[0], buf + got, strlen(text) - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	expect(got == strlen(text) && memcmp(buf, text, got) == 0, "said '%.*s', should be '%s'", (int)got, buf, text);
}

static void expect_echo(int fd, const char *text)
{
	char buf[200];
	size_t got = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (got < strlen(text) && poll(&p, 1, 3000) == 1) {
		ssize_t n = read(fd, buf + got, strlen(text) - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	expect(got == strlen(text) && memcmp(buf, text, got) == 0, "master reads '%.*s', should be '%s'", (int)got, buf, text);
}

static void type(int fd, const char *text)
{
	expect(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "typing");
}

/* -------------------------------------------------------------- job control */

static void on_job_signal(int signo)
{
	say(signo == SIGINT ? "I" : signo == SIGWINCH ? "W" : signo == SIGHUP ? "H" : "?");
}

static void on_leader_signal(int signo)
{
	say(signo == SIGINT ? "i" : signo == SIGWINCH ? "w" : "h");
}

static void catch(void (*fn)(int))
{
	signal(SIGINT, fn);
	signal(SIGWINCH, fn);
	signal(SIGHUP, fn);
}

/* The foreground job: in a group of its own, reads a line and says it. */
static void job(long arg)
{
	char line[100];
	ssize_t n;

	need(setpgid(0, 0) == 0);
	catch(on_job_signal);
	victim_held();
	while (tcgetpgrp(10) != getpid())
		sleep_ms(5);
	for (;;) {
		n = read(10, line, sizeof(line) - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		line[n] = '\0';
		say(line);
	}
	_exit(0);
}

static void leader(long arg)
{
	pid_t pid, tty_pgrp;
	int status;

	lead(sessions[arg].name);
	catch(on_leader_signal);
	pid = victim_fork(job, 0);
	signal(SIGTTOU, SIG_IGN);
	need(tcsetpgrp(10, pid) == 0);
	victim_hold();
	tty_pgrp = tcgetpgrp(10);
	expect(tty_pgrp == pid, "in the foreground is %d, not %d", (int)tty_pgrp, (int)pid);
	expect(tcgetsid(10) == getpid(), "session of the terminal is %d", (int)tcgetsid(10));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static void set_up_jobs(void)
{
	need(pipe2(pipe_in, O_CLOEXEC) == 0);
	for (int i = 0; i < SESSIONS; i++) {
		sessions[i].master = pair_new(sessions[i].name);
		sessions[i].leader = victim_fork(leader, i);
	}
}

static void check_jobs(void)
{
	struct winsize w = { 11, 22, 0, 0 };

	for (int i = 0; i < SESSIONS; i++) {
		type(sessions[i].master, "hello\n");
		expect_said("hello\n");
		expect_echo(sessions[i].master, "hello\r\n");
		type(sessions[i].master, "\003");
		expect_said("I");
		expect_echo(sessions[i].master, "^C");
		expect(ioctl(sessions[i].master, TIOCSWINSZ, &w) == 0, "size");
		expect_said("W");
		type(sessions[i].master, "\004");
		victim_reap(sessions[i].leader);
		close(sessions[i].master);
	}
}

/* --------------------------------------------------------- closed everywhere */

/* The leader has the terminal and no descriptor of it; a child that opens /dev/tty comes to it. */
static void closed_leader(long arg)
{
	int fd;

	lead(sessions[0].name);
	close(10);
	signal(SIGHUP, SIG_IGN);
	victim_hold();
	fd = open("/dev/tty", O_RDWR);
	expect(fd >= 0, "no controlling terminal");
	expect(write(fd, "found\n", 6) == 6, "write");
}

static void set_up_closed(void)
{
	sessions[0].master = pair_new(sessions[0].name);
	sessions[0].leader = victim_fork(closed_leader, 0);
}

static void check_closed(void)
{
	victim_reap(sessions[0].leader);
	expect_echo(sessions[0].master, "found\r\n");
}

/* -------------------------------------------------------------------- /dev/tty */

static void own_leader(long arg)
{
	int fd, copy;

	lead(sessions[0].name);
	fd = open("/dev/tty", O_RDWR | O_NONBLOCK);
	copy = open("/dev/tty", O_WRONLY | O_CLOEXEC);
	need(fd >= 0 && copy >= 0);
	victim_hold();
	expect((fcntl(fd, F_GETFL) & ~0100000) == (O_RDWR | O_NONBLOCK), "flags are %o", fcntl(fd, F_GETFL));
	expect(fcntl(copy, F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect(write(fd, "one\n", 4) == 4 && write(copy, "two\n", 4) == 4, "write");
}

static void set_up_own(void)
{
	sessions[0].master = pair_new(sessions[0].name);
	sessions[0].leader = victim_fork(own_leader, 0);
}

static void check_own(void)
{
	expect_echo(sessions[0].master, "one\r\ntwo\r\n");
	victim_reap(sessions[0].leader);
}

/* ------------------------------------------------------- the leader has gone */

static void dead_member(long arg)
{
	signal(SIGHUP, SIG_IGN);
	victim_held();
	victim_wait();
	expect(write(10, "left\n", 5) == 5, "the terminal is gone");
	expect(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO, "there is a controlling terminal");
}

static void dead_leader(long arg)
{
	lead(sessions[0].name);
	signal(SIGHUP, SIG_IGN);
	victim_fork(dead_member, 0);
	victim_held();
	_exit(0);
}

/* A pseudo terminal goes on without a session (disassociate_ctty() in drivers/tty/tty_jobctrl.c). */
static void set_up_dead(void)
{
	need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	sessions[0].master = pair_new(sessions[0].name);
	pid_t pid = victim_fork(dead_leader, 0);
	need(waitpid(pid, NULL, 0) == pid);
	need(ioctl(sessions[0].master, TIOCGSID, &pid) < 0);
}

static void check_dead(void)
{
	int status;

	while (waitpid(-1, &status, 0) > 0)
		expect(status == 0, "status 0x%x", status);
	int fd = open(sessions[0].name, O_RDWR | O_NOCTTY);
	expect(fd >= 0 && write(fd, "again", 5) == 5, "the terminal is of no use");
	expect_echo(sessions[0].master, "left\r\nagain");
}

/* ------------------------------------------------------------------ given up */

static void gave_up_child(long arg)
{
	victim_hold();
	expect(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO, "there is a controlling terminal");
}

static void gave_up_parent(long arg)
{
	need(ioctl(10, TIOCNOTTY) == 0);
	close(10);
	pid_t pid = victim_fork(gave_up_child, 0);
	victim_hold();
	expect(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO, "there is a controlling terminal");
	victim_reap(pid);
}

static void gave_up_leader(long arg)
{
	lead(sessions[0].name);
	pid_t pid = victim_fork(gave_up_parent, 0);
	victim_hold();
	expect(open("/dev/tty", O_RDWR) >= 0, "no controlling terminal");
	victim_reap(pid);
}

static void set_up_given_up(void)
{
	sessions[0].master = pair_new(sessions[0].name);
	sessions[0].leader = victim_fork(gave_up_leader, 0);
}

static void check_given_up(void)
{
	victim_reap(sessions[0].leader);
}

/* ----------------------------------------------------------------- a shell */

static void shell(long arg)
{
	lead(sessions[0].name);
	for (int i = 0; i < 3; i++)
		dup2(10, i);
	close(10);
	setenv("PS1", "$ ", 1);
	setenv("TERM", "dumb", 1);
	victim_held();
	execl("/bin/bash", "bash", "--norc", "--noprofile", "--noediting", "-i", NULL);
	_exit(98);
}

static bool await(const char *text)
{
	static char buf[4096];
	size_t got = 0;

	for (int i = 0; i < 500; i++) {
		struct pollfd p = { .fd = sessions[0].master, .events = POLLIN };
		ssize_t n = poll(&p, 1, 10) == 1 ? read(p.fd, buf + got, sizeof(buf) - 1 - got) : 0;

		got += n > 0 ? (size_t)n : 0;
		buf[got] = '\0';
		if (strstr(buf, text))
			return true;
	}
	expect(false, "the shell says '%s'", buf);
	return false;
}

static void set_up_shell(void)
{
	sessions[0].master = pair_new(sessions[0].name);
	sessions[0].leader = victim_fork(shell, 0);
	type(sessions[0].master, "sleep 1000 & echo be''gun\n");
	need(await("begun"));
	type(sessions[0].master, "sleep 2000\n");
	for (int i = 0; i < 300; i++) {
		pid_t fg = tcgetpgrp(sessions[0].master);

		if (fg > 0 && fg != sessions[0].leader)
			break;
		sleep_ms(10);
	}
	need(tcgetpgrp(sessions[0].master) != sessions[0].leader);
	sleep_ms(100);
	/* typed ahead: the shell gets it when its job has ended */
	type(sessions[0].master, "echo typed a''head\nhal");
	sleep_ms(50);
}

static void check_shell(void)
{
	int status;

	type(sessions[0].master, "f\032");
	await("Stopped");
	type(sessions[0].master, "jobs\n");
	await("Running");
	type(sessions[0].master, "kill %1 %2; wait; echo al''one\n");
	await("alone");
	type(sessions[0].master, "exit 5\n");
	while (waitpid(sessions[0].leader, &status, 0) < 0 && errno == EINTR)
		;
	expect(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status 0x%x", status);
}

const struct victim_case victim_cases[] = {
	{ "jobs", set_up_jobs, check_jobs, .flags = CASE_MORE },
	{ "closed", set_up_closed, check_closed, .flags = CASE_MORE },
	{ "dev-tty", set_up_own, check_own, .flags = CASE_MORE },
	{ "dead-leader", set_up_dead, check_dead, .flags = CASE_MORE },
	{ "given-up", set_up_given_up, check_given_up },
	{ "shell", set_up_shell, check_shell, .flags = CASE_MORE },
	{ NULL },
};
