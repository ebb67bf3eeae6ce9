/* Reading and writing the entries of one image; see image-set.h. */
#include "base/pool.h"
#include "image/image-set-internal.h"
#include "image/stream.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WRITE_AT   (64u << 10) /* flush when so much is buffered */
#define BUFFER_MAX (1u << 30)  /* ceiling of what one entry with its payload may take */
#define READ_STEP  (64u << 10)
#define ENTRY_MAX  (256u << 20) /* ceiling of one entry or payload that is read into memory */

struct image_writer {
	struct image_set *set;
	const struct img_kind *kind;
	enum img_type type;
	uint64_t id;
	int fd;       /* -1: nothing written yet */
	bool started; /* header is in the buffer or in the file */
	uint64_t nr_entries;
	struct proto_buf buf;
};

int image_writer_open(struct image_set *set, enum img_type type, uint64_t id, struct image_writer **ret,
		      struct cr_error *err)
{
	struct image_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return cr_fail(err, -ENOMEM, "open an image for writing");
	w->set = set;
	w->type = type;
	w->id = id;
	w->kind = img_kind_of(type);
	w->fd = -1;
	w->buf = proto_buf_of(BUFFER_MAX);
	*ret = w;
	return 0;
}

static int writer_name(struct image_writer *w, int r, struct cr_error *err)
{
	char name[IMG_NAME_MAX];

	if (img_name(w->type, w->id, name, sizeof(name)) < 0)
		return r;
	return cr_within(err, r, "write %s", name);
}

static int writer_start(struct image_writer *w, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	int r;

	if (w->started)
		return 0;
	r = img_header_encode(w->type, &w->buf, &perr);
	if (r < 0)
		return cr_refuse(err, r, "%s", perr.text);
	w->started = true;
	return 0;
}

static int writer_flush(struct image_writer *w, struct cr_error *err)
{
	int r;

	if (w->fd < 0) {
		w->fd = image_set_openat(w->set, w->type, w->id, O_RDWR | O_CREAT | O_TRUNC, err);
		if (w->fd < 0)
			return w->fd;
	}
	r = image_set_write(w->set, w->fd, w->buf.data, w->buf.len);
	if (r < 0)
		return writer_name(w, cr_fail(err, r, "write"), err);
	w->buf.len = 0;
	return 0;
}

int image_write(struct image_writer *w, const void *entry, struct cr_error *err)
{
	enum img_msg msg = w->nr_entries == 0 && w->kind->head != IMG_MSG_NONE ? w->kind->head : w->kind->entry;
	struct proto_error perr = { 0 };
	int r = writer_start(w, err);

	if (r < 0)
		return r;
	r = img_entry_encode(msg, entry, &w->buf, &perr);
	if (r < 0)
		return writer_name(w, cr_refuse(err, r, "%s", perr.text), err);
	w->nr_entries++;
	return w->buf.len >= WRITE_AT ? writer_flush(w, err) : 0;
}

int image_write_record(struct image_writer *w, enum img_msg msg, const void *entry, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	int r = writer_start(w, err);

	if (r < 0)
		return r;
	r = img_entry_encode(msg, entry, &w->buf, &perr);
	if (r < 0)
		return writer_name(w, cr_refuse(err, r, "%s", perr.text), err);
	return w->buf.len >= WRITE_AT ? writer_flush(w, err) : 0;
}

int image_write_raw(struct image_writer *w, const void *data, size_t len, struct cr_error *err)
{
	int r = writer_start(w, err);

	if (r < 0)
		return r;
	if (len >= WRITE_AT) {
		r = writer_flush(w, err);
		if (r < 0)
			return r;
		r = image_set_write(w->set, w->fd, data, len);
		return r < 0 ? writer_name(w, cr_fail(err, r, "write"), err) : 0;
	}
	r = proto_buf_append(&w->buf, data, len);
	if (r < 0)
		return writer_name(w, cr_fail(err, r, "buffer"), err);
	return w->buf.len >= WRITE_AT ? writer_flush(w, err) : 0;
}

int image_writer_fd(struct image_writer *w, struct cr_error *err)
{
	int r = writer_start(w, err);

	if (r == 0)
		r = writer_flush(w, err);
	return r < 0 ? r : w->fd;
}

int image_writer_close(struct image_writer *w, bool keep_empty, struct cr_error *err)
{
	int r = 0;

	if (keep_empty)
		r = writer_start(w, err);
	if (r == 0 && w->started && (w->buf.len || w->fd < 0))
		r = writer_flush(w, err);
	if (r == 0 && !w->started && !image_set_streams(w->set)) {
		/* a file of that name from an older dump is not part of this set */
		char name[IMG_NAME_MAX];

		if (img_name(w->type, w->id, name, sizeof(name)) == 0 && unlinkat(w->set->dirfd, name, 0) < 0 &&
		    errno != ENOENT)
			r = cr_fail(err, -errno, "remove the old %s", name);
	}
	if (r == 0 && w->fd >= 0) {
		r = image_set_close(w->set, take_fd(&w->fd));
		if (r < 0)
			writer_name(w, cr_fail(err, r, "end"), err);
	}
	image_writer_drop(w);
	return r;
}

void image_writer_drop(struct image_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	proto_buf_done(&w->buf);
	free(w);
}

int image_write_single(struct image_set *set, enum img_type type, uint64_t id, const void *entry, struct cr_error *err)
{
	struct image_writer *w;
	int r = image_writer_open(set, type, id, &w, err);

	if (r < 0)
		return r;
	r = image_write(w, entry, err);
	if (r < 0) {
		image_writer_drop(w);
		return r;
	}
	return image_writer_close(w, true, err);
}

struct image_reader {
	const struct img_kind *kind;
	char name[IMG_NAME_MAX];
	int fd;
	uint64_t nr_entries;
	uint64_t base;   /* file offset of buf[0] */
	size_t pos, len; /* unread part of buf */
	size_t cap;
	char *buf;
	bool at_end;
	struct proto_limits limits;
};

static int reader_fail(struct image_reader *r, int code, struct cr_error *err, const char *what)
{
	return cr_fail(err, code, "%s: offset %llu: %s", r->name, (unsigned long long)image_reader_tell(r), what);
}

/* Have @want unread bytes in the buffer. Return: 0; 1 the file ends before; negative errno. */
static int reader_fill(struct image_reader *r, size_t want, struct cr_error *err)
{
	while (r->len - r->pos < want) {
		ssize_t n;

		if (r->at_end)
			return 1;
		if (r->pos && (r->cap - r->pos < want || r->pos == r->len)) {
			memmove(r->buf, r->buf + r->pos, r->len - r->pos);
			r->base += r->pos;
			r->len -= r->pos;
			r->pos = 0;
		}
		if (r->cap - r->len < READ_STEP) {
			size_t cap = r->cap ? r->cap * 2 : 2 * READ_STEP;
			char *buf = cap > 2 * (size_t)ENTRY_MAX ? NULL : realloc(r->buf, cap);

			if (!buf)
				return reader_fail(r, -ENOMEM, err, "read");
			r->buf = buf;
			r->cap = cap;
		}
		/* in steps, so that a size that a file merely claims takes no memory */
		n = pread(r->fd, r->buf + r->len, r->cap - r->len, (off_t)(r->base + r->len));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return reader_fail(r, -errno, err, "read");
		if (n == 0)
			r->at_end = true;
		r->len += (size_t)n;
	}
	return 0;
}

static int reader_header(struct image_reader *r, enum img_type type, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	size_t len;
	int n = reader_fill(r, 8, err);

	if (n < 0)
		return n;
	n = img_header_check(type, r->buf, r->len, &len, &perr);
	if (n < 0)
		return cr_refuse(err, n, "%s: %s", r->name, perr.text);
	r->pos = len;
	return 0;
}

int image_reader_open(struct image_set *set, enum img_type type, uint64_t id, struct image_reader **ret,
		      struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *r = calloc(1, sizeof(*r));
	struct stat st;
	int n;

	*ret = NULL;
	if (!r)
		return cr_fail(err, -ENOMEM, "open an image");
	r->kind = img_kind_of(type);
	r->limits = img_limits_default;
	r->fd = -1;
	n = img_name(type, id, r->name, sizeof(r->name));
	if (n < 0)
		return cr_fail(err, n, "name an image");
	r->fd = image_set_openat(set, type, id, O_RDONLY, err);
	if (r->fd == -ENOENT)
		return 1;
	if (r->fd < 0)
		return r->fd;
	if (fstat(r->fd, &st) < 0)
		return cr_fail(err, -errno, "stat %s", r->name);
	if (!S_ISREG(st.st_mode))
		return cr_refuse(err, -EBADMSG, "%s: not a regular file", r->name);
	n = reader_header(r, type, err);
	if (n < 0)
		return n;
	*ret = take_ptr(&r);
	return 0;
}

static void *take_from_pool(void *arg, size_t size)
{
	return pool_alloc(arg, size);
}

void image_reader_use(struct image_reader *r, struct pool *pool)
{
	r->limits.room = (struct proto_room){ take_from_pool, pool };
}

int image_read_record(struct image_reader *r, enum img_msg msg, void **ret_entry, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	uint32_t size;
	int n = reader_fill(r, sizeof(size), err);

	if (n < 0)
		return n;
	if (n == 1) {
		if (r->pos == r->len)
			return 0;
		return reader_fail(r, -EBADMSG, err, "the file is cut short");
	}
	memcpy(&size, r->buf + r->pos, sizeof(size));
	if (size > ENTRY_MAX)
		return reader_fail(r, -EBADMSG, err, "entry too large");
	n = reader_fill(r, sizeof(size) + (size_t)size, err);
	if (n < 0)
		return n;
	if (n == 1)
		return reader_fail(r, -EBADMSG, err, "the file is cut short");
	n = img_entry_decode(msg, r->buf + r->pos + sizeof(size), size, &r->limits, ret_entry, &perr);
	if (n < 0)
		return cr_refuse(err, n, "%s: offset %llu: %s", r->name, (unsigned long long)image_reader_tell(r),
				 perr.text);
	r->pos += sizeof(size) + size;
	return 1;
}

int image_read(struct image_reader *r, void **ret_entry, struct cr_error *err)
{
	bool head = r->nr_entries == 0 && r->kind->head != IMG_MSG_NONE;
	int n = image_read_record(r, head ? r->kind->head : r->kind->entry, ret_entry, err);

	if (n == 1)
		r->nr_entries++;
	return n;
}

int image_read_raw(struct image_reader *r, size_t len, const void **ret, struct cr_error *err)
{
	int n;

	if (len > ENTRY_MAX)
		return reader_fail(r, -EBADMSG, err, "payload too large");
	n = reader_fill(r, len, err);
	if (n < 0)
		return n;
	if (n == 1)
		return reader_fail(r, -EBADMSG, err, "the file is cut short");
	*ret = r->buf + r->pos;
	r->pos += len;
	return 0;
}

uint64_t image_reader_tell(const struct image_reader *r)
{
	return r->base + r->pos;
}

int image_reader_fd(const struct image_reader *r)
{
	return r->fd;
}

int image_reader_skip(struct image_reader *r, uint64_t len, struct cr_error *err)
{
	struct stat st;

	if (len <= r->len - r->pos) {
		r->pos += len;
		return 0;
	}
	if (fstat(r->fd, &st) < 0)
		return reader_fail(r, -errno, err, "stat");
	if (len > (uint64_t)st.st_size || image_reader_tell(r) > (uint64_t)st.st_size - len)
		return reader_fail(r, -EBADMSG, err, "the file is cut short");
	r->base = image_reader_tell(r) + len;
	r->pos = r->len = 0;
	return 0;
}

void image_reader_close(struct image_reader *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	free(r->buf);
	free(r);
}

int image_read_single(struct image_set *set, enum img_type type, uint64_t id, void **ret_entry, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *r = NULL;
	void *entry = NULL, *more = NULL;
	int n = image_reader_open(set, type, id, &r, err);

	if (n)
		return n;
	n = image_read(r, &entry, err);
	if (n < 0)
		return n;
	if (n == 0)
		return cr_refuse(err, -EBADMSG, "%s: no entry", r->name);
	n = image_read(r, &more, err);
	if (n != 0) {
		img_entry_free(entry);
		if (n > 0) {
			img_entry_free(more);
			return cr_refuse(err, -EBADMSG, "%s: more than one entry", r->name);
		}
		return n;
	}
	*ret_entry = entry;
	return 0;
}
