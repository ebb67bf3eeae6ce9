/* Parsing of /proc/PID/cgroup; see cgroup.h. */
#include "procfs/cgroup.h"

#include "base/buf.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <stdlib.h>

#define CGROUP_TEXT_MAX ((size_t)4 << 20)

static struct proc_cgroup *cgroup_add(struct proc_cgroup_list *l)
{
	if (l->nr == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct proc_cgroup *items = realloc(l->items, cap * sizeof(*items));

		if (!items)
			return NULL;
		l->items = items;
		l->cap = cap;
	}
	return memset(&l->items[l->nr++], 0, sizeof(*l->items));
}

/* "4:memory:/a/b", "1:name=systemd:/", "0::/a". The path may hold colons, the others cannot. */
static int cgroup_line_parse(char *base, struct scan s, struct proc_cgroup *c)
{
	struct scan controllers;
	int r = scan_dec32(&s, &c->hierarchy);

	if (r == 0)
		r = scan_char(&s, ':');
	if (r == 0)
		r = scan_until(&s, ':', &controllers);
	if (r < 0)
		return r;
	if (s.p == s.end || *s.p != '/' || memchr(controllers.p, '\0', (size_t)(s.end - controllers.p)))
		return -EINVAL;
	base[controllers.end - base] = '\0';
	base[s.end - base] = '\0';
	c->controllers = controllers.p;
	c->path = s.p;
	return 0;
}

static int cgroup_lines_parse(struct proc_cgroup_list *l, size_t len, struct cr_error *err)
{
	struct scan s = SCAN_INIT(l->strings, len), line;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		struct proc_cgroup *c;

		if (l->nr >= PROC_CGROUPS_MAX)
			return cr_fail(err, -E2BIG, "cgroup");
		c = cgroup_add(l);
		if (!c)
			return cr_fail(err, -ENOMEM, "cgroup");
		r = cgroup_line_parse(l->strings, line, c);
		if (r < 0)
			return cr_fail(err, r, "cgroup: line %zu", l->nr);
	}
	return r < 0 ? cr_fail(err, r, "cgroup: cut off") : 0;
}

int proc_cgroup_parse(const char *text, size_t len, struct proc_cgroup_list *ret, struct cr_error *err)
{
	struct proc_cgroup_list l = { .strings = malloc(len + 1) };
	int r;

	if (!l.strings)
		return cr_fail(err, -ENOMEM, "cgroup");
	if (len)
		memcpy(l.strings, text, len);
	l.strings[len] = '\0';
	r = cgroup_lines_parse(&l, len, err);
	if (r < 0) {
		proc_cgroup_list_done(&l);
		return r;
	}
	*ret = l;
	return 0;
}

int proc_cgroup_read(const struct proc_dir *d, struct proc_cgroup_list *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(CGROUP_TEXT_MAX);
	int r = proc_read_buf(d, "cgroup", &text, err);

	return r < 0 ? r : cr_within(err, proc_cgroup_parse(text.data, text.len, ret, err), "task %d", d->pid);
}

void proc_cgroup_list_done(struct proc_cgroup_list *l)
{
	free(l->items);
	free(l->strings);
	*l = (struct proc_cgroup_list){ 0 };
}
