/*
 * Files whose name is gone while others remain: their content must stay shared with who uses those names, so the dump
 * makes a hard link next to the old name, and the restorer opens that and removes it.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "kernel/apart.h"
#include "files/family.h"
#include "files/tree-root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct link_remap {
	img_file_entry entry;
	img_reg_file_entry reg;
	img_fown_entry fown;
	int dir;          /* of the link, O_PATH */
	const char *base; /* its name there, inside reg.name */
	int fd;           /* of the file, O_PATH */
	bool made;
};

const img_file_entry *link_remap_entry(const struct link_remap *l)
{
	return &l->entry;
}

static int link_name(struct file_table *t, struct link_remap *l, const char *path, struct cr_error *err)
{
	size_t dir = (size_t)(strrchr(path, '/') - path) + 1;
	char name[PATH_MAX + 32];
	int len = snprintf(name, sizeof(name), "%.*slink_remap.%u", (int)dir, path, l->entry.id);

	if (len >= PATH_MAX)
		return cr_fail(err, -ENAMETOOLONG, "name a link for %s", path);
	l->reg.name = pool_text(&t->pool, name, (size_t)len);
	if (!l->reg.name)
		return pool_failed(err);
	l->base = l->reg.name + dir;
	return 0;
}

static int link_prepare(struct file_table *t, struct open_file *f, struct link_remap *l, const char *path,
			struct cr_error *err)
{
	char dir[PATH_MAX], self[40];
	struct stat st;
	int r = link_name(t, l, path, err);

	if (r < 0)
		return r;
	snprintf(dir, sizeof(dir), "%.*s", (int)(l->base - l->reg.name), path);
	path_mount(t, f->mnt_id, &l->reg);
	l->dir = tree_open(t, dir, O_PATH | O_DIRECTORY);
	if (l->dir == -ENOENT)
		return file_refuse(t, f, "", "unlinked file that has other names, but whose directory is gone, %s",
				   path);
	/* links of earlier dumps may still be there, for their own restore */
	for (unsigned int n = 0; l->dir >= 0 && n < 100000 && fstatat(l->dir, l->base, &st, AT_SYMLINK_NOFOLLOW) == 0;
	     n++) {
		l->reg.id = l->entry.id = file_next_id(t);
		r = link_name(t, l, path, err);
		if (r < 0)
			return r;
	}
	if (l->dir < 0)
		return cr_fail(err, l->dir, "prepare a link for %s", path);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	l->fd = open(self, O_PATH | O_CLOEXEC);
	return l->fd < 0 ? cr_fail(err, -errno, "prepare a link for %s", path) : 0;
}

int link_remap_note(struct file_table *t, struct open_file *f, uint32_t id, const char *path, struct cr_error *err)
{
	uint64_t key = map_mix(map_mix(0, f->facts.st.st_dev), f->facts.st.st_ino);
	struct link_remap *l = map_find(&t->remap_by_inode, key), **at;
	img_remap_file_path_entry *e;
	int r;

	if (!l) {
		l = pool_new(&t->pool, struct link_remap);
		if (!l)
			return pool_failed(err);
		l->dir = l->fd = -1;
		at = link_remap_vec_add(&t->links);
		if (!at)
			return pool_failed(err);
		*at = l;
		l->reg.id = l->entry.id = file_next_id(t);
		l->entry.type = img_fd_types_REG;
		l->entry.reg = &l->reg;
		l->reg.fown = &l->fown;
		r = link_prepare(t, f, l, path, err);
		if (r != 0)
			return r;
		if (map_put(&t->remap_by_inode, key, l) < 0)
			return pool_failed(err);
	}
	e = remap_vec_add(&t->remaps);
	if (!e)
		return pool_failed(err);
	e->orig_id = id;
	e->remap_id = l->entry.id;
	e->has_remap_type = true;
	e->remap_type = img_remap_type_LINKED;
	return 0;
}

int link_remaps_make(struct file_table *t, struct cr_error *err)
{
	for (size_t i = 0; i < t->links.nr; i++) {
		struct link_remap *l = t->links.items[i];
		char self[40];

		snprintf(self, sizeof(self), "/proc/self/fd/%d", l->fd);
		if (linkat(AT_FDCWD, self, l->dir, l->base, AT_SYMLINK_FOLLOW) < 0) {
			int r = cr_fail(err, -errno, "make link %s", l->reg.name);

			if (r == -EEXIST)
				cr_advise(err, "it is left over from an earlier dump: remove it");
			return r;
		}
		l->made = true;
	}
	return 0;
}

void link_remaps_done(struct file_table *t)
{
	for (size_t i = 0; i < t->links.nr; i++) {
		struct link_remap *l = t->links.items[i];

		if (l->made && !t->committed)
			unlinkat(l->dir, l->base, 0);
		if (l->dir >= 0)
			close(l->dir);
		if (l->fd >= 0)
			close(l->fd);
	}
}

/* ----------------------------------------------------------------- restore */

static bool is_link_name(const char *path)
{
	const char *base = strrchr(path, '/');

	return base && strncmp(base + 1, "link_remap.", 11) == 0;
}

/* Several files may have used one link: removing what is gone already is no failure. */
static int remove_links(void *arg)
{
	const struct files *fs = arg;

	for (size_t i = 0; i < fs->files.nr; i++) {
		const struct restored_file *l = fs->files.items[i]->link;
		const char *base;

		/* images are not to be believed: only what is named like a link of a dump is removed */
		if (!l || !is_link_name(l->entry->reg->name))
			continue;
		autofd int dir = path_dir(fs, l->entry->reg->name, &base, NULL);
		if (dir >= 0)
			unlinkat(dir, base, 0);
	}
	return 0;
}

/* All of them or none: nobody can make use of the rest. */
void files_commit(struct files *fs)
{
	const struct file_family *family;

	fs->committed = true;
	for (unsigned int i = 0; (family = file_family_at(i)); i++)
		if (family->commit)
			family->commit(fs);
	for (size_t i = 0; i < fs->files.nr; i++)
		if (fs->files.items[i]->link) {
			apart_run(remove_links, fs, NULL);
			return;
		}
}
