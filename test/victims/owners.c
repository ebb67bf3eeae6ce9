/* Owners and signals of descriptors, for every kind that can signal: who gets it, which, and for which descriptor. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIPE, FIFO, MASTER, SLAVE, INOTIFY, KINDS };

static const char *const names[KINDS] = { "pipe", "fifo", "master", "slave", "inotify" };
static int fds[KINDS], others[KINDS];
static struct f_owner_ex owners[KINDS];
static volatile sig_atomic_t got[KINDS], got_tid[KINDS];
static pid_t thread_tid;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	int kind = signo - SIGRTMIN - 4;

	got[kind] = info->si_fd + 1;
	got_tid[kind] = (int)syscall(SYS_gettid);
}

static void *thread(void *arg)
{
	thread_tid = (pid_t)syscall(SYS_gettid);
	victim_thread_ready();
	victim_wait();
	sleep_ms(2500);
	return NULL;
}

static void open_all(void)
{
	int p[2], no = 0;

	need(pipe(p) == 0);
	fds[PIPE] = p[0];
	others[PIPE] = p[1];
	need(mkfifo(victim_path("fifo"), 0600) == 0 || errno == EEXIST);
	need((fds[FIFO] = open(victim_path("fifo"), O_RDWR)) >= 0);
	need((others[FIFO] = open(victim_path("fifo"), O_WRONLY)) >= 0);
	need((fds[MASTER] = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0 && ioctl(fds[MASTER], TIOCSPTLCK, &no) == 0);
	need((others[MASTER] = ioctl(fds[MASTER], TIOCGPTPEER, O_RDWR | O_NOCTTY)) >= 0);
	need((others[SLAVE] = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0 && ioctl(others[SLAVE], TIOCSPTLCK, &no) == 0);
	need((fds[SLAVE] = ioctl(others[SLAVE], TIOCGPTPEER, O_RDWR | O_NOCTTY)) >= 0);
	spill(victim_path("watched"), "x", 1);
	need((fds[INOTIFY] = inotify_init1(IN_NONBLOCK)) >= 0);
	need((others[INOTIFY] = open(victim_path("watched"), O_WRONLY)) >= 0);
	need(inotify_add_watch(fds[INOTIFY], victim_path("watched"), IN_MODIFY) == 1);
}

static void set_up(int type, pid_t pid)
{
	for (int i = 0; i < KINDS; i++) {
		struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

		owners[i] = (struct f_owner_ex){ .type = type, .pid = pid };
		need(sigaction(SIGRTMIN + 4 + i, &sa, NULL) == 0);
		need(fcntl(fds[i], F_SETOWN_EX, &owners[i]) == 0 && fcntl(fds[i], F_SETSIG, SIGRTMIN + 4 + i) == 0);
		need(fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_ASYNC) == 0);
	}
}

static void check(void)
{
	for (int i = 0; i < KINDS; i++) {
		struct f_owner_ex o = { 0 };

		expect(fcntl(fds[i], F_GETOWN_EX, &o) == 0 && o.type == owners[i].type && o.pid == owners[i].pid,
		       "%s: owner is %d of type %d", names[i], o.pid, (int)o.type);
		expect(fcntl(fds[i], F_GETSIG) == SIGRTMIN + 4 + i, "%s: signal is %d", names[i], fcntl(fds[i], F_GETSIG));
		expect(fcntl(fds[i], F_GETFL) & O_ASYNC, "%s: not asynchronous", names[i]);
		expect(write(others[i], "\n", 1) == 1, "%s: write", names[i]);
		for (int k = 0; k < 100 && !got[i]; k++)
			sleep_ms(10);
		expect(got[i] == fds[i] + 1, "%s: signal for descriptor %d, not %d", names[i], (int)got[i] - 1, fds[i]);
		expect(owners[i].type != F_OWNER_TID || got_tid[i] == owners[i].pid, "%s: thread %d was told", names[i],
		       (int)got_tid[i]);
	}
}

static void set_up_process(void)
{
	open_all();
	set_up(F_OWNER_PID, getpid());
}

static void set_up_group(void)
{
	open_all();
	set_up(F_OWNER_PGRP, getpgrp());
}

static unsigned long handle;

static void set_up_thread(void)
{
	open_all();
	handle = victim_thread(thread, NULL);
	set_up(F_OWNER_TID, thread_tid);
}

static void check_thread(void)
{
	check();
	victim_join(handle);
}

const struct victim_case victim_cases[] = {
	{ "process", set_up_process, check, .flags = CASE_MORE },
	{ "group", set_up_group, check },
	{ "thread", set_up_thread, check_thread, .flags = CASE_MORE },
	{ NULL },
};
