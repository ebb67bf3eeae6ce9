/* Parsing of /proc/PID/stat; see stat.h. */
#include "procfs/stat.h"

#include "base/array.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <string.h>

enum stat_kind { STAT_SKIP, STAT_INT, STAT_U32, STAT_U64 };

struct stat_field {
	const char *name;
	enum stat_kind kind;
	size_t at;
};

/* clang-format off */
#define FIELD(name, kind) { #name, kind, offsetof(struct proc_stat, name) }
#define SKIP(name) { #name, STAT_SKIP, 0 }

/* From field 4 on, which follows the state; all of them are there since Linux 3.5, fs/proc/array.c do_task_stat() */
static const struct stat_field stat_fields[] = {
	FIELD(ppid, STAT_INT), FIELD(pgrp, STAT_INT), FIELD(session, STAT_INT), FIELD(tty_nr, STAT_INT),
	FIELD(tpgid, STAT_INT), FIELD(flags, STAT_U32), SKIP(minflt), SKIP(cminflt), SKIP(majflt), SKIP(cmajflt),
	SKIP(utime), SKIP(stime), SKIP(cutime), SKIP(cstime), SKIP(priority), FIELD(nice, STAT_INT),
	FIELD(num_threads, STAT_INT), SKIP(itrealvalue), FIELD(starttime, STAT_U64), SKIP(vsize), SKIP(rss),
	SKIP(rsslim), FIELD(start_code, STAT_U64), FIELD(end_code, STAT_U64), FIELD(start_stack, STAT_U64),
	SKIP(kstkesp), SKIP(kstkeip), SKIP(signal), SKIP(blocked), SKIP(sigignore), SKIP(sigcatch), SKIP(wchan),
	SKIP(nswap), SKIP(cnswap), FIELD(exit_signal, STAT_INT), SKIP(processor), FIELD(rt_priority, STAT_U32),
	FIELD(policy, STAT_U32), SKIP(delayacct_blkio_ticks), SKIP(guest_time), SKIP(cguest_time),
	FIELD(start_data, STAT_U64), FIELD(end_data, STAT_U64), FIELD(start_brk, STAT_U64), FIELD(arg_start, STAT_U64),
	FIELD(arg_end, STAT_U64), FIELD(env_start, STAT_U64), FIELD(env_end, STAT_U64), FIELD(exit_code, STAT_INT),
};
/* clang-format on */

static int stat_field_scan(struct scan *s, const struct stat_field *f, struct proc_stat *st)
{
	char *at = (char *)st + f->at;
	struct scan word;

	switch (f->kind) {
	case STAT_SKIP:
		return scan_word(s, &word);
	case STAT_INT:
		return scan_int(s, (int *)at);
	case STAT_U32:
		return scan_dec32(s, (uint32_t *)at);
	case STAT_U64:
		return scan_dec(s, (uint64_t *)at);
	}
	return -EINVAL;
}

/*
 * The name is printed raw in parentheses and may hold any byte but NUL. No later field has a parenthesis, so the last
 * one of the text closes it.
 */
static int stat_comm_scan(struct scan *s, struct proc_stat *st)
{
	const char *close = memrchr(s->p, ')', scan_left(s));
	size_t len;

	if (!close)
		return -EINVAL;
	len = (size_t)(close - s->p);
	if (len > PROC_COMM_MAX)
		return -ERANGE;
	if (memchr(s->p, '\0', len))
		return -EINVAL;
	memcpy(st->comm, s->p, len);
	st->comm[len] = '\0';
	s->p = close + 1;
	return 0;
}

static int stat_head_scan(struct scan *s, struct proc_stat *st, struct cr_error *err)
{
	int r = scan_int(s, &st->pid);

	if (r < 0)
		return cr_fail(err, r, "stat: field pid");
	r = scan_lit(s, " (");
	if (r == 0)
		r = stat_comm_scan(s, st);
	if (r < 0)
		return cr_fail(err, r, "stat: field comm");
	if (scan_left(s) < 2 || s->p[0] != ' ' || s->p[1] < 'A' || s->p[1] > 'z')
		return cr_fail(err, -EINVAL, "stat: field state");
	st->state = s->p[1];
	s->p += 2;
	return 0;
}

int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len);
	struct proc_stat st = { 0 };
	int r;

	if (len == 0 || text[len - 1] != '\n')
		return cr_fail(err, -EINVAL, "stat: cut off");
	s.end--;
	r = stat_head_scan(&s, &st, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(stat_fields); i++) {
		r = scan_char(&s, ' ');
		if (r == 0)
			r = stat_field_scan(&s, &stat_fields[i], &st);
		if (r < 0)
			return cr_fail(err, r, "stat: field %s", stat_fields[i].name);
	}
	/* a number must end where the field does; fields of newer kernels may follow */
	if (s.p < s.end && *s.p != ' ')
		return cr_fail(err, -EINVAL, "stat: field exit_code");
	*ret = st;
	return 0;
}

int proc_stat_read(const struct proc_dir *d, struct proc_stat *ret, struct cr_error *err)
{
	char text[2048];
	ssize_t n = proc_read_small(d, "stat", text, sizeof(text), err);

	if (n < 0)
		return (int)n;
	return cr_within(err, proc_stat_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}
