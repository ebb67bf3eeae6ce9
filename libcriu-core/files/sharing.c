/*
 * Which descriptors share one open file description. Only kcmp(2) knows; it gives an order, so that descriptions
 * can be kept sorted and a new one costs a logarithmic number of comparisons. Descriptors with different facts
 * cannot be the same, so only those in one bucket of equal facts are compared.
 */
#include "files/dump-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct bucket {
	uint64_t             key;
	struct open_file_vec files;     /* in the order of kcmp */
	size_t               last;      /* where the last hit or insertion was */
};

static uint64_t facts_key(const struct file_facts *facts)
{
	uint64_t h = map_mix(0, facts->st.st_dev);

	h = map_mix(h, facts->st.st_ino);
	h = map_mix(h, facts->st.st_mode);
	h = map_mix(h, facts->flags);
	h = map_mix(h, (uint64_t)facts->pos);
	return map_mix(h, facts->fown.pid);
}

/* Return: < 0 failure; 0 equal; 1 less; 2 greater: as kcmp(2) */
static int compare(const struct task *task, int fd, const struct open_file *f, struct cr_error *err)
{
	long r = syscall(SYS_kcmp, task->host_pid, f->task->host_pid, KCMP_FILE, fd, f->fd_there);

	if (r < 0)
		return cr_fail(err, -errno, "compare fd %d of %d with fd %d of %d", fd, task->host_pid, f->fd_there,
			       f->task->host_pid);
	if (r > 2)
		return cr_refuse(err, -EPROTO, "descriptors of %d and %d cannot be put in an order", task->host_pid,
				 f->task->host_pid);
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
static int bucket_search(struct bucket *b, const struct task *task, int fd, size_t *ret, struct cr_error *err)
{
	size_t lo = 0, hi = b->files.nr;

	while (lo < hi) {
		/* forked tasks share what their parent has, in the same order: what was found last is asked first */
		size_t mid = lo == 0 && hi == b->files.nr && b->last < hi ? b->last : lo + (hi - lo) / 2;
		int r = compare(task, fd, b->files.items[mid], err);

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

int sharing_find(struct file_table *t, struct task *task, int fd, const struct file_facts *facts, struct open_file **ret,
		 bool *ret_new, struct cr_error *err)
{
	struct bucket *b = bucket_of(t, facts_key(facts));
	struct open_file *f;
	size_t at;
	int r;

	if (!b)
		return pool_failed(err);
	r = bucket_search(b, task, fd, &at, err);
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
	if (!open_file_vec_add(&b->files))
		return pool_failed(err);
	memmove(&b->files.items[at + 1], &b->files.items[at], (b->files.nr - 1 - at) * sizeof(b->files.items[0]));
	b->files.items[at] = f;
	b->last = at;
	*ret = f;
	*ret_new = true;
	return 0;
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
