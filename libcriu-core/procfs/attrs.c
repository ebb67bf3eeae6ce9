/* The small files of a task; see attrs.h. */
#include "procfs/attrs.h"

#include "base/buf.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <elf.h>
#include <fcntl.h>

/* The one line of a small file; its newline may be missing only where the kernel prints none. */
static int line_of(const char *text, size_t len, bool newline, struct scan *ret)
{
	bool has = len > 0 && text[len - 1] == '\n';

	if (newline && !has)
		return -EINVAL;
	*ret = (struct scan)SCAN_INIT(text, len - has);
	return 0;
}

/* Nothing may follow a value. */
static int value_end(int r, const struct scan *s)
{
	return r == 0 && s->p != s->end ? -EINVAL : r;
}

static int dec_value(const char *text, size_t len, bool newline, uint64_t *ret)
{
	struct scan s;
	int r = line_of(text, len, newline, &s);

	return r < 0 ? r : value_end(scan_dec(&s, ret), &s);
}

static int hex32_value(const char *text, size_t len, uint32_t *ret)
{
	struct scan s;
	int r = line_of(text, len, true, &s);

	return r < 0 ? r : value_end(scan_hex32(&s, ret), &s);
}

int proc_comm_parse(const char *text, size_t len, char ret[static PROC_COMM_MAX + 1], struct cr_error *err)
{
	struct scan s;
	int r = line_of(text, len, true, &s);

	if (r == 0 && scan_left(&s) > PROC_COMM_MAX)
		r = -ERANGE;
	if (r == 0 && memchr(text, '\0', len))
		r = -EINVAL;
	if (r < 0)
		return cr_fail(err, r, "comm");
	memcpy(ret, s.p, scan_left(&s));
	ret[scan_left(&s)] = '\0';
	return 0;
}

int proc_comm_read(const struct proc_dir *d, char ret[static PROC_COMM_MAX + 1], struct cr_error *err)
{
	char text[PROC_COMM_MAX + 16];
	ssize_t n = proc_read_small(d, "comm", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_comm_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_personality_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err)
{
	int r = hex32_value(text, len, ret);

	return r < 0 ? cr_fail(err, r, "personality") : 0;
}

int proc_personality_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "personality", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_personality_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_loginuid_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err)
{
	uint64_t v;
	int r = dec_value(text, len, false, &v);

	if (r == 0 && v > UINT32_MAX)
		r = -ERANGE;
	if (r < 0)
		return cr_fail(err, r, "loginuid");
	*ret = (uint32_t)v;
	return 0;
}

int proc_loginuid_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "loginuid", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_loginuid_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_oom_score_adj_parse(const char *text, size_t len, int *ret, struct cr_error *err)
{
	struct scan s;
	int v, r = line_of(text, len, true, &s);

	if (r == 0)
		r = value_end(scan_int(&s, &v), &s);
	if (r == 0 && (v < -1000 || v > 1000))
		r = -ERANGE;
	if (r < 0)
		return cr_fail(err, r, "oom_score_adj");
	*ret = v;
	return 0;
}

int proc_oom_score_adj_read(const struct proc_dir *d, int *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "oom_score_adj", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_oom_score_adj_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

/* "/autogroup-726601 nice 0" */
int proc_autogroup_parse(const char *text, size_t len, int *ret, struct cr_error *err)
{
	struct scan s;
	uint64_t id;
	int v = 0, r = len ? line_of(text, len, true, &s) : 0;

	if (len && r == 0)
		r = scan_lit(&s, "/autogroup-");
	if (len && r == 0)
		r = scan_dec(&s, &id);
	if (len && r == 0)
		r = scan_lit(&s, " nice ");
	if (len && r == 0)
		r = value_end(scan_int(&s, &v), &s);
	if (r == 0 && (v < -20 || v > 19))
		r = -ERANGE;
	if (r < 0)
		return cr_fail(err, r, "autogroup");
	*ret = v;
	return 0;
}

int proc_autogroup_read(const struct proc_dir *d, int *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "autogroup", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_autogroup_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_coredump_filter_parse(const char *text, size_t len, uint32_t *ret, struct cr_error *err)
{
	int r = 0;

	if (len == 0)
		*ret = 0;
	else
		r = hex32_value(text, len, ret);
	return r < 0 ? cr_fail(err, r, "coredump_filter") : 0;
}

int proc_coredump_filter_read(const struct proc_dir *d, uint32_t *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "coredump_filter", text, sizeof(text), err);

	return n < 0 ? (int)n
		     : cr_within(err, proc_coredump_filter_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_timerslack_parse(const char *text, size_t len, uint64_t *ret, struct cr_error *err)
{
	int r = dec_value(text, len, true, ret);

	return r < 0 ? cr_fail(err, r, "timerslack_ns") : 0;
}

int proc_timerslack_read(const struct proc_dir *d, uint64_t *ret, struct cr_error *err)
{
	char text[64];
	ssize_t n = proc_read_small(d, "timerslack_ns", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_timerslack_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

/* " 0x7ffd875e01a0" */
static int prefixed_hex_scan(struct scan *s, uint64_t *ret)
{
	int r = scan_lit(s, " 0x");

	return r < 0 ? r : scan_hex(s, ret);
}

/* "61 0x1126 ... sp pc", "-1 sp pc"; fs/proc/base.c, proc_pid_syscall() */
static int syscall_scan(struct scan *s, struct proc_syscall *c)
{
	int r = scan_int64(s, &c->nr);

	for (int i = 0; r == 0 && c->nr >= 0 && i < 6; i++)
		r = prefixed_hex_scan(s, &c->args[i]);
	if (r == 0)
		r = prefixed_hex_scan(s, &c->sp);
	return r < 0 ? r : prefixed_hex_scan(s, &c->pc);
}

int proc_syscall_parse(const char *text, size_t len, struct proc_syscall *ret, struct cr_error *err)
{
	struct proc_syscall c = { 0 };
	struct scan s;
	int r = line_of(text, len, true, &s);

	if (r == 0 && scan_is(&s, "running"))
		c.running = true;
	else if (r == 0)
		r = value_end(syscall_scan(&s, &c), &s);
	if (r == 0 && c.nr < -1)
		r = -ERANGE;
	if (r < 0)
		return cr_fail(err, r, "syscall");
	*ret = c;
	return 0;
}

int proc_syscall_read(const struct proc_dir *d, struct proc_syscall *ret, struct cr_error *err)
{
	char text[512];
	ssize_t n = proc_read_small(d, "syscall", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_syscall_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_label_parse(const char *text, size_t len, char ret[static PROC_LABEL_MAX + 1], struct cr_error *err)
{
	/* SELinux ends it with a NUL, AppArmor with a newline, Smack with nothing */
	if (len && (text[len - 1] == '\n' || text[len - 1] == '\0'))
		len--;
	if (len > PROC_LABEL_MAX)
		return cr_fail(err, -ERANGE, "attr/current");
	if (len && memchr(text, '\0', len))
		return cr_fail(err, -EINVAL, "attr/current");
	if (len)
		memcpy(ret, text, len);
	ret[len] = '\0';
	return (int)len;
}

int proc_label_read(const struct proc_dir *d, char ret[static PROC_LABEL_MAX + 1], struct cr_error *err)
{
	char text[PROC_LABEL_MAX + 2];
	ssize_t n = proc_read_small(d, "attr/current", text, sizeof(text), err);

	/* EINVAL: no module has this attribute; ENOENT: no modules at all */
	if (n == -EINVAL || n == -ENOENT)
		n = 0;
	return n < 0 ? (int)n : cr_within(err, proc_label_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_uptime_parse(const char *text, size_t len, uint64_t *ret, struct cr_error *err)
{
	struct scan s;
	uint64_t sec, hundredths;
	int r = line_of(text, len, true, &s);
	const char *point;

	if (r == 0)
		r = scan_dec(&s, &sec);
	if (r == 0)
		r = scan_char(&s, '.');
	point = s.p;
	if (r == 0)
		r = scan_dec(&s, &hundredths);
	if (r == 0 && (s.p - point != 2 || s.p == s.end || *s.p != ' '))
		r = -EINVAL;
	if (r == 0 && sec > (UINT64_MAX - 99) / 100)
		r = -ERANGE;
	if (r < 0)
		return cr_fail(err, r, "uptime");
	*ret = sec * 100 + hundredths;
	return 0;
}

int proc_uptime_read(int procfd, uint64_t *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(4096);
	int r = proc_base_read_buf(procfd, "uptime", &text, err);

	return r < 0 ? r : proc_uptime_parse(text.data, text.len, ret, err);
}

static int timens_offset_scan(struct scan *s, int64_t *ret_sec, uint32_t *ret_nsec)
{
	int r;

	scan_blanks(s);
	r = scan_int64(s, ret_sec);
	if (r < 0)
		return r;
	if (s->p == s->end || !scan_blank(*s->p))
		return -EINVAL;
	scan_blanks(s);
	r = value_end(scan_dec32(s, ret_nsec), s);
	return r == 0 && *ret_nsec >= 1000000000 ? -ERANGE : r;
}

int proc_timens_parse(const char *text, size_t len, struct proc_timens *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	struct proc_timens t = { 0 };
	unsigned int seen = 0;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		/* clocks by name, by number before 5.7 */
		if (scan_lit(&line, "monotonic ") == 0 || scan_lit(&line, "1 ") == 0) {
			seen |= 1;
			r = timens_offset_scan(&line, &t.monotonic_sec, &t.monotonic_nsec);
		} else if (scan_lit(&line, "boottime ") == 0 || scan_lit(&line, "7 ") == 0) {
			seen |= 2;
			r = timens_offset_scan(&line, &t.boottime_sec, &t.boottime_nsec);
		}
		if (r < 0)
			return cr_fail(err, r, "timens_offsets: line %s", seen & 2 ? "boottime" : "monotonic");
	}
	if (r == 0 && seen != 3)
		r = -EINVAL;
	if (r < 0)
		return cr_fail(err, r, "timens_offsets: cut off");
	*ret = t;
	return 0;
}

int proc_timens_read(const struct proc_dir *d, struct proc_timens *ret, struct cr_error *err)
{
	char text[512];
	ssize_t n = proc_read_small(d, "timens_offsets", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_timens_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}

int proc_auxv_parse(const char *text, size_t len, struct proc_auxv_vec *ret, struct cr_error *err)
{
	if (len % 16 != 0 || len / 8 > PROC_AUXV_MAX)
		return cr_fail(err, len % 16 ? -EINVAL : -E2BIG, "auxv");
	for (size_t at = 0; at < len; at += 16) {
		uint64_t pair[2];

		memcpy(pair, text + at, sizeof(pair));
		for (int i = 0; i < 2; i++) {
			uint64_t *item = proc_auxv_vec_add(ret);

			if (!item)
				return cr_fail(err, -ENOMEM, "auxv");
			*item = pair[i];
		}
		/* what follows AT_NULL is the unused end of the kernel's array */
		if (pair[0] == AT_NULL)
			return 0;
	}
	return cr_fail(err, -EINVAL, "auxv: no AT_NULL");
}

int proc_auxv_read(const struct proc_dir *d, struct proc_auxv_vec *ret, struct cr_error *err)
{
	char text[PROC_AUXV_MAX * 8 + 1];
	ssize_t n = proc_read_small(d, "auxv", text, sizeof(text), err);

	return n < 0 ? (int)n : cr_within(err, proc_auxv_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}
