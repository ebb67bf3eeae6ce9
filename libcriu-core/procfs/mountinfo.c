/*
 * Parsing of /proc/PID/mountinfo; see mountinfo.h. All strings are cut and decoded in place in one copy of the text:
 * decoding only ever makes them shorter.
 */
#include "procfs/mountinfo.h"

#include "base/buf.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <stdlib.h>

struct mount_parser {
	struct proc_mount_list *list;
	char *base; /* the copy that is written to */
	size_t line;
	struct cr_error *err;
};

static int mount_fail(const struct mount_parser *p, int code, const char *field)
{
	return cr_fail(p->err, code, "mountinfo: line %zu: field %s", p->line, field);
}

static int octal_digit(char c)
{
	return c >= '0' && c <= '7' ? c - '0' : -1;
}

/*
 * Decode @len bytes at @text in place and end them with NUL, which takes the place of the blank or newline behind
 * them.
 */
static int string_decode(char *text, size_t len)
{
	size_t out = 0;

	for (size_t in = 0; in < len; out++) {
		if (text[in] == '\\' && len - in >= 4) {
			int a = octal_digit(text[in + 1]), b = octal_digit(text[in + 2]), c = octal_digit(text[in + 3]);
			int byte = a < 0 || b < 0 || c < 0 ? '\\' : a << 6 | b << 3 | c;

			if (byte == 0 || byte > 255)
				return -EINVAL;
			in += a < 0 || b < 0 || c < 0 ? 1 : 4;
			text[out] = (char)byte;
		} else {
			if (text[in] == '\0')
				return -EINVAL;
			text[out] = text[in++];
		}
	}
	text[out] = '\0';
	return 0;
}

/*
 * A field up to the next blank; may be empty. @s points into the copy, whose bytes behind the last field are the
 * newline: there is always one byte for the NUL.
 */
static int string_scan(struct mount_parser *p, struct scan *s, const char *name, const char **ret)
{
	struct scan field;
	char *text;

	if (scan_until(s, ' ', &field) < 0) {
		field = *s;
		s->p = s->end;
	}
	text = p->base + (field.p - p->base);
	if (string_decode(text, scan_left(&field)) < 0)
		return mount_fail(p, -EINVAL, name);
	*ret = text;
	return 0;
}

static int mount_numbers_scan(struct scan *s, struct proc_mount *m)
{
	int r = scan_int(s, &m->id);

	if (r == 0)
		r = scan_char(s, ' ');
	if (r == 0)
		r = scan_int(s, &m->parent_id);
	if (r == 0)
		r = scan_char(s, ' ');
	if (r == 0)
		r = scan_dec32(s, &m->dev_major);
	if (r == 0)
		r = scan_char(s, ':');
	if (r == 0)
		r = scan_dec32(s, &m->dev_minor);
	return r < 0 ? r : scan_char(s, ' ');
}

/* "shared:1 master:2 - ": any number of them, then the dash. Those of newer kernels are passed over. */
static int mount_optional_scan(struct mount_parser *p, struct scan *s, struct proc_mount *m)
{
	struct scan field;

	while (scan_until(s, ' ', &field) == 0) {
		int *group = NULL, r;

		if (scan_is(&field, "-"))
			return 0;
		if (scan_is(&field, "unbindable"))
			m->unbindable = true;
		else if (scan_lit(&field, "shared:") == 0)
			group = &m->shared;
		else if (scan_lit(&field, "master:") == 0)
			group = &m->master;
		else if (scan_lit(&field, "propagate_from:") == 0)
			group = &m->propagate_from;
		if (!group)
			continue;
		r = scan_int(&field, group);
		if (r == 0 && field.p != field.end)
			r = -EINVAL;
		if (r < 0)
			return mount_fail(p, r, "peer group");
	}
	return mount_fail(p, -EINVAL, "separator");
}

static int mount_line_parse(struct mount_parser *p, struct scan s, struct proc_mount *m)
{
	int r = mount_numbers_scan(&s, m);

	if (r < 0)
		return mount_fail(p, r, "ids and device");
	r = string_scan(p, &s, "root", &m->root);
	if (r == 0)
		r = string_scan(p, &s, "mount point", &m->mountpoint);
	if (r == 0)
		r = string_scan(p, &s, "options", &m->options);
	if (r == 0)
		r = mount_optional_scan(p, &s, m);
	if (r == 0)
		r = string_scan(p, &s, "file system type", &m->fstype);
	if (r == 0)
		r = string_scan(p, &s, "source", &m->source);
	if (r < 0)
		return r;
	if (!*m->root || !*m->mountpoint || !*m->fstype)
		return mount_fail(p, -EINVAL, !*m->root ? "root" : !*m->fstype ? "file system type" : "mount point");
	/* the rest, for file systems that print blanks in their options */
	m->sb_options = s.p;
	if (s.p == s.end || string_decode(p->base + (s.p - p->base), scan_left(&s)) < 0)
		return mount_fail(p, -EINVAL, "file system options");
	return 0;
}

static struct proc_mount *mount_add(struct proc_mount_list *l, int *ret_why)
{
	if (l->nr == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 32;
		struct proc_mount *items;

		*ret_why = l->nr >= PROC_MOUNTS_MAX ? -E2BIG : -ENOMEM;
		items = l->nr >= PROC_MOUNTS_MAX ? NULL : realloc(l->items, cap * sizeof(*items));
		if (!items)
			return NULL;
		l->items = items;
		l->cap = cap;
	}
	return memset(&l->items[l->nr++], 0, sizeof(*l->items));
}

static int mount_lines_parse(struct mount_parser *p, size_t len)
{
	struct scan s = SCAN_INIT(p->base, len), line;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		struct proc_mount *m = mount_add(p->list, &r);

		p->line++;
		if (!m)
			return cr_fail(p->err, r, "mountinfo: line %zu", p->line);
		r = mount_line_parse(p, line, m);
		if (r < 0)
			return r;
	}
	return r < 0 ? cr_fail(p->err, r, "mountinfo: cut off in line %zu", p->line + 1) : 0;
}

int proc_mountinfo_parse(const char *text, size_t len, struct proc_mount_list *ret, struct cr_error *err)
{
	struct proc_mount_list list = { 0 };
	struct mount_parser p = { .list = &list, .err = err };
	int r;

	list.strings = p.base = malloc(len + 1);
	if (!list.strings)
		return cr_fail(err, -ENOMEM, "mountinfo");
	if (len)
		memcpy(list.strings, text, len);
	list.strings[len] = '\0';
	r = mount_lines_parse(&p, len);
	if (r < 0) {
		proc_mount_list_done(&list);
		return r;
	}
	*ret = list;
	return 0;
}

int proc_mountinfo_read(const struct proc_dir *d, struct proc_mount_list *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(PROC_MOUNTINFO_MAX);
	int r = proc_read_buf(d, "mountinfo", &text, err);

	return r < 0 ? r : cr_within(err, proc_mountinfo_parse(text.data, text.len, ret, err), "task %d", d->pid);
}

void proc_mount_list_done(struct proc_mount_list *l)
{
	free(l->items);
	free(l->strings);
	*l = (struct proc_mount_list){ 0 };
}
