/* Parsing of lock lines; see locks.h. */
#include "procfs/locks.h"

#include "base/buf.h"
#include "base/error.h"
#include "procfs/proc-dir.h"
#include "procfs/scan.h"

#define LOCKS_TEXT_MAX ((size_t)256 << 20)

struct word_value {
	const char *word;
	int value;
};

/* fs/locks.c, lock_get_status() */
static const struct word_value kinds[] = {
	{ "POSIX", PROC_LOCK_POSIX }, { "OFDLCK", PROC_LOCK_OFD },  { "FLOCK", PROC_LOCK_FLOCK },
	{ "LEASE", PROC_LOCK_LEASE }, { "DELEG", PROC_LOCK_DELEG },
};

/* "*NOINODE*" stands in the place of ADVISORY when the kernel finds no inode; before 4.x */
static const struct word_value modes[] = {
	{ "ADVISORY", PROC_LOCK_ADVISORY },  { "MANDATORY", PROC_LOCK_MANDATORY }, { "MSNFS", PROC_LOCK_MANDATORY },
	{ "ACTIVE", PROC_LOCK_ACTIVE },      { "BREAKING", PROC_LOCK_BREAKING },   { "BREAKER", PROC_LOCK_BREAKER },
	{ "*NOINODE*", PROC_LOCK_ADVISORY },
};

static const struct word_value accesses[] = {
	{ "READ", PROC_LOCK_READ }, { "WRITE", PROC_LOCK_WRITE }, { "UNLCK", PROC_LOCK_NONE },
	{ "NONE", PROC_LOCK_NONE }, { "RW", PROC_LOCK_RW },
};

static int word_scan(struct scan *s, const struct word_value *words, size_t nr, int *ret)
{
	struct scan word;

	scan_blanks(s);
	if (scan_word(s, &word) < 0)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		if (scan_is(&word, words[i].word)) {
			*ret = words[i].value;
			return 0;
		}
	}
	return -ENOENT;
}

static int lock_words_scan(struct scan *s, struct proc_lock *l, struct cr_error *err)
{
	int kind = PROC_LOCK_OTHER, mode = PROC_LOCK_ADVISORY, access = PROC_LOCK_NONE;
	int r = word_scan(s, kinds, ARRAY_LEN(kinds), &kind);

	if (r == -EINVAL)
		return cr_fail(err, r, "lock: field kind");
	r = word_scan(s, modes, ARRAY_LEN(modes), &mode);
	/* of a kind that is not known the other words need not be known either */
	if (r == -EINVAL || (r < 0 && kind != PROC_LOCK_OTHER))
		return cr_fail(err, -EINVAL, "lock: field mode");
	r = word_scan(s, accesses, ARRAY_LEN(accesses), &access);
	if (r == -EINVAL || (r < 0 && kind != PROC_LOCK_OTHER))
		return cr_fail(err, -EINVAL, "lock: field access");
	l->kind = (enum proc_lock_kind)kind;
	l->mode = (enum proc_lock_mode)mode;
	l->access = (enum proc_lock_access)access;
	return 0;
}

/* "fe:00:10953441", or "<none>:0" without an inode */
static int lock_inode_scan(struct scan *s, struct proc_lock *l)
{
	int r;

	scan_blanks(s);
	if (scan_lit(s, "<none>:0") == 0)
		return 0;
	r = scan_hex32(s, &l->dev_major);
	if (r == 0)
		r = scan_char(s, ':');
	if (r == 0)
		r = scan_hex32(s, &l->dev_minor);
	if (r == 0)
		r = scan_char(s, ':');
	return r < 0 ? r : scan_dec(s, &l->ino);
}

static int lock_range_scan(struct scan *s, struct proc_lock *l)
{
	int r;

	scan_blanks(s);
	r = scan_int64(s, &l->start);
	if (r < 0)
		return r;
	if (s->p == s->end || !scan_blank(*s->p))
		return -EINVAL;
	scan_blanks(s);
	if (scan_lit(s, "EOF") == 0)
		l->end = PROC_LOCK_EOF;
	else
		r = scan_int64(s, &l->end);
	if (r < 0)
		return r;
	scan_blanks(s);
	return s->p == s->end && l->start >= 0 && l->end >= l->start ? 0 : -EINVAL;
}

int proc_lock_parse_line(const struct scan *line, struct proc_lock *ret, struct cr_error *err)
{
	struct scan s = *line;
	struct proc_lock l = { 0 };
	int r;

	scan_blanks(&s);
	r = scan_dec(&s, &l.id);
	if (r == 0)
		r = scan_char(&s, ':');
	if (r < 0)
		return cr_fail(err, r, "lock: field number");
	scan_blanks(&s);
	l.waiting = scan_lit(&s, "->") == 0;
	r = lock_words_scan(&s, &l, err);
	if (r < 0)
		return r;
	scan_blanks(&s);
	r = scan_int(&s, &l.pid);
	if (r < 0)
		return cr_fail(err, r, "lock: field pid");
	r = lock_inode_scan(&s, &l);
	if (r < 0)
		return cr_fail(err, r, "lock: field inode");
	r = lock_range_scan(&s, &l);
	if (r < 0)
		return cr_fail(err, r, "lock: field range");
	*ret = l;
	return 0;
}

int proc_locks_parse(const char *text, size_t len, struct proc_lock_vec *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		struct proc_lock lock, *l;

		r = proc_lock_parse_line(&line, &lock, err);
		if (r < 0)
			return r;
		if (ret->nr >= PROC_LOCKS_MAX)
			return cr_fail(err, -E2BIG, "locks");
		l = proc_lock_vec_add(ret);
		if (!l)
			return cr_fail(err, -ENOMEM, "locks");
		*l = lock;
	}
	return r < 0 ? cr_fail(err, r, "locks: cut off") : 0;
}

int proc_locks_read(int procfd, struct proc_lock_vec *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(LOCKS_TEXT_MAX);
	int r = proc_base_read_buf(procfd, "locks", &text, err);

	return r < 0 ? r : proc_locks_parse(text.data, text.len, ret, err);
}
