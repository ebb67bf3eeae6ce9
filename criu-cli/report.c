/* What went wrong, and how far it got: for the log, for a person, for a program. */
#include "cli.h"
#include "json.h"

#include "base/buf.h"
#include "base/obstacle.h"
#include "options/engine.h"

#include <string.h>
#include <unistd.h>

/* Text of others on a terminal: control bytes would move the cursor or worse. */
static void print_plain(FILE *out, const char *text, int width)
{
	int nr = 0;

	for (; *text; text++, nr++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
	for (; nr < width; nr++)
		fputc(' ', out);
}

void report_obstacles(FILE *out, const struct obstacles *list)
{
	int comm = 4, where = 5, what = 4;

	if (!list || !list->nr)
		return;
	for (size_t i = 0; i < list->nr; i++) {
		const struct obstacle *o = &list->items[i];

		comm = (int)strlen(o->comm) > comm ? (int)strlen(o->comm) : comm;
		where = (int)strlen(o->where) > where ? (int)strlen(o->where) : where;
		what = (int)strlen(o->what) > what ? (int)strlen(o->what) : what;
	}
	fprintf(out, "  %7s  %-*s  %-*s  %-*s  TRY\n", "PID", comm, "NAME", where, "WHERE", what, "WHAT");
	for (size_t i = 0; i < list->nr; i++) {
		const struct obstacle *o = &list->items[i];

		fprintf(out, "  %7d  ", (int)o->pid);
		print_plain(out, o->comm, comm + 2);
		print_plain(out, o->where, where + 2);
		print_plain(out, o->what, o->advice[0] ? what + 2 : 0);
		print_plain(out, o->advice, 0);
		fputc('\n', out);
	}
}

void report_early(const struct cr_error *err)
{
	fputs("criu: ", stderr);
	print_plain(stderr, err->text, 0);
	fputc('\n', stderr);
	if (err->hint[0]) {
		fputs("  try: ", stderr);
		print_plain(stderr, err->hint, 0);
		fputc('\n', stderr);
	}
}

static void report_json(const struct cli *c, const struct cr_error *err, const struct obstacles *list)
{
	printf("{\"command\":\"%s\",\"success\":false,\"errno\":%d,\"error\":", command_name(c->command), -err->code);
	json_text(stdout, err->text);
	fputs(",\"hint\":", stdout);
	json_text(stdout, err->hint);
	fputs(",\"obstacles\":", stdout);
	json_obstacles(stdout, list);
	fputs("}\n", stdout);
}

void report_failure(struct cli *c, const struct cr_error *err, const struct obstacles *list, const char *marker)
{
	struct cr_log log = log_sink_log(&c->sink);
	bool seen = c->sink.fd == STDERR_FILENO && c->sink.level >= CR_LOG_ERROR;

	report_progress_end(&c->progress);
	log_error(&log, "%s", err->text);
	engine_log_obstacles(&log, list);
	if (err->hint[0])
		log_info(&log, "hint: %s", err->hint);
	if (marker)
		log_error(&log, "%s", marker);
	if (c->s->json)
		report_json(c, err, list);
	/* with the log on standard error, the sentence and the list are there already */
	if (!seen) {
		fprintf(stderr, "criu: %s failed: ", command_name(c->command));
		print_plain(stderr, err->text, 0);
		fputc('\n', stderr);
		report_obstacles(stderr, list);
	}
	if (err->hint[0]) {
		fputs("  try: ", stderr);
		print_plain(stderr, err->hint, 0);
		fputc('\n', stderr);
	}
}

void report_stats(struct cli *c)
{
	autobuf struct buf text = BUF_INIT(4096);
	struct cr_log log = log_sink_log(&c->sink);
	struct cr_error err = { 0 };

	if (!c->s->rpc.display_stats)
		return;
	if (engine_stats_text(c->work_dirfd, c->command == COMMAND_RESTORE, &text, &err) < 0) {
		log_warn(&log, "%s, continuing without showing them", err.text);
		return;
	}
	fputs(text.data ? text.data : "", stdout);
}

/* A terminal is redrawn ten times a second at most; what costs is the terminal, not us. */
static void show(struct cli *c, const char *phase, uint64_t done, uint64_t total)
{
	struct progress *p = &c->progress;
	struct timespec now;
	char text[128];
	int n;

	if (total == 0) {
		snprintf(p->phase, sizeof(p->phase), "%s", phase);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (p->shown && done < total &&
	    (now.tv_sec - p->last.tv_sec) * 1000 + (now.tv_nsec - p->last.tv_nsec) / 1000000 < 100)
		return;
	p->last = now;
	p->shown = true;
	n = snprintf(text, sizeof(text), "\r\033[K%s %s: ", command_name(c->command), p->phase[0] ? p->phase : phase);
	if (total == CR_TOTAL_UNKNOWN)
		snprintf(text + n, sizeof(text) - (size_t)n, "%.1f MiB", done / 1048576.0);
	else
		snprintf(text + n, sizeof(text) - (size_t)n, "%d%% of %.1f MiB",
			 (int)(done >= total ? 100 : done * 100.0 / total), total / 1048576.0);
	fputs(text, stderr);
	fflush(stderr);
}

/* A process that was made while somebody else was writing would wait for that lock for ever: so nobody waits for it. */
void report_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct cli *c = arg;

	if (!c->progress.wanted || ftrylockfile(stderr))
		return;
	show(c, phase, done, total);
	funlockfile(stderr);
}

void report_progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

void report_line(void *arg, enum cr_log_level level, const char *text)
{
	struct cli *c = arg;
	bool ours = ftrylockfile(stderr) == 0;

	if (ours && (int)level <= c->sink.level) {
		report_progress_end(&c->progress);
		fflush(stderr);
	}
	log_sink_line(&c->sink, level, text);
	if (ours)
		funlockfile(stderr);
}
