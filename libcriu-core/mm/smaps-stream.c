/*
 * smaps costs the kernel some microseconds for each mapping, and hands it out a page at a time. For tasks with many
 * mappings a second thread does the reading, so that parsing and judging come for free; what fits one block, as nearly all
 * tasks do, is read and parsed without one. Memory is that of a few blocks, however many mappings there are.
 */
#include "mm/smaps-stream.h"

#include "base/error.h"
#include "base/own.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define BLOCK     ((size_t)128 * 1024)
#define HEAD      ((size_t)32 * 1024) /* room in front of a block for the begun record of the one before */
#define NR_BLOCKS 12 /* what 2,000 mappings take: they may all be read before anybody looks */

struct block {
	char text[HEAD + BLOCK];
	size_t len;
};

struct smaps_stream {
	int fd;
	const char *text; /* all of it, NULL: it is read from fd */
	size_t text_len;
	struct block *blocks; /* NR_BLOCKS, used in turn */
	bool threaded;        /* the first block was not all */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t filled, used; /* how many blocks ever */
	bool stop, end;
	int error; /* of read(2), once end is set */
};

size_t smaps_cut(const char *text, size_t len)
{
	/* only the first line of a record begins with a digit or a small letter */
	for (size_t i = len; i > 1; i--)
		if (text[i - 2] == '\n' &&
		    ((text[i - 1] >= '0' && text[i - 1] <= '9') || (text[i - 1] >= 'a' && text[i - 1] <= 'f')))
			return i - 1;
	return 0;
}

/*
 * seq_file collects a page and throws away the record that did not fit, to make it once more. So a read asks for less than
 * a page minus a record: it ends with the record that crosses this mark, and no record is made twice.
 */
#define READ_SIZE ((size_t)3300)

/* Return: 1 the block is full (but for what one more read could not fit), 0 the file has ended, negative errno. */
static int fill(int fd, struct block *b)
{
	b->len = 0;
	while (BLOCK - b->len >= 4096) {
		ssize_t n = read(fd, b->text + HEAD + b->len, READ_SIZE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		b->len += (size_t)n;
	}
	return 1;
}

static void *read_ahead(void *arg)
{
	struct smaps_stream *s = arg;
	int r = 1;

	while (r > 0) {
		pthread_mutex_lock(&s->lock);
		while (!s->stop && s->filled - s->used == NR_BLOCKS)
			pthread_cond_wait(&s->changed, &s->lock);
		r = s->stop ? 0 : 1;
		pthread_mutex_unlock(&s->lock);
		if (r)
			r = fill(s->fd, &s->blocks[s->filled % NR_BLOCKS]);
		pthread_mutex_lock(&s->lock);
		s->filled++;
		s->end = r <= 0;
		s->error = r < 0 ? r : 0;
		pthread_cond_signal(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

static int look(const char *text, size_t len, smaps_fn fn, void *arg, struct cr_error *err)
{
	autovmas struct proc_vma_list list = { 0 };
	int r = len ? proc_smaps_parse(text, len, &list, err) : 0;

	return r < 0 || !list.nr ? r : fn(arg, &list, err);
}

/* The next block, NULL at the end. It stays until give_back(). */
static struct block *next_block(struct smaps_stream *s)
{
	struct block *b = NULL;

	pthread_mutex_lock(&s->lock);
	while (s->filled == s->used && !s->end)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->filled != s->used)
		b = &s->blocks[s->used % NR_BLOCKS];
	pthread_mutex_unlock(&s->lock);
	return b;
}

static void give_back(struct smaps_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->used++;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* What is left of each block goes in front of the next. */
static int consume(struct smaps_stream *s, smaps_fn fn, void *arg, struct cr_error *err)
{
	char rest[HEAD] = { 0 };
	size_t nr_rest = 0;
	struct block *b;

	while ((b = next_block(s))) {
		char *text = b->text + HEAD - nr_rest;
		size_t len = b->len + nr_rest, cut;
		int r;

		memcpy(text, rest, nr_rest);
		cut = smaps_cut(text, len);
		r = look(text, cut, fn, arg, err);
		nr_rest = len - cut;
		if (r == 0 && nr_rest > HEAD)
			r = cr_refuse(err, -EFBIG, "smaps: a record of more than %zu bytes", HEAD);
		if (r < 0)
			return r;
		memcpy(rest, text + cut, nr_rest);
		give_back(s);
	}
	if (s->error)
		return cr_fail(err, s->error, "read smaps");
	return look(rest, nr_rest, fn, arg, err);
}

static int start_thread(struct smaps_stream *s, struct cr_error *err)
{
	int r = thread_begin(&s->thread, read_ahead, s);

	s->threaded = r == 0;
	return r < 0 ? cr_fail(err, r, "start a thread") : 0;
}

int smaps_begin(const struct proc_dir *dir, struct smaps_stream **ret, bool *ret_many, struct cr_error *err)
{
	autofree_by(smaps_drop) struct smaps_stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return cr_fail(err, -ENOMEM, "read smaps");
	*s = (struct smaps_stream){ .fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	s->fd = proc_open(dir, "smaps", O_RDONLY, err);
	if (s->fd < 0)
		return s->fd;
	s->blocks = malloc(NR_BLOCKS * sizeof(*s->blocks));
	if (!s->blocks)
		return cr_fail(err, -ENOMEM, "read smaps");
	r = fill(s->fd, &s->blocks[0]);
	if (r < 0)
		return cr_fail(err, r, "read smaps");
	s->filled = 1;
	*ret_many = r > 0;
	r = *ret_many ? start_thread(s, err) : 0;
	if (r == 0)
		*ret = take_ptr(&s);
	return r;
}

int smaps_begin_text(const char *text, size_t len, struct smaps_stream **ret, bool *ret_many, struct cr_error *err)
{
	struct smaps_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return cr_fail(err, -ENOMEM, "read smaps");
	*s = (struct smaps_stream){ .fd = -1, .text = text, .text_len = len };
	*ret_many = len > BLOCK;
	*ret = s;
	return 0;
}

int smaps_end(struct smaps_stream *s, smaps_fn fn, void *arg, struct cr_error *err)
{
	int r;

	if (s->text)
		r = look(s->text, s->text_len, fn, arg, err);
	else if (s->threaded)
		r = consume(s, fn, arg, err);
	else
		r = look(s->blocks[0].text + HEAD, s->blocks[0].len, fn, arg, err);

	smaps_drop(s);
	return r;
}

void smaps_drop(struct smaps_stream *s)
{
	if (!s)
		return;
	if (s->threaded) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->changed);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	if (s->fd >= 0)
		close(s->fd);
	free(s->blocks);
	free(s);
}

int smaps_each(const struct proc_dir *dir, smaps_fn fn, void *arg, struct cr_error *err)
{
	struct smaps_stream *s = NULL;
	bool many;
	int r = smaps_begin(dir, &s, &many, err);

	return r < 0 ? r : smaps_end(s, fn, arg, err);
}
