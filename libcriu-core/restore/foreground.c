/*
 * The terminal of a shell job. It belongs to the job as long as somebody waits in front of it, as a shell would: a restorer
 * that is itself in the foreground hands it on before the first task runs, so that none is stopped for reading from it.
 */
#include "restore/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A group of the images that exists under its number, in our session. */
static bool is_restored(const struct restore *rs, pid_t group)
{
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		pid_t pid = (pid_t)rs->tasks[i].entry->pid;

		if (!rs->tasks[i].zombie && getpgid(pid) == group && getsid(pid) == getsid(0))
			return true;
	}
	return false;
}

/* Who had it, if that was one of the tree; otherwise the job is brought to the foreground, like any that is started there. */
static pid_t group_to_have_it(const struct restore *rs)
{
	pid_t had = files_foreground_group(rs->files);

	if (had && is_restored(rs, had))
		return had;
	return getsid(rs->root_pid) == getsid(0) ? getpgid(rs->root_pid) : 0;
}

void restore_give_terminal(struct restore *rs)
{
	autofd int tty = -1;
	pid_t group;

	if (!rs->ctx->opts->gives_terminal || !rs->ctx->opts->rpc->shell_job)
		return;
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	if (tty < 0 || tcgetpgrp(tty) != getpgrp())
		return;
	group = group_to_have_it(rs);
	if (group <= 0 || group == getpgrp())
		return;
	if (tcsetpgrp(tty, group) < 0) {
		log_warn(&rs->ctx->log,
			 "process group %d cannot be brought to the foreground: %s, continuing in the background",
			 (int)group, strerror(errno));
		return;
	}
	rs->result->foreground = group;
	log_debug(&rs->ctx->log, "terminal given to process group %d", (int)group);
}
