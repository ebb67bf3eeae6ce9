/*
 * Descriptors of BPF maps. A map is made again with its content, and frozen if it was. It is another one then: so it must not be
 * in use by a program, which would go on with the old one.
 */
#include "files/bpf-map.h"

#include "files/bpf-lru.h"
#include "files/dump-internal.h"
#include "files/family.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM_MAPS_MAX 4096u
#define REFILLS          4

/* Flags of the creation that a new map can have just as well. Those of access belong to descriptors, and others bind it to something. */
#define KEPT_FLAGS                                                                                         \
	(BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_RDONLY_PROG | \
	 BPF_F_WRONLY_PROG | BPF_F_MMAPABLE | BPF_F_INNER_MAP)

/* A map of which a program knows. */
struct map_use {
	uint32_t map, program;
};
DEFINE_VEC(map_use_vec, struct map_use)

struct dumped_map {
	const img_bpfmap_file_entry *entry;
	int fd; /* readable */
};
DEFINE_VEC(dumped_map_vec, struct dumped_map)

struct bpf_table {
	struct map_use_vec uses;
	struct dumped_map_vec maps;
};

static bool bpf_map_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:bpf-map") == 0;
}

/* ---------------------------------------------------------------- dump */

static int info_of(int fd, void *info, uint32_t len)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info = (uint64_t)(uintptr_t)info;
	attr.info.info_len = len;
	return bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

static int note_program(struct bpf_table *b, uint32_t id, struct cr_error *err)
{
	uint32_t maps[PROGRAM_MAPS_MAX];
	struct bpf_prog_info info;
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	fd = bpf_call(BPF_PROG_GET_FD_BY_ID, &attr);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;

	autofd int program = fd;

	memset(&info, 0, sizeof(info));
	info.nr_map_ids = PROGRAM_MAPS_MAX;
	info.map_ids = (uint64_t)(uintptr_t)maps;
	fd = info_of(program, &info, sizeof(info));
	for (uint32_t i = 0; fd >= 0 && i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++) {
		struct map_use *use = map_use_vec_add(&b->uses);

		if (!use)
			return cr_fail(err, -ENOMEM, "list BPF programs");
		*use = (struct map_use){ maps[i], id };
	}
	return fd;
}

/* Which maps the programs of the machine use; asked once. */
static int list_programs(struct file_table *t, struct bpf_table *b, struct cr_error *err)
{
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	while ((r = bpf_call(BPF_PROG_GET_NEXT_ID, &attr)) == 0) {
		uint32_t id = attr.next_id;

		r = note_program(b, id, err);
		if (r < 0)
			break;
		memset(&attr, 0, sizeof(attr));
		attr.start_id = id;
	}
	if (r == -ENOMEM)
		return r;
	if (r != -ENOENT)
		log_warn(&t->ctx->log, "BPF programs cannot be listed (%s): continuing as if none used the tree's maps",
			 strerror(-r));
	return 0;
}

static struct bpf_table *table_of(struct file_table *t, struct cr_error *err)
{
	if (t->bpf)
		return t->bpf;
	t->bpf = calloc(1, sizeof(*t->bpf));
	if (!t->bpf)
		cr_fail(err, -ENOMEM, "BPF maps");
	else if (list_programs(t, t->bpf, err) < 0)
		return NULL;
	return t->bpf;
}

static void bpf_table_done(struct file_table *t)
{
	for (size_t i = 0; t->bpf && i < t->bpf->maps.nr; i++)
		close(t->bpf->maps.items[i].fd);
	if (t->bpf) {
		dumped_map_vec_done(&t->bpf->maps);
		map_use_vec_done(&t->bpf->uses);
	}
	free(t->bpf);
	t->bpf = NULL;
}

/* Lines of bpf_map_show_fdinfo() in kernel/bpf/syscall.c that the system call does not tell. */
static void parse_fdinfo(struct scan rest, img_bpfmap_file_entry *e)
{
	struct scan line;
	uint64_t v;

	while (proc_fdinfo_next(&rest, &line)) {
		bool frozen = scan_lit(&line, "frozen:") == 0;

		if (!frozen && scan_lit(&line, "memlock:") != 0)
			continue;
		scan_blanks(&line);
		if (scan_dec(&line, &v) < 0)
			continue;
		if (frozen)
			e->frozen = v != 0;
		else
			e->memlock = v;
	}
}

static int fill_entry(struct file_table *t, const struct bpf_map_info *info, img_bpfmap_file_entry *e)
{
	e->map_type = info->type;
	e->map_id = info->id;
	e->key_size = info->key_size;
	e->value_size = info->value_size;
	e->max_entries = info->max_entries;
	e->map_flags = info->map_flags;
	e->ifindex = info->ifindex;
	e->has_map_extra = true;
	e->map_extra = info->map_extra;
	e->map_name = pool_text(&t->pool, info->name, strnlen(info->name, sizeof(info->name)));
	return e->map_name ? 0 : -ENOMEM;
}

/* Return: 0; 1 an obstacle was noted; negative errno. */
static int look_for_obstacles(struct file_table *t, struct open_file *f, const struct bpf_table *b,
			      const img_bpfmap_file_entry *e)
{
	if (!bpf_map_type_name(e->map_type))
		return file_refuse(t, f, "", "BPF map %u (%s) of type %u, whose content cannot be kept", e->map_id,
				   e->map_name, e->map_type);
	if (e->ifindex)
		return file_refuse(t, f, "", "BPF map %u (%s) in a network device", e->map_id, e->map_name);
	if (e->map_flags & ~(uint32_t)KEPT_FLAGS)
		return file_refuse(t, f, "", "BPF map %u (%s) with flags 0x%x", e->map_id, e->map_name, e->map_flags);
	if (!bpf_value_room(e))
		return file_refuse(t, f, "", "BPF map %u (%s): the number of processors is not to be known", e->map_id,
				   e->map_name);
	for (size_t i = 0; i < b->uses.nr; i++)
		if (b->uses.items[i].map == e->map_id)
			return file_refuse(t, f, "", "BPF map %u (%s) that program %u uses", e->map_id, e->map_name,
					   b->uses.items[i].program);
	return 0;
}

static int keep_map(struct bpf_table *b, const struct open_file *f, const img_bpfmap_file_entry *e,
		    struct cr_error *err)
{
	struct dumped_map *m;
	int fd;

	for (size_t i = 0; i < b->maps.nr; i++)
		if (b->maps.items[i].entry->map_id == e->map_id)
			return 0;
	if ((e->flags & O_ACCMODE) == O_WRONLY) {
		fd = bpf_map_by_id(e->map_id, O_RDONLY);
	} else {
		fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	}
	if (fd < 0)
		return cr_fail(err, fd, "get hold of BPF map %u", e->map_id);
	m = dumped_map_vec_add(&b->maps);
	if (!m) {
		close(fd);
		return cr_fail(err, -ENOMEM, "BPF maps");
	}
	*m = (struct dumped_map){ e, fd };
	return 0;
}

static int bpf_map_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_bpfmap_file_entry *e = pool_new(&t->pool, img_bpfmap_file_entry);
	struct bpf_table *b = table_of(t, err);
	struct bpf_map_info info;
	struct scan rest;
	int r;

	if (!b)
		return -ENOMEM;
	if (!e)
		return pool_failed(err);
	memset(&info, 0, sizeof(info));
	r = info_of(f->fd, &info, sizeof(info));
	if (r < 0)
		return cr_fail(err, r, "look at a BPF map");
	if (fill_entry(t, &info, e) < 0)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_BPFMAP, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	parse_fdinfo(rest, e);
	f->entry->bpf = e;
	r = look_for_obstacles(t, f, b, e);
	if (r == 0 && (info.btf_id || info.btf_key_type_id || info.btf_value_type_id))
		log_warn(&t->ctx->log, "BPF map %u (%s): continuing without its type information (BTF)", e->map_id,
			 e->map_name);
	return r == 0 ? keep_map(b, f, e, err) : r;
}

static int bpf_maps_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r;

	if (!t->bpf || !t->bpf->maps.nr)
		return 0;
	r = image_writer_open(set, IMG_BPFMAP_DATA, 0, &w, err);
	for (size_t i = 0; i < t->bpf->maps.nr && r == 0; i++) {
		const struct dumped_map *m = &t->bpf->maps.items[i];

		r = cr_within(err, bpf_content_write(m->fd, m->entry, w, err), "BPF map %u (%s)", m->entry->map_id,
			      m->entry->map_name);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

/* ---------------------------------------------------------------- restore */

struct restored_map {
	const img_bpfmap_file_entry *entry; /* of the first of its descriptors */
	int fd;
	uint32_t id;  /* of the new one */
	bool content; /* of it was met in the images */
	uint64_t missing; /* elements that were not there when they were looked for last */
	bool given;   /* its description is one of the tree's */
};
DEFINE_VEC(restored_map_vec, struct restored_map)

struct bpf_set {
	struct restored_map_vec maps;
};

static struct restored_map *find_map(const struct files *fs, uint32_t map_id)
{
	for (size_t i = 0; fs->bpf && i < fs->bpf->maps.nr; i++)
		if (fs->bpf->maps.items[i].entry->map_id == map_id)
			return &fs->bpf->maps.items[i];
	return NULL;
}

static int bpf_map_check(const img_file_entry *f, struct cr_error *err)
{
	const img_bpfmap_file_entry *e = f->bpf;

	if (!bpf_map_type_name(e->map_type))
		return cr_refuse(err, -EOPNOTSUPP, "BPF map of type %u cannot be restored", e->map_type);
	if (e->ifindex || e->map_flags & ~(uint32_t)KEPT_FLAGS)
		return cr_refuse(err, -EOPNOTSUPP, "BPF map with flags 0x%x, device %u cannot be restored",
				 e->map_flags, e->ifindex);
	if (!e->key_size || !e->value_size || !e->max_entries || e->key_size > 4096 || e->value_size > 1u << 30 ||
	    strlen(e->map_name) >= BPF_OBJ_NAME_LEN)
		return cr_refuse(err, -EBADMSG, "BPF map of %u elements of %u and %u bytes", e->max_entries,
				 e->key_size, e->value_size);
	return fown_check(e->fown, err);
}

static bool same_map(const img_bpfmap_file_entry *a, const img_bpfmap_file_entry *b)
{
	return a->map_type == b->map_type && a->key_size == b->key_size && a->value_size == b->value_size &&
	       a->max_entries == b->max_entries && a->map_flags == b->map_flags && a->frozen == b->frozen;
}

static int note_map(struct files *fs, const img_bpfmap_file_entry *e, struct cr_error *err)
{
	struct restored_map *m = find_map(fs, e->map_id);

	if (m)
		return same_map(m->entry, e) ? 0 : cr_refuse(err, -EBADMSG, "BPF map %u is two things", e->map_id);
	if (!fs->bpf)
		fs->bpf = calloc(1, sizeof(*fs->bpf));
	m = fs->bpf ? restored_map_vec_add(&fs->bpf->maps) : NULL;
	if (!m)
		return files_no_memory(err);
	*m = (struct restored_map){ .entry = e, .fd = -1 };
	return 0;
}

enum content_use {
	CONTENT_CHECK,
	CONTENT_FILL,
	CONTENT_REFILL, /* with what tables have forgotten already */
};

static int fill(struct restored_map *m, const img_bpfmap_data_entry *d, bool again, struct image_reader *reader,
		struct cr_error *err)
{
	m->missing = 0;
	return cr_within(err, bpf_content_fill(m->fd, m->entry, d, reader, again ? &m->missing : NULL, err),
			 "BPF map %u", d->map_id);
}

static int each_content(struct files *fs, enum content_use use, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry = NULL;
	int r = image_reader_open(fs->set, IMG_BPFMAP_DATA, 0, &reader, err);

	if (r != 0)
		return r < 0 ? r : 0;
	while ((r = image_read(reader, &entry, err)) > 0) {
		const img_bpfmap_data_entry *d = entry;
		struct restored_map *m = find_map(fs, d->map_id);
		uint64_t len = (uint64_t)d->keys_bytes + d->values_bytes;

		if (m && use == CONTENT_CHECK && m->content)
			r = cr_refuse(err, -EBADMSG, "BPF map %u has two contents", d->map_id);
		else if (m && use == CONTENT_CHECK)
			r = bpf_content_check(d, m->entry, err);
		if (r >= 0 && m && m->fd >= 0 &&
		    (use == CONTENT_FILL || (use == CONTENT_REFILL && bpf_is_lru(m->entry))))
			r = fill(m, d, use == CONTENT_REFILL, reader, err);
		else if (r >= 0)
			r = image_reader_skip(reader, len, err);
		if (m)
			m->content = true;
		img_entry_free(entry);
		if (r < 0)
			return r;
	}
	return r;
}

static int bpf_maps_read(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++)
		if (fs->files.items[i]->entry->type == img_fd_types_BPFMAP)
			r = note_map(fs, fs->files.items[i]->entry->bpf, err);
	if (r < 0 || !fs->bpf)
		return r;
	if (fs->ctx->opts->client_is_peer)
		return cr_refuse(err, -EPERM, "BPF maps can only be restored for root");
	r = each_content(fs, CONTENT_CHECK, err);
	for (size_t i = 0; i < fs->bpf->maps.nr && r == 0; i++)
		if (!fs->bpf->maps.items[i].content)
			r = cr_refuse(err, -EBADMSG, "the content of BPF map %u is missing",
				      fs->bpf->maps.items[i].entry->map_id);
	return r;
}

static int make_map(struct restored_map *m, struct cr_error *err)
{
	const img_bpfmap_file_entry *e = m->entry;
	struct bpf_map_info info;
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = e->map_type;
	attr.key_size = e->key_size;
	attr.value_size = e->value_size;
	attr.max_entries = e->max_entries;
	attr.map_flags = e->map_flags;
	attr.map_extra = e->has_map_extra ? e->map_extra : 0;
	memcpy(attr.map_name, e->map_name, strlen(e->map_name));
	m->fd = bpf_call(BPF_MAP_CREATE, &attr);
	if (m->fd < 0)
		return cr_fail(err, m->fd, "make it");
	memset(&info, 0, sizeof(info));
	r = info_of(m->fd, &info, sizeof(info));
	m->id = info.id;
	return r < 0 ? cr_fail(err, r, "look at it") : 0;
}

/* The last places are had by driving out elements that have just come; when these come again there are places enough. */
static int remember(struct files *fs, struct cr_error *err)
{
	const struct restored_map_vec *v = &fs->bpf->maps;
	bool again = false;
	int r = 0;

	for (size_t i = 0; i < v->nr; i++)
		again |= bpf_is_lru(v->items[i].entry);
	for (int pass = 0; pass < REFILLS && again && r == 0; pass++) {
		r = each_content(fs, CONTENT_REFILL, err);
		again = false;
		for (size_t i = 0; i < v->nr; i++)
			again |= v->items[i].missing > 0;
	}
	for (size_t i = 0; i < v->nr && again && r == 0; i++)
		if (v->items[i].missing)
			log_warn(&fs->ctx->log,
				 "BPF map %u (%s) has forgotten elements for which only other processors have places, "
				 "continuing",
				 v->items[i].entry->map_id, v->items[i].entry->map_name);
	return r;
}

static int freeze(int fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	return bpf_call(BPF_MAP_FREEZE, &attr);
}

static int bpf_maps_make(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++) {
		const struct restored_file *f = fs->files.items[i];
		struct restored_map *m =
			f->entry->type == img_fd_types_BPFMAP ? find_map(fs, f->entry->bpf->map_id) : NULL;

		if (m && f->used && m->fd < 0)
			r = cr_within(err, make_map(m, err), "BPF map %u (%s)", m->entry->map_id, m->entry->map_name);
	}
	if (r == 0 && fs->bpf)
		r = each_content(fs, CONTENT_FILL, err);
	if (r == 0 && fs->bpf)
		r = remember(fs, err);
	for (size_t i = 0; fs->bpf && i < fs->bpf->maps.nr && r == 0; i++) {
		const struct restored_map *m = &fs->bpf->maps.items[i];

		r = m->fd >= 0 && m->entry->frozen ? freeze(m->fd) : 0;
		if (r < 0)
			cr_fail(err, r, "freeze BPF map %u (%s)", m->entry->map_id, m->entry->map_name);
	}
	return r;
}

static int bpf_map_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_bpfmap_file_entry *e = f->entry->bpf;
	struct restored_map *m = find_map(fs, e->map_id);
	bool first = (e->flags & O_ACCMODE) == O_RDWR && !m->given;
	int fd = first ? fcntl(m->fd, F_DUPFD_CLOEXEC, 0) : bpf_map_by_id(m->id, e->flags);

	if (fd < 0)
		return cr_fail(err, first ? -errno : fd, "open BPF map %u (%s)", e->map_id, e->map_name);
	m->given |= first;
	return fown_finish(fd, e->fown, err);
}

static void bpf_set_done(struct files *fs)
{
	for (size_t i = 0; fs->bpf && i < fs->bpf->maps.nr; i++)
		if (fs->bpf->maps.items[i].fd >= 0)
			close(fs->bpf->maps.items[i].fd);
	if (fs->bpf)
		restored_map_vec_done(&fs->bpf->maps);
	free(fs->bpf);
	fs->bpf = NULL;
}

const struct file_family bpf_family = {
	.name = "BPF maps",
	.write = bpf_maps_write,
	.table_done = bpf_table_done,
	.read = bpf_maps_read,
	.make = bpf_maps_make,
	.done = bpf_set_done,
};

const struct file_ops bpf_map_ops = {
	.name = "BPF map",
	.type = img_fd_types_BPFMAP,
	.claims = bpf_map_claims,
	.dump = bpf_map_dump,
	.check = bpf_map_check,
	.open = bpf_map_open,
};
