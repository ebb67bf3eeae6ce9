/*
 * Making pipes again: each once, of the dumped capacity, refilled before anybody can read; then its ends are handed to
 * the files that are ends of it. Ends that nobody had are closed when all files are open, which is how the others learn
 * of end of file or a broken pipe, as before.
 */
#include "files/restore-internal.h"

#include "base/io.h"
#include "base/own.h"
#include "image/image-set.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_DATA_MAX (1u << 30)

struct restored_pipe {
	uint32_t id;
	bool fifo;
	img_pipe_data_entry *data; /* NULL: nothing is known of it */
	char *bytes;               /* in the pool, data->bytes of them */
	int ends[2];               /* reading, writing: not handed out yet; -1. A fifo: held open for both in [0] */
	bool made, given[2];
	int sample[2]; /* descriptors handed out already (borrowed), to make more descriptions of */
};

static int pipe_data_check(const img_pipe_data_entry *e, struct cr_error *err)
{
	uint64_t sum = 0;

	if (e->bytes > PIPE_DATA_MAX || (e->has_size && e->size > PIPE_DATA_MAX))
		return cr_refuse(err, -EBADMSG, "pipe %u of %u bytes", e->pipe_id, e->has_size ? e->size : e->bytes);
	if (!e->ext)
		return 0;
	for (size_t i = 0; i < e->ext->packets.nr; i++) {
		if (e->ext->packets.items[i] == 0)
			return cr_refuse(err, -EBADMSG, "pipe %u has an empty packet", e->pipe_id);
		sum += e->ext->packets.items[i];
	}
	for (size_t i = 0; i < e->ext->streams.nr; i++)
		if (e->ext->streams.items[i] >= e->ext->packets.nr ||
		    (i && e->ext->streams.items[i] <= e->ext->streams.items[i - 1]))
			return cr_refuse(err, -EBADMSG, "packets of pipe %u that are none make no sense", e->pipe_id);
	return sum == e->bytes ? 0 : cr_refuse(err, -EBADMSG, "packets of pipe %u are not what it holds", e->pipe_id);
}

static struct restored_pipe *pipe_new(struct files *fs, uint32_t id, bool fifo)
{
	struct restored_pipe *p = pool_new(&fs->pool, struct restored_pipe);
	struct restored_pipe **at = p ? restored_pipe_vec_add(&fs->pipes) : NULL;

	if (!at)
		return NULL;
	*at = p;
	p->id = id;
	p->fifo = fifo;
	p->ends[0] = p->ends[1] = p->sample[0] = p->sample[1] = -1;
	return map_put(fifo ? &fs->fifo_by_id : &fs->pipe_by_id, (uint64_t)id + 1, p) < 0 ? NULL : p;
}

static struct restored_pipe *pipe_find(const struct files *fs, uint32_t id, bool fifo)
{
	return map_find(fifo ? &fs->fifo_by_id : &fs->pipe_by_id, (uint64_t)id + 1);
}

/* Takes @e over. */
static int add_data(struct files *fs, struct image_reader *rd, img_pipe_data_entry *e, bool fifo, struct cr_error *err)
{
	struct restored_pipe *p = pipe_find(fs, e->pipe_id, fifo) ? NULL : pipe_new(fs, e->pipe_id, fifo);
	const void *bytes;
	int r;

	if (!p) {
		r = pipe_find(fs, e->pipe_id, fifo) ? cr_refuse(err, -EBADMSG, "pipe %u is there twice", e->pipe_id)
						    : files_no_memory(err);
		img_entry_free(e);
		return r;
	}
	p->data = e;
	r = pipe_data_check(e, err);
	if (r == 0 && e->bytes)
		r = image_read_raw(rd, e->bytes, &bytes, err);
	if (r < 0 || !e->bytes)
		return r;
	p->bytes = pool_text(&fs->pool, bytes, e->bytes);
	return p->bytes ? 0 : files_no_memory(err);
}

static int read_data(struct files *fs, bool fifo, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, fifo ? IMG_FIFO_DATA : IMG_PIPES_DATA, 0, &rd, err);

	if (r == 1)
		return 0;
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = add_data(fs, rd, entry, fifo, err);
	return cr_within(err, r, fifo ? "fifo-data.img" : "pipes-data.img");
}

int pipes_read(struct files *fs, struct cr_error *err)
{
	int r = read_data(fs, false, err);

	return r < 0 ? r : read_data(fs, true, err);
}

/* ------------------------------------------------------------------ making */

/* @fd may be written to; it is put in the mode that keeps packets apart, where they are packets, and back. */
static int refill_packets(const struct restored_pipe *p, int fd, struct cr_error *err)
{
	const struct proto_u32_vec *v = &p->data->ext->packets, *streams = &p->data->ext->streams;
	int flags = fcntl(fd, F_GETFL);
	size_t at = 0, next = 0;

	if (flags < 0)
		return cr_fail(err, -errno, "flags of a pipe");
	for (size_t i = 0; i < v->nr; at += v->items[i], i++) {
		bool stream = next < streams->nr && streams->items[next] == i;
		ssize_t n;

		next += stream;
		if (fcntl(fd, F_SETFL, (stream ? flags & ~O_DIRECT : flags | O_DIRECT) | O_NONBLOCK) < 0)
			return cr_fail(err, -errno, "put a pipe in packet mode");
		n = write(fd, p->bytes + at, v->items[i]);
		if (n != (ssize_t)v->items[i])
			return cr_fail(err, n < 0 ? -errno : -EIO, "refill pipe %u", p->id);
	}
	return fcntl(fd, F_SETFL, flags) < 0 ? cr_fail(err, -errno, "set flags of a pipe") : 0;
}

/* Pages that what is in it takes when it is written: each packet begins a new one. */
static uint64_t pages_needed(const img_pipe_data_entry *e)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = 0;

	if (!e->ext || !e->ext->packets.nr)
		return (e->bytes + page - 1) / page;
	for (size_t i = 0; i < e->ext->packets.nr; i++)
		pages += (e->ext->packets.items[i] + page - 1) / page;
	return pages;
}

static int make_size(const struct restored_pipe *p, int fd, uint64_t size, struct cr_error *err)
{
	if (size > INT_MAX || fcntl(fd, F_SETPIPE_SZ, (int)size) < 0) {
		int r = cr_fail(err, size > INT_MAX ? -EINVAL : -errno, "make pipe %u %" PRIu64 " bytes large", p->id,
				size);

		cr_advise(err, "fs.pipe-max-size and fs.pipe-user-pages-soft limit this");
		return r;
	}
	return 0;
}

/*
 * What was spliced from a socket lies in pieces of up to 32 KiB, each of which takes the place of one page (skb_splice_bits() in
 * net/core/skbuff.c), so a pipe can hold more than its size. Written, it takes more places.
 */
static int make_room(struct files *fs, const struct restored_pipe *p, int fd, struct cr_error *err)
{
	uint64_t need = pages_needed(p->data) * (uint64_t)sysconf(_SC_PAGESIZE);
	int now = fcntl(fd, F_GETPIPE_SZ), r;

	if (now < 0)
		return cr_fail(err, -errno, "size of a pipe");
	if (need <= (uint64_t)now)
		return 0;
	r = make_size(p, fd, need, err);
	if (r == 0)
		log_warn(&fs->ctx->log,
			 "pipe %u held %u bytes in the place of %d, continuing: it is larger now (F_GETPIPE_SZ)", p->id,
			 p->data->bytes, now);
	return r;
}

static int refill(struct files *fs, const struct restored_pipe *p, int fd, struct cr_error *err)
{
	int flags = fcntl(fd, F_GETFL), r = 0;
	ssize_t n;

	if (p->data && p->data->has_size && p->data->size)
		r = make_size(p, fd, p->data->size, err);
	if (r == 0 && p->bytes)
		r = make_room(fs, p, fd, err);
	if (r < 0 || !p->bytes)
		return r;
	if (p->data->ext && p->data->ext->packets.nr)
		return refill_packets(p, fd, err);
	/* what does not fit must be an error, not a wait that nobody ends */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return cr_fail(err, -errno, "set flags of a pipe");
	n = write(fd, p->bytes, p->data->bytes);
	if (n != (ssize_t)p->data->bytes)
		return cr_fail(err, n < 0 ? -errno : -ENOSPC, "refill pipe %u with %u bytes", p->id, p->data->bytes);
	return fcntl(fd, F_SETFL, flags) < 0 ? cr_fail(err, -errno, "set flags of a pipe") : 0;
}

static int own_as_before(int fd, const img_pipe_ext *ext)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != ext->uid || st.st_gid != ext->gid) && fchown(fd, ext->uid, ext->gid) < 0)
		return -errno;
	return ext->has_mode && fchmod(fd, ext->mode) < 0 ? -errno : 0;
}

/* Most ends are used as they are: it is no reason to fail. */
static void give_to_owner(struct files *fs, const struct restored_pipe *p, const img_pipe_ext *ext)
{
	int r = ext && ext->has_uid && ext->has_gid ? own_as_before(p->ends[0], ext) : 0;

	if (r < 0)
		log_warn(&fs->ctx->log, "pipe %u cannot be given to uid %u, gid %u (%s), continuing without", p->id,
			 ext->uid, ext->gid, strerror(-r));
}

static int pipe_make(struct files *fs, struct restored_pipe *p, struct cr_error *err)
{
	int r;

	if (pipe2(p->ends, O_CLOEXEC) < 0)
		return cr_fail(err, -errno, "make a pipe");
	p->made = true;
	p->sample[0] = p->ends[0];
	p->sample[1] = p->ends[1];
	r = refill(fs, p, p->ends[1], err);
	return r;
}

static int pipe_inherited(struct files *fs, const img_pipe_entry *e, const struct restored_pipe *p,
			  struct cr_error *err)
{
	char key[32];
	int fd;

	if (!fs->ctx->opts->rpc->inherit_fd.nr)
		return -ENOENT;
	snprintf(key, sizeof(key), "pipe:[%u]", e->pipe_id);
	fd = inherit_find(fs, key, S_IFIFO, e->flags, err);
	/* for the one who reads; who only writes has sent it to somebody outside, who has it */
	if (fd >= 0 && (e->flags & O_ACCMODE) != O_WRONLY && p && p->data && p->data->bytes)
		log_warn(&fs->ctx->log,
			 "%u bytes that were unread in %s are lost: another one takes its place, continuing",
			 p->data->bytes, key);
	return fd;
}

/* O_DIRECT, packet mode, is for pipe2(2) and fcntl(2): open(2) refuses it for what cannot be read without the page cache. */
static int packets_again(int fd, uint32_t flags, struct cr_error *err)
{
	int r = fd >= 0 && flags & O_DIRECT ? fd_set_flags(fd, flags, err) : 0;

	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int pipe_open_end(struct files *fs, const img_pipe_entry *e, struct cr_error *err)
{
	struct restored_pipe *p = pipe_find(fs, e->pipe_id, false);
	uint32_t pipe_id = e->pipe_id, flags = e->flags;
	unsigned int end = (flags & O_ACCMODE) == O_RDONLY ? 0 : 1;
	int fd = pipe_inherited(fs, e, p, err);
	int r = 0;

	if (fd != -ENOENT)
		return fd;
	if (!p && !(p = pipe_new(fs, pipe_id, false)))
		return files_no_memory(err);
	if (!p->made) {
		r = pipe_make(fs, p, err);
		if (r == 0)
			give_to_owner(fs, p, e->ext);
	}
	if (r < 0)
		return r;
	/* further descriptions of an end come from opening /proc/PID/fd, and so do ends that are both */
	if (p->given[end] || (flags & O_ACCMODE) == O_RDWR)
		return packets_again(fd_reopen(p->sample[end], open_flags(flags) & ~(uint32_t)O_DIRECT, err), flags,
				     err);
	r = fd_set_flags(p->ends[end], flags, err);
	if (r < 0)
		return r;
	p->given[end] = true;
	return take_fd(&p->ends[end]);
}

/* Held open for reading and writing, so that no other opening waits, and content stays until all ends are there. */
static int fifo_make(struct files *fs, struct restored_pipe *p, struct restored_file *path, struct cr_error *err)
{
	struct stat st;

	p->ends[0] = path_open(fs, path, O_RDWR | O_NONBLOCK | O_CLOEXEC, err);
	if (p->ends[0] < 0)
		return p->ends[0];
	if (fstat(p->ends[0], &st) < 0 || !S_ISFIFO(st.st_mode))
		return cr_refuse(err, -EINVAL, "%s is not a fifo", path->entry->reg->name);
	p->made = true;
	return refill(fs, p, p->ends[0], err);
}

/* Readers of a fifo that nobody has written to yet must see no writer, not even one that keeps it open for them. */
static bool no_writer_yet(const struct restored_pipe *p)
{
	return p->data && p->data->ext && p->data->ext->no_writer_yet && !p->bytes;
}

int fifo_open_end(struct files *fs, uint32_t pipe_id, struct restored_file *path, uint32_t flags, struct cr_error *err)
{
	struct restored_pipe *p = pipe_find(fs, pipe_id, true);
	autofd int fd = -1;
	int r = 0;

	if (!p && !(p = pipe_new(fs, pipe_id, true)))
		return files_no_memory(err);
	if (!p->made && !(no_writer_yet(p) && (flags & O_ACCMODE) == O_RDONLY))
		r = fifo_make(fs, p, path, err);
	if (r < 0)
		return r;
	fd = packets_again(path_open(fs, path, open_flags(flags) & ~(uint32_t)O_DIRECT, err), flags, err);
	if (fd < 0)
		return fd;
	r = reg_validate(fs, path->entry->reg, fd, path->ghost || path->link, err);
	if (r == 0 && !p->made) {
		p->made = true;
		r = refill(fs, p, fd, err);
	}
	return r < 0 ? r : take_fd(&fd);
}

static void close_ends(struct restored_pipe *p)
{
	for (size_t i = 0; i < 2; i++) {
		if (p->ends[i] >= 0)
			close(p->ends[i]);
		p->ends[i] = -1;
	}
}

void pipes_settle(struct files *fs)
{
	for (size_t i = 0; i < fs->pipes.nr; i++)
		close_ends(fs->pipes.items[i]);
}

void restored_pipes_done(struct files *fs)
{
	for (size_t i = 0; i < fs->pipes.nr; i++) {
		close_ends(fs->pipes.items[i]);
		img_entry_free(fs->pipes.items[i]->data);
	}
}
