/*
 * Parsing of maps and smaps; see maps.h. Both are one stream of lines: a line that begins with a hexadecimal digit
 * opens a mapping, one that begins with a capital letter tells more about it (smaps only). Measured against the
 * kernel's own time the parser is to be small: no copies but of names, one pass, one switch per line.
 */
#include "procfs/maps.h"

#include "base/array.h"
#include "base/error.h"
#include "base/own.h"
#include "procfs/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STRINGS_MAX ((size_t)1 << 30)
/* Holds any line: PATH_MAX bytes of a name, each at worst printed as four (\012), and the columns before it. */
#define READ_SIZE ((size_t)64 << 10)

#define CODE(a, b) [((a) - 'a') * 26 + ((b) - 'a')]

/* Two letters to PROC_VM_*, 0 for unknown ones */
static const uint64_t vm_codes[26 * 26] = {
	CODE('r', 'd') = PROC_VM_RD, CODE('w', 'r') = PROC_VM_WR, CODE('e', 'x') = PROC_VM_EX,
	CODE('s', 'h') = PROC_VM_SH, CODE('m', 'r') = PROC_VM_MR, CODE('m', 'w') = PROC_VM_MW,
	CODE('m', 'e') = PROC_VM_ME, CODE('m', 's') = PROC_VM_MS, CODE('g', 'd') = PROC_VM_GD,
	CODE('p', 'f') = PROC_VM_PF, CODE('l', 'o') = PROC_VM_LO, CODE('i', 'o') = PROC_VM_IO,
	CODE('s', 'r') = PROC_VM_SR, CODE('r', 'r') = PROC_VM_RR, CODE('d', 'c') = PROC_VM_DC,
	CODE('d', 'e') = PROC_VM_DE, CODE('a', 'c') = PROC_VM_AC, CODE('n', 'r') = PROC_VM_NR,
	CODE('h', 't') = PROC_VM_HT, CODE('s', 'f') = PROC_VM_SF, CODE('a', 'r') = PROC_VM_AR,
	CODE('w', 'f') = PROC_VM_WF, CODE('d', 'd') = PROC_VM_DD, CODE('s', 'd') = PROC_VM_SD,
	CODE('m', 'm') = PROC_VM_MM, CODE('h', 'g') = PROC_VM_HG, CODE('n', 'h') = PROC_VM_NH,
	CODE('m', 'g') = PROC_VM_MG, CODE('b', 't') = PROC_VM_BT, CODE('m', 't') = PROC_VM_MT,
	CODE('u', 'm') = PROC_VM_UM, CODE('u', 'w') = PROC_VM_UW, CODE('u', 'i') = PROC_VM_UI,
	CODE('s', 's') = PROC_VM_SS, CODE('s', 'l') = PROC_VM_SL, CODE('l', 'f') = PROC_VM_LF,
	CODE('d', 'p') = PROC_VM_DP, CODE('g', 'u') = PROC_VM_GU, CODE('d', 'w') = PROC_VM_DW,
	CODE('n', 'l') = PROC_VM_NL, CODE('m', 'p') = PROC_VM_MP,
};

struct maps_parser {
	struct proc_vma_list *list;
	const char *file; /* "maps" or "smaps", for messages */
	bool smaps;
	bool open;   /* smaps: the last mapping has not had its VmFlags yet */
	size_t line; /* number of the line at hand, from 1 */
	struct cr_error *err;
};

static int maps_fail(const struct maps_parser *p, int code, const char *field)
{
	return cr_fail(p->err, code, "%s: line %zu: field %s", p->file, p->line, field);
}

static int strings_reserve(struct proc_vma_list *l, size_t more)
{
	size_t cap = l->strings_cap ? l->strings_cap : 4096;
	char *strings;

	if (more > STRINGS_MAX - l->strings_len)
		return -E2BIG;
	if (l->strings_len + more <= l->strings_cap)
		return 0;
	while (cap < l->strings_len + more)
		cap *= 2;
	strings = realloc(l->strings, cap);
	if (!strings)
		return -ENOMEM;
	l->strings = strings;
	l->strings_cap = cap;
	return 0;
}

/* Keep a name. Segments of one file follow each other, so comparing with the last name finds nearly all repetitions. */
static int vma_name_keep(struct proc_vma_list *l, const struct scan *name, struct proc_vma *v)
{
	const struct proc_vma *last = l->nr ? &l->items[l->nr - 1] : NULL;
	size_t len = scan_left(name);
	int r;

	if (len == 0)
		return 0;
	v->path_len = (uint32_t)len;
	if (last && last->path_len == len && memcmp(l->strings + last->path, name->p, len) == 0) {
		v->path = last->path;
		return 0;
	}
	if (memchr(name->p, '\0', len))
		return -EINVAL;
	r = strings_reserve(l, len + 2);
	if (r < 0)
		return r;
	if (l->strings_len == 0)
		l->strings[l->strings_len++] = '\0';
	v->path = (uint32_t)l->strings_len;
	memcpy(l->strings + l->strings_len, name->p, len);
	l->strings[l->strings_len + len] = '\0';
	l->strings_len += len + 1;
	return 0;
}

static int vma_list_push(struct proc_vma_list *l, const struct proc_vma *v)
{
	if (l->nr == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct proc_vma *items;

		if (l->nr >= PROC_VMAS_MAX)
			return -E2BIG;
		items = realloc(l->items, cap * sizeof(*items));
		if (!items)
			return -ENOMEM;
		l->items = items;
		l->cap = cap;
	}
	l->items[l->nr++] = *v;
	return 0;
}

/* "rw-p " */
static int vma_perms_scan(struct scan *s, struct proc_vma *v)
{
	const char *p = s->p;

	if (scan_left(s) < 5 || (p[0] != 'r' && p[0] != '-') || (p[1] != 'w' && p[1] != '-') ||
	    (p[2] != 'x' && p[2] != '-') || (p[3] != 'p' && p[3] != 's') || p[4] != ' ')
		return -EINVAL;
	v->prot = (uint8_t)((p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
			    (p[2] == 'x' ? PROT_EXEC : 0));
	v->shared = p[3] == 's';
	s->p += 5;
	return 0;
}

static int vma_dev_ino_scan(struct scan *s, struct proc_vma *v)
{
	int r = scan_hex32(s, &v->dev_major);

	if (r == 0)
		r = scan_char(s, ':');
	if (r == 0)
		r = scan_hex32(s, &v->dev_minor);
	if (r == 0)
		r = scan_char(s, ' ');
	if (r == 0)
		r = scan_dec(s, &v->ino);
	/* the number ends with a blank, even where no name follows; some kernels leave it out there */
	if (r == 0 && s->p < s->end)
		r = scan_char(s, ' ');
	return r;
}

/* "7f1c04828000-7f1c0482a000 r--s 00001000 fe:00 10953442      /name": fs/proc/task_mmu.c, show_vma_header_prefix() */
static int maps_header_parse(struct maps_parser *p, struct scan s)
{
	struct proc_vma_list *l = p->list;
	struct proc_vma v = { .pkey = PROC_PKEY_NONE };
	int r;

	if (p->open)
		return cr_fail(p->err, -EINVAL, "%s: line %zu: no VmFlags for the mapping before", p->file, p->line);
	r = scan_hex(&s, &v.start);
	if (r < 0 || scan_char(&s, '-') < 0)
		return maps_fail(p, r < 0 ? r : -EINVAL, "start");
	r = scan_hex(&s, &v.end);
	if (r < 0 || scan_char(&s, ' ') < 0)
		return maps_fail(p, r < 0 ? r : -EINVAL, "end");
	/* addresses never go backwards, even while the process maps and unmaps: Documentation/filesystems/proc.rst */
	if (v.start >= v.end || (l->nr && v.start < l->items[l->nr - 1].end))
		return maps_fail(p, -EINVAL, "start (out of order)");
	if (vma_perms_scan(&s, &v) < 0)
		return maps_fail(p, -EINVAL, "permissions");
	r = scan_hex(&s, &v.pgoff);
	if (r < 0 || scan_char(&s, ' ') < 0)
		return maps_fail(p, r < 0 ? r : -EINVAL, "offset");
	r = vma_dev_ino_scan(&s, &v);
	if (r < 0)
		return maps_fail(p, r, "device and inode");
	scan_blanks(&s);
	r = vma_name_keep(l, &s, &v);
	if (r < 0)
		return maps_fail(p, r, "name");
	r = vma_list_push(l, &v);
	if (r < 0)
		return maps_fail(p, r, "mapping");
	p->open = p->smaps;
	return 0;
}

static void unknown_flag_note(struct proc_vma_list *l, const char *code, struct proc_vma *v)
{
	if (v->nr_unknown_flags < UINT8_MAX)
		v->nr_unknown_flags++;
	for (size_t i = 0; i < PROC_UNKNOWN_FLAGS_MAX; i++) {
		struct proc_unknown_flag *u = &l->unknown[i];

		if (u->count == 0)
			memcpy(u->code, code, 2);
		if (memcmp(u->code, code, 2) == 0) {
			u->count++;
			return;
		}
	}
}

/* "rd wr mr mw me ac ": codes of two letters, each followed by a blank */
static int vm_flags_parse(struct maps_parser *p, struct scan s, struct proc_vma *v)
{
	for (scan_blanks(&s); s.p < s.end; scan_blanks(&s)) {
		unsigned int a, b;
		uint64_t flag = 0;

		if (scan_left(&s) < 2 || s.p[1] == ' ' || (scan_left(&s) > 2 && s.p[2] != ' '))
			return maps_fail(p, -EINVAL, "VmFlags");
		a = (unsigned char)(s.p[0] - 'a');
		b = (unsigned char)(s.p[1] - 'a');
		if (a < 26 && b < 26)
			flag = vm_codes[a * 26 + b];
		if (s.p[0] == '?' && s.p[1] == '?')
			v->vm_flags |= PROC_VM_UNNAMED;
		v->vm_flags |= flag;
		if (!flag)
			unknown_flag_note(p->list, s.p, v);
		s.p += 2;
	}
	p->open = false;
	return 0;
}

static int kb_parse(struct maps_parser *p, struct scan s, const char *name, uint64_t *ret)
{
	int r;

	scan_blanks(&s);
	r = scan_dec(&s, ret);
	if (r == 0)
		r = scan_is(&s, " kB") ? 0 : -EINVAL;
	return r < 0 ? maps_fail(p, r, name) : 0;
}

static int page_size_parse(struct maps_parser *p, struct scan s, struct proc_vma *v)
{
	uint64_t kb;
	int r = kb_parse(p, s, "KernelPageSize", &kb);

	if (r < 0)
		return r;
	if (kb > UINT32_MAX)
		return maps_fail(p, -ERANGE, "KernelPageSize");
	v->kernel_page_kb = (uint32_t)kb;
	return 0;
}

static int pkey_parse(struct maps_parser *p, struct scan s, struct proc_vma *v)
{
	uint32_t key;
	int r;

	scan_blanks(&s);
	r = scan_dec32(&s, &key);
	if (r == 0 && (s.p != s.end || key > INT8_MAX))
		r = -ERANGE;
	if (r < 0)
		return maps_fail(p, r, "ProtectionKey");
	v->pkey = (int8_t)key;
	return 0;
}

/* Two lines, which mostly say 0. */
static int shared_parse(struct maps_parser *p, struct scan s, struct proc_vma *v)
{
	uint64_t kb;
	int r;

	if (scan_lit(&s, "Shared_Clean:") < 0 && scan_lit(&s, "Shared_Dirty:") < 0)
		return 0;
	r = kb_parse(p, s, "Shared", &kb);
	if (r == 0)
		v->shared_kb += kb;
	return r;
}

/* One of the lines below a mapping. The first letter rules out nearly all of those that are of no interest. */
static int smaps_line_parse(struct maps_parser *p, struct scan s)
{
	struct proc_vma *v = &p->list->items[p->list->nr - 1];

	switch (*s.p) {
	case 'V':
		if (scan_lit(&s, "VmFlags:") == 0)
			return vm_flags_parse(p, s, v);
		break;
	case 'R':
		if (scan_lit(&s, "Rss:") == 0)
			return kb_parse(p, s, "Rss", &v->rss_kb);
		break;
	case 'A':
		if (scan_lit(&s, "Anonymous:") == 0)
			return kb_parse(p, s, "Anonymous", &v->anonymous_kb);
		break;
	case 'S':
		if (scan_lit(&s, "Swap:") == 0)
			return kb_parse(p, s, "Swap", &v->swap_kb);
		return v->rss_kb ? shared_parse(p, s, v) : 0; /* it is above these */
	case 'L':
		if (scan_lit(&s, "Locked:") == 0)
			return kb_parse(p, s, "Locked", &v->locked_kb);
		break;
	case 'K':
		if (scan_lit(&s, "KernelPageSize:") == 0)
			return page_size_parse(p, s, v);
		break;
	case 'P':
		if (scan_lit(&s, "ProtectionKey:") == 0)
			return pkey_parse(p, s, v);
		break;
	}
	return 0;
}

/* All whole lines of @s, which is left at the first byte of what is not one. */
static int maps_lines_parse(struct maps_parser *p, struct scan *s)
{
	struct scan line;

	while (scan_line(s, &line) > 0) {
		int r;

		p->line++;
		if (line.p == line.end)
			return maps_fail(p, -EINVAL, "start");
		if (p->smaps && *line.p >= 'A' && *line.p <= 'Z' && p->list->nr)
			r = smaps_line_parse(p, line);
		else
			r = maps_header_parse(p, line);
		if (r < 0)
			return r;
	}
	return 0;
}

/* After the last line */
static int maps_end_check(const struct maps_parser *p, const struct scan *left)
{
	if (left->p != left->end)
		return cr_fail(p->err, -EINVAL, "%s: cut off in line %zu", p->file, p->line + 1);
	if (p->open)
		return cr_fail(p->err, -EINVAL, "%s: no VmFlags for the last mapping", p->file);
	return 0;
}

static int text_parse(const char *text, size_t len, struct maps_parser *p)
{
	struct scan s = SCAN_INIT(text, len);
	int r = maps_lines_parse(p, &s);

	return r < 0 ? r : maps_end_check(p, &s);
}

int proc_maps_parse(const char *text, size_t len, struct proc_vma_list *ret, struct cr_error *err)
{
	return text_parse(text, len, &(struct maps_parser){ .list = ret, .file = "maps", .err = err });
}

int proc_smaps_parse(const char *text, size_t len, struct proc_vma_list *ret, struct cr_error *err)
{
	return text_parse(text, len, &(struct maps_parser){ .list = ret, .file = "smaps", .smaps = true, .err = err });
}

/*
 * A record of smaps costs a walk through the page tables of its mapping, 10 ms for a GiB. The kernel makes records until
 * its buffer of one page is full and throws away the last one, to make it again for the next read(2). Asked for about one
 * record at a time it never comes to that.
 */
#define SMAPS_STEP 1024

/*
 * One read(2) brings at most a page or so whatever was asked for (seq_read_iter() in fs/seq_file.c), so what has come
 * is parsed at once, while it is in the cache, and the text is never held as a whole.
 */
static int stream_parse(const struct proc_dir *d, struct maps_parser *p)
{
	autofd int fd = proc_open(d, p->file, O_RDONLY, p->err);
	autofree char *text = NULL;
	size_t have = 0;

	if (fd < 0)
		return fd;
	text = malloc(READ_SIZE);
	if (!text)
		return cr_fail(p->err, -ENOMEM, "%s of %d", p->file, d->pid);
	for (;;) {
		size_t room = READ_SIZE - have;
		ssize_t n = read(fd, text + have, p->smaps && room > SMAPS_STEP ? SMAPS_STEP : room);
		struct scan s;
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cr_fail(p->err, -errno, "read %s of %d", p->file, d->pid);
		have += (size_t)n;
		s = (struct scan)SCAN_INIT(text, have);
		r = maps_lines_parse(p, &s);
		if (r == 0 && n == 0)
			r = maps_end_check(p, &s);
		if (r == 0 && scan_left(&s) == READ_SIZE)
			r = cr_fail(p->err, -EINVAL, "%s: line %zu has no end", p->file, p->line + 1);
		if (r < 0)
			return cr_within(p->err, r, "task %d", d->pid);
		if (n == 0)
			return 0;
		have = scan_left(&s);
		memmove(text, s.p, have);
	}
}

int proc_maps_read(const struct proc_dir *d, struct proc_vma_list *ret, struct cr_error *err)
{
	return stream_parse(d, &(struct maps_parser){ .list = ret, .file = "maps", .err = err });
}

int proc_smaps_read(const struct proc_dir *d, struct proc_vma_list *ret, struct cr_error *err)
{
	return stream_parse(d, &(struct maps_parser){ .list = ret, .file = "smaps", .smaps = true, .err = err });
}

const struct proc_vma *proc_vma_find(const struct proc_vma_list *l, uint64_t at)
{
	size_t low = 0, high = l->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->items[mid].end <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->nr && l->items[low].start <= at ? &l->items[low] : NULL;
}

void proc_vma_list_done(struct proc_vma_list *l)
{
	free(l->items);
	free(l->strings);
	*l = (struct proc_vma_list){ 0 };
}
