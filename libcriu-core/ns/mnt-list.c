/*
 * Lists of mounts: is it a tree, and how is each of them made? Nothing here asks the kernel. A mount that shows a part of a file
 * system that another mount brings is a copy of that one; else the file system is made.
 */
#include "ns/mnt-parts.h"

#include "base/map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* "/" or "/a/b": no empty names, no dots that lead elsewhere, no slash at the end */
static bool is_plain_path(const char *path)
{
	const char *p = path;

	if (!p || *p != '/')
		return false;
	if (!p[1])
		return true;
	while (*p == '/') {
		size_t len = strcspn(++p, "/");

		if (!len || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
	}
	return true;
}

const char *mnt_below(const char *path, const char *base)
{
	size_t len = strlen(base);

	if (len == 1 && *base == '/')
		return *path == '/' ? path + 1 : NULL;
	if (strncmp(path, base, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path[len] ? path + len + 1 : path + len;
}

/* What is shown of namespaces, and other objects that have no names in their file system, is no path: "net:[4026531840]" */
static bool is_object(const char *root)
{
	return root && strchr(root, ':') && !strchr(root, '/');
}

static bool has_text(const char *text)
{
	return text && *text;
}

static int check_entry(const img_mnt_entry *e, struct cr_error *err)
{
	const char *where = e->mountpoint ? e->mountpoint : "";

	if (!is_plain_path(e->mountpoint) || (!is_plain_path(e->root) && !is_object(e->root)) || !e->source ||
	    !e->options)
		return cr_refuse(err, -EBADMSG, "mount %u at %.64s: a path that is none", e->mnt_id, where);
	if (!e->mnt_id || (int32_t)e->mnt_id < 0)
		return cr_refuse(err, -EBADMSG, "mount at %.64s: number %u", where, e->mnt_id);
	if (e->with_plugin)
		return cr_refuse(err, -EOPNOTSUPP, "mount at %.64s: needs a plugin, which cannot be loaded", where);
	if (e->deleted)
		return cr_refuse(err, -EOPNOTSUPP, "mount at %.64s: of a directory that is deleted", where);
	if (e->ext_mount && !has_text(e->ext_key))
		return cr_refuse(err, -EOPNOTSUPP, "mount at %.64s: of outside, by images that are too old to name it",
				 where);
	return e->ext ? cr_within(err, mnt_ext_check(e->ext, err), "mount at %.64s", where) : 0;
}

static int find_parents(struct mnt_mounts *list, struct cr_error *err)
{
	struct map by_id = { 0 };
	int r = 0, root = -1;

	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		const img_mnt_entry *e = list->items[i].e;

		r = check_entry(e, err);
		if (r == 0 && map_find(&by_id, e->mnt_id))
			r = cr_refuse(err, -EBADMSG, "mount %u is there twice", e->mnt_id);
		if (r == 0 && map_put(&by_id, e->mnt_id, &list->items[i]) < 0)
			r = cr_fail(err, -ENOMEM, "list mounts");
	}
	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		struct mnt_mount *m = &list->items[i];
		const struct mnt_mount *parent = map_find(&by_id, m->e->parent_mnt_id);

		m->parent = parent && parent != m ? (int)(parent - list->items) : -1;
		if (m->parent >= 0 && !mnt_below(m->e->mountpoint, parent->e->mountpoint))
			r = cr_refuse(err, -EBADMSG, "mount %u at %.64s is not below its parent", m->e->mnt_id,
				      m->e->mountpoint);
		else if (m->parent < 0 && (root >= 0 || strcmp(m->e->mountpoint, "/") != 0))
			r = cr_refuse(err, -EBADMSG, "mount %u at %.64s: its parent %u is missing", m->e->mnt_id,
				      m->e->mountpoint, m->e->parent_mnt_id);
		else if (m->parent < 0)
			root = (int)i;
	}
	map_done(&by_id);
	return r < 0 || root >= 0 ? r : cr_refuse(err, -EBADMSG, "no mount is the root");
}

/* Each step towards the root is marked by where it began, so that all of them together are linear. */
static int check_cycles(const struct mnt_mounts *list, struct cr_error *err)
{
	autofree size_t *seen = calloc(list->nr, sizeof(*seen));

	if (!seen)
		return cr_fail(err, -ENOMEM, "list mounts");
	for (size_t i = 0; i < list->nr; i++)
		for (int at = (int)i; at >= 0 && seen[at] != SIZE_MAX; at = list->items[at].parent) {
			if (seen[at] == i + 1)
				return cr_refuse(err, -EBADMSG, "mount %u is below itself", list->items[i].e->mnt_id);
			if (seen[at])
				break;
			seen[at] = i + 1;
		}
	return 0;
}

static enum mnt_how how_by_key(const struct mnt_mount *m)
{
	const char *key = m->e->ext_key;

	/* a root that is a file system of the tree's own is decided by whoever knows whether its content is there */
	if (m->parent < 0)
		return m->how == MNT_NEW ? MNT_NEW : MNT_ROOT;
	if (!has_text(key))
		return MNT_UNKNOWN;
	return strcmp(key, MNT_KEY_AUTO) == 0 ? MNT_AUTO : strcmp(key, MNT_KEY_DEVICE) == 0 ? MNT_DEVICE : MNT_EXTERNAL;
}

/* The first of those that show as much. */
static bool is_wider(const struct mnt_mounts *list, int a, int b)
{
	size_t la = strlen(list->items[a].e->root), lb = strlen(list->items[b].e->root);

	return la != lb ? la < lb : a < b;
}

/* What brings the file system of mount @i: the widest of outside that shows its directory, a block device, or a new one. */
static void find_origin(struct mnt_mounts *list, const struct map *by_dev, size_t i)
{
	struct mnt_mount *m = &list->items[i], *first = map_find(by_dev, m->e->root_dev);
	int wide = -1, device = -1, made = -1;

	for (int k = (int)(first - list->items); k >= 0; k = list->items[k].alike) {
		const struct mnt_mount *o = &list->items[k];

		if (mnt_is_given(o) && mnt_below(m->e->root, o->e->root) && (wide < 0 || is_wider(list, k, wide)))
			wide = k;
		if (o->how == MNT_DEVICE && (device < 0 || k < device))
			device = k;
		if ((o->how == MNT_UNKNOWN || o->how == MNT_NEW) && (made < 0 || k < made))
			made = k;
	}
	m->origin = wide >= 0 ? wide : device >= 0 ? device : made;
	if (m->how != MNT_NEW && m->origin != made)
		m->how = MNT_BIND;
	else if (mnt_type_of(m->e))
		m->how = MNT_NEW;
}

/* @by_dev: the first mount of each file system, behind which are the others in any order */
static int link_mounts(struct mnt_mounts *list, struct map *by_dev, struct cr_error *err)
{
	for (size_t i = 0; i < list->nr; i++) {
		struct mnt_mount *m = &list->items[i], *first = map_find(by_dev, m->e->root_dev);

		m->child = -1;
		m->alike = first ? first->alike : -1;
		if (first)
			first->alike = (int)i;
		else if (map_put(by_dev, m->e->root_dev, m) < 0)
			return cr_fail(err, -ENOMEM, "list mounts");
	}
	/* backwards, so that they are in the order of the list */
	for (size_t i = list->nr; i--;) {
		struct mnt_mount *m = &list->items[i];

		if (m->parent < 0)
			continue;
		m->sibling = list->items[m->parent].child;
		list->items[m->parent].child = (int)i;
	}
	return 0;
}

int mnt_list_arrange(struct mnt_mounts *list, struct cr_error *err)
{
	struct map by_dev = { 0 };
	int r;

	if (!list->nr || list->nr > MNT_MOUNTS_MAX)
		return cr_refuse(err, -EBADMSG, "%zu mounts", list->nr);
	r = find_parents(list, err);
	if (r == 0)
		r = check_cycles(list, err);
	if (r == 0)
		r = link_mounts(list, &by_dev, err);
	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		list->items[i].how = how_by_key(&list->items[i]);
		list->items[i].origin = list->items[i].how == MNT_DEVICE ? (int)i : -1;
	}
	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		struct mnt_mount *m = &list->items[i];

		if (m->how == MNT_UNKNOWN || m->how == MNT_NEW)
			find_origin(list, &by_dev, i);
		if (is_object(m->e->root) && m->how != MNT_UNKNOWN && m->origin >= 0 &&
		    !mnt_is_given(&list->items[m->origin]))
			r = cr_refuse(err, -EBADMSG, "mount %u at %.64s: nothing leads to its root", m->e->mnt_id,
				      m->e->mountpoint);
	}
	map_done(&by_dev);
	return r;
}

void mnt_list_order(const struct mnt_mounts *list, size_t *ret)
{
	size_t nr = 0;

	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].parent < 0)
			ret[nr++] = i;
	for (size_t done = 0; done < nr; done++)
		for (int i = list->items[ret[done]].child; i >= 0; i = list->items[i].sibling)
			ret[nr++] = (size_t)i;
}
