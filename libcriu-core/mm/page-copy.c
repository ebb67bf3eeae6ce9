/*
 * Copying pages. Each worker takes the next chunk, reads it into a buffer that stays in its own second-level cache and
 * writes it from there, so that memory is read once and written once. Checksums are made in between. The file system lets one writer at a time into
 * a file (inode lock): while one worker writes, the others read. Offsets are known beforehand, since all pages
 * are stored in order; so nothing has to be put together afterwards. A connection takes things only in order: there each
 * worker waits for its turn to write.
 */
#include "mm/page-copy.h"
#include "mm/page-client.h"
#include "mm/page-select.h"

#include "image/frames.h"
#include "image/page-sums.h"
#include "image/stream.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/thread.h"
#include "kernel/context.h"
#include "kernel/stage.h"
#include "page-sum.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* fits the L2 cache of any current machine, and hides the cost of a call; compressed, a chunk is a frame */
#define CHUNK       FRAME_BYTES
#define MAX_WORKERS 4
#define ALONE       ((uint64_t)4 << 20) /* less than this is copied sooner than threads are started */

struct chunk {
	struct copy_job *job;
	uint64_t len, out_off, turn;
	size_t nr;
	struct iovec iov[CHUNK / MM_PAGE];
	bool slow[CHUNK / MM_PAGE], apart[CHUNK / MM_PAGE];
};

struct copy;

struct worker {
	struct copy *copy;
	bool reports;
	unsigned int nr_chunks;
	uint64_t write_us;
	struct copy_job *job; /* that it takes chunks from; under the lock of all */
	struct frame_scratch *scratch; /* its own; NULL: nothing is compressed */
	pthread_t thread;
};

struct copy {
	struct mm_dump *d;
	struct image_set *set;
	struct copy_job *jobs;
	size_t nr, next;
	int sums; /* pages.sum; -1: none are wanted */
	bool hardware;
	uint32_t sum_of_zeroes;
	uint64_t done, total;
	uint64_t turns, turn; /* handed out; whose it is to write to the server */
	pthread_cond_t turned;
	pthread_mutex_t lock;
	int failed; /* first failure of a worker */
	struct cr_error err;
	bool in_order; /* to a server or a streamer */
	bool packs;    /* compresses */
	struct worker workers[MAX_WORKERS];
	size_t nr_workers;
};

bool page_is_zero(const void *page)
{
	const uint64_t *w = page;
	const size_t nr = MM_PAGE / sizeof(*w);

	for (size_t i = 0; i < nr; i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
			return false;
	return true;
}

uint64_t page_runs_bytes(const struct page_runs *runs)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < runs->nr; i++)
		sum += runs->items[i].end - runs->items[i].start;
	return sum;
}

static int open_job(struct copy *c, struct copy_job *j, struct cr_error *err)
{
	bool slow = j->is_copy;
	int r = 0;

	j->opened = true;
	j->refs = 1;
	j->out = j->mem = -1;
	for (size_t i = 0; i < j->runs->nr; i++)
		slow |= j->runs->items[i].slow;
	if (!c->d->config.server) {
		j->out = image_open_raw(c->set, c->packs ? IMG_PAGES_PACKED : IMG_PAGES, j->pages_id, err);
		if (j->out < 0)
			return j->out;
		if (c->packs)
			r = frames_begin(j->out, page_runs_bytes(j->runs), &j->frames, err);
		if (r < 0)
			return r;
		if (!c->packs && !image_set_streams(c->set)) {
			if (ftruncate(j->out, (off_t)page_runs_bytes(j->runs)) < 0)
				return cr_fail(err, -errno, "make room in pages-%" PRIu32 ".img", j->pages_id);
			page_room_begin(&j->room, j->out, page_runs_bytes(j->runs));
		}
	}
	if (j->unread) {
		j->mem = fcntl(j->running_mem, F_DUPFD_CLOEXEC, 3);
		return j->mem < 0 ? cr_fail(err, -errno, "memory of pid %d", j->pid) : 0;
	}
	if (j->pid && slow) {
		j->mem = proc_open(j->dir, "mem", O_RDONLY, err);
		if (j->mem < 0)
			return j->mem;
	}
	return 0;
}

static int put_job(struct copy *c, struct copy_job *j, struct cr_error *err)
{
	int r = 0;

	if (!j->opened || --j->refs)
		return 0;
	if (j->frames && !c->failed)
		r = cr_within(err, frames_end(j->frames, err), "pages-%" PRIu32 ".frames", j->pages_id);
	if (j->out >= 0 && (c->failed || r < 0)) {
		close(j->out);
	} else if (j->out >= 0) {
		r = image_set_close(c->set, j->out);
		if (r < 0)
			cr_fail(err, r, "end pages-%" PRIu32, j->pages_id);
	}
	if (j->mem >= 0)
		close(j->mem);
	frames_out_free(j->frames);
	j->frames = NULL;
	j->out = j->mem = -1;
	return r;
}

/* How much from @at on lies in one place: all of it in a range that is kept apart, or none. Asked in ascending order. */
static uint64_t in_one_place(struct copy_job *j, uint64_t at, uint64_t len, bool *ret_apart)
{
	const struct mm_range *x;

	*ret_apart = false;
	if (!j->apart)
		return len;
	while (j->apart_at < j->apart->nr && j->apart->items[j->apart_at].end <= at)
		j->apart_at++;
	if (j->apart_at == j->apart->nr)
		return len;
	x = &j->apart->items[j->apart_at];
	*ret_apart = x->start <= at;
	if (*ret_apart)
		return x->end - at < len ? x->end - at : len;
	return x->start - at < len ? x->start - at : len;
}

static bool has_work(const struct copy_job *j)
{
	return j && j->run < j->runs->nr;
}

/* The next job that nobody has begun. Return: 1; 0 there is none; negative errno */
static int begin_job(struct copy *c, struct copy_job **ret)
{
	while (c->next < c->nr) {
		struct copy_job *j = &c->jobs[c->next++];
		int r;

		/* in a directory there is a file without pages, too; a streamer would be left with it, since nobody asks for it */
		if (!has_work(j) && image_set_streams(c->set))
			continue;
		r = open_job(c, j, &c->err);
		if (r == 0 && has_work(j)) {
			*ret = j;
			return 1;
		}
		if (r == 0)
			r = put_job(c, j, &c->err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Each worker has a file of its own as long as there are enough of them, so that none waits for another's inode lock; then
 * they help each other. What has to come in order is done by all of them together. Return: 1; 0 nothing is left; negative errno
 */
static int choose_job(struct copy *c, struct worker *w, struct copy_job **ret)
{
	struct copy_job **mine = c->in_order ? &c->workers[0].job : &w->job;
	int r = has_work(*mine) ? 1 : begin_job(c, mine);

	for (size_t i = 0; r == 0 && i < c->nr_workers; i++) {
		if (has_work(c->workers[i].job)) {
			*mine = c->workers[i].job;
			r = 1;
		}
	}
	*ret = *mine;
	return r;
}

/* Fills @ch from the job at hand. Called with the lock held. Return: 1 a chunk, 0 nothing left, negative errno. */
static int take_chunk(struct copy *c, struct worker *w, struct chunk *ch)
{
	struct copy_job *j;
	int r = choose_job(c, w, &j);

	if (r <= 0)
		return r;
	ch->job = j;
	ch->turn = c->turns++;
	ch->len = 0;
	ch->nr = 0;
	ch->out_off = j->out_off;
	while (ch->len < CHUNK && j->run < j->runs->nr) {
		const struct page_run *run = &j->runs->items[j->run];
		uint64_t left = run->end - run->start - j->run_off, n = left < CHUNK - ch->len ? left : CHUNK - ch->len;

		n = in_one_place(j, run->start + j->run_off, n, &ch->apart[ch->nr]);
		ch->iov[ch->nr] = (struct iovec){ (void *)(uintptr_t)(run->start + j->run_off), n };
		ch->slow[ch->nr++] = run->slow || j->is_copy || (j->unread && c->d->ctx->opts->client_is_peer);
		ch->len += n;
		j->run_off = n == left ? 0 : j->run_off + n;
		j->run += n == left;
	}
	j->out_off += ch->len;
	page_room_make(&j->room, j->out_off);
	/* the last one takes over the reference of those who hand out */
	j->refs += has_work(j);
	return 1;
}

/* A page of a running task that is not there any more, or not to be had: one at a time, since others behind it may be. */
static ssize_t skip_page(struct copy *c, struct copy_job *j, uint64_t at, char *buf)
{
	int r;

	memset(buf, 0, MM_PAGE);
	pthread_mutex_lock(&c->lock);
	r = page_runs_put(j->unread, at, at + MM_PAGE, 0, false);
	pthread_mutex_unlock(&c->lock);
	return r < 0 ? r : (ssize_t)MM_PAGE;
}

/* Reads one area through /proc/PID/mem, which a tracer may read whatever the protection. */
static int read_slow(struct copy *c, const struct chunk *ch, size_t i, uint64_t skip, char *buf, struct cr_error *err)
{
	struct copy_job *j = ch->job;
	const struct iovec *iov = &ch->iov[i];
	uint64_t at = (uintptr_t)iov->iov_base + skip;
	bool needs_own = !ch->apart[i] && j->mem < 0;
	autofd int own = needs_own ? proc_open(j->dir, "mem", O_RDONLY, err) : -1;
	int mem = ch->apart[i] ? j->apart_fd : needs_own ? own : j->mem;

	if (mem < 0)
		return mem;
	for (uint64_t left = iov->iov_len - skip; left;) {
		ssize_t n = pread(mem, buf, left, (off_t)at);

		if (n <= 0 && j->unread && at % MM_PAGE == 0)
			n = skip_page(c, j, at, buf);
		if (n <= 0)
			return cr_fail(err, n ? -errno : -EIO, "read memory of pid %d at %" PRIx64, j->pid, at);
		at += (uint64_t)n;
		buf += n;
		left -= (uint64_t)n;
	}
	return 0;
}

static int read_task(struct copy *c, const struct chunk *ch, char *buf, struct cr_error *err)
{
	struct iovec rest[CHUNK / MM_PAGE];
	uint64_t at = 0;

	for (size_t i = 0; i < ch->nr;) {
		size_t n = 0;
		uint64_t len = 0;

		while (i + n < ch->nr && !ch->slow[i + n]) {
			rest[n] = ch->iov[i + n];
			len += rest[n++].iov_len;
		}
		ssize_t got = n ? process_vm_readv(ch->job->pid, &(struct iovec){ buf + at, len }, 1, rest, n, 0) : 0;

		if (got < 0 && errno != EFAULT && !ch->job->unread)
			return cr_fail(err, -errno, "read memory of pid %d", ch->job->pid);
		/* what could not be read so is read the slow way, up to the end of its area; then fast again */
		uint64_t left = got > 0 ? (uint64_t)got : 0;

		at += left;
		while (i < ch->nr && left >= ch->iov[i].iov_len)
			left -= ch->iov[i++].iov_len;
		if (i == ch->nr || (n && (uint64_t)(got > 0 ? got : 0) == len))
			continue;

		int r = read_slow(c, ch, i, left, buf + at, err);

		if (r < 0)
			return r;
		at += ch->iov[i++].iov_len - left;
	}
	return 0;
}

static int read_segment(const struct chunk *ch, char *buf, struct cr_error *err)
{
	for (size_t i = 0; i < ch->nr; i++) {
		ssize_t n = fd_pread_all(ch->job->fd, buf, ch->iov[i].iov_len, (off_t)(uintptr_t)ch->iov[i].iov_base);

		if (n < 0)
			return cr_fail(err, (int)n, "read shared memory");
		/* the last page of an object may end before its page does */
		memset(buf + n, 0, ch->iov[i].iov_len - (size_t)n);
		buf += ch->iov[i].iov_len;
	}
	return 0;
}

static int write_sums(const struct copy *c, const struct chunk *ch, const uint32_t *sums, struct cr_error *err)
{
	uint64_t at = ch->job->sums_at + ch->out_off / MM_PAGE * sizeof(*sums);
	size_t len = ch->len / MM_PAGE * sizeof(*sums);
	int r = image_set_streams(c->set) ? image_set_write(c->set, c->sums, sums, len) : fd_pwrite_all(c->sums, sums, len, (off_t)at);

	return r < 0 ? cr_fail(err, r, "write pages.sum") : 0;
}

static void leave_hole(struct copy *c, const struct chunk *ch, uint64_t at, uint64_t len)
{
	pthread_mutex_lock(&c->lock);
	page_room_leave(&ch->job->room, ch->out_off + at, len, ch->job->out_off);
	pthread_mutex_unlock(&c->lock);
}

static int write_chunk(struct copy *c, const struct chunk *ch, const char *buf, struct cr_error *err)
{
	uint32_t sums[CHUNK / MM_PAGE];
	uint64_t at = 0;

	while (at < ch->len) {
		uint64_t end = at, hole;

		for (; end < ch->len && !page_is_zero(buf + end); end += MM_PAGE)
			if (c->sums >= 0)
				sums[end / MM_PAGE] = page_sum(buf + end, c->hardware);
		if (end > at) {
			int r = fd_pwrite_all(ch->job->out, buf + at, end - at, (off_t)(ch->out_off + at));

			if (r < 0)
				return cr_fail(err, r, "write pages-%" PRIu32 ".img", ch->job->pages_id);
		}
		hole = end;
		for (; end < ch->len && (end == hole || page_is_zero(buf + end)); end += MM_PAGE)
			sums[end / MM_PAGE] = c->sum_of_zeroes;
		if (end > hole)
			leave_hole(c, ch, hole, end - hole);
		at = end;
	}
	return c->sums < 0 ? 0 : write_sums(c, ch, sums, err);
}

static int pack_chunk(const struct copy *c, struct worker *w, const struct chunk *ch, const char *buf, struct cr_error *err)
{
	uint32_t sums[CHUNK / MM_PAGE];
	int r = frames_put(ch->job->frames, w->scratch, ch->out_off, buf, ch->len, err);

	if (r < 0)
		return cr_within(err, r, "pages-%" PRIu32 ".frames", ch->job->pages_id);
	if (c->sums < 0)
		return 0;
	for (uint64_t at = 0; at < ch->len; at += MM_PAGE)
		sums[at / MM_PAGE] = page_sum(buf + at, c->hardware);
	return write_sums(c, ch, sums, err);
}

/* Through a pipe there are no holes, and chunks come in order, since one worker has them all. */
static int stream_chunk(const struct copy *c, const struct chunk *ch, const char *buf, struct cr_error *err)
{
	uint32_t sums[CHUNK / MM_PAGE];
	int r = image_set_write(c->set, ch->job->out, buf, ch->len);

	if (r < 0)
		return cr_fail(err, r, "send pages-%" PRIu32 ".img", ch->job->pages_id);
	if (c->sums < 0)
		return 0;
	for (uint64_t at = 0; at < ch->len; at += MM_PAGE)
		sums[at / MM_PAGE] = page_sum(buf + at, c->hardware);
	return write_sums(c, ch, sums, err);
}

/* Where the sums of each job go is known beforehand as well. */
static int begin_sums(struct copy *c, struct cr_error *err)
{
	struct early_sums *early = &c->d->early_sums;
	size_t nr = early->nr + c->nr;
	autofree struct sums_of *files = calloc(nr + 1, sizeof(*files));
	static const uint64_t zeroes[MM_PAGE / sizeof(uint64_t)];

	if (!c->d->config.sums || !nr)
		return 0;
	if (!files)
		return cr_fail(err, -ENOMEM, "prepare checksums");
	for (size_t i = 0; i < nr; i++)
		files[i] = i < early->nr ? early->files[i]
					 : (struct sums_of){ c->jobs[i - early->nr].pages_id,
							     page_runs_bytes(c->jobs[i - early->nr].runs) / MM_PAGE, 0 };
	if (c->d->more_follows)
		c->sums = early_sums_begin(early, c->jobs, c->nr, err);
	else
		c->sums = page_sums_create(c->set, c->d->config.run_id, files, nr, err);
	if (c->sums < 0)
		return c->sums;
	for (size_t i = early->nr; !c->d->more_follows && i < nr; i++)
		c->jobs[i - early->nr].sums_at = files[i].at;
	if (!c->d->more_follows && early_sums_move(early, c->sums, files, err) < 0)
		return -EIO;
	c->hardware = crc32c_in_hardware();
	c->sum_of_zeroes = page_sum(zeroes, c->hardware);
	return 0;
}

/* Objects that are only in the parent have no chunk: they are sent when the next one has, or at the end. */
static int send_chunk(struct copy *c, const struct chunk *ch, char *buf, struct cr_error *err)
{
	int r;

	pthread_mutex_lock(&c->lock);
	while (c->turn != ch->turn && !c->failed)
		pthread_cond_wait(&c->turned, &c->lock);
	r = c->failed;
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		r = page_client_send(c->d->config.server, c->jobs, ch->job, buf, ch->len, err);
	pthread_mutex_lock(&c->lock);
	c->turn += r == 0;
	pthread_cond_broadcast(&c->turned);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void report(struct copy *c, const struct worker *w)
{
	const struct cr_observer *obs = c->d->ctx->obs;

	if (w->reports && obs && obs->progress)
		obs->progress(obs->arg, "memory", c->done, c->total);
}

static void note_failure(struct copy *c, int r, const struct cr_error *err)
{
	if (r >= 0 || c->failed)
		return;
	c->failed = r;
	c->err = *err;
	pthread_cond_broadcast(&c->turned);
}

static int put_chunk(struct copy *c, struct worker *w, const struct chunk *ch, char *buf, struct cr_error *err)
{
	uint64_t begin = monotonic_us();
	int r = c->d->config.server          ? send_chunk(c, ch, buf, err)
		: c->packs                   ? pack_chunk(c, w, ch, buf, err)
		: image_set_streams(c->set) ? stream_chunk(c, ch, buf, err)
					     : write_chunk(c, ch, buf, err);

	w->write_us += monotonic_us() - begin;
	return r;
}

#define WATCH_CHUNKS 16u /* 4 MiB take some milliseconds */

static int watch(const struct copy *c, struct worker *w, struct cr_error *err)
{
	const struct mm_dump_config *config = &c->d->config;

	if (stage_called_off(c->d->ctx, err) < 0)
		return -ECANCELED;
	return config->watch && w->reports && w->nr_chunks++ % WATCH_CHUNKS == 0 ? config->watch(config->watch_arg, err) : 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct copy *c = w->copy;
	autofree char *buf = aligned_alloc(MM_PAGE, CHUNK);
	autofree struct chunk *ch = malloc(sizeof(*ch));
	autofree_by(frame_scratch_free) struct frame_scratch *scratch = c->packs ? frame_scratch_new() : NULL;
	struct cr_error err = { 0 };
	int r = buf && ch && (scratch || !c->packs) ? 0 : cr_fail(&err, -ENOMEM, "copy pages");

	w->scratch = scratch;
	for (;;) {
		pthread_mutex_lock(&c->lock);
		note_failure(c, r, &err);
		r = c->failed ? 0 : take_chunk(c, w, ch);
		if (r < 0) {
			c->failed = r;
			pthread_cond_broadcast(&c->turned);
		}
		pthread_mutex_unlock(&c->lock);
		if (r <= 0)
			return NULL;
		r = ch->job->pid ? read_task(c, ch, buf, &err) : read_segment(ch, buf, &err);
		if (r == 0)
			r = put_chunk(c, w, ch, buf, &err);
		if (r == 0)
			r = watch(c, w, &err);
		pthread_mutex_lock(&c->lock);
		note_failure(c, r, &err);
		r = put_job(c, ch->job, &err);
		c->done += ch->len;
		pthread_mutex_unlock(&c->lock);
		report(c, w);
	}
}

/* One processor is left for the network, and for a server that may be on the same machine. */
static size_t nr_workers(uint64_t total, bool sends)
{
	unsigned int n = processors_usable();

	if (sends && n > 1)
		n--;
	return total < ALONE ? 1 : n < MAX_WORKERS ? n : MAX_WORKERS;
}

static int copy_all(struct copy *c, struct cr_error *err)
{
	struct worker *w = c->workers;
	size_t want, started = 1;

	for (size_t i = 0; i < c->nr; i++)
		c->total += page_runs_bytes(c->jobs[i].runs);
	want = image_set_streams(c->set) ? 1 : nr_workers(c->total, c->d->config.server);
	c->nr_workers = want;
	c->in_order = c->d->config.server || image_set_streams(c->set);
	for (size_t i = 0; i < want; i++)
		w[i] = (struct worker){ .copy = c, .reports = i == 0 };
	if (c->d->ctx->obs && c->d->ctx->obs->progress)
		c->d->ctx->obs->progress(c->d->ctx->obs->arg, "memory", 0, 0);
	report(c, &w[0]);
	while (started < want && thread_begin(&w[started].thread, work, &w[started]) == 0)
		started++;
	work(&w[0]);
	for (size_t i = 1; i < started; i++) {
		pthread_join(w[i].thread, NULL);
		w[0].write_us += w[i].write_us;
	}
	c->d->write_us += w[0].write_us / started;
	for (size_t i = 0; i < c->nr; i++)
		if (c->jobs[i].opened && c->jobs[i].refs)
			put_job(c, &c->jobs[i], NULL);
	if (!c->failed && c->d->config.server)
		c->failed = page_client_send_rest(c->d->config.server, c->jobs, c->nr, &c->err);
	report(c, &w[0]);
	if (c->failed && err)
		*err = c->err;
	return c->failed;
}

int page_copy(struct mm_dump *d, struct image_set *set, struct copy_job *jobs, size_t nr, struct cr_error *err)
{
	const rpc_criu_opts *o = d->ctx->opts->rpc;
	struct copy c = { .d = d, .set = set, .jobs = jobs, .nr = nr, .sums = -1, .packs = o->has_compress && o->compress, .lock = PTHREAD_MUTEX_INITIALIZER,
			  .turned = PTHREAD_COND_INITIALIZER };
	int r = begin_sums(&c, err);

	if (r == 0)
		r = copy_all(&c, err);
	if (c.sums < 0)
		return r;
	if (r < 0) {
		close(c.sums);
		return r;
	}
	r = image_set_close(set, c.sums);
	return r < 0 ? cr_fail(err, r, "end pages.sum") : 0;
}
