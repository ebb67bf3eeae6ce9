/* Flags of mounts and of file systems: words in mountinfo, MS_* in images, attributes for the kernel. */
#include "ns/mnt-parts.h"

#include "kernel/mount-calls.h"

#include <errno.h>
#include <string.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* 5.14 */
#endif

/* mount(2) has it, the kernel's header does not before 5.10 */
#define NOSYMFOLLOW 256u

/* What a mount without a word about access times has; show_mnt_opts() in fs/proc_namespace.c */
#define ATIME_FLAGS (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

static const struct flag {
	const char *word;
	uint32_t flag;
	uint64_t attr;
} mount_flags[] = {
	{ "rw", 0, 0 },
	{ "ro", MS_RDONLY, MOUNT_ATTR_RDONLY },
	{ "nosuid", MS_NOSUID, MOUNT_ATTR_NOSUID },
	{ "nodev", MS_NODEV, MOUNT_ATTR_NODEV },
	{ "noexec", MS_NOEXEC, MOUNT_ATTR_NOEXEC },
	{ "noatime", MS_NOATIME, MOUNT_ATTR_NOATIME },
	{ "nodiratime", MS_NODIRATIME, MOUNT_ATTR_NODIRATIME },
	{ "relatime", MS_RELATIME, 0 },
	{ "nosymfollow", NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
	{ NULL, MS_STRICTATIME, MOUNT_ATTR_STRICTATIME },
};

static const struct flag sb_flags[] = {
	{ "rw", 0, 0 },
	{ "ro", MS_RDONLY, 0 },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "mand", MS_MANDLOCK, 0 },
	{ "lazytime", MS_LAZYTIME, 0 },
};

static const struct flag *find(const struct flag *table, size_t nr, const char *word, size_t len)
{
	for (size_t i = 0; i < nr; i++)
		if (table[i].word && strlen(table[i].word) == len && memcmp(table[i].word, word, len) == 0)
			return &table[i];
	return NULL;
}

int mnt_flags_parse(const char *text, uint32_t *ret, const char **ret_word)
{
	uint32_t flags = 0;

	for (const char *p = text; *p;) {
		size_t len = strcspn(p, ",");
		const struct flag *f = find(mount_flags, ARRAY_LEN(mount_flags), p, len);

		if (!f) {
			*ret_word = p;
			return -EOPNOTSUPP;
		}
		flags |= f->flag;
		p += len + (p[len] == ',');
	}
	if (!(flags & ATIME_FLAGS))
		flags |= MS_STRICTATIME;
	*ret = flags;
	return 0;
}

int mnt_sb_flags_parse(const char *text, struct pool *pool, uint32_t *ret, char **ret_options)
{
	char *out = pool_text(pool, text, strlen(text)), *to = out;
	uint32_t flags = 0;

	if (!out)
		return -ENOMEM;
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, ",");
		const struct flag *f = find(sb_flags, ARRAY_LEN(sb_flags), p, len);

		if (f) {
			flags |= f->flag;
		} else {
			if (to != out)
				*to++ = ',';
			memmove(to, p, len);
			to += len;
		}
		p += len + (p[len] == ',');
	}
	*to = '\0';
	*ret = flags;
	*ret_options = out;
	return 0;
}

int mnt_flags_apply(int fd, uint32_t flags, struct cr_error *err)
{
	uint64_t set = 0;

	for (size_t i = 0; i < ARRAY_LEN(mount_flags); i++)
		if (flags & mount_flags[i].flag)
			set |= mount_flags[i].attr;
	if (mount_change(fd, set,
			 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
				 MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME |
				 (flags & NOSYMFOLLOW ? MOUNT_ATTR_NOSYMFOLLOW : 0),
			 0) < 0)
		return cr_fail(err, -errno, "set its flags to 0x%x (mount_setattr)", flags);
	return 0;
}
