/*
 * What is in a map: keys and values, element by element, which every type and every kernel with maps can do. Per-CPU maps have
 * a value for each possible processor, each in a multiple of 8 bytes (bpf(2), Linux 4.6 and later).
 */
#include "files/bpf-map.h"

#include "files/bpf-lru.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEYS_MAX ((size_t)256 << 20) /* that are read into memory at once */

int bpf_call(int cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

int bpf_map_by_id(uint32_t id, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_id = id;
	attr.open_flags = (flags & O_ACCMODE) == O_RDONLY   ? BPF_F_RDONLY
			  : (flags & O_ACCMODE) == O_WRONLY ? BPF_F_WRONLY
							    : 0;
	return bpf_call(BPF_MAP_GET_FD_BY_ID, &attr);
}

const char *bpf_map_type_name(uint32_t type)
{
	static const char *const names[] = {
		[BPF_MAP_TYPE_HASH] = "hash",
		[BPF_MAP_TYPE_ARRAY] = "array",
		[BPF_MAP_TYPE_PERCPU_HASH] = "per-CPU hash",
		[BPF_MAP_TYPE_PERCPU_ARRAY] = "per-CPU array",
		[BPF_MAP_TYPE_LRU_HASH] = "LRU hash",
		[BPF_MAP_TYPE_LRU_PERCPU_HASH] = "per-CPU LRU hash",
		[BPF_MAP_TYPE_LPM_TRIE] = "prefix trie",
	};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;
}

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static bool is_array(uint32_t type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

/* "0-3,5": how many that is; 0 if it is not understood */
size_t bpf_possible_cpus(void)
{
	autofd int fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
	char text[512], *at = text;
	ssize_t len = fd < 0 ? -1 : fd_read_all(fd, text, sizeof(text) - 1);
	size_t nr = 0;

	if (len <= 0)
		return 0;
	text[len] = '\0';
	while (*at >= '0' && *at <= '9') {
		unsigned long first = strtoul(at, &at, 10), last = *at == '-' ? strtoul(at + 1, &at, 10) : first;

		if (last < first || last > 65535)
			return 0;
		nr += last - first + 1;
		at += *at == ',';
	}
	return nr;
}

size_t bpf_value_room(const img_bpfmap_file_entry *e)
{
	return is_per_cpu(e->map_type) ? (((size_t)e->value_size + 7) & ~(size_t)7) * bpf_possible_cpus()
				       : e->value_size;
}

static int element(int cmd, int fd, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)(uintptr_t)key;
	attr.value = (uint64_t)(uintptr_t)value; /* or the next key, which has the same place */
	return bpf_call(cmd, &attr);
}

/* All keys, in the order in which the kernel has them. */
static int read_keys(int fd, const img_bpfmap_file_entry *e, struct buf *keys, uint32_t *ret_count,
		     struct cr_error *err)
{
	autofree char *next = malloc(e->key_size);
	const char *last = NULL;
	uint32_t nr = 0;
	int r;

	if (!next)
		return cr_fail(err, -ENOMEM, "read its keys");
	while ((r = element(BPF_MAP_GET_NEXT_KEY, fd, last, next)) == 0) {
		/* after a key that is gone the first comes again */
		if (nr == e->max_entries)
			return cr_refuse(err, -EBUSY, "it is changed by somebody outside of the tree meanwhile");
		r = buf_add(keys, next, e->key_size);
		if (r < 0)
			return cr_fail(err, r, "keep its keys");
		last = keys->data + (size_t)nr++ * e->key_size;
	}
	*ret_count = nr;
	return r == -ENOENT ? 0 : cr_fail(err, r, "read its keys");
}

int bpf_content_write(int fd, const img_bpfmap_file_entry *e, struct image_writer *w, struct cr_error *err)
{
	size_t room = bpf_value_room(e);
	autobuf struct buf keys = BUF_INIT(KEYS_MAX);
	autofree char *value = malloc(room ? room : 1);
	img_bpfmap_data_entry d = { .map_id = e->map_id };
	int r = value ? read_keys(fd, e, &keys, &d.count, err) : cr_fail(err, -ENOMEM, "read its values");

	if (r < 0)
		return r;
	if ((uint64_t)d.count * room > UINT32_MAX)
		return cr_refuse(err, -EFBIG, "its content is too large for an image");
	d.keys_bytes = (uint32_t)keys.len;
	d.values_bytes = (uint32_t)(d.count * room);
	r = image_write(w, &d, err);
	if (r == 0 && keys.len)
		r = image_write_raw(w, keys.data, keys.len, err);
	for (uint32_t i = 0; r == 0 && i < d.count; i++) {
		r = element(BPF_MAP_LOOKUP_ELEM, fd, keys.data + (size_t)i * e->key_size, value);
		r = r < 0 ? cr_fail(err, r, "read element %u of %u", i, d.count) : image_write_raw(w, value, room, err);
	}
	return r;
}

int bpf_content_check(const img_bpfmap_data_entry *d, const img_bpfmap_file_entry *e, struct cr_error *err)
{
	size_t room = bpf_value_room(e);

	if (d->count > e->max_entries || d->keys_bytes != (uint64_t)d->count * e->key_size)
		return cr_refuse(err, -EBADMSG, "BPF map %u: %u elements with %u bytes of keys", d->map_id, d->count,
				 d->keys_bytes);
	if (d->values_bytes == (uint64_t)d->count * room)
		return 0;
	if (is_per_cpu(e->map_type))
		return cr_refuse(err, -EOPNOTSUPP,
				 "BPF map %u has values for another number of processors than there are", d->map_id);
	return cr_refuse(err, -EBADMSG, "BPF map %u: %u elements with %u bytes of values", d->map_id, d->count,
			 d->values_bytes);
}

static bool is_zero(const char *p, size_t len)
{
	return !len || (!p[0] && memcmp(p, p + 1, len - 1) == 0);
}

int bpf_content_fill(int fd, const img_bpfmap_file_entry *e, const img_bpfmap_data_entry *d,
		     struct image_reader *reader, uint64_t *missing, struct cr_error *err)
{
	size_t room = bpf_value_room(e);
	autofree char *keys = malloc((size_t)d->keys_bytes + 1), *copy = malloc(room + 1);
	autolru struct lru_place place = lru_place_begin(e);
	const void *raw = NULL;
	int r = keys && copy ? image_read_raw(reader, d->keys_bytes, &raw, err) : cr_fail(err, -ENOMEM, "fill it");

	if (r < 0)
		return r;
	memcpy(keys, raw, d->keys_bytes);
	for (uint32_t i = 0; i < d->count; i++) {
		r = image_read_raw(reader, room, &raw, err);
		if (r < 0)
			return r;
		/* elements of a new array are zero */
		if (is_array(e->map_type) && is_zero(raw, room))
			continue;
		if (missing && element(BPF_MAP_LOOKUP_ELEM, fd, keys + (size_t)i * e->key_size, copy) == 0)
			continue;
		if (missing)
			(*missing)++;
		lru_place_for(&place, i);
		memcpy(copy, raw, room);
		r = element(BPF_MAP_UPDATE_ELEM, fd, keys + (size_t)i * e->key_size, copy);
		if (r < 0)
			return cr_fail(err, r, "put element %u of %u into it", i, d->count);
	}
	return 0;
}
