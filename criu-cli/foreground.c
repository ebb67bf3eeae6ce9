/* Job control for somebody else; see foreground.h. */
#include "foreground.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static void block(int signo, int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(how, &set, NULL);
}

void foreground_begin(struct foreground *f, pid_t root, pid_t holder, bool stopped)
{
	*f = (struct foreground){ .tty = -1, .root = root, .holder = holder };
	if (!holder)
		return;
	f->tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	f->group = getpgid(root);
	f->left_stopped = stopped;
	/* we are in the background now: neither writing nor taking the terminal back shall stop us */
	block(SIGTTOU, SIG_BLOCK);
}

/* Not from a shell, which may have taken it already. A group without members cannot miss it. */
static void take_back(struct foreground *f)
{
	pid_t now = tcgetpgrp(f->tty);

	if (now == f->holder || now == f->group || (now > 0 && kill(-now, 0) < 0 && errno == ESRCH)) {
		f->holder = now;
		tcsetpgrp(f->tty, getpgrp());
	}
}

/*
 * The whole of our group stops, as it would if the keys had been pressed for it. In a group that no shell watches over the
 * signal stops nobody. SIGCONT continues us even if it is blocked, and stays to be seen. Return: have we been stopped?
 */
static bool stop_self(void)
{
	const struct timespec none = { 0, 0 };
	sigset_t cont;
	bool was;

	sigemptyset(&cont);
	sigaddset(&cont, SIGCONT);
	block(SIGCONT, SIG_BLOCK);
	kill(0, SIGTSTP);
	was = sigtimedwait(&cont, NULL, &none) == SIGCONT;
	block(SIGCONT, SIG_UNBLOCK);
	return was;
}

void foreground_stopped(struct foreground *f)
{
	bool continued;

	take_back(f);
	continued = stop_self();
	if (!continued && f->left_stopped)
		return;
	f->left_stopped = false;
	if (tcgetpgrp(f->tty) == getpgrp())
		tcsetpgrp(f->tty, f->holder);
	if (f->group > 0 && f->group != getpgrp())
		kill(-f->group, SIGCONT);
}

void foreground_end(struct foreground *f)
{
	if (f->tty < 0)
		return;
	take_back(f);
	close(f->tty);
	f->tty = -1;
}
