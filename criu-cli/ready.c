/* Going to the background, and saying so; see ready.h. */
#include "ready.h"

#include "cli.h"

#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_pidfile(const struct cli *c, struct cr_error *err)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", (int)getpid());
	autofd int fd = -1;
	int r;

	if (!c->opts.pidfile)
		return 0;
	fd = openat(c->work_dirfd, c->opts.pidfile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return cr_fail(err, -errno, "pidfile %s", c->opts.pidfile);
	r = fd_write_all(fd, text, (size_t)len);
	return r < 0 ? cr_fail(err, r, "pidfile %s", c->opts.pidfile) : 0;
}

void status_ready(struct cli *c)
{
	struct cr_log log = log_sink_log(&c->sink);

	if (!c->s->has_status_fd)
		return;
	if (write(c->s->status_fd, "", 1) != 1)
		log_warn(&log, "status descriptor %d cannot be written to, continuing", c->s->status_fd);
	close(c->s->status_fd);
}

static int tell(struct cli *c, struct cr_error *err)
{
	int r = write_pidfile(c, err);

	if (r < 0)
		return r;
	if (c->obs.notify && (r = c->obs.notify(c->obs.arg, "status-ready", 0)) < 0)
		return cr_refuse(err, r, "a script has refused the server");
	status_ready(c);
	return 0;
}

/* The command has ended with success only if the server is there. Return: 0, in the server alone; negative errno */
static int go_to_background(int *ret_ready, struct cr_error *err)
{
	int fds[2], status = 0;
	char byte;
	pid_t pid;

	fflush(NULL);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "pipe");
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return cr_fail(err, -errno, "fork");
	}
	if (pid > 0) {
		close(fds[1]);
		if (read(fds[0], &byte, 1) == 1)
			_exit(0);
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILED);
	}
	close(fds[0]);
	setsid();
	*ret_ready = fds[1];
	return 0;
}

static void drop_standard_files(const struct cli *c)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		if (fd != c->sink.fd)
			dup2(null, fd);
}

int server_ready(struct cli *c, struct cr_error *err)
{
	autofd int ready = -1;
	int r = c->opts.detached ? go_to_background(&ready, err) : 0;

	if (r == 0)
		r = tell(c, err);
	if (r < 0 || ready < 0)
		return r;
	if (write(ready, "", 1) != 1)
		return cr_fail(err, -errno, "go to the background");
	drop_standard_files(c);
	return 0;
}
