/* Parsing of /proc/PID/limits; see limits.h. */
#include "procfs/limits.h"

#include "base/error.h"
#include "procfs/scan.h"

#include <sys/resource.h>

/* fs/proc/base.c, lnames[] */
static const char *const limit_names[PROC_NR_LIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static int limit_value_scan(struct scan *s, uint64_t *ret)
{
	int r;

	scan_blanks(s);
	if (scan_lit(s, "unlimited") == 0) {
		*ret = PROC_LIMIT_INFINITY;
	} else {
		r = scan_dec(s, ret);
		if (r < 0)
			return r;
	}
	return s->p == s->end || scan_blank(*s->p) ? 0 : -EINVAL;
}

/* One line into the limit it names. Return: its index; PROC_NR_LIMITS for a name of a newer kernel; negative errno. */
static int limit_line_parse(struct scan line, struct proc_limits *ret, struct cr_error *err)
{
	for (int i = 0; i < PROC_NR_LIMITS; i++) {
		struct scan s = line;
		int r;

		if (scan_lit(&s, limit_names[i]) < 0 || s.p == s.end || !scan_blank(*s.p))
			continue;
		r = limit_value_scan(&s, &ret->of[i].soft);
		if (r == 0)
			r = limit_value_scan(&s, &ret->of[i].hard);
		if (r < 0)
			return cr_fail(err, r, "limits: %s", limit_names[i]);
		return i;
	}
	return PROC_NR_LIMITS;
}

int proc_limits_parse(const char *text, size_t len, struct proc_limits *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	struct proc_limits all = { 0 };
	uint32_t seen = 0;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		int i = limit_line_parse(line, &all, err);

		if (i < 0)
			return i;
		seen |= 1u << i;
	}
	if (r < 0)
		return cr_fail(err, r, "limits: cut off");
	for (int i = 0; i < PROC_NR_LIMITS; i++)
		if (!(seen & 1u << i))
			return cr_fail(err, -EINVAL, "limits: no line %s", limit_names[i]);
	*ret = all;
	return 0;
}

int proc_limits_read(const struct proc_dir *d, struct proc_limits *ret, struct cr_error *err)
{
	char text[4096];
	ssize_t n = proc_read_small(d, "limits", text, sizeof(text), err);

	if (n < 0)
		return (int)n;
	return cr_within(err, proc_limits_parse(text, (size_t)n, ret, err), "task %d", d->pid);
}
