#include "mm/smaps-before.h"

#include "mm/smaps-stream.h"

#include "base/array.h"
#include "base/buf.h"
#include "procfs/lists.h"
#include "procfs/maps.h"
#include "procfs/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define MUCH_RSS_KB ((uint64_t)16 << 10) /* less is read in a fraction of a millisecond */
#define TEXT_MAX    ((size_t)64 << 20)
#define TREE_MAX    65536u

/* What fork(2) takes away: dup_mmap() in kernel/fork.c and dup_userfaultfd() in fs/userfaultfd.c. Soft-dirty is nobody's. */
#define LOST_BY_FORK (PROC_VM_LO | PROC_VM_LF | PROC_VM_UNNAMED | PROC_VM_UM | PROC_VM_UW | PROC_VM_UI)

struct item {
	pid_t pid;
	struct buf text;
};
DEFINE_VEC(item_vec, struct item)

struct smaps_before {
	struct item_vec items;
};

void smaps_before_free(struct smaps_before *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->items.nr; i++)
		buf_done(&b->items.items[i].text);
	item_vec_done(&b->items);
	free(b);
}

static void read_one(struct smaps_before *b, pid_t pid, struct int_vec *children)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	autostatus struct proc_status status = { 0 };
	struct item *item;

	if (proc_dir_open(AT_FDCWD, pid, &dir, NULL) < 0 || proc_status_read(&dir, &status, NULL) < 0)
		return;
	proc_children_read(&dir, children, NULL);
	if (status.vm_rss_kb < MUCH_RSS_KB)
		return;
	item = item_vec_add(&b->items);
	if (!item)
		return;
	item->pid = pid;
	item->text = (struct buf)BUF_INIT(TEXT_MAX);
	if (proc_read_buf(&dir, "smaps", &item->text, NULL) < 0)
		buf_reset(&item->text);
}

struct smaps_before *smaps_before_read(pid_t root, int (*may)(void *arg, pid_t pid), void *arg)
{
	struct smaps_before *b = calloc(1, sizeof(*b));
	autointvec struct int_vec pids = { 0 };
	int *first = int_vec_add(&pids);

	if (!b || !first) {
		free(b);
		return NULL;
	}
	*first = root;
	for (size_t i = 0; i < pids.nr && i < TREE_MAX; i++)
		if (!may || may(arg, pids.items[i]) == 0)
			read_one(b, pids.items[i], &pids);
	return b;
}

/* ------------------------------------------------ is it still so? */

/* The next line from *@at on that begins a mapping: these alone begin with a digit or a small letter. */
static bool next_header(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	while (*at < end) {
		const char *line = *at, *newline = memchr(line, '\n', (size_t)(end - line));

		if (!newline)
			return false;
		*at = newline + 1;
		if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f')) {
			*ret = line;
			*ret_len = (size_t)(newline - line);
			return true;
		}
	}
	return false;
}

bool smaps_same_headers(const char *smaps, size_t smaps_len, const char *maps, size_t maps_len)
{
	const char *a = smaps, *b = maps, *line_a, *line_b;
	size_t len_a, len_b;

	for (;;) {
		bool more_a = next_header(&a, smaps + smaps_len, &line_a, &len_a);
		bool more_b = next_header(&b, maps + maps_len, &line_b, &len_b);

		if (!more_a || !more_b)
			return more_a == more_b;
		if (len_a != len_b || memcmp(line_a, line_b, len_a) != 0)
			return false;
	}
}

static bool has_locks(const struct proc_dir *dir)
{
	char text[8192];
	ssize_t len = proc_read_small(dir, "status", text, sizeof(text) - 1, NULL);
	const char *line;

	if (len < 0)
		return true;
	text[len] = '\0';
	line = strstr(text, "\nVmLck:");
	return !line || strtoull(line + strlen("\nVmLck:"), NULL, 10) != 0;
}

const char *smaps_before_find(const struct smaps_before *b, pid_t pid, const struct proc_dir *dir, size_t *ret_len)
{
	autobuf struct buf maps = BUF_INIT(TEXT_MAX);

	for (size_t i = 0; i < b->items.nr; i++) {
		const struct item *item = &b->items.items[i];

		if (item->pid != pid)
			continue;
		/* locks leave no trace in maps or copies */
		if (!item->text.len || proc_read_buf(dir, "maps", &maps, NULL) < 0 ||
		    !smaps_same_headers(item->text.data, item->text.len, maps.data, maps.len) || has_locks(dir))
			return NULL;
		*ret_len = item->text.len;
		return item->text.data;
	}
	return NULL;
}

/* ------------------------------------------------ was it so? */

struct comparison {
	const struct proc_vma_list *was;
	size_t at; /* the first of them that has not been passed */
	enum smaps_of of;
	bool differs;
};

/* May a copy lack it? Shared memory and huge pages are given up at once. */
static bool may_be_gone(const struct proc_vma *v, enum smaps_of of)
{
	return of == SMAPS_OF_TASK ||
	       (of == SMAPS_OF_COPY && (v->shared || v->vm_flags & (PROC_VM_DC | PROC_VM_HT) || v->start >> 63));
}

static int compare(void *arg, const struct proc_vma_list *list, struct cr_error *err)
{
	struct comparison *c = arg;
	uint64_t mask = ~(c->of == SMAPS_OF_COPY ? LOST_BY_FORK | PROC_VM_SD : PROC_VM_UW | PROC_VM_SD);

	(void)err;
	for (size_t i = 0; i < list->nr; i++) {
		const struct proc_vma *is = &list->items[i], *was;

		for (; c->at < c->was->nr && c->was->items[c->at].end <= is->start; c->at++)
			c->differs |= !may_be_gone(&c->was->items[c->at], c->of);
		was = c->at < c->was->nr ? &c->was->items[c->at] : NULL;
		if (!was || was->start >= is->end)
			continue;
		if (was->start == is->start && was->end == is->end)
			c->differs |=
				((was->vm_flags ^ is->vm_flags) & mask) != 0 || was->pkey != is->pkey;
		else
			c->differs |= c->of != SMAPS_OF_TASK;
		c->at += is->end >= was->end;
	}
	return 0;
}

int smaps_same_flags(const char *text, size_t len, const struct proc_dir *dir, enum smaps_of of, struct cr_error *err)
{
	autovmas struct proc_vma_list was = { 0 };
	struct comparison c = { .was = &was, .of = of };
	int r = proc_smaps_parse(text, len, &was, err);

	if (r == 0)
		r = smaps_each(dir, compare, &c, err);
	for (; c.at < was.nr; c.at++)
		c.differs |= !may_be_gone(&was.items[c.at], of);
	return r < 0 ? r : !c.differs;
}
