/* Parsing of the common lines of fdinfo; see fdinfo.h. */
#include "procfs/fdinfo.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum fdinfo_seen { SEEN_POS = 1, SEEN_FLAGS = 2 };

static int flags_scan(struct scan *s, uint32_t *ret)
{
	uint64_t v;
	int r = scan_oct(s, &v);

	if (r < 0)
		return r;
	if (v > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)v;
	return 0;
}

static int lock_add(const struct scan *line, struct proc_fdinfo *f, struct cr_error *err)
{
	struct proc_lock lock, *l;
	int r = proc_lock_parse_line(line, &lock, err);

	if (r < 0)
		return r;
	if (f->locks.nr >= PROC_LOCKS_MAX)
		return cr_fail(err, -E2BIG, "fdinfo: locks");
	l = proc_lock_vec_add(&f->locks);
	if (!l)
		return cr_fail(err, -ENOMEM, "fdinfo: locks");
	*l = lock;
	return 0;
}

/* One common line. Return: 1; 0 it is a line of the kind; negative errno. fs/proc/fd.c, seq_show(). */
static int common_line_parse(struct scan s, struct proc_fdinfo *f, unsigned int *seen, struct cr_error *err)
{
	const char *name;
	int r;

	if (scan_lit(&s, "lock:") == 0) {
		r = lock_add(&s, f, err);
		return r < 0 ? cr_within(err, r, "fdinfo") : 1;
	}
	if (scan_lit(&s, "pos:") == 0) {
		name = "pos";
		scan_blanks(&s);
		r = scan_int64(&s, &f->pos);
		*seen |= SEEN_POS;
	} else if (scan_lit(&s, "flags:") == 0) {
		name = "flags";
		scan_blanks(&s);
		r = flags_scan(&s, &f->flags);
		*seen |= SEEN_FLAGS;
	} else if (scan_lit(&s, "mnt_id:") == 0) {
		name = "mnt_id";
		scan_blanks(&s);
		r = scan_int(&s, &f->mnt_id);
	} else if (scan_lit(&s, "ino:") == 0) {
		name = "ino";
		scan_blanks(&s);
		r = scan_dec(&s, &f->ino);
		f->has_ino = true;
	} else {
		return 0;
	}
	if (r == 0 && s.p != s.end)
		r = -EINVAL;
	return r < 0 ? cr_fail(err, r, "fdinfo: line %s", name) : 1;
}

static int common_lines_parse(struct scan s, struct proc_fdinfo *f, struct cr_error *err)
{
	unsigned int seen = 0;
	struct scan line;

	f->rest = s;
	while (scan_line(&s, &line) > 0) {
		int r = common_line_parse(line, f, &seen, err);

		if (r < 0)
			return r;
		/* common lines come first: from here on a line that looks like one is of the kind */
		if (r == 0)
			break;
		f->rest = s;
	}
	if (!(seen & SEEN_POS))
		return cr_fail(err, -EINVAL, "fdinfo: no line pos");
	if (!(seen & SEEN_FLAGS))
		return cr_fail(err, -EINVAL, "fdinfo: no line flags");
	return 0;
}

int proc_fdinfo_parse(const char *text, size_t len, struct proc_fdinfo *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len);
	struct proc_fdinfo f = { .mnt_id = -1 };
	int r;

	if (len == 0 || text[len - 1] != '\n')
		return cr_fail(err, -EINVAL, "fdinfo: cut off");
	r = common_lines_parse(s, &f, err);
	if (r < 0) {
		proc_fdinfo_done(&f);
		return r;
	}
	*ret = f;
	return 0;
}

bool proc_fdinfo_next(struct scan *rest, struct scan *ret)
{
	return scan_line(rest, ret) > 0;
}

int proc_fdinfo_read(const struct proc_dir *d, int fd, struct buf *text, struct proc_fdinfo *ret, struct cr_error *err)
{
	char name[32];
	autofd int file = -1;
	int r;

	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	file = proc_open(d, name, O_RDONLY, err);
	if (file == -ENOENT)
		return cr_fail(err, -EBADF, "open %s of %d", name, d->pid);
	if (file < 0)
		return file;
	buf_reset(text);
	r = fd_read_buf(file, text);
	if (r < 0)
		return cr_fail(err, r, "read %s of %d", name, d->pid);
	return cr_within(err, proc_fdinfo_parse(text->data, text->len, ret, err), "task %d: fd %d", d->pid, fd);
}

void proc_fdinfo_done(struct proc_fdinfo *f)
{
	proc_lock_vec_done(&f->locks);
}
