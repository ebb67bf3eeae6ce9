/* criu restore */
#include "cli.h"
#include "foreground.h"

#include "options/process.h"

#include <errno.h>
#include <sys/wait.h>

/* What the root task ended with, as a shell would tell it. */
static int exit_code_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Helpers and re-parented tasks of the tree are ours as well: leaving before them would leave them to somebody else. */
static void wait_children(struct foreground *f, int *status)
{
	for (;;) {
		int one;
		pid_t pid = waitpid(-1, &one, f->tty >= 0 ? WUNTRACED : 0);

		if (pid < 0 && errno != EINTR)
			return;
		if (pid != f->root)
			continue;
		if (WIFSTOPPED(one)) {
			foreground_stopped(f);
			continue;
		}
		*status = one;
		foreground_end(f);
	}
}

/* The restored tree keeps this process as its parent: it turns into the command. */
static int become(struct cli *c)
{
	const struct proto_str_vec *command = &c->s->rpc.exec_cmd;
	struct cr_error err = { 0 };

	cr_fail(&err, process_become(command), "run %s", command->items[0]);
	report_failure(c, &err, NULL, NULL);
	return CLI_FAILED;
}

static void print_result(struct cli *c, const struct cr_restore_result *res)
{
	report_progress_end(&c->progress);
	report_stats(c);
	if (c->s->json)
		printf("{\"command\":\"restore\",\"success\":true,\"pid\":%d}\n", (int)res->pid);
	fflush(stdout);
}

int cli_restore(struct cli *c)
{
	struct cr_restore_result res = { .pid = -1 };
	bool wait = !c->opts.detached;
	struct foreground fg;
	struct cr_error err = { 0 };
	struct cr_context *ctx;
	int r;

	/* results are printed when the tasks run, not when they have ended: waiting is done here */
	c->opts.detached = true;
	c->opts.parent_stays = wait || c->s->rpc.exec_cmd.nr;
	/* who does not stay has nobody to take the terminal back when the job has ended or is stopped */
	c->opts.gives_terminal = wait && !c->s->rpc.exec_cmd.nr;
	ctx = cr_context_new(&c->opts, &c->obs);
	r = ctx ? cr_restore(ctx, &res, &err) : cr_fail(&err, -ENOMEM, "begin");
	foreground_begin(&fg, res.pid, res.foreground, res.stopped);
	if (r < 0)
		report_failure(c, &err, ctx ? cr_obstacles(ctx) : NULL, "Restoring FAILED.");
	else
		print_result(c, &res);
	cr_context_free(ctx);
	if (r < 0)
		return CLI_FAILED;
	if (c->s->rpc.exec_cmd.nr)
		return become(c);
	if (wait)
		wait_children(&fg, &res.exit_status);
	return wait ? exit_code_of(res.exit_status) : 0;
}
