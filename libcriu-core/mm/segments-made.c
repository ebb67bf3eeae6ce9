/*
 * Shared memory that no file entry stands for. Shared anonymous memory of old images (status 0x101): an object is made
 * and tasks map its descriptor. System V segments, when the tree has no IPC namespace of its own: if one with the id,
 * key and size of the image is still there and nobody is attached to it, it is used again and gets its content
 * back, holes included: it may have been written to since. If somebody is attached, the content is theirs by now and is
 * left alone; if there is none, it is made with the old id (kernel.shm_next_id), owner and mode. What speaks against any of
 * them is found before the first is touched. A segment that was removed already is removed again once all are attached, so
 * that it goes with the last of them.
 */
#include "mm/segments-made.h"
#include "mm/page-chain.h"
#include "mm/page-copy.h"

#include "base/io.h"
#include "image/stream.h"
#include "kernel/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* mode bits of a segment that is to be destroyed, and of one that stays in memory; linux/shm.h */
#define MODE_DEST   01000
#define MODE_LOCKED 02000
#define SEGMENT_MAX ((uint64_t)1 << 46)

const struct made_segment *segments_find(const struct mm_segments *g, uint64_t shmid, bool sysv)
{
	for (size_t i = 0; i < g->made.nr; i++)
		if (g->made.items[i].shmid == shmid && g->made.items[i].sysv == sysv)
			return &g->made.items[i];
	return NULL;
}

int mm_shared_memory(struct cr_context *ctx, uint64_t size, struct cr_error *err)
{
	char path[80];
	void *at;
	int fd;

	if (!kernel_has(&ctx->probes, KERNEL_MAP_FILES))
		return cr_refuse(err, -EOPNOTSUPP, "map_files cannot be opened: no shared anonymous memory");
	if (!size || size > SEGMENT_MAX)
		return cr_refuse(err, -EINVAL, "shared memory of %" PRIu64 " bytes", size);
	size = (size + MM_PAGE - 1) & ~(MM_PAGE - 1);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return cr_fail(err, -errno, "make shared memory of %" PRIu64 " bytes", size);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + size);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		cr_fail(err, -errno, "open shared memory");
	munmap(at, size);
	return fd < 0 ? (err ? err->code : -EOPNOTSUPP) : fd;
}

/* Where from: through a pipe all of it goes by, also what is not wanted. */
struct source {
	struct image_set *set;
	const struct page_file *file;
	uint64_t at; /* next byte of a pipe */
};

static ssize_t source_read(struct source *s, char *buf, size_t len, uint64_t off)
{
	ssize_t n;

	if (!s->file->piped)
		return page_file_read(s->file, buf, len, off);
	/* @buf is as good as any for what is dropped */
	while (s->at < off) {
		size_t drop = off - s->at < len ? off - s->at : len;

		n = image_set_read(s->set, s->file->fd, buf, drop);
		if (n != (ssize_t)drop)
			return n < 0 ? n : -EBADMSG;
		s->at += drop;
	}
	if (s->at > off)
		return -ESPIPE;
	n = image_set_read(s->set, s->file->fd, buf, len);
	s->at += n > 0 ? (uint64_t)n : 0;
	return n;
}

/* The streamer must not be left with what nobody takes. */
static int source_drain(struct source *s, char *buf, size_t len, struct cr_error *err)
{
	ssize_t n = 1;

	while (s->file && s->file->piped && n > 0)
		n = image_set_read(s->set, s->file->fd, buf, len);
	return n < 0 ? cr_fail(err, (int)n, "read the rest of pages") : 0;
}

/* What is filled. */
struct target {
	int fd;
	uint64_t size;
	char *map; /* of all of it; NULL: written through the descriptor */
	const struct cr_observer *obs; /* is told how far it is; NULL: nobody is */
	uint64_t done, total;
};

/* Of less than this nobody needs to hear. */
#define WORTH_SHOWING ((uint64_t)16 << 20)

static void show(struct target *to, uint64_t bytes)
{
	to->done += bytes;
	if (to->obs)
		to->obs->progress(to->obs->arg, "shared memory", to->done, to->total);
}

/* An object of huge pages, which cannot be written to with write(2). Zeroes are not copied: they would take a huge page. */
static int fill_mapped(char *map, const char *buf, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i += MM_PAGE) {
		size_t n = len - i < MM_PAGE ? len - i : MM_PAGE;

		if (n < MM_PAGE || !page_is_zero(buf + i))
			memcpy(map + at + i, buf + i, n);
	}
	return 0;
}

/* Copies one run of pages, kept inside the object: its last page may end behind it. */
static int fill_run(struct source *from, struct target *to, uint64_t off, uint64_t at, uint64_t len, char *buf,
		    size_t buf_size, struct cr_error *err)
{
	len = at >= to->size ? 0 : at + len > to->size ? to->size - at : len;
	while (len) {
		size_t want = len < buf_size ? len : buf_size, whole = (want + MM_PAGE - 1) & ~(size_t)(MM_PAGE - 1);
		ssize_t n = source_read(from, buf, whole, off);
		int r;

		if (n != (ssize_t)whole)
			return cr_fail(err, n < 0 ? (int)n : -EBADMSG, "read pages for offset %" PRIx64, at);
		r = page_file_check(from->file, off, buf, whole, err);
		if (r < 0)
			return cr_within(err, r, "offset %" PRIx64, at);
		r = to->map ? fill_mapped(to->map, buf, want, at) : fd_pwrite_all(to->fd, buf, want, (off_t)at);
		if (r < 0)
			return cr_fail(err, r, "copy pages to offset %" PRIx64, at);
		show(to, want);
		off += want;
		at += want;
		len -= want;
	}
	return 0;
}

static void begin_to_show(struct cr_context *ctx, const struct stored_runs *runs, struct target *to)
{
	for (size_t i = 0; i < runs->nr; i++)
		to->total += runs->items[i].end - runs->items[i].start;
	if (!ctx->obs || !ctx->obs->progress || to->total < WORTH_SHOWING)
		return;
	to->obs = ctx->obs;
	ctx->obs->progress(ctx->obs->arg, "shared memory", 0, 0);
}

/* Copies all that is stored, wherever in the chain of sets it is. */
static int fill_from(struct image_set *set, const struct stored_runs *runs, const struct page_files *files,
		     struct target *to, struct cr_error *err)
{
	const size_t buf_size = 256 * 1024;
	autofree char *buf = aligned_alloc(MM_PAGE, buf_size);
	struct source from = { .set = set };

	if (!buf)
		return cr_fail(err, -ENOMEM, "read pages");
	/* a set that is streamed has one */
	for (size_t i = 0; i < files->nr; i++)
		if (files->items[i].piped) {
			int r = image_stream_deliver(set, files->items[i].pages_id, err);

			if (r < 0)
				return r;
		}
	for (size_t i = 0; i < runs->nr; i++) {
		const struct stored_run *run = &runs->items[i];
		int r;

		from.file = &files->items[run->file];
		r = fill_run(&from, to, run->off, run->start, run->end - run->start, buf, buf_size, err);
		if (r < 0)
			return r;
	}
	return source_drain(&from, buf, buf_size, err);
}

static int check_run(void *arg, uint64_t start, uint64_t nr_pages, struct cr_error *err)
{
	(void)arg;
	if (nr_pages > SEGMENT_MAX / MM_PAGE || start > SEGMENT_MAX)
		return cr_refuse(err, -EBADMSG, "pages at offset %" PRIx64 " are out of range", start);
	return 0;
}

/* What was not stored was zero. */
static int empty(int fd, struct cr_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 ||
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (st.st_size + MM_PAGE - 1) & ~(off_t)(MM_PAGE - 1)) < 0)
		return cr_fail(err, -errno, "empty it");
	return 0;
}

/* @anew: the object may have content, none of which is to stay. It loses that when the page map is known to be good. */
static int fill(struct cr_context *ctx, struct image_set *set, uint32_t shmid, int fd, uint64_t size, bool anew,
		struct cr_error *err)
{
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	int r = page_chain_read(set, IMG_PAGEMAP_SHMEM, shmid, check_run, NULL, &runs, &files, err);
	struct target to = { .fd = fd, .size = size };
	struct statfs fs;

	begin_to_show(ctx, &runs, &to);
	if (r == 0 && anew)
		r = empty(fd, err);
	else
		anew = false;
	if (r == 0 && runs.nr && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && size) {
		to.map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (to.map == MAP_FAILED) {
			to.map = NULL;
			r = cr_fail(err, -errno, "map it, of huge pages");
		}
	}
	if (r == 0 && runs.nr)
		r = fill_from(set, &runs, &files, &to, err);
	if (to.map)
		munmap(to.map, size);
	stored_runs_done(&runs);
	page_files_close(&files);
	if (r < 0 && anew)
		log_warn(&ctx->log, "system v segment %" PRIu32 " has lost what was in it, and has a part of what was stored", shmid);
	return r < 0 ? cr_within(err, r, "shared memory %" PRIu32, shmid) : 0;
}

int mm_fill(struct cr_context *ctx, struct image_set *set, uint32_t shmid, int fd, uint64_t size, struct cr_error *err)
{
	return fill(ctx, set, shmid, fd, size, false, err);
}

static struct made_segment *add(struct mm_segments *g, uint64_t shmid, bool sysv, uint64_t size)
{
	struct made_segment *s = made_segments_add(&g->made);

	if (s)
		*s = (struct made_segment){ .shmid = shmid, .sysv = sysv, .size = size, .fd = -1, .id = -1 };
	return s;
}

/* Shared anonymous memory of images that do not say "memfd". */
static int make_anonymous(struct mm_segments *g, struct image_set *set, uint64_t shmid, uint64_t size,
			  struct cr_error *err)
{
	struct made_segment *s = add(g, shmid, false, size);

	if (!s)
		return cr_fail(err, -ENOMEM, "make shared memory");
	s->fd = mm_shared_memory(g->ctx, size, err);
	if (s->fd == -EOPNOTSUPP || s->fd == -EPERM || s->fd == -EACCES) {
		cr_error_clear(err);
		s->fd = (int)syscall(SYS_memfd_create, "/dev/zero", MFD_CLOEXEC);
		if (s->fd < 0 || ftruncate(s->fd, (off_t)size) < 0)
			return cr_fail(err, -errno, "make shared memory of %" PRIu64 " bytes", size);
	}
	return s->fd < 0 ? s->fd : mm_fill(g->ctx, set, (uint32_t)shmid, s->fd, size, err);
}

struct wanted {
	uint64_t shmid, size;
};
DEFINE_VEC(wanted_vec, struct wanted)

static int by_shmid(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return x->shmid < y->shmid ? -1 : x->shmid > y->shmid;
}

/* All 0x101 mappings, joined by segment: the size is the largest offset that anybody maps. */
static int make_all_anonymous(struct mm_segments *g, struct image_set *set, const struct mm_space *const *spaces,
			      size_t nr, struct cr_error *err)
{
	struct wanted_vec v = { 0 };
	int r = 0;

	for (size_t i = 0; i < nr && r == 0; i++)
		for (size_t j = 0; j < spaces[i]->nr_vmas && r == 0; j++) {
			const img_vma_entry *m = space_vma(spaces[i], j);
			struct wanted *w;

			if (!(m->status & MM_ST_ANON_SHARED) || m->status & MM_ST_SYSV)
				continue;
			w = wanted_vec_add(&v);
			if (!w)
				r = cr_fail(err, -ENOMEM, "list shared memory");
			else
				*w = (struct wanted){ m->shmid, m->pgoff + (m->end - m->start) };
		}
	if (v.nr)
		qsort(v.items, v.nr, sizeof(*v.items), by_shmid);
	for (size_t i = 0, n; i < v.nr && r == 0; i += n) {
		uint64_t size = 0;

		for (n = 0; i + n < v.nr && v.items[i + n].shmid == v.items[i].shmid; n++)
			size = v.items[i + n].size > size ? v.items[i + n].size : size;
		r = v.items[i].shmid > UINT32_MAX ? cr_refuse(err, -EBADMSG, "shared memory %" PRIu64, v.items[i].shmid)
						  : make_anonymous(g, set, v.items[i].shmid, size, err);
	}
	wanted_vec_done(&v);
	return r;
}

static int set_next_id(uint32_t id)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%" PRIu32, id);
	autofd int fd = open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)len) == len ? 0 : -errno;
}

/* Is the segment of the image still there? Return: 1 and nobody uses it; 2 and somebody does; 0 no. */
static int look_for(const img_ipc_shm_entry *e, struct shmid_ds *ds)
{
	if (shmctl((int)e->desc->id, IPC_STAT, ds) < 0 || (uint32_t)ds->shm_perm.__key != e->desc->key ||
	    ds->shm_segsz != e->size)
		return 0;
	return ds->shm_nattch ? 2 : 1;
}

static int create(struct made_segment *s, const img_ipc_shm_entry *e, struct cr_error *err)
{
	struct shmid_ds ds = { 0 };
	int r = set_next_id(e->desc->id);

	if (r < 0)
		return cr_fail(err, r, "set the id of System V segment %" PRIu32, e->desc->id);
	s->id = shmget((key_t)e->desc->key, e->size, (int)(e->desc->mode & 0777) | IPC_CREAT | IPC_EXCL);
	if (s->id < 0)
		return cr_fail(err, -errno, "make System V segment %" PRIu32 " with key %" PRIx32, e->desc->id,
			       e->desc->key);
	s->made = true;
	if (s->id != (int)e->desc->id)
		return cr_refuse(err, -EEXIST, "the id of System V segment %" PRIu32 " is taken", e->desc->id);
	ds.shm_perm.uid = e->desc->uid;
	ds.shm_perm.gid = e->desc->gid;
	ds.shm_perm.mode = e->desc->mode & 0777;
	if (shmctl(s->id, IPC_SET, &ds) < 0)
		return cr_fail(err, -errno, "give System V segment %" PRIu32 " its owner", e->desc->id);
	return 0;
}

/* Opens the object behind a segment. @ret_alone: nobody but us was attached then. Return: descriptor; negative errno */
static int open_sysv(const struct made_segment *s, bool *ret_alone, struct cr_error *err)
{
	char path[80];
	char *at = shmat(s->id, NULL, 0);
	struct shmid_ds ds;
	int fd;

	if (at == (void *)-1)
		return cr_fail(err, -errno, "attach System V segment %d", s->id);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + (unsigned long)((s->size + MM_PAGE - 1) & ~(MM_PAGE - 1)));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = cr_fail(err, -errno, "open System V segment %d", s->id);
	*ret_alone = shmctl(s->id, IPC_STAT, &ds) == 0 && ds.shm_nattch == 1;
	shmdt(at);
	return fd;
}

/* Ids begin at 0 on every machine: it may well be another's, and would be written over. */
static int refuse_other(const struct made_segment *s, const char *what, struct cr_error *err)
{
	cr_error_clear(err);
	cr_refuse(err, -EEXIST, "System V segment %d is there already, %s", s->id, what);
	cr_advise(err, "see ipcs -m; if nobody needs it, remove it with ipcrm -m %d", s->id);
	return -EEXIST;
}

/* Is it one that a dump can have been of? Those of huge pages are refused there, and every other has a page map. */
static int check_found(const struct made_segment *s, struct image_set *set, struct cr_error *err)
{
	struct page_map map = { 0 };
	struct statfs fs;
	bool alone;
	autofd int fd = open_sysv(s, &alone, err);
	int r;

	/* its mapping ends elsewhere than at the end of its last page */
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd >= 0 && fstatfs(fd, &fs) < 0)
		return cr_fail(err, -errno, "look at System V segment %d", s->id);
	if (fd < 0 || fs.f_type == HUGETLBFS_MAGIC)
		return refuse_other(s, "of huge pages", err);
	r = page_map_read(set, IMG_PAGEMAP_SHMEM, s->shmid, &map, err);
	page_map_done(&map);
	if (r < 0)
		return cr_within(err, r, "shared memory %" PRIu64, s->shmid);
	if (r == 1) {
		cr_refuse(err, -EEXIST, "System V segment %d is there already, and no pagemap-shmem-%d.img says what was in it", s->id,
			  s->id);
		cr_advise(err, "files of a page server belong beside the images; if it was empty, remove it with ipcrm -m %d", s->id);
		return -EEXIST;
	}
	return 0;
}

/* Changes nothing. Return: as look_for(); negative errno it is not the one that was dumped */
static int look_at(const struct made_segment *s, const img_ipc_shm_entry *e, struct shmid_ds *ds, struct cr_error *err)
{
	int found = look_for(e, ds);

	if (found && (ds->shm_perm.uid != e->desc->uid || ds->shm_perm.gid != e->desc->gid))
		return refuse_other(s, "with another owner", err);
	return found;
}

static int add_sysv(struct mm_segments *g, struct image_set *set, const img_ipc_shm_entry *e, struct cr_error *err)
{
	struct made_segment *s;
	struct shmid_ds ds;
	int found;

	if (!e->size || e->size > SEGMENT_MAX || e->desc->id > INT32_MAX)
		return cr_refuse(err, -EBADMSG, "System V segment %" PRIu32 " of %" PRIu64 " bytes", e->desc->id,
				 e->size);
	s = add(g, e->desc->id, true, e->size);
	if (!s)
		return cr_fail(err, -ENOMEM, "make System V segments");
	s->id = (int)e->desc->id;
	if (g->own_ipc_ns)
		return 0;
	found = look_at(s, e, &ds, err);
	return found == 1 ? check_found(s, set, err) : found < 0 ? found : 0;
}

static int make_sysv(struct mm_segments *g, struct image_set *set, struct made_segment *s, const img_ipc_shm_entry *e,
		     struct cr_error *err)
{
	struct shmid_ds ds;
	int found = look_at(s, e, &ds, err), r = found ? 0 : create(s, e, err);
	bool alone = false;

	if (found < 0 || r < 0)
		return found < 0 ? found : r;

	autofd int fd = found == 2 ? -1 : open_sysv(s, &alone, err);

	if (fd < 0 && found != 2)
		return fd;
	/* also by somebody who has come since it was looked at */
	if (found && !alone) {
		log_warn(&g->ctx->log, "system v segment %d is in use: its content is left as it is", s->id);
		return 0;
	}
	/* one that was still there may have been unlocked meanwhile */
	s->lock = e->desc->mode & MODE_LOCKED && !(found && ds.shm_perm.mode & MODE_LOCKED);
	s->destroy = s->made && e->desc->mode & MODE_DEST;
	return fill(g->ctx, set, (uint32_t)s->shmid, fd, s->size, found != 0, err);
}

static bool any_sysv(const struct mm_space *const *spaces, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < spaces[i]->nr_vmas; j++)
			if (space_vma(spaces[i], j)->status & MM_ST_SYSV)
				return true;
	return false;
}

DEFINE_VEC(sysv_entries, img_ipc_shm_entry *)

static void sysv_entries_free(struct sysv_entries *v)
{
	for (size_t i = 0; i < v->nr; i++)
		img_entry_free(v->items[i]);
	sysv_entries_done(v);
}

static int read_sysv(const struct mm_segments *g, struct image_set *set, uint32_t ipc_ns_id, struct sysv_entries *ret,
		     struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry = NULL;
	int r = image_reader_open(set, IMG_IPCNS_SHM, ipc_ns_id, &reader, err);

	if (r != 0)
		return r < 0 ? r : cr_refuse(err, -EBADMSG, "no image describes the System V segments");
	while ((r = image_read(reader, &entry, err)) > 0) {
		img_ipc_shm_entry *e = entry, **to = sysv_entries_add(ret);

		if (!to) {
			img_entry_free(entry);
			return cr_fail(err, -ENOMEM, "make System V segments");
		}
		*to = e;
		if (e->has_in_pagemaps && e->in_pagemaps)
			continue;
		r = image_reader_skip(reader, (e->size + 3) & ~UINT64_C(3), err);
		if (r == 0 && !g->own_ipc_ns)
			r = cr_refuse(err, -EOPNOTSUPP, "System V segment %" PRIu32 " in the format of old images", e->desc->id);
		if (r < 0)
			return r;
	}
	return r;
}

static int make_all_sysv(struct mm_segments *g, struct image_set *set, uint32_t ipc_ns_id, struct cr_error *err)
{
	struct sysv_entries entries = { 0 };
	size_t first = g->made.nr;
	int r = read_sysv(g, set, ipc_ns_id, &entries, err);

	for (size_t i = 0; i < entries.nr && r == 0; i++)
		r = add_sysv(g, set, entries.items[i], err);
	for (size_t i = 0; i < entries.nr && r == 0 && !g->own_ipc_ns; i++)
		r = make_sysv(g, set, &g->made.items[first + i], entries.items[i], err);
	sysv_entries_free(&entries);
	return r;
}

int mm_segments_open(struct cr_context *ctx, struct image_set *set, const struct mm_space *const *spaces, size_t nr,
		     bool own_ipc_ns, uint32_t ipc_ns_id, struct mm_segments **ret, struct cr_error *err)
{
	autofree_by(mm_segments_free) struct mm_segments *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return cr_fail(err, -ENOMEM, "make shared memory");
	g->ctx = ctx;
	g->own_ipc_ns = own_ipc_ns;
	r = vdso_running_init(&g->running, err);
	if (r == 0)
		r = make_all_anonymous(g, set, spaces, nr, err);
	if (r == 0 && any_sysv(spaces, nr))
		r = make_all_sysv(g, set, ipc_ns_id, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&g);
	return 0;
}

void mm_segments_keep(struct mm_segments *g)
{
	for (size_t i = 0; i < g->made.nr; i++) {
		struct made_segment *s = &g->made.items[i];

		if (s->lock && shmctl(s->id, SHM_LOCK, NULL) < 0)
			log_warn(&g->ctx->log, "system v segment %d cannot be locked in memory (%s), continuing without",
				 s->id, strerror(errno));
		if (s->destroy)
			shmctl(s->id, IPC_RMID, NULL);
		s->made = false;
	}
}

void mm_segments_free(struct mm_segments *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->made.nr; i++) {
		struct made_segment *s = &g->made.items[i];

		if (s->fd >= 0)
			close(s->fd);
		if (s->made && s->id >= 0)
			shmctl(s->id, IPC_RMID, NULL);
	}
	made_segments_done(&g->made);
	vdso_running_done(&g->running);
	free(g);
}
