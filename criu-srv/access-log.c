/* One line per request; see access-log.h. */
#include "access-log.h"
#include "journal.h"

#include "base/io.h"
#include "options/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define ENTRY_MAX 4096

_Static_assert(ENTRY_MAX <= PIPE_BUF, "pipe(7): longer writes may be torn");

/* In quotes, with what would end them or the line taken out: it comes from the client or from its files. */
static int add_quoted(struct buf *b, const char *key, const char *text)
{
	int r = buf_printf(b, " %s=\"", key);

	while (r == 0 && *text) {
		size_t len = utf8_len(text);
		bool plain = len && (unsigned char)*text >= ' ' && *text != 0x7f && *text != '"' && *text != '\\';

		r = buf_add(b, plain ? text : "?", plain ? len : 1);
		text += plain ? len : 1;
	}
	return r < 0 ? r : buf_add(b, "\"", 1);
}

static int add_sentence(struct buf *b, const struct access_entry *e)
{
	int r = buf_printf(b, "request type=%s uid=%u pid=%d", e->what, e->uid, (int)e->pid);

	if (r == 0)
		r = add_quoted(b, "comm", e->comm[0] ? e->comm : "?");
	if (r == 0 && e->target > 0)
		r = buf_printf(b, " target=%d", (int)e->target);
	if (r == 0 && e->repeats > 1)
		r = buf_printf(b, " times=%" PRIu64, e->repeats);
	if (r == 0)
		r = e->error ? buf_printf(b, " result=failed errno=%d", e->error) : buf_printf(b, " result=ok");
	if (r == 0 && e->error && e->why && e->why[0])
		r = add_quoted(b, "why", e->why);
	return r == 0 ? buf_printf(b, " ms=%" PRId64 ".%03d", e->us / 1000, (int)(e->us % 1000)) : r;
}

int access_text(struct buf *b, const struct access_entry *e, bool with_time)
{
	struct tm tm;
	char when[32];
	int r = 0;

	if (with_time && gmtime_r(&e->when.tv_sec, &tm) && strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm))
		r = buf_printf(b, "%s.%03ldZ ", when, e->when.tv_nsec / 1000000);
	if (r == 0)
		r = add_sentence(b, e);
	return r == 0 ? buf_add(b, "\n", 1) : r;
}

int access_fields(struct buf *b, const struct access_entry *e)
{
	autobuf struct buf sentence = BUF_INIT(ENTRY_MAX);
	int r = add_sentence(&sentence, e);

	if (r == 0)
		r = journal_field(b, "MESSAGE", "%s", sentence.data);
	if (r == 0)
		r = journal_field(b, "PRIORITY", "%d", e->error ? LOG_WARNING : LOG_INFO);
	if (r == 0)
		r = journal_field(b, "SYSLOG_IDENTIFIER", "criu-service");
	if (r == 0)
		r = journal_field(b, "CRIU_REQUEST", "%s", e->what);
	if (r == 0)
		r = journal_field(b, "CRIU_CLIENT_UID", "%u", e->uid);
	if (r == 0)
		r = journal_field(b, "CRIU_CLIENT_PID", "%d", (int)e->pid);
	if (r == 0)
		r = journal_field(b, "CRIU_TARGET_PID", "%d", (int)e->target);
	if (r == 0)
		r = journal_field(b, "CRIU_ERRNO", "%d", e->error);
	return r == 0 ? journal_field(b, "CRIU_USEC", "%" PRId64, e->us) : r;
}

/*
 * One write: lines of several workers do not mix. A worker is held to the limits of its client, who may set them while it
 * works (prlimit(2)): how large files may be is no reason for a line to be missing.
 */
static void write_line(const struct access_log *log, const struct buf *b)
{
	ssize_t len;

	do {
		len = write(log->fd, b->data, b->len);
	} while (len < 0 && errno == EINTR);
	if (len == (ssize_t)b->len)
		return;
	if (len > 0 && fd_write_all(log->fd, b->data + len, b->len - (size_t)len) == 0)
		return;
	/* begun it may be, so it goes on a line of its own */
	if (log->spare_fd > 0 && (len <= 0 || write(log->spare_fd, "\n", 1) == 1))
		(void)!write(log->spare_fd, b->data, b->len);
}

void access_write(const struct access_log *log, const struct access_entry *e)
{
	autobuf struct buf b = BUF_INIT(ENTRY_MAX);
	int r;

	if (log->journal_fd >= 0 && access_fields(&b, e) == 0 && journal_send(log->journal_fd, &b) == 0)
		return;
	buf_reset(&b);
	if (log->fd < 0)
		return;
	r = log->priorities ? buf_printf(&b, "<%d>", e->error ? LOG_WARNING : LOG_INFO) : 0;
	if (r == 0 && access_text(&b, e, !log->priorities) == 0)
		write_line(log, &b);
}

void access_pass_on(const struct access_log *log, int pipe_fd)
{
	char text[PIPE_BUF];
	ssize_t len;

	while ((len = read(pipe_fd, text, sizeof(text))) > 0)
		if (log->fd >= 0)
			(void)!fd_write_all(log->fd, text, (size_t)len);
}
