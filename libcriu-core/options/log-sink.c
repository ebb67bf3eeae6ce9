/* Log files; see log-sink.h. */
#include "options/log-sink.h"

#include "base/error.h"
#include "base/io.h"
#include "base/own-proc.h"
#include "options/utf8.h"
#include "options/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define EARLY_MAX      65536
#define LINE_MAX_BYTES 1200 /* the longest text of cr_log() and what is put around it */

void log_sink_init(struct log_sink *s, const char *scope)
{
	*s = (struct log_sink){ .fd = -1,
				.level = CR_LOG_DEBUG,
				.scope = scope,
				.early = BUF_INIT(EARLY_MAX),
				.has_error = ATOMIC_FLAG_INIT };
	clock_gettime(CLOCK_MONOTONIC, &s->start);
}

static size_t append(char *line, size_t used, size_t size, const char *text)
{
	while (*text) {
		size_t len = utf8_len(text);
		bool plain = len && (unsigned char)*text >= ' ' && *text != 0x7f;

		len = plain ? len : 1;
		if (used + len > size)
			break;
		memcpy(line + used, plain ? text : "?", len);
		used += len;
		text += len;
	}
	return used;
}

/* The part of the line that is kept for the client; its room is bounded, and a character is not cut in two. */
static void keep_first(struct log_sink *s, const char *mark, const char *text)
{
	size_t used = append(s->first_error, 0, LOG_FIRST_ERROR - 2, mark);

	used = append(s->first_error, used, LOG_FIRST_ERROR - 2, text);
	s->first_error[used] = '\n';
}

void log_sink_advise(struct log_sink *s, const char *hint, size_t max)
{
	static const char before[] = " (try: ";
	size_t used = strlen(s->first_error), room = max < LOG_FIRST_ERROR - 1 ? max : LOG_FIRST_ERROR - 1;

	/* whole or not at all: half of an advice may be a wrong one */
	if (!used || !hint[0] || used + strlen(before) + strlen(hint) + 1 > room)
		return;
	used = append(s->first_error, used - 1, LOG_FIRST_ERROR, before);
	used = append(s->first_error, used, LOG_FIRST_ERROR, hint);
	memcpy(s->first_error + used, ")\n", 3);
}

static void write_line(struct log_sink *s, enum cr_log_level level, const struct timespec *at, const char *text)
{
	char line[LINE_MAX_BYTES], mark[64] = "";
	size_t used = 0;

	if (level == CR_LOG_ERROR)
		snprintf(mark, sizeof(mark), "Error (%s): ", s->scope);
	else if (level == CR_LOG_WARN)
		snprintf(mark, sizeof(mark), "Warn  (%s): ", s->scope);
	if (s->priorities) {
		/* of syslog(3): 3 errors, 4 warnings, 6 information, 7 for who looks for faults */
		static const char *const priorities[] = { "<3>", "<3>", "<4>", "<6>", "<7>" };

		used = append(line, used, LINE_MAX_BYTES - 1, priorities[level]);
	} else if (s->level >= CR_LOG_INFO) {
		char when[32];

		snprintf(when, sizeof(when), "(%02lld.%06ld) ", (long long)at->tv_sec, at->tv_nsec / 1000);
		used = append(line, used, LINE_MAX_BYTES - 1, when);
	}
	used = append(line, used, LINE_MAX_BYTES - 1, mark);
	used = append(line, used, LINE_MAX_BYTES - 1, text);
	line[used++] = '\n';
	if (level == CR_LOG_ERROR && !atomic_flag_test_and_set(&s->has_error))
		keep_first(s, mark, text);
	/* a log that cannot be written must not fail the work it is about */
	if ((int)level <= s->level && s->fd >= 0)
		(void)!fd_write_all(s->fd, line, used);
}

void log_sink_line(void *arg, enum cr_log_level level, const char *text)
{
	struct log_sink *s = arg;
	struct timespec now;

	if (s->fd < 0) {
		char c = (char)level;

		if (buf_reserve(&s->early, strlen(text) + 2) == 0) {
			buf_add(&s->early, &c, 1);
			buf_add(&s->early, text, strlen(text) + 1);
		}
		if (level == CR_LOG_ERROR)
			write_line(s, level, &(struct timespec){ 0 }, text);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	now.tv_sec -= s->start.tv_sec;
	now.tv_nsec -= s->start.tv_nsec;
	if (now.tv_nsec < 0) {
		now.tv_sec--;
		now.tv_nsec += 1000000000;
	}
	write_line(s, level, &now, text);
}

int log_sink_open(struct log_sink *s, int dirfd, const char *file, int level, struct cr_error *err)
{
	int fd;

	if (!file || strcmp(file, "-") == 0) {
		log_sink_attach(s, file ? STDOUT_FILENO : STDERR_FILENO, false, level);
		return 0;
	}
	/* a pipe that has the name is not waited for, and what another user has put there as a link is not followed */
	fd = openat(dirfd, file,
		    O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
			    (dirfd != AT_FDCWD && !strchr(file, '/') ? O_NOFOLLOW : 0),
		    0600);
	if (fd < 0)
		return cr_fail(err, -errno, "log file %s", file);
	if (proc_is_own(fd)) {
		close(fd);
		return cr_refuse(err, -EPERM, "log file %s: it belongs to the writer itself", file);
	}
	fcntl(fd, F_SETFL, O_APPEND);
	log_sink_attach(s, fd, true, level);
	return 0;
}

void log_sink_attach(struct log_sink *s, int fd, bool owned, int level)
{
	if (s->owned && s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	s->owned = owned;
	s->level = level;
	for (size_t at = 0; at < s->early.len; at += strlen(s->early.data + at) + 1) {
		enum cr_log_level early = (enum cr_log_level)s->early.data[at++];

		write_line(s, early, &(struct timespec){ 0 }, s->early.data + at);
	}
	buf_done(&s->early);
}

struct cr_log log_sink_log(struct log_sink *s)
{
	return (struct cr_log){ .line = log_sink_line, .arg = s, .level = s->level };
}

void log_sink_greet(struct log_sink *s)
{
	struct cr_log log = log_sink_log(s);
	struct utsname u;

	log_info(&log, "Version: %s (gitid 0)", CR_COMPAT_VERSION);
	if (uname(&u) == 0)
		log_info(&log, "Running on %s %s %s %s %s", u.nodename, u.sysname, u.release, u.version, u.machine);
}

void log_sink_done(struct log_sink *s)
{
	if (s->owned && s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->owned = false;
	buf_done(&s->early);
}
