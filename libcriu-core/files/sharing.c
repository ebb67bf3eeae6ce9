/*
 * Which descriptors share one open file description. Only kcmp(2) knows; it gives an order, so that descriptions
 * can be kept sorted and a new one costs a logarithmic number of comparisons. Descriptors with different facts
 * cannot be the same, so only those in one bucket of equal facts are compared.
 */
#include "files/dump-internal.h"
#include "files/sweep.h"

#include "infect/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct bucket {
	uint64_t key;
	struct open_file_vec files; /* in the order of kcmp */
	size_t last;                /* where the last hit or insertion was */
};

/* What fcntl(2) can set later on (SETFL_MASK in fs/fcntl.c). */
#define FLAGS_THAT_CHANGE ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC))

/*
 * Nothing is in it that others can change between two looks at one description: who is outside of the tree goes on. So neither
 * position, nor owner, permissions or those flags.
 */
static uint64_t facts_key(const struct file_facts *facts)
{
	uint64_t h = map_mix(0, facts->st.st_dev);

	h = map_mix(h, facts->st.st_ino);
	h = map_mix(h, facts->st.st_mode & S_IFMT);
	return map_mix(h, facts->flags & ~FLAGS_THAT_CHANGE);
}

/* How kcmp(2) names a description: a thread, and a number in its table. */
struct holder {
	pid_t tid;
	int fd;
};

static struct holder holder_there(const struct task *task, int fd)
{
	return (struct holder){ task->lead->host_tid, fd };
}

static struct holder holder_of(const struct open_file *f)
{
	return f->in_flight ? (struct holder){ getpid(), f->fd } : holder_there(f->task, f->fd_there);
}

/* Return: < 0 failure; 0 equal; 1 less; 2 greater: as kcmp(2) */
static int compare(struct holder h, const struct open_file *f, struct cr_error *err)
{
	struct holder other = holder_of(f);
	long r = syscall(SYS_kcmp, h.tid, other.tid, KCMP_FILE, h.fd, other.fd);

	if (r < 0)
		return cr_fail(err, -errno, "compare fd %d of %d with fd %d of %d", h.fd, h.tid, other.fd, other.tid);
	if (r > 2)
		return cr_refuse(err, -EPROTO, "descriptors of %d and %d cannot be put in an order", h.tid, other.tid);
	return (int)r;
}

static struct bucket *bucket_of(struct file_table *t, uint64_t key)
{
	struct bucket *b = map_find(&t->buckets, key);

	if (b)
		return b;
	b = pool_new(&t->pool, struct bucket);
	if (!b || map_put(&t->buckets, key, b) < 0)
		return NULL;
	b->key = key;
	return b;
}

/* Position of the description in the bucket. Return: 0 found, 1 it belongs before *ret, negative errno */
static int bucket_search(struct bucket *b, struct holder h, size_t *ret, struct cr_error *err)
{
	size_t lo = 0, hi = b->files.nr;

	while (lo < hi) {
		/* forked tasks share what their parent has, in the same order: what was found last is asked first */
		size_t mid = lo == 0 && hi == b->files.nr && b->last < hi ? b->last : lo + (hi - lo) / 2;
		int r = compare(h, b->files.items[mid], err);

		if (r < 0)
			return r;
		if (r == 0) {
			*ret = mid;
			return 0;
		}
		if (r == 1)
			hi = mid;
		else
			lo = mid + 1;
	}
	*ret = lo;
	return 1;
}

static int bucket_insert(struct bucket *b, size_t at, struct open_file *f, struct cr_error *err)
{
	if (!open_file_vec_add(&b->files))
		return pool_failed(err);
	memmove(&b->files.items[at + 1], &b->files.items[at], (b->files.nr - 1 - at) * sizeof(b->files.items[0]));
	b->files.items[at] = f;
	b->last = at;
	return 0;
}

/* A forked task mostly has what its parent has, at the same numbers. */
int sharing_guess(struct file_table *t, const struct task *task, int fd, uint64_t key, struct open_file **ret,
		  struct cr_error *err)
{
	const struct fd_table *tab =
		task->parent ? map_find(&t->by_files_id, (uint64_t)task->parent->ids.files_id + 1) : NULL;
	size_t lo = 0, hi = tab ? tab->fds.nr : 0;
	int r;

	*ret = NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (tab->fds.items[mid].fd < fd)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!tab || lo == tab->fds.nr || tab->fds.items[lo].fd != fd || tab->fds.items[lo].file->key != key)
		return 0;
	r = compare(holder_there(task, fd), tab->fds.items[lo].file, err);
	if (r == 0)
		*ret = tab->fds.items[lo].file;
	return r < 0 ? r : 0;
}

/* @fd: number in the task, -1 for one of ours */
static int find_held(struct file_table *t, struct task *task, int fd, struct holder h, const struct file_facts *facts,
		     uint64_t key, struct open_file **ret, bool *ret_new, struct cr_error *err)
{
	struct bucket *b = bucket_of(t, key);
	struct open_file *f;
	size_t at;
	int r;

	if (!b)
		return pool_failed(err);
	r = bucket_search(b, h, &at, err);
	if (r < 0)
		return r;
	if (r == 0) {
		b->last = at;
		*ret = b->files.items[at];
		*ret_new = false;
		return 0;
	}
	f = file_new(t, task, fd, err);
	if (!f)
		return -ENOMEM;
	f->facts = *facts;
	f->key = key;
	*ret = f;
	*ret_new = true;
	return bucket_insert(b, at, f, err);
}

int sharing_find(struct file_table *t, struct task *task, int fd, const struct file_facts *facts, uint64_t key,
		 struct open_file **ret, bool *ret_new, struct cr_error *err)
{
	return find_held(t, task, fd, holder_there(task, fd), facts, key, ret, ret_new, err);
}

int sharing_find_ours(struct file_table *t, struct task *task, int copy, const struct file_facts *facts, uint64_t key,
		      struct open_file **ret, bool *ret_new, struct cr_error *err)
{
	return find_held(t, task, -1, (struct holder){ getpid(), copy }, facts, key, ret, ret_new, err);
}

/*
 * All eventfds share one inode, but each has a number (Linux 5.2, eventfd_show_fdinfo() in fs/eventfd.c); with it in the
 * key they need no comparing. The counter must not be in it, see facts_key().
 */
uint64_t sharing_key(const struct file_facts *facts, const char *fdinfo)
{
	static const char line[] = "\neventfd-id:";
	const char *id = fdinfo ? strstr(fdinfo, line) : NULL;
	uint64_t key = facts_key(facts);

	return id ? map_mix(key, strtoull(id + sizeof(line) - 1, NULL, 10)) : key;
}

/* ------------------------------------------------- many with equal facts */

/*
 * Thousands of descriptors with equal facts (the same device opened again and again) cost a logarithmic number of
 * comparisons each, about 0.8 microseconds a piece. They are sorted by two threads; then equal neighbours are one
 * description. Our own copies are compared: that is cheaper than asking for two other processes.
 */
#define SORT_PIECES 2

struct sorting {
	struct probe **items, **scratch;
	size_t nr, split;
	pid_t self;
};

static int probe_order(const struct sorting *s, const struct probe *a, const struct probe *b, struct cr_error *err)
{
	long r = syscall(SYS_kcmp, s->self, s->self, KCMP_FILE, a->copy, b->copy);

	if (r < 0 || r > 2)
		return cr_fail(err, r < 0 ? -errno : -EPROTO, "compare descriptors %d and %d", a->fd, b->fd);
	return (int)r;
}

/* Two sorted runs, [a, a_end) and [b, b_end) of items, into scratch from @out on */
static int merge(const struct sorting *s, size_t a, size_t a_end, size_t b, size_t b_end, size_t out,
		 struct cr_error *err)
{
	while (a < a_end && b < b_end) {
		int r = probe_order(s, s->items[a], s->items[b], err);

		if (r < 0)
			return r;
		if (r == 0)
			s->items[b]->twin = s->items[a];
		/* equal ones keep their order, so the lowest number comes first */
		s->scratch[out++] = r == 2 ? s->items[b++] : s->items[a++];
	}
	while (a < a_end)
		s->scratch[out++] = s->items[a++];
	while (b < b_end)
		s->scratch[out++] = s->items[b++];
	return 0;
}

static int sort_range(const struct sorting *s, size_t lo, size_t hi, struct cr_error *err)
{
	size_t mid = lo + (hi - lo) / 2;
	int r;

	if (hi - lo < 2)
		return 0;
	r = sort_range(s, lo, mid, err);
	if (r == 0)
		r = sort_range(s, mid, hi, err);
	if (r == 0)
		r = merge(s, lo, mid, mid, hi, lo, err);
	if (r == 0)
		memcpy(&s->items[lo], &s->scratch[lo], (hi - lo) * sizeof(s->items[0]));
	return r;
}

static int sort_piece(void *arg, size_t i, struct cr_error *err)
{
	const struct sorting *s = arg;

	return sort_range(s, s->nr * i / SORT_PIECES, s->nr * (i + 1) / SORT_PIECES, err);
}

/* The last merge is done in two parts as well: below and from the middle of the first half on. */
static int merge_part(void *arg, size_t i, struct cr_error *err)
{
	const struct sorting *s = arg;
	size_t half = s->nr / SORT_PIECES;

	if (i == 0)
		return merge(s, 0, half / 2, half, s->split, 0, err);
	return merge(s, half / 2, half, s->split, s->nr, half / 2 + s->split - half, err);
}

/* Where in the second half the middle of the first would be: before the first that is not less */
static int find_split(struct sorting *s, struct cr_error *err)
{
	size_t half = s->nr / SORT_PIECES, lo = half, hi = s->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int r = probe_order(s, s->items[half / 2], s->items[mid], err);

		if (r < 0)
			return r;
		if (r == 2)
			lo = mid + 1;
		else
			hi = mid;
	}
	s->split = lo;
	return 0;
}

static int sort_probes(struct probe **items, size_t nr, struct cr_error *err)
{
	struct sorting s = { .items = items, .nr = nr, .self = getpid(), .scratch = calloc(nr, sizeof(*s.scratch)) };
	int r = s.scratch ? parallel_pieces(SORT_PIECES, sort_piece, &s, err) : pool_failed(err);

	if (r == 0)
		r = find_split(&s, err);
	if (r == 0)
		r = parallel_pieces(2, merge_part, &s, err);
	if (r == 0)
		memcpy(items, s.scratch, nr * sizeof(*items));
	free(s.scratch);
	return r;
}

/*
 * Every run of equal ones gets one file. That each of a run but the first has a twin before it is known from the merges:
 * of two equal neighbours one was compared with the other, or with one equal to both.
 */
static int group_equals(struct file_table *t, struct task *task, struct probe **items, size_t nr, struct cr_error *err)
{
	struct bucket *b = bucket_of(t, items[0]->key);
	bool fresh = b && b->files.nr == 0;
	int r = b ? 0 : pool_failed(err);

	for (size_t i = 0; i < nr && r == 0; i++) {
		struct probe *p = items[i];
		bool new;

		if (p->twin) {
			p->file = p->twin->file;
		} else if (!fresh) {
			r = sharing_find(t, task, p->fd, &p->facts, p->key, &p->file, &new, err);
		} else {
			p->file = file_new(t, task, p->fd, err);
			r = p->file ? bucket_insert(b, b->files.nr, p->file, err) : -ENOMEM;
			if (r == 0) {
				p->file->facts = p->facts;
				p->file->key = p->key;
			}
		}
	}
	return r;
}

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027 /* 6.10 */
#endif
#define GROUP_LARGE 64

/*
 * Neighbours that are duplicates, as dup2(2) in a loop makes them, need no sorting: fcntl(2) answers in a seventh of the
 * time that kcmp(2) takes, but only whether they are the same. Return: how many are left, in front
 */
static size_t drop_twins(struct probe **items, size_t nr)
{
	size_t left = 1;

	for (size_t i = 1; i < nr; i++) {
		struct probe *before = items[left - 1];

		if (fcntl(items[i]->copy, F_DUPFD_QUERY, before->copy) == 1)
			items[i]->twin = before;
		else
			items[left++] = items[i];
	}
	return left;
}

static int group_one(struct file_table *t, struct task *task, struct probe **items, size_t nr, struct cr_error *err)
{
	int r = 0;
	bool new;

	if (nr > 1)
		nr = drop_twins(items, nr);
	if (nr >= GROUP_LARGE) {
		r = sort_probes(items, nr, err);
		return r < 0 ? r : group_equals(t, task, items, nr, err);
	}
	for (size_t i = 0; i < nr && r == 0; i++)
		r = sharing_find(t, task, items[i]->fd, &items[i]->facts, items[i]->key, &items[i]->file, &new, err);
	return r;
}

static int by_key(const void *a, const void *b)
{
	const struct probe *x = *(struct probe *const *)a, *y = *(struct probe *const *)b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->fd < y->fd ? -1 : 1;
}

int sharing_group(struct file_table *t, struct task *task, struct probe *probes, size_t nr, struct cr_error *err)
{
	struct probe **items = calloc(nr + 1, sizeof(*items));
	int r = items ? 0 : pool_failed(err);
	size_t left = 0;

	for (size_t i = 0; r == 0 && i < nr; i++) {
		r = sharing_guess(t, task, probes[i].fd, probes[i].key, &probes[i].file, err);
		if (!probes[i].file)
			items[left++] = &probes[i];
	}
	if (r == 0)
		qsort(items, left, sizeof(items[0]), by_key);
	for (size_t i = 0, end; r == 0 && i < left; i = end) {
		for (end = i + 1; end < left && items[end]->key == items[i]->key; end++)
			;
		r = group_one(t, task, &items[i], end - i, err);
	}
	/* twins come after what they are twins of, in numbers too */
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (!probes[i].file)
			probes[i].file = probes[i].twin->file;
	free(items);
	return r;
}

void sharing_done(struct file_table *t)
{
	for (size_t i = 0; i < t->buckets.size; i++) {
		struct bucket *b = t->buckets.slots[i].value;

		if (b)
			open_file_vec_done(&b->files);
	}
	map_done(&t->buckets);
}
