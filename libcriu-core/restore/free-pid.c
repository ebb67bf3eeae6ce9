#include "restore/free-pid.h"

#include "base/clock.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#define PAUSE_US 1000

static bool is_free(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/* One that cannot be looked at any more is about to be free. */
static bool has_ended(pid_t pid)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	struct proc_stat st;
	int r = proc_dir_open(AT_FDCWD, pid, &dir, NULL);

	if (r == 0)
		r = proc_stat_read(&dir, &st, NULL);
	return r == -ESRCH || (r == 0 && (st.state == 'Z' || st.state == 'X'));
}

int free_pid_await(pid_t pid, uint64_t deadline_ns, struct cr_error *err)
{
	bool ended = true;

	while (!is_free(pid)) {
		ended = has_ended(pid);
		if (!ended || monotonic_ns() >= deadline_ns)
			break;
		usleep(PAUSE_US);
	}
	if (is_free(pid))
		return 0;
	if (ended)
		cr_refuse(err, -EEXIST, "pid %d is taken by another process, which has ended, but its parent has not taken note of that", pid);
	else
		cr_refuse(err, -EEXIST, "pid %d is taken by another process", pid);
	cr_advise(err, "restore in a pid namespace of its own (unshare --pid --fork --mount-proc), or wait until that "
		       "process has ended");
	return -EEXIST;
}
