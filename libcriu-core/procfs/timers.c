/* Parsing of /proc/PID/timers; see timers.h. */
#include "procfs/timers.h"

#include "base/buf.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <signal.h>

#define TIMERS_TEXT_MAX ((size_t)128 << 20)

enum timer_seen { SEEN_SIGNAL = 1, SEEN_NOTIFY = 2, SEEN_CLOCK = 4, SEEN_ALL = 7 };

static int number_end(int r, const struct scan *s)
{
	return r == 0 && s->p != s->end ? -EINVAL : r;
}

/* "34/0000deadbeefcafe": printed with %px since 4.15, with %p before, where 0 is "(null)" in a wide field */
static int signal_scan(struct scan *s, struct proc_timer *t)
{
	int r = scan_int(s, &t->signo);

	if (r == 0)
		r = scan_char(s, '/');
	if (r < 0)
		return r;
	scan_blanks(s);
	if (scan_lit(s, "(null)") == 0)
		t->sigev_value = 0;
	else
		r = scan_hex(s, &t->sigev_value);
	return number_end(r, s);
}

/* "signal/tid.4386" */
static int notify_scan(struct scan *s, struct proc_timer *t)
{
	if (scan_lit(s, "signal/") == 0)
		t->notify = SIGEV_SIGNAL;
	else if (scan_lit(s, "none/") == 0)
		t->notify = SIGEV_NONE;
	else if (scan_lit(s, "thread/") == 0)
		t->notify = SIGEV_THREAD;
	else
		return -EINVAL;
	t->to_thread = scan_lit(s, "tid.") == 0;
	if (!t->to_thread && scan_lit(s, "pid.") < 0)
		return -EINVAL;
	return number_end(scan_int(s, &t->pid), s);
}

static int timer_line_parse(struct scan s, struct proc_timer *t, unsigned int *seen, struct cr_error *err)
{
	const char *name;
	int r;

	if (scan_lit(&s, "signal: ") == 0) {
		name = "signal";
		r = signal_scan(&s, t);
		*seen |= SEEN_SIGNAL;
	} else if (scan_lit(&s, "notify: ") == 0) {
		name = "notify";
		r = notify_scan(&s, t);
		*seen |= SEEN_NOTIFY;
	} else if (scan_lit(&s, "ClockID: ") == 0) {
		name = "ClockID";
		r = number_end(scan_int(&s, &t->clock_id), &s);
		*seen |= SEEN_CLOCK;
	} else {
		return 0;
	}
	return r < 0 ? cr_fail(err, r, "timers: timer %d: line %s", t->id, name) : 0;
}

/* "ID: 3" begins a timer: the one before must be whole. */
static int timer_begin(struct scan s, struct proc_timer_vec *v, struct cr_error *err)
{
	struct proc_timer *t;
	int id, r = number_end(scan_int(&s, &id), &s);

	if (r < 0)
		return cr_fail(err, r, "timers: line ID");
	if (v->nr >= PROC_TIMERS_MAX)
		return cr_fail(err, -E2BIG, "timers");
	t = proc_timer_vec_add(v);
	if (!t)
		return cr_fail(err, -ENOMEM, "timers");
	t->id = id;
	return 0;
}

int proc_timers_parse(const char *text, size_t len, struct proc_timer_vec *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	unsigned int seen = SEEN_ALL;
	size_t from = ret->nr;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		if (scan_lit(&line, "ID: ") == 0) {
			if (seen != SEEN_ALL)
				break;
			seen = 0;
			r = timer_begin(line, ret, err);
		} else if (ret->nr > from) {
			r = timer_line_parse(line, &ret->items[ret->nr - 1], &seen, err);
		} else {
			return cr_fail(err, -EINVAL, "timers: no line ID");
		}
		if (r < 0)
			return r;
	}
	if (r < 0)
		return cr_fail(err, r, "timers: cut off");
	if (seen != SEEN_ALL)
		return cr_fail(err, -EINVAL, "timers: timer %d: no line %s", ret->items[ret->nr - 1].id,
			       !(seen & SEEN_SIGNAL)   ? "signal"
			       : !(seen & SEEN_NOTIFY) ? "notify"
						       : "ClockID");
	return 0;
}

int proc_timers_read(const struct proc_dir *d, struct proc_timer_vec *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(TIMERS_TEXT_MAX);
	int r = proc_read_buf(d, "timers", &text, err);

	return r < 0 ? r : cr_within(err, proc_timers_parse(text.data, text.len, ret, err), "task %d", d->pid);
}
