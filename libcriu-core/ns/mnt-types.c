/*
 * Kinds of file systems that a restore makes: one row each. Those of which there is but one are compared by a dump with a new
 * mount of the same kind; if that is another one, it belongs to namespaces that are not ours.
 */
#include "ns/mnt-parts.h"

#include "kernel/mount-calls.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const struct mnt_type types[] = {
	/* fs_context's key in each mount is the instance; proc_get_tree() in fs/proc/root.c, Linux 5.8 */
	{ "proc", img_fstype_PROC, MNT_FS_OWN, .options = true },
	{ "tmpfs", img_fstype_TMPFS, MNT_FS_OWN, .content = true, .options = true },
	{ "devpts", img_fstype_DEVPTS, MNT_FS_OWN, .options = true },
	{ "sysfs", img_fstype_SYSFS, MNT_FS_THE_ONE },
	{ "devtmpfs", img_fstype_DEVTMPFS, MNT_FS_THE_ONE },
	{ "mqueue", img_fstype_MQUEUE, MNT_FS_THE_ONE },
	/* a hierarchy is named by its controllers, and a new mount of the second version sets its options */
	{ "cgroup", img_fstype_CGROUP, MNT_FS_THE_ONE, .options = true },
	{ "cgroup2", img_fstype_CGROUP2, MNT_FS_THE_ONE, .options = true },
	{ "securityfs", img_fstype_SECURITYFS, MNT_FS_THE_ONE },
	{ "debugfs", img_fstype_DEBUGFS, MNT_FS_THE_ONE },
	{ "tracefs", img_fstype_TRACEFS, MNT_FS_THE_ONE },
	{ "pstore", img_fstype_PSTORE, MNT_FS_THE_ONE },
	{ "fusectl", img_fstype_FUSECTL, MNT_FS_THE_ONE },
	{ "binfmt_misc", img_fstype_BINFMT_MISC, MNT_FS_THE_ONE },
	{ "hugetlbfs", img_fstype_AUTO, MNT_FS_OWN, .options = true, .asked = true },
	{ "bpf", img_fstype_AUTO, MNT_FS_OWN, .options = true, .asked = true },
	{ "configfs", img_fstype_AUTO, MNT_FS_THE_ONE, .asked = true },
	{ "efivarfs", img_fstype_AUTO, MNT_FS_THE_ONE, .asked = true },
	{ "selinuxfs", img_fstype_AUTO, MNT_FS_THE_ONE, .asked = true },
	{ "rpc_pipefs", img_fstype_AUTO, MNT_FS_THE_ONE, .asked = true },
	{ "nfsd", img_fstype_AUTO, MNT_FS_THE_ONE, .asked = true },
};

const struct mnt_type *mnt_type_named(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i].name, fstype) == 0)
			return &types[i];
	return NULL;
}

const struct mnt_type *mnt_type_of(const img_mnt_entry *e)
{
	if (e->fstype == img_fstype_AUTO)
		return e->fsname ? mnt_type_named(e->fsname) : NULL;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (types[i].number == e->fstype)
			return &types[i];
	return NULL;
}

const char *mnt_fs_name(const img_mnt_entry *e)
{
	const struct mnt_type *t = e->fstype == img_fstype_AUTO ? NULL : mnt_type_of(e);

	return t ? t->name : e->fsname;
}

bool mnt_is_fleeting(const struct mnt_type *t, const char *path)
{
	/* directories of processes, and terminals */
	return (strcmp(t->name, "proc") == 0 && isdigit((unsigned char)*path)) ||
	       (strcmp(t->name, "devpts") == 0 && *path && strcmp(path, "ptmx") != 0);
}

bool mnt_type_allowed(const struct mnt_type *t, const rpc_criu_opts *rpc)
{
	for (size_t i = 0; i < rpc->enable_fs.nr; i++) {
		const char *p = rpc->enable_fs.items[i];

		while (*p) {
			size_t len = strcspn(p, ",");

			if ((len == 3 && memcmp(p, "all", 3) == 0) ||
			    (len == strlen(t->name) && memcmp(p, t->name, len) == 0))
				return true;
			p += len + (p[len] == ',');
		}
	}
	return false;
}

/* What the kernel has to say about it beyond a number, "e tmpfs: Bad value for 'size'" */
static int fs_fail(int fs, const char *what, const char *of, struct cr_error *err)
{
	int code = -errno;
	char text[256];
	ssize_t len = read(fs, text, sizeof(text) - 1);

	if (len <= 2)
		return cr_fail(err, code, "%s %s", what, of);
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	text[len] = '\0';
	return cr_fail(err, code, "%s %s (%s)", what, of, text + 2);
}

/* Lists of nodes (mpol=bind:0,2) have commas of their own: what begins with a digit goes on. */
static size_t option_length(const char *p)
{
	size_t len = strcspn(p, ",");

	while (p[len] && isdigit((unsigned char)p[len + 1]))
		len += 1 + strcspn(p + len + 1, ",");
	return len;
}

static int set_options(int fs, const char *options, struct cr_error *err)
{
	for (const char *p = options; *p;) {
		size_t len = option_length(p);
		char word[512], *value;

		if (len >= sizeof(word))
			return cr_refuse(err, -ENAMETOOLONG, "its option %.40s...", p);
		memcpy(word, p, len);
		word[len] = '\0';
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		/* a note of security modules, not an option */
		if (strcmp(word, "seclabel") != 0 && fs_set(fs, word, value) < 0)
			return fs_fail(fs, "set its option", word, err);
		p += len + (p[len] == ',');
	}
	return 0;
}

static int set_up(int fs, const img_mnt_entry *e, const char *device, struct cr_error *err)
{
	const struct mnt_type *t = mnt_type_of(e);
	const char *source = device ? device : e->source;
	bool own = device || (t && t->made == MNT_FS_OWN);
	int r = *source && fs_set(fs, "source", source) < 0 ? fs_fail(fs, "set its source to", source, err) : 0;

	if (r == 0 && (device || (t && t->options)))
		r = set_options(fs, e->options, err);
	/* what has to be filled is sealed afterwards; of what there is one its own flags are not ours to change */
	if (r == 0 && own && !(t && t->content) && e->sb_flags & MS_RDONLY && fs_set(fs, "ro", NULL) < 0)
		r = fs_fail(fs, "set", "ro", err);
	if (r == 0 && own && e->sb_flags & MS_SYNCHRONOUS && fs_set(fs, "sync", NULL) < 0)
		r = fs_fail(fs, "set", "sync", err);
	if (r == 0 && own && e->sb_flags & MS_DIRSYNC && fs_set(fs, "dirsync", NULL) < 0)
		r = fs_fail(fs, "set", "dirsync", err);
	if (r == 0 && own && e->sb_flags & MS_LAZYTIME && fs_set(fs, "lazytime", NULL) < 0)
		r = fs_fail(fs, "set", "lazytime", err);
	return r;
}

int mnt_fs_make(const img_mnt_entry *e, const char *device, struct cr_error *err)
{
	const char *name = mnt_fs_name(e);
	autofd int fs = name ? fs_begin(name) : -1;
	int fd, r;

	if (!name)
		return cr_refuse(err, -EOPNOTSUPP, "a file system of a kind that is not known");
	if (fs < 0)
		return cr_fail(err, -errno, "%s (fsopen)", name);
	r = set_up(fs, e, device, err);
	if (r == 0 && fs_create(fs) < 0)
		r = fs_fail(fs, "make", name, err);
	if (r < 0)
		return cr_within(err, r, "%s", name);
	fd = fs_mount(fs);
	return fd < 0 ? fs_fail(fs, "mount", name, err) : fd;
}

int mnt_fs_seal(const img_mnt_entry *e, int fd, struct cr_error *err)
{
	autofd int fs = -1;

	if (!(e->sb_flags & MS_RDONLY))
		return 0;
	fs = fs_pick(fd);
	if (fs < 0)
		return cr_fail(err, -errno, "change a file system (fspick)");
	if (fs_set(fs, "ro", NULL) < 0 || fs_reconfigure(fs) < 0)
		return fs_fail(fs, "make it", "read-only", err);
	return 0;
}
