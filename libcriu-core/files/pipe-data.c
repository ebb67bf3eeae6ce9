/*
 * What is in a pipe, read without taking it out: tee(2) duplicates the buffers into a pipe of our own. In packet mode
 * (O_DIRECT) each write is a packet that a read returns alone, and the duplicates keep that mark, so reading the
 * duplicate shows the lengths.
 */
#include "files/dump-internal.h"

#include "base/io.h"
#include "base/own.h"
#include "image/image-set.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIPE_MAX_BYTES (1u << 30)

/* One pipe or fifo, whose ends are any number of files. */
struct pipe_data {
	uint32_t pipe_id;
	bool fifo, packets;
	bool can_read, can_write; /* an end in the tree */
	int fd;                   /* a reading end; -1 if it is empty or there is none */
	uint32_t size, bytes;
	struct open_file *reader; /* for obstacles; NULL: no reading end seen */
	struct open_file *end;    /* any of them */
	bool hung_up;             /* a reading end has seen the last writer go */
};

/*
 * Images number pipes by inode, 32 bits wide. That names a pipe well enough, but two fifos may be on different file
 * systems, or on one with wide numbers.
 */
static uint32_t free_id(struct file_table *t, uint64_t ino, bool fifo)
{
	uint32_t id = (uint32_t)ino;

	for (size_t i = 0; i < t->pipes.nr; i++)
		if (fifo && t->pipes.items[i]->fifo && t->pipes.items[i]->pipe_id == id) {
			id++;
			i = (size_t)-1;
		}
	return id;
}

static struct pipe_data *pipe_of(struct file_table *t, uint64_t dev, uint64_t ino, bool fifo)
{
	uint64_t key = map_mix(map_mix(0, dev), ino);
	struct pipe_data *p = map_find(&t->pipe_by_ino, key);
	struct pipe_data **at;

	if (p)
		return p;
	p = pool_new(&t->pool, struct pipe_data);
	if (!p)
		return NULL;
	p->pipe_id = free_id(t, ino, fifo);
	p->fifo = fifo;
	p->fd = -1;
	at = pipe_data_vec_add(&t->pipes);
	if (!at)
		return NULL;
	*at = p;
	if (map_put(&t->pipe_by_ino, key, p) < 0)
		return NULL;
	return p;
}

/* A reader is told only of writers that it has seen: pipe_poll() in fs/pipe.c */
static bool hangs_up(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

int pipe_note(struct file_table *t, struct open_file *f, bool fifo, uint32_t *ret_id, struct cr_error *err)
{
	struct pipe_data *p = pipe_of(t, f->facts.st.st_dev, f->facts.st.st_ino, fifo);
	int mode = f->facts.flags & O_ACCMODE;
	int size, bytes;

	if (!p)
		return pool_failed(err);
	*ret_id = p->pipe_id;
	p->end = f;
	p->packets |= (f->facts.flags & O_DIRECT) != 0;
	p->can_write |= mode != O_RDONLY;
	p->hung_up |= fifo && mode == O_RDONLY && hangs_up(f->fd);
	if (mode == O_WRONLY || p->can_read)
		return 0;
	p->can_read = true;
	p->reader = f;
	size = fcntl(f->fd, F_GETPIPE_SZ);
	if (size < 0 || ioctl(f->fd, FIONREAD, &bytes) < 0)
		return cr_fail(err, -errno, "look into a pipe");
	p->size = (uint32_t)size;
	p->bytes = (uint32_t)bytes;
	if (bytes == 0)
		return 0;
	f->keep_fd = true;
	p->fd = f->fd;
	return 0;
}

/* Does somebody have the other end? An end says of itself when nobody has (pipe_poll() in fs/pipe.c); unknown is no. */
static bool other_end_is_open(const struct pipe_data *p)
{
	const struct open_file *f = p->end;
	autofd int copy = f->fd_there < 0 ? -1 : (int)syscall(__NR_pidfd_getfd, f->task->pidfd, f->fd_there, 0);
	struct pollfd end = { .fd = copy };

	return copy >= 0 && poll(&end, 1, 0) >= 0 && !(end.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* A pipe that leads out of the tree: the other end is not restored, and what waits for it waits for nothing. */
int pipes_check_ends(struct file_table *t, struct cr_error *err)
{
	(void)err;
	for (size_t i = 0; i < t->pipes.nr; i++) {
		const struct pipe_data *p = t->pipes.items[i];

		if (!p->fifo && p->can_read != p->can_write && other_end_is_open(p))
			log_warn(&t->ctx->log,
				 "pipe:[%u] leads out of the tree, its other end will be closed unless the restore is "
				 "given it by "
				 "--inherit-fd fd[N]:pipe:[%u]",
				 p->pipe_id, p->pipe_id);
	}
	return 0;
}

/* ------------------------------------------------------------------- write */

struct duplicate {
	int ends[2];
	uint32_t size; /* capacity of our pipe */
	char *buf;     /* of the largest pipe so far */
	size_t room;
	struct proto_u32_vec packets, streams; /* as in the image */
	size_t max_packets, max_streams;
};

static int duplicate_room(struct duplicate *d, const struct pipe_data *p, struct cr_error *err)
{
	if (d->ends[0] < 0 && pipe2(d->ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return cr_fail(err, -errno, "make a pipe");
	if (d->size < p->size) {
		int size = fcntl(d->ends[0], F_SETPIPE_SZ, (int)p->size);

		if (size < 0)
			return cr_fail(err, -errno, "make a pipe of %u bytes", p->size);
		d->size = (uint32_t)size;
	}
	if (d->room <= p->bytes) {
		char *buf = realloc(d->buf, (size_t)p->bytes + 1);

		if (!buf)
			return pool_failed(err);
		d->buf = buf;
		d->room = (size_t)p->bytes + 1;
	}
	return 0;
}

static int note_number(struct proto_u32_vec *v, size_t *max, size_t number, struct cr_error *err)
{
	if (v->nr == *max) {
		size_t grown = *max ? *max * 2 : 64;
		uint32_t *more = realloc(v->items, grown * sizeof(*more));

		if (!more)
			return pool_failed(err);
		v->items = more;
		*max = grown;
	}
	v->items[v->nr++] = (uint32_t)number;
	return 0;
}

static int note_packet(struct duplicate *d, size_t len, struct cr_error *err)
{
	return note_number(&d->packets, &d->max_packets, len, err);
}

static int duplicate(struct duplicate *d, const struct pipe_data *p, struct cr_error *err)
{
	ssize_t n = tee(p->fd, d->ends[1], PIPE_MAX_BYTES, SPLICE_F_NONBLOCK);

	if (n < 0)
		return cr_fail(err, -errno, "duplicate the content of a pipe");
	if ((size_t)n != p->bytes)
		return cr_refuse(err, -EAGAIN, "pipe:[%u] has %u bytes, of which %zd could be duplicated", p->pipe_id,
				 p->bytes, n);
	return 0;
}

/* Our pipe was empty before, and is when this is through. Return: 0 with the content in d->buf */
static int duplicate_content(struct duplicate *d, const struct pipe_data *p, struct cr_error *err)
{
	size_t len = 0;
	int r = duplicate(d, p, err);

	d->packets.nr = 0;
	while (r == 0 && len < p->bytes) {
		ssize_t n = read(d->ends[0], d->buf + len, d->room - len);
		if (n <= 0)
			return cr_fail(err, n < 0 ? -errno : -EIO, "read the content of a pipe");
		len += (size_t)n;
		r = note_packet(d, (size_t)n, err);
	}
	return r;
}

/*
 * How much goes when one byte is read? Of a packet all: the rest is thrown away.
 * Return: that; negative errno
 */
static ssize_t read_off(struct duplicate *d, uint32_t left)
{
	char byte;
	int now;

	if (read(d->ends[0], &byte, 1) != 1 || ioctl(d->ends[0], FIONREAD, &now) < 0)
		return -errno;
	return now < 0 || (uint32_t)now >= left ? -EIO : (ssize_t)(left - (uint32_t)now);
}

/* Takes the @len bytes of one read off, of @left that are there. Return: how many at the beginning are no packet; negative errno */
static ssize_t plain_part(struct duplicate *d, uint32_t left, uint32_t len, bool last)
{
	uint32_t end = left - len;
	ssize_t plain = 0;

	while (left > end) {
		ssize_t n = read_off(d, left);

		if (n < 0 || (uint32_t)n > left - end)
			return n < 0 ? n : -EIO;
		left -= (uint32_t)n;
		/* one byte that ends a read although there is more is a packet */
		plain += n == 1 && (left > end || last);
	}
	return plain;
}

/*
 * A read(2) ends behind a packet, or where there is nothing more. What was written in the other mode may be in front of a packet, or
 * alone at the end, and is no packet: taken for one, it would lose what a first small read leaves. So the content is taken once more,
 * byte by byte. A single byte at the end may be either.
 */
static int tell_apart(struct duplicate *d, const struct pipe_data *p, struct cr_error *err)
{
	struct proto_u32_vec reads = d->packets;
	uint32_t left = p->bytes;
	int r = duplicate(d, p, err);

	d->packets = (struct proto_u32_vec){ 0 };
	d->max_packets = d->streams.nr = 0;
	for (size_t i = 0; r == 0 && i < reads.nr; i++) {
		uint32_t len = reads.items[i];
		ssize_t plain = plain_part(d, left, len, i + 1 == reads.nr);

		if (plain < 0)
			r = cr_fail(err, (int)plain, "tell packets of a pipe apart");
		if (len == 1 && p->packets)
			plain = 0;
		if (r == 0 && plain)
			r = note_number(&d->streams, &d->max_streams, d->packets.nr, err);
		if (r == 0 && plain)
			r = note_packet(d, (size_t)plain, err);
		if (r == 0 && len > plain)
			r = note_packet(d, len - (size_t)plain, err);
		left -= len;
	}
	free(reads.items);
	return r;
}

static int write_one(struct duplicate *d, const struct pipe_data *p, struct image_writer *w, struct cr_error *err)
{
	img_pipe_data_entry e = { .pipe_id = p->pipe_id, .bytes = p->bytes, .has_size = true, .size = p->size };
	img_pipe_data_ext ext = { 0 };
	int r = 0;

	if (p->bytes) {
		r = duplicate_room(d, p, err);
		if (r == 0)
			r = duplicate_content(d, p, err);
	}
	if (r < 0)
		return r;
	if (p->bytes && (p->packets || d->packets.nr > 1)) {
		r = tell_apart(d, p, err);
		if (r < 0)
			return r;
		ext.packets = d->packets;
		ext.streams = d->streams;
		e.ext = d->packets.nr > d->streams.nr ? &ext : NULL;
	}
	if (p->fifo && !p->bytes && !p->can_write && !p->hung_up) {
		ext = (img_pipe_data_ext){ .has_no_writer_yet = true, .no_writer_yet = true };
		e.ext = &ext;
	}
	r = image_write(w, &e, err);
	return r == 0 && p->bytes ? image_write_raw(w, d->buf, p->bytes, err) : r;
}

static int write_kind(struct file_table *t, struct image_set *set, bool fifo, struct duplicate *d, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, fifo ? IMG_FIFO_DATA : IMG_PIPES_DATA, 0, &w, err);

	for (size_t i = 0; i < t->pipes.nr && r == 0; i++)
		if (t->pipes.items[i]->fifo == fifo && t->pipes.items[i]->can_read)
			r = write_one(d, t->pipes.items[i], w, err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

int pipes_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	struct duplicate d = { .ends = { -1, -1 } };
	int r = write_kind(t, set, false, &d, err);

	if (r == 0)
		r = write_kind(t, set, true, &d, err);
	if (d.ends[0] >= 0) {
		close(d.ends[0]);
		close(d.ends[1]);
	}
	free(d.buf);
	free(d.packets.items);
	free(d.streams.items);
	return r;
}

void pipes_done(struct file_table *t)
{
	pipe_data_vec_done(&t->pipes); /* the descriptors belong to the files */
}
