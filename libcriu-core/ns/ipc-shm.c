/*
 * System V segments. Their content is that of a memory object, saved with those of mm/; nobody has a descriptor of it, but
 * whoever attaches it can open what is mapped there.
 */
#include "ns/ipc-parts.h"

#include "base/io.h"
#include "base/own.h"
#include "infect/task.h"
#include "ns/ipc-object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/vfs.h>

/* bits of the mode; linux/shm.h */
#define MODE_DEST   01000u
#define MODE_LOCKED 02000u

#define SEGMENT_MAX ((uint64_t)1 << 46)
#define PAGE        4096u

void ipc_segments_close(struct ipc_segments *list)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].fd >= 0)
			close(list->items[i].fd);
	ipc_segments_done(list);
}

/* Return: descriptor; negative errno with a sentence */
static int open_segment(int id, uint64_t size, bool writable, struct cr_error *err)
{
	char path[80];
	char *at = shmat(id, NULL, writable ? 0 : SHM_RDONLY);
	unsigned long end = (unsigned long)at + ((size + PAGE - 1) & ~(uint64_t)(PAGE - 1));
	int fd;

	if (at == (void *)-1)
		return cr_fail(err, -errno, "attach System V segment %d", id);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at, end);
	fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		fd = cr_fail(err, -errno, "open System V segment %d", id);
	shmdt(at);
	return fd;
}

static int refuse(struct cr_context *ctx, const struct task *root, int id, const char *why, struct cr_error *err)
{
	int r = obstacle_add(&ctx->obstacles, root->host_pid, root->comm, "IPC namespace", "", "System V segment %d %s",
			     id, why);

	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

static int collect_one(struct cr_context *ctx, const struct task *root, bool forced, int id, const struct shmid_ds *ds,
		       struct ipc_segments *ret, struct cr_error *err)
{
	struct ipc_segment *s;
	struct statfs fs;

	/* kernel.shm_rmid_forced: it lives as long as its creator does, and nothing tells who that is to be afterwards */
	if (forced && !ds->shm_nattch)
		return refuse(ctx, root, id, "that nobody has attached, and kernel.shm_rmid_forced is set", err);
	s = ipc_segments_add(ret);
	if (!s)
		return cr_fail(err, -ENOMEM, "list System V segments");
	*s = (struct ipc_segment){ .desc = ipc_desc_of(&ds->shm_perm, id), .size = ds->shm_segsz, .stored = true };
	s->fd = open_segment(id, s->size, false, err);
	if (s->fd < 0)
		return s->fd;
	if (fstatfs(s->fd, &fs) < 0)
		return cr_fail(err, -errno, "look at System V segment %d", id);
	return fs.f_type == HUGETLBFS_MAGIC ? refuse(ctx, root, id, "of huge pages", err) : 0;
}

int ipc_segments_collect(struct cr_context *ctx, const struct task *root, bool forced, struct ipc_segments *ret,
			 struct cr_error *err)
{
	struct shm_info info;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)&info), r = 0;

	if (last < 0)
		return cr_fail(err, -errno, "list System V segments");
	for (int i = 0; r == 0 && i <= last; i++) {
		struct shmid_ds ds;
		int id = shmctl(i, SHM_STAT, &ds);

		/* an index that nobody has */
		if (id < 0 && (errno == EINVAL || errno == EIDRM))
			continue;
		r = id < 0 ? cr_fail(err, -errno, "look at a System V segment")
			   : collect_one(ctx, root, forced, id, &ds, ret, err);
	}
	return r;
}

int ipc_segments_write(const struct ipc_segments *list, struct image_set *set, uint64_t id, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_IPCNS_SHM, id, &w, err);

	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		img_ipc_desc_entry desc = list->items[i].desc;
		img_ipc_shm_entry e = {
			.desc = &desc, .size = list->items[i].size, .has_in_pagemaps = true, .in_pagemaps = true
		};

		r = image_write(w, &e, err);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

static int check(const img_ipc_shm_entry *e, struct cr_error *err)
{
	int r = ipc_desc_check(&ipc_segment_kind, e->desc, err);

	if (r == 0 && (!e->size || e->size > SEGMENT_MAX))
		r = cr_refuse(err, -EBADMSG, "System V segment %" PRIu32 " of %" PRIu64 " bytes", e->desc->id, e->size);
	if (r == 0 && e->has_hugetlb_flag && e->hugetlb_flag)
		r = cr_refuse(err, -EOPNOTSUPP, "System V segment %" PRIu32 " of huge pages cannot be restored",
			      e->desc->id);
	return r;
}

/* Sets of old versions have the bytes right behind the entry. */
static int fill_from_image(struct image_reader *reader, const img_ipc_shm_entry *e, int fd, struct cr_error *err)
{
	uint64_t from = image_reader_tell(reader);
	char buf[16384];

	for (uint64_t at = 0; at < e->size;) {
		size_t want = e->size - at < sizeof(buf) ? e->size - at : sizeof(buf);
		ssize_t n = fd_pread_all(image_reader_fd(reader), buf, want, (off_t)(from + at));
		int r = n == (ssize_t)want ? fd_pwrite_all(fd, buf, want, (off_t)at) : n < 0 ? (int)n : -EBADMSG;

		if (r < 0)
			return cr_fail(err, r, "fill System V segment %" PRIu32, e->desc->id);
		at += want;
	}
	return 0;
}

static int make(struct image_reader *reader, const img_ipc_shm_entry *e, struct ipc_segment *s, struct cr_error *err)
{
	struct shmid_ds ds = { .shm_perm = ipc_perm_of(e->desc) };
	int id = (int)e->desc->id, r = ipc_object_make(&ipc_segment_kind, e->desc, e->size, err);

	if (r < 0)
		return r;
	s->fd = open_segment(id, e->size, true, err);
	if (s->fd < 0)
		return s->fd;
	if (shmctl(id, IPC_SET, &ds) < 0)
		return cr_fail(err, -errno, "give System V segment %d its owner", id);
	if (e->desc->mode & MODE_LOCKED && shmctl(id, SHM_LOCK, NULL) < 0)
		return cr_fail(err, -errno, "lock System V segment %d", id);
	return s->stored ? 0 : fill_from_image(reader, e, s->fd, err);
}

static int read_one(struct image_reader *reader, const img_ipc_shm_entry *e, bool makes, struct ipc_segments *ret,
		    struct cr_error *err)
{
	struct ipc_segment *s;
	int r = check(e, err);

	if (r < 0)
		return r;
	s = ipc_segments_add(ret);
	if (!s)
		return cr_fail(err, -ENOMEM, "list System V segments");
	*s = (struct ipc_segment){
		.desc = *e->desc, .size = e->size, .fd = -1, .stored = e->has_in_pagemaps && e->in_pagemaps
	};
	if (makes)
		r = make(reader, e, s, err);
	return r < 0 || s->stored ? r : image_reader_skip(reader, (e->size + 3) & ~UINT64_C(3), err);
}

int ipc_segments_read(struct image_set *set, uint64_t id, bool makes, struct ipc_segments *ret, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry = NULL;
	int r = image_reader_open(set, IMG_IPCNS_SHM, id, &reader, err);

	if (r != 0)
		return r < 0 ? r : 0;
	while ((r = image_read(reader, &entry, err)) > 0) {
		r = read_one(reader, entry, makes, ret, err);
		img_entry_free(entry);
		if (r < 0)
			return r;
	}
	return r;
}

int ipc_segments_settle(const struct ipc_segments *list, struct cr_error *err)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].desc.mode & MODE_DEST && shmctl((int)list->items[i].desc.id, IPC_RMID, NULL) < 0)
			return cr_fail(err, -errno, "remove System V segment %" PRIu32, list->items[i].desc.id);
	return 0;
}
