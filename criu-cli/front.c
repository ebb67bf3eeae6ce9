/* The program around the commands: what is parsed, what is refused, who carries it out. */
#include "cli.h"
#include "ready.h"

#include "base/array.h"
#include "options/engine.h"
#include "options/idle.h"
#include "options/page-server.h"
#include "options/privilege.h"
#include "options/process.h"
#include "options/request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Files and connections of the caller are all that these work on. */
#define WITHOUT_RIGHTS (COMMAND_PAGE_SERVER | COMMAND_DEDUP | COMMAND_CPUINFO)

/* Commands of the interface that this version does not carry out, with the exit code that callers know. */
static const struct {
	enum command bit;
	int code;
	const char *why;
} refused[] = {
	{ COMMAND_EXEC, 255, "exec was removed; compel(1) runs system calls in other processes" },
	{ COMMAND_SHOW, 255, "show was removed; crit(1) shows images" },
};

static int notify(void *arg, const char *script, pid_t pid)
{
	struct cli *c = arg;
	struct cr_log log = log_sink_log(&c->sink);
	int r;

	if (strcmp(script, "query-ext-files") == 0 || strcmp(script, "orphan-pts-master") == 0)
		return 0; /* for clients of the service only */
	r = scripts_run(&c->scripts, script, pid, &log);
	if (r < 0 && strcmp(script, "post-dump") == 0)
		c->script_exit = WEXITSTATUS(c->scripts.status);
	/* servers go to the background first */
	if (r == 0 && c->command == COMMAND_DUMP && strcmp(script, "status-ready") == 0)
		status_ready(c);
	return r;
}

static int open_dirs(struct cli *c, struct cr_error *err)
{
	const char *images = c->s->rpc.images_dir ? c->s->rpc.images_dir : ".";

	c->images_dirfd = engine_open_dir(images, false, "images directory", err);
	if (c->images_dirfd < 0)
		return c->images_dirfd;
	c->work_dirfd = c->s->work_dir ? engine_open_dir(c->s->work_dir, false, "work directory", err)
				       : fcntl(c->images_dirfd, F_DUPFD_CLOEXEC, 3);
	if (c->work_dirfd < 0)
		return c->s->work_dir ? c->work_dirfd : cr_fail(err, -errno, "work directory");
	return fchdir(c->work_dirfd) < 0 ? cr_fail(err, -errno, "enter the work directory") : 0;
}

static int may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err)
{
	struct cli *c = arg;

	return policy_may_dump(&c->caller, pid, tid, err);
}

static int may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err)
{
	struct cli *c = arg;

	return policy_may_restore(&c->caller, creds, err);
}

/*
 * A copy of this program with file capabilities can do more than its caller, who is then held to what a client of the
 * service may do: images, logs and the files of restored processes are reached as he could reach them.
 */
static int limit_caller(struct cli *c, struct cr_error *err)
{
	if (!privilege_lent())
		return 0;
	c->caller.uid = getuid();
	c->caller.gid = getgid();
	if (policy_read_client(getpid(), &c->caller, err) < 0)
		return err->code;
	c->caller.cap_eff = 0; /* what the file gives is not the caller's */
	c->obs.may_dump = may_dump;
	c->obs.may_restore = may_restore;
	privilege_reach();
	return privilege_keep(err);
}

/* What the line names, with none of the capabilities that lead further. At restore that of tracing sleeps on (infect/trace-right.h). */
static int open_files(struct cli *c, struct cr_error *err)
{
	int r = privilege_sleep(err);

	if (r == 0)
		r = open_dirs(c, err);
	if (r == 0)
		r = log_sink_open(&c->sink, AT_FDCWD, c->s->rpc.log_file, c->s->rpc.log_level, err);
	return r == 0 ? privilege_wake(c->command == COMMAND_RESTORE ? CAP_BIT(CAP_SYS_PTRACE) : 0, err) : r;
}

int cli_begin(struct cli *c, const struct settings *s, const struct args *args, enum command command,
	      struct cr_error *err)
{
	struct cr_log log;
	int r;

	*c = (struct cli){ .s = s, .args = args, .command = command, .images_dirfd = -1, .work_dirfd = -1 };
	log_sink_init(&c->sink, command_name(command));
	r = command & WITHOUT_RIGHTS ? 0 : privilege_check(s->rpc.unprivileged, err);
	if (r == 0)
		r = limit_caller(c, err);
	if (r < 0)
		return r;
	r = open_files(c, err);
	if (r < 0)
		return r;
	log_sink_greet(&c->sink);
	log = log_sink_log(&c->sink);
	idle_options_tell(s, c->command, false, &log);
	c->scripts = (struct scripts){ .list = &s->scripts, .images_dirfd = c->images_dirfd };
	c->progress.wanted = !s->json && isatty(STDERR_FILENO);
	engine_options(s, c->images_dirfd, c->work_dirfd, &c->opts);
	c->opts.log_fd = c->sink.fd;
	c->opts.client_is_peer = privilege_lent();
	c->obs.log = log_sink_log(&c->sink);
	if (c->progress.wanted && isatty(c->sink.fd)) {
		c->obs.log.line = report_line;
		c->obs.log.arg = c;
	}
	c->obs.arg = c;
	c->obs.notify = s->scripts.nr || s->has_status_fd ? notify : NULL;
	c->obs.progress = c->progress.wanted ? report_progress : NULL;
	return 0;
}

void cli_end(struct cli *c)
{
	report_progress_end(&c->progress);
	log_sink_done(&c->sink);
	if (c->images_dirfd >= 0)
		close(c->images_dirfd);
	if (c->work_dirfd >= 0)
		close(c->work_dirfd);
}

static int run(const struct settings *s, const struct args *args, enum command command)
{
	struct cr_error err = { 0 };
	struct cli c;
	int code;

	if (cli_begin(&c, s, args, command, &err) < 0) {
		/* missing rights are told on standard output, as scripts know it */
		if (err.code == -EPERM && c.images_dirfd < 0)
			printf("%s\n%s%s", err.text, err.hint, err.hint[0] ? "\n" : "");
		else
			report_early(&err);
		cli_end(&c);
		return CLI_FAILED;
	}
	code = command == COMMAND_DUMP          ? cli_dump(&c)
	       : command == COMMAND_RESTORE     ? cli_restore(&c)
	       : command == COMMAND_CPUINFO     ? cli_cpuinfo(&c)
	       : command == COMMAND_PRE_DUMP    ? cli_pre_dump(&c)
	       : command == COMMAND_DEDUP       ? cli_dedup(&c)
	       : command == COMMAND_LAZY_PAGES  ? cli_lazy_pages(&c)
	       : command == COMMAND_PAGE_SERVER ? cli_page_server(&c)
						: cli_check(&c);
	cli_end(&c);
	return code;
}

static int usage_failure(const struct cr_error *err)
{
	report_early(err);
	help_usage(stdout);
	return CLI_FAILED;
}

static int dispatch(struct settings *s, const struct args *args,
		    int (*serve)(const struct settings *s, const struct args *args))
{
	enum command command = args->nr_words ? command_find(args->words[0]) : 0;
	int max_words = command == COMMAND_CPUINFO || command == COMMAND_SWRK ? 2 : 1;
	struct cr_error err = { 0 };

	if (!args->nr_words) {
		help_usage(stdout);
		return CLI_FAILED;
	}
	if (!command) {
		cr_refuse(&err, -EINVAL, "unknown command %s", args->words[0]);
		return usage_failure(&err);
	}
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (refused[i].bit != command)
			continue;
		cr_refuse(&err, -ENOTSUP, "%s", refused[i].why);
		report_early(&err);
		return refused[i].code;
	}
	if (args->nr_words > max_words) {
		cr_refuse(&err, -EINVAL, "excessive parameter %s", args->words[max_words]);
		return usage_failure(&err);
	}
	if (settings_name_server(s, command, &err) < 0 || settings_check(s, command, &err) < 0) {
		report_early(&err);
		return CLI_FAILED;
	}
	if (command & (COMMAND_SERVICE | COMMAND_SWRK)) {
		if (serve)
			return serve(s, args);
		cr_refuse(&err, -ENOTSUP, "%s is a command of criu and criu-srv", args->words[0]);
		report_early(&err);
		return CLI_FAILED;
	}
	return run(s, args, command);
}

/* Whatever else the line says: the first word that is a command. */
static void give_help(int argc, char **argv)
{
	enum command command = 0;

	for (int i = 1; i < argc && !command; i++)
		command = command_find(argv[i]);
	help_full(stdout, command);
}

int cli_front(int argc, char **argv, int (*serve)(const struct settings *s, const struct args *args))
{
	autosettings struct settings s;
	struct cr_error err = { 0 };
	struct args args;
	int r;

	settings_init(&s);
	if (process_begin() < 0)
		return CLI_FAILED;
	if (privilege_begin(argc, argv, &err) < 0) {
		printf("%s\n", err.text);
		return CLI_FAILED;
	}
	r = args_read(argc, argv, &s, &args, &err);
	if (s.want_help || s.want_version || s.want_man) {
		if (s.want_help)
			give_help(argc, argv);
		else
			(s.want_version ? help_version : help_man)(stdout);
		return fflush(stdout) == 0 ? 0 : CLI_FAILED;
	}
	if (r == 0)
		r = privilege_wake(0, &err);
	if (r < 0)
		return usage_failure(&err);
	return dispatch(&s, &args, serve);
}
