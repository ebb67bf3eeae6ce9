/*
 * Reading everything about files from an image set. Afterwards every reference between images is known to lead to
 * something of the right kind, and nothing on this machine has been touched.
 */
#include "files/restore-internal.h"

#include "files/family.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int files_no_memory(struct cr_error *err)
{
	return cr_fail(err, -ENOMEM, "read files");
}

struct restored_file *files_find(const struct files *fs, uint32_t id)
{
	struct restored_file *f = map_find(&fs->by_id, (uint64_t)id + 1);

	return f && f->descriptor ? f->descriptor : f;
}

struct restored_task *files_task(const struct files *fs, pid_t ns_pid)
{
	return map_find(&fs->by_pid, (uint64_t)ns_pid + 1);
}

/* --------------------------------------------------------------- files.img */

/* Two entries with one number: that of a tun descriptor and that of its device, in any order. Return: are they? */
static bool join(struct restored_file *a, struct restored_file *b)
{
	struct restored_file *tun = a->entry->type == img_fd_types_TUNF ? a : b, *node = tun == a ? b : a;

	if (tun->entry->type != img_fd_types_TUNF || node->entry->type != img_fd_types_REG || tun->node)
		return false;
	tun->node = node;
	node->descriptor = tun;
	return true;
}

/* Takes @e over, also on failure. */
static int add_file(struct files *fs, img_file_entry *e, struct cr_error *err)
{
	struct restored_file *f = pool_new(&fs->pool, struct restored_file);
	struct restored_file **at = f ? restored_file_vec_add(&fs->files) : NULL, *other;
	int r;

	if (!at) {
		img_entry_free(e);
		return files_no_memory(err);
	}
	*at = f;
	f->entry = e;
	f->id = e->id;
	f->fd = f->map_fd[0] = f->map_fd[1] = -1;
	r = entry_check(e, err);
	if (r < 0)
		return r;
	other = files_find(fs, e->id);
	if (other && !join(f, other))
		return cr_refuse(err, -EBADMSG, "file %u is there twice", e->id);
	f->ops = file_ops_of_type(e->type);
	r = f->ops && f->ops->check ? f->ops->check(e, err) : 0;
	if (r < 0)
		return r;
	return !other && map_put(&fs->by_id, (uint64_t)e->id + 1, f) < 0 ? files_no_memory(err) : 0;
}

static int read_files(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_FILES, 0, &rd, err);

	if (r == 1)
		return cr_refuse(err, -ENOENT, "files.img is missing: these images are incomplete, or older than CRIU 3");
	if (r == 0)
		image_reader_use(rd, &fs->pool);
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = add_file(fs, entry, err);
	return cr_within(err, r, "files.img");
}

/* ------------------------------------------------------------- descriptors */

static int fdinfo_cmp(const void *a, const void *b)
{
	const img_fdinfo_entry *x = *(img_fdinfo_entry *const *)a, *y = *(img_fdinfo_entry *const *)b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int use_file(struct files *fs, struct restored_table *tab, const img_fdinfo_entry *e, struct cr_error *err)
{
	struct restored_file *f = files_find(fs, e->id);
	struct place_want *w;

	if (!f)
		return cr_refuse(err, -EBADMSG, "descriptor %u refers to file %u, which is not there", e->fd, e->id);
	if (f->entry->type != e->type)
		return cr_refuse(err, -EBADMSG, "descriptor %u and file %u have different types", e->fd, e->id);
	if (!f->ops)
		return cr_refuse(err, -ENOTSUP, "descriptor %u is of type %s, which this version does not restore", e->fd,
				 entry_type_name(e->type));
	if (!f->used) {
		f->used = true;
		f->user_pid = tab->owner;
		f->user_fd = (int)e->fd;
	}
	w = place_want_vec_add(&tab->want);
	if (!w)
		return files_no_memory(err);
	*w = (struct place_want){ .fd = (int)e->fd, .file = e->id };
	return 0;
}

static int read_fdinfo(struct files *fs, struct restored_table *tab, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_FDINFO, tab->files_id, &rd, err);

	if (r == 1)
		return 0;   /* no descriptors at all */
	if (r == 0)
		image_reader_use(rd, &fs->pool);
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1) {
		img_fdinfo_entry **at = fdinfo_vec_add(&tab->fds);

		if (!at) {
			img_entry_free(entry);
			return files_no_memory(err);
		}
		*at = entry;
		r = fdinfo_check(entry, err);
	}
	if (r < 0)
		return r;
	if (tab->fds.nr)
		qsort(tab->fds.items, tab->fds.nr, sizeof(tab->fds.items[0]), fdinfo_cmp);
	for (size_t i = 0; i < tab->fds.nr; i++) {
		if (i && tab->fds.items[i]->fd == tab->fds.items[i - 1]->fd)
			return cr_refuse(err, -EBADMSG, "descriptor %u is there twice", tab->fds.items[i]->fd);
		r = use_file(fs, tab, tab->fds.items[i], err);
		if (r < 0)
			return r;
	}
	tab->service = place_service(tab->want.items, tab->want.nr);
	return 0;
}

static int table_of(struct files *fs, const struct files_owner *o, struct restored_table **ret, struct cr_error *err)
{
	struct restored_table *tab = map_find(&fs->by_files_id, (uint64_t)o->files_id + 1);
	struct restored_table **at;

	if (tab) {
		tab->nr_users++;
		*ret = tab;
		return 0;
	}
	tab = pool_new(&fs->pool, struct restored_table);
	at = tab ? restored_table_vec_add(&fs->tables) : NULL;
	if (!at || map_put(&fs->by_files_id, (uint64_t)o->files_id + 1, tab) < 0)
		return files_no_memory(err);
	*at = tab;
	tab->files_id = o->files_id;
	tab->owner = o->ns_pid;
	tab->nr_users = 1;
	*ret = tab;
	return cr_within(err, read_fdinfo(fs, tab, err), "fdinfo-%u.img", o->files_id);
}

/* ------------------------------------------------------ fs, remaps, owners */

static int use_dir(struct files *fs, uint32_t id, const char *what, struct cr_error *err)
{
	struct restored_file *f = files_find(fs, id);

	if (!f || f->entry->type != img_fd_types_REG)
		return cr_refuse(err, -EBADMSG, "%s directory is file %u, which is %s", what, id, f ? "no directory" : "not there");
	f->is_dir_ref = true;
	return 0;
}

static int read_task(struct files *fs, const struct files_owner *o, struct cr_error *err)
{
	struct restored_task *task = pool_new(&fs->pool, struct restored_task);
	struct restored_task **at = task ? restored_task_vec_add(&fs->tasks) : NULL;
	void *entry = NULL;
	int r;

	if (!at)
		return files_no_memory(err);
	*at = task;
	task->ns_pid = o->ns_pid;
	task->ns_sid = o->ns_sid;
	if (files_task(fs, o->ns_pid))
		return cr_refuse(err, -EBADMSG, "pid %d is there twice", o->ns_pid);
	if (map_put(&fs->by_pid, (uint64_t)o->ns_pid + 1, task) < 0)
		return files_no_memory(err);
	r = table_of(fs, o, &task->table, err);
	if (r < 0)
		return r;
	r = image_read_single(fs->set, IMG_FS, (uint64_t)o->ns_pid, &entry, err);
	if (r == 1)
		return cr_refuse(err, -ENOENT, "fs-%d.img is missing", o->ns_pid);
	if (r < 0)
		return r;
	task->fs = entry;
	if (task->fs->has_umask && task->fs->umask > 0777)
		return cr_refuse(err, -EBADMSG, "umask 0%o", task->fs->umask);
	r = use_dir(fs, task->fs->cwd_id, "working", err);
	return r < 0 ? r : use_dir(fs, task->fs->root_id, "root", err);
}

/* "/proc/41" or "/proc/41/...": the number of a process of the tree? */
static bool in_proc_of_tree(const struct files *fs, const char *name)
{
	static const char proc[] = "/proc/";
	unsigned long pid = 0;
	const char *p = name + sizeof(proc) - 1;

	if (strncmp(name, proc, sizeof(proc) - 1) != 0 || *p < '1' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9' && pid < INT_MAX / 10; p++)
		pid = pid * 10 + (unsigned long)(*p - '0');
	return (*p == '/' || *p == '\0') && files_task(fs, (pid_t)pid);
}

/* Descriptors of it in several tables will not share their position; procfs has few files where that shows. */
static void find_late_files(struct files *fs)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		struct restored_file *f = fs->files.items[i];

		if (f->entry->type == img_fd_types_REG)
			f->late = !f->ghost && !f->link && in_proc_of_tree(fs, f->entry->reg->name);
		else
			f->late = f->ops && !f->ops->open;
	}
}

/* Who has changed to another root finds nothing of the tree below /proc. */
static int check_roots(const struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->tasks.nr; i++)
		if (files_find(fs, fs->tasks.items[i]->fs->root_id)->late)
			return cr_refuse(err, -ENOTSUP, "a root directory is below /proc of the tree");
	return 0;
}

/* Flags and owner of a fifo are in the entry of its path. */
static int check_fifos(const struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const img_file_entry *e = fs->files.items[i]->entry;
		const struct restored_file *path;

		if (e->type != img_fd_types_FIFO)
			continue;
		path = files_find(fs, e->fifo->has_regf_id ? e->fifo->regf_id : e->id);
		if (!path || path->entry->type != img_fd_types_REG)
			return cr_refuse(err, -EBADMSG, "fifo %u has no path", e->id);
	}
	return 0;
}

static int apply_remap(struct files *fs, const img_remap_file_path_entry *e, struct cr_error *err)
{
	struct restored_file *f = files_find(fs, e->orig_id);
	uint32_t id = e->remap_id;
	int type = e->has_remap_type ? (int)e->remap_type : id & 0x80000000u ? img_remap_type_GHOST : img_remap_type_LINKED;

	if (!e->has_remap_type)
		id &= 0x7fffffffu;
	if (!f || f->entry->type != img_fd_types_REG)
		return cr_refuse(err, -EBADMSG, "replacement for file %u, which is not a file with a path", e->orig_id);
	if (f->ghost || f->link)
		return cr_refuse(err, -EBADMSG, "two replacements for file %u", e->orig_id);
	switch (type) {
	case img_remap_type_GHOST:
		f->ghost = map_find(&fs->ghost_by_id, (uint64_t)id + 1);
		return f->ghost ? 0 : cr_refuse(err, -EBADMSG, "ghost %u of file %u is not there", id, e->orig_id);
	case img_remap_type_LINKED:
		f->link = files_find(fs, id);
		if (!f->link || f->link == f || f->link->entry->type != img_fd_types_REG)
			return cr_refuse(err, -EBADMSG, "link %u of file %u is not there", id, e->orig_id);
		return 0;
	default:
		return cr_refuse(err, -ENOTSUP, "file %u, %s, is of a process that had ended", e->orig_id, f->entry->reg->name);
	}
}

static int read_remaps(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = ghosts_read(fs, err);

	if (r == 0)
		r = image_reader_open(fs->set, IMG_REMAP_FPATH, 0, &rd, err);
	if (r == 1)
		return 0;
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1) {
		r = apply_remap(fs, entry, err);
		img_entry_free(entry);
	}
	/* links of links would never end */
	for (size_t i = 0; r >= 0 && i < fs->files.nr; i++)
		if (fs->files.items[i]->link && (fs->files.items[i]->link->link || fs->files.items[i]->link->ghost))
			r = cr_refuse(err, -EBADMSG, "the replacement of file %u is replaced itself", fs->files.items[i]->id);
	return cr_within(err, r, "remap-fpath.img");
}

int files_read(struct cr_context *ctx, struct image_set *set, const struct files_owner *owners, size_t nr_owners,
	       struct files **ret, struct cr_error *err)
{
	autofree_by(files_free) struct files *fs = calloc(1, sizeof(*fs));
	const struct file_family *family;
	int r;

	if (!fs)
		return files_no_memory(err);
	fs->ctx = ctx;
	fs->set = set;
	fs->root_fd = -1;
	fs->own_fds = -1;
	fs->pool.max = (size_t)4 << 30;   /* content of pipes is in it */
	r = read_files(fs, err);
	if (r == 0)
		r = read_remaps(fs, err);
	for (size_t i = 0; r == 0 && i < nr_owners; i++)
		r = cr_within(err, read_task(fs, &owners[i], err), "pid %d", owners[i].ns_pid);
	if (r == 0)
		find_late_files(fs);
	if (r == 0)
		r = check_roots(fs, err);
	if (r == 0)
		r = check_fifos(fs, err);
	if (r == 0)
		r = pipes_read(fs, err);
	if (r == 0)
		r = memfds_read(fs, err);
	if (r == 0)
		r = locks_read(fs, err);
	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->read)
			r = family->read(fs, err);
	if (r == 0)
		r = file_owners_check(fs, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&fs);
	return 0;
}

/* ------------------------------------------------------------------- frees */

/* Descriptors @first up to the one before @next are to be closed. */
struct closing {
	int first, next;
};

/* Tables are large and what was opened in a row has numbers in a row: one call closes them. */
static void close_in_rows(struct closing *c, int fd)
{
	if (fd >= 0 && fd == c->next) {
		c->next++;
		return;
	}
	if (c->next > c->first)
		close_range((unsigned int)c->first, (unsigned int)c->next - 1, 0);
	c->first = fd;
	c->next = fd < 0 ? fd : fd + 1;
}

static void file_done(struct restored_file *f, struct closing *c)
{
	if (f->fd >= 0)
		close_in_rows(c, f->fd);
	for (size_t i = 0; i < ARRAY_LEN(f->map_fd); i++)
		if (f->map_fd[i] >= 0)
			close_in_rows(c, f->map_fd[i]);
	img_entry_free(f->entry);
}

void files_free(struct files *fs)
{
	struct closing closing = { 0 };
	const struct file_family *family;

	if (!fs)
		return;
	for (unsigned int i = 0; (family = file_family_at(i)); i++)
		if (family->done)
			family->done(fs);
	if (fs->own_fds >= 0)
		close(fs->own_fds);
	free(fs->asked);
	restored_pipes_done(fs);
	restored_memfds_done(fs);
	ghost_sources_done(fs);
	for (size_t i = 0; i < fs->files.nr; i++)
		file_done(fs->files.items[i], &closing);
	close_in_rows(&closing, -1);
	for (size_t i = 0; i < fs->tables.nr; i++) {
		struct restored_table *tab = fs->tables.items[i];

		for (size_t k = 0; k < tab->fds.nr; k++)
			img_entry_free(tab->fds.items[k]);
		fdinfo_vec_done(&tab->fds);
		place_want_vec_done(&tab->want);
	}
	for (size_t i = 0; i < fs->tasks.nr; i++)
		img_entry_free(fs->tasks.items[i]->fs);
	for (size_t i = 0; i < fs->ttys.nr; i++)
		img_entry_free(fs->ttys.items[i]);
	for (size_t i = 0; i < fs->locks.nr; i++)
		img_entry_free(fs->locks.items[i]);
	restored_file_vec_done(&fs->files);
	restored_table_vec_done(&fs->tables);
	restored_task_vec_done(&fs->tasks);
	ghost_source_vec_done(&fs->ghosts);
	restored_pipe_vec_done(&fs->pipes);
	restored_memfd_vec_done(&fs->memfds);
	tty_source_vec_done(&fs->ttys);
	lock_entry_vec_done(&fs->locks);
	map_done(&fs->by_id);
	map_done(&fs->by_files_id);
	map_done(&fs->by_pid);
	map_done(&fs->ghost_by_id);
	map_done(&fs->pipe_by_id);
	map_done(&fs->fifo_by_id);
	map_done(&fs->memfd_by_id);
	map_done(&fs->tty_by_id);
	pool_done(&fs->pool);
	free(fs);
}
