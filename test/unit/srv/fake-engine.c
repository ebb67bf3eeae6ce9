/* The verbs of the engine, replaced by notes; see srv-test.h. */
#include "srv-test.h"

#include "criu-core.h"
#include "kernel/context.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

int fake_life[2] = { -1, -1 };

int __wrap_cr_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err);
int __wrap_cr_restore(struct cr_context *ctx, struct cr_restore_result *ret, struct cr_error *err);
int __wrap_cr_check(struct cr_context *ctx, const struct cr_check_row **rows, size_t *nr, struct cr_error *err);
int __wrap_cr_pre_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err);
int __wrap_cr_page_server(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err),
			  void *arg, struct cr_error *err);

static void note(struct cr_context *ctx, const char *call)
{
	const struct cr_options *o = ctx->opts;

	strncat(fake->calls, call, sizeof(fake->calls) - strlen(fake->calls) - 1);
	strncat(fake->calls, " ", sizeof(fake->calls) - strlen(fake->calls) - 1);
	fake->pid = o->pid;
	fake->engine_pid = getpid();
	fake->engine_sid = getsid(0);
	fake->service_ino = o->service_ino;
	fake->service_first = o->service_first;
	fake->sibling = o->foreground_sibling;
	fake->leave_running = o->rpc->leave_running;
	fake->images_there = fcntl(o->images_dirfd, F_GETFD) >= 0;
	fake->may_give = ctx->obs->give_fd != NULL;
	if (fake->dies)
		raise(SIGKILL);
}

static int give_fd(const struct cr_observer *obs)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), r;

	if (!obs->give_fd) {
		close(fd);
		return -ENOSYS;
	}
	r = obs->give_fd(obs->arg, "orphan-pts-master", fd);
	close(fd);
	return r;
}

static int run_stages(struct cr_context *ctx, struct cr_error *err)
{
	const struct cr_observer *obs = ctx->obs;
	int r = 0;

	if (fake->give_fd)
		fake->give_result = give_fd(obs);
	for (int i = 0; i < fake->nr_stages; i++) {
		r = obs->notify ? obs->notify(obs->arg, fake->stages[i].script, fake->stages[i].pid) : 0;
		if (fake->nr_results < FAKE_STAGES)
			fake->results[fake->nr_results++] = r;
		if (r < 0 && !fake->stages[i].optional)
			return cr_refuse(err, r, "stage %s was refused", fake->stages[i].script);
	}
	for (size_t i = 0; i < ctx->opts->rpc->external.nr && i < 8; i++) {
		strncat(fake->externals, ctx->opts->rpc->external.items[i],
			sizeof(fake->externals) - strlen(fake->externals) - 1);
		strncat(fake->externals, " ", sizeof(fake->externals) - strlen(fake->externals) - 1);
	}
	return fake->code < 0 ? cr_refuse(err, fake->code, "%s", fake->why ? fake->why : "told to fail") : 0;
}

int __wrap_cr_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err)
{
	*ret = (struct cr_dump_result){ 0 };
	note(ctx, "dump");
	return run_stages(ctx, err);
}

int __wrap_cr_restore(struct cr_context *ctx, struct cr_restore_result *ret, struct cr_error *err)
{
	note(ctx, "restore");
	*ret = (struct cr_restore_result){ .pid = fake->restored_pid };
	return run_stages(ctx, err);
}

int __wrap_cr_check(struct cr_context *ctx, const struct cr_check_row **rows, size_t *nr, struct cr_error *err)
{
	note(ctx, "check");
	*rows = NULL;
	*nr = 0;
	return run_stages(ctx, err);
}

int __wrap_cr_pre_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err)
{
	*ret = (struct cr_dump_result){ 0 };
	note(ctx, "pre-dump");
	return run_stages(ctx, err);
}

/* Until it is killed, or the test program has ended, in whatever way: nobody would look for it then. */
static void stay(void)
{
	struct pollfd pfd = { .fd = fake_life[0] };

	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
	_exit(1);
}

int __wrap_cr_page_server(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err),
			  void *arg, struct cr_error *err)
{
	int r;

	note(ctx, "page-server");
	r = run_stages(ctx, err);
	if (r == 0)
		r = listening(arg, fake->port, err);
	if (r < 0)
		return r;
	if (fake->lives)
		stay();
	if (fake->exit_code)
		_exit(fake->exit_code);
	return 0;
}
