/*
 * Dump: the address that a UNIX socket is bound to, and the file behind it. The kernel keeps the bytes that bind(2) was given,
 * which may be relative to a working directory or lie below another root, and apart from them the inode.
 */
#include "net/unix-internal.h"

#include "base/own.h"
#include "files/tree-root.h"
#include "files/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* Linux 4.11 */
#endif

void unix_name_text(struct proto_bytes name, char *ret, size_t size)
{
	size_t len = name.len, at = 0;

	if (len && name.data[len - 1] == '\0' && name.data[0])
		len--;
	for (size_t i = 0; i < len && at + 1 < size; i++) {
		unsigned char c = name.data[i];

		ret[at++] = (char)(i == 0 && !c ? '@' : c < ' ' || c > '~' ? '?' : c);
	}
	ret[at] = '\0';
}

/* getsockname() of a path of full length tells more than a sockaddr_un holds: the NUL behind it. */
int unix_name_read(struct file_table *t, int fd, bool peer, struct proto_bytes *ret, struct cr_error *err)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	size_t head = offsetof(struct sockaddr_un, sun_path);
	int r = peer ? getpeername(fd, (struct sockaddr *)&sa, &len) : getsockname(fd, (struct sockaddr *)&sa, &len);

	*ret = (struct proto_bytes){ 0 };
	if (r < 0)
		return peer && errno == ENOTCONN ? 1 : cr_fail(err, -errno, "name of a UNIX socket");
	if (len <= head || len > sizeof(sa))
		return 0;
	ret->data = (const uint8_t *)pool_text(&t->pool, (const char *)&sa + head, len - head);
	ret->len = len - head;
	return ret->data ? 0 : pool_failed(err);
}

struct place {
	struct stat st;
	bool known;                   /* st is that of the file */
	bool gone;                    /* it has no name any more, or is not to be found */
	int fd;                       /* O_PATH, -1: not known; owned */
	char path[LINK_TEXT_MAX + 1]; /* where it is, as we see it; "" unknown */
};

/* SIOCUNIXFILE opens the file, wherever it is; it needs CAP_NET_ADMIN. */
static int place_open(struct file_table *t, const struct open_file *f, struct place *p, struct cr_error *err)
{
	static const char deleted[] = " (deleted)";
	autofd int fd = ioctl(f->fd, SIOCUNIXFILE);
	size_t len, tail = sizeof(deleted) - 1;
	int r;

	if (fd < 0)
		return 0;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (fstat(fd, &p->st) < 0)
		return cr_fail(err, -errno, "look at the file of a UNIX socket");
	p->known = true;
	p->gone = p->st.st_nlink == 0;
	r = facts_read_link(t, fd, err);
	if (r < 0)
		return r;
	len = (size_t)r;
	if (len >= tail && p->gone && strcmp(t->text + len - tail, deleted) == 0)
		t->text[len -= tail] = '\0';
	memcpy(p->path, t->text, len + 1);
	p->fd = take_fd(&fd);
	return 0;
}

/* The kernel's own device number, in its own encoding; sk_diag_dump_vfs() in net/unix/diag.c */
static bool is_place(const struct stat *st, const struct place *p, const struct unix_fact *fact)
{
	if (!S_ISSOCK(st->st_mode))
		return false;
	if (p->known)
		return st->st_ino == p->st.st_ino && st->st_dev == p->st.st_dev;
	return fact && fact->vfs_ino == (uint32_t)st->st_ino && fact->vfs_dev >> 20 == major(st->st_dev) &&
	       (fact->vfs_dev & 0xfffff) == minor(st->st_dev);
}

/* @name, seen from the directory /proc/PID/@link of the task. Return: descriptor; negative */
static int open_from(const struct file_table *t, const struct task *task, const char *link, const char *name)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = strcmp(link, "root") ? 0 : RESOLVE_IN_ROOT };
	char path[2 * LINK_TEXT_MAX];
	ssize_t len;

	if (!how.resolve && t->root_fd >= 0) {
		/* absolute links on the way begin at the tree's root, not at ours */
		len = readlinkat(task->dir.fd, link, path, LINK_TEXT_MAX);
		if (len <= 0 || len >= LINK_TEXT_MAX ||
		    (size_t)snprintf(path + len, sizeof(path) - (size_t)len, "/%s", name) >= sizeof(path) - (size_t)len)
			return -1;
		return tree_open(t, path, O_PATH);
	}
	autofd int dir = openat(task->dir.fd, link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

/* Does @name lead to the file, seen from the directory /proc/PID/@link of the task (NULL: from the root of the tree)? */
static bool leads_there(const struct file_table *t, const struct task *task, const char *link, const char *name,
			struct place *p, const struct unix_fact *fact)
{
	autofd int fd = link ? open_from(t, task, link, name) : tree_open(t, name, O_PATH);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !is_place(&st, p, fact))
		return false;
	p->st = st;
	p->known = true;
	if (p->fd < 0)
		p->fd = take_fd(&fd);
	return true;
}

static char *link_text(struct file_table *t, const struct task *task, const char *link, struct cr_error *err)
{
	char path[LINK_TEXT_MAX];
	ssize_t len = readlinkat(task->dir.fd, link, path, sizeof(path));
	char *text;

	if (len < 0 || (size_t)len >= sizeof(path)) {
		cr_fail(err, len < 0 ? -errno : -ENAMETOOLONG, "read where a task's %s is", link);
		return NULL;
	}
	text = pool_text(&t->pool, path, (size_t)len);
	if (!text)
		pool_failed(err);
	return text;
}

/* A relative name: what is left of the file's path without it, or the working directory if it leads there. */
static int find_dir(struct file_table *t, const struct open_file *f, img_unix_sk_entry *e, const char *name,
		    struct place *p, const struct unix_fact *fact, struct cr_error *err)
{
	size_t all = strlen(p->path), tail = strlen(name);

	if (all > tail + 1 && strcmp(p->path + all - tail, name) == 0 && p->path[all - tail - 1] == '/') {
		e->name_dir = pool_text(&t->pool, p->path, all - tail - 1);
		return e->name_dir ? 0 : pool_failed(err);
	}
	if (!p->gone && leads_there(t, f->task, "cwd", name, p, fact)) {
		e->name_dir = link_text(t, f->task, "cwd", err);
		return e->name_dir ? 0 : -ENOMEM;
	}
	p->gone = true;
	return 0;
}

static int find_root(struct file_table *t, const struct open_file *f, img_unix_sk_entry *e, const char *name,
		     struct place *p, const struct unix_fact *fact, struct cr_error *err)
{
	img_unix_sk_ext *ext;

	if (p->gone || leads_there(t, f->task, NULL, name, p, fact))
		return 0;
	if (!leads_there(t, f->task, "root", name, p, fact)) {
		p->gone = true;
		return 0;
	}
	ext = unix_ext(t, e, err);
	if (!ext)
		return -ENOMEM;
	ext->name_root = link_text(t, f->task, "root", err);
	return ext->name_root ? 0 : -ENOMEM;
}

/* Connections have the name of the socket that they were accepted from, and need no file. */
static bool needs_file(const img_unix_sk_entry *e)
{
	return e->type == SOCK_DGRAM || e->state != UNIX_STATE_CONNECTED;
}

/* Access control lists, above all. */
static int dump_attributes(struct file_table *t, img_unix_sk_entry *e, int fd, struct cr_error *err)
{
	struct img_xattr_vec attrs = { 0 };
	int r = xattrs_read(&t->pool, fd, &attrs, err);

	if (r < 0 || !attrs.nr)
		return r;
	if (!unix_ext(t, e, err))
		return -ENOMEM;
	e->ext->xattrs = attrs;
	return 0;
}

static int name_dump(struct file_table *t, struct open_file *f, img_unix_sk_entry *e, struct place *at,
		     struct cr_error *err)
{
	const struct unix_fact *fact = unix_facts_find(&t->sockets->facts, e->ino);
	const char *name = (const char *)e->name.data; /* it ends in a NUL */
	int r = place_open(t, f, at, err);

	if (r < 0)
		return r;
	r = name[0] == '/' ? find_root(t, f, e, name, at, fact, err) : find_dir(t, f, e, name, at, fact, err);
	if (r < 0)
		return r;
	if (at->gone && at->known && at->st.st_nlink && needs_file(e))
		return file_refuse(t, f, "give the file its old name back",
				   "UNIX socket bound to %.60s, whose file was renamed or linked to %.60s", name,
				   at->path);
	if (at->gone && !at->known && needs_file(e))
		log_warn(&t->ctx->log,
			 "the file of UNIX socket %s is not there; without CAP_NET_ADMIN nobody can tell whether it "
			 "has another "
			 "name, continuing as if it had none",
			 name);
	if (at->gone)
		e->has_deleted = e->deleted = true;
	if (!at->known)
		return 0;
	e->file_perms = pool_new(&t->pool, img_file_perms_entry);
	if (!e->file_perms)
		return pool_failed(err);
	*e->file_perms = (img_file_perms_entry){ .mode = at->st.st_mode, .uid = at->st.st_uid, .gid = at->st.st_gid };
	return at->gone || !needs_file(e) ? 0 : dump_attributes(t, e, at->fd, err);
}

int unix_name_dump(struct file_table *t, struct open_file *f, img_unix_sk_entry *e, struct cr_error *err)
{
	struct place at = { .fd = -1 };
	int r = unix_name_read(t, f->fd, false, &e->name, err);

	if (r == 0 && e->name.len && e->name.data[0])
		r = name_dump(t, f, e, &at, err);
	if (at.fd >= 0)
		close(at.fd);
	return r;
}
