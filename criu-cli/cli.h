/*
 * The command line: argv to a request of the engine, and what a person or a script sees of it. Everything printed by the
 * program is printed here.
 */
#ifndef CRIU_CLI_H
#define CRIU_CLI_H

#include "../criu-srv/policy.h"
#include "criu-core.h"
#include "options/args.h"
#include "options/log-sink.h"
#include "options/scripts.h"
#include "options/settings.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define CLI_FAILED 1

struct progress {
	bool wanted; /* standard error is a terminal */
	bool shown;  /* a line stands there and is to be wiped */
	char phase[32];
	struct timespec last;
};

/* One command being carried out. */
struct cli {
	const struct settings *s;
	const struct args *args;
	enum command command;
	int images_dirfd, work_dirfd;
	struct log_sink sink;
	struct scripts scripts;
	struct progress progress;
	int script_exit; /* exit code of post-dump scripts that failed, else 0 */
	struct cr_options opts;
	struct cr_observer obs;
	struct policy_client caller; /* used only if this program can do more than who called it */
};

/** cli_front() - a whole program: parse, dispatch. @serve: runs service and swrk; NULL: not part of this program. */
int cli_front(int argc, char **argv, int (*serve)(const struct settings *s, const struct args *args));

/** cli_begin() - privileges, directories, log. Return: 0; negative errno with @err filled. Then cli_end() is due either way. */
int cli_begin(struct cli *c, const struct settings *s, const struct args *args, enum command command,
	      struct cr_error *err);
void cli_end(struct cli *c);

/* The commands. Return: exit code. */
int cli_dump(struct cli *c);
int cli_pre_dump(struct cli *c);
int cli_dedup(struct cli *c);
int cli_restore(struct cli *c);
int cli_check(struct cli *c);
int cli_lazy_pages(struct cli *c);
int cli_page_server(struct cli *c);
int cli_cpuinfo(struct cli *c);

/* What is printed; report.c */
/** report_failure() - of a verb: to the log, to standard error for a person, or as JSON. @marker: line of the log, or NULL */
void report_failure(struct cli *c, const struct cr_error *err, const struct obstacles *list, const char *marker);
/** report_early() - before there is a log; @err as it is */
void report_early(const struct cr_error *err);
void report_obstacles(FILE *out, const struct obstacles *list);
void report_stats(struct cli *c);
void report_progress(void *arg, const char *phase, uint64_t done, uint64_t total);
void report_progress_end(struct progress *p);
/** report_line() - a line of the log, which goes to a terminal as well: it does not follow on what is shown of progress */
void report_line(void *arg, enum cr_log_level level, const char *text);

/* Help texts; help.c */
void help_usage(FILE *out);
/** help_full() - @command: only what has a meaning for it; 0: everything */
void help_full(FILE *out, enum command command);
void help_man(FILE *out);
void help_version(FILE *out);

#endif
