/* criu page-server */
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

static void drop_standard_files(void)
{
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
}

static int tell(struct cli *c, uint16_t port, struct cr_error *err)
{
	struct cr_log log = log_sink_log(&c->sink);
	int r = write_pidfile(c, err);

	if (r < 0)
		return r;
	if (c->obs.notify && (r = c->obs.notify(c->obs.arg, "status-ready", 0)) < 0)
		return cr_refuse(err, r, "a script has refused the page server");
	log_info(&log, "Starting page server on port %u", port);
	/* whoever gave no port has to hear which one it is */
	if (port && !c->s->rpc.ps->has_port) {
		printf("Listening on port %u\n", port);
		fflush(stdout);
	}
	if (c->s->has_status_fd) {
		if (write(c->s->status_fd, "", 1) != 1)
			log_warn(&log, "status descriptor %d cannot be written to, continuing", c->s->status_fd);
		close(c->s->status_fd);
	}
	return 0;
}

/* The caller's command has ended when the server is there, and with success only then. Return: in the server alone. */
static int go_to_background(int *ret_ready, struct cr_error *err)
{
	int fds[2], status;
	char byte = 1;
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

static int listening(void *arg, uint16_t port, struct cr_error *err)
{
	struct cli *c = arg;
	autofd int ready = -1;
	int r;

	if (!c->opts.detached)
		return tell(c, port, err);
	r = go_to_background(&ready, err);
	if (r == 0)
		r = tell(c, port, err);
	if (r < 0)
		return r;
	if (write(ready, "", 1) != 1)
		return cr_fail(err, -errno, "go to the background");
	drop_standard_files();
	return 0;
}

int cli_page_server(struct cli *c)
{
	struct cr_error err = { 0 };
	struct cr_context *ctx = cr_context_new(&c->opts, &c->obs);
	int r = ctx ? cr_page_server(ctx, listening, c, &err) : cr_fail(&err, -ENOMEM, "begin");

	if (r < 0)
		report_failure(c, &err, NULL, NULL);
	cr_context_free(ctx);
	return r == 0 ? 0 : CLI_FAILED;
}
