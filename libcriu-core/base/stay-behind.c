/* Processes that outlive the tool; see stay-behind.h. */
#include "base/stay-behind.h"

#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int close_others(int *fds, size_t nr)
{
	unsigned int from = 3;

	qsort(fds, nr, sizeof(*fds), by_number);
	for (size_t i = 0; i <= nr; i++) {
		unsigned int to = i < nr ? (unsigned int)fds[i] : UINT32_MAX;

		if (i == nr || to > from)
			if (syscall(SYS_close_range, from, i < nr ? to - 1 : to, 0) < 0)
				return -errno;
		from = to + 1;
	}
	return 0;
}

int stay_powerless(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capset, &head, none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return 0;
}

int stay_behind(int *fds, size_t nr, const char *name)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	struct rlimit none_at_all = { 0, 0 };
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	if (null < 0)
		return -errno;
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	(void)take_fd(&null); /* closed with the others */
	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &plain, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* of what the tool had in memory; whoever may send it signals could have the soft limit raised */
	setrlimit(RLIMIT_CORE, &none_at_all);
	prctl(PR_SET_NAME, name);
	prctl(PR_SET_PDEATHSIG, 0);
	if (chdir("/") < 0)
		return -errno;
	return close_others(fds, nr);
}
