/*
 * POSIX message queues, mq_open(3). A queue with a name outlives who has it open, messages and all, like a file on a disk: its
 * descriptor is opened again through the file system of the queues, where that is mounted; or by its name alone in an
 * IPC namespace that came back with the tree. What waits in a queue without a name would be lost, and nothing tells the value
 * that a notification is to carry: both are refused.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "files/tree-root.h"
#include "procfs/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MQUEUE_MAGIC 0x19800202 /* of mqueue_fs_type in ipc/mqueue.c */

static bool message_queue_claims(const struct file_facts *facts)
{
	return facts->fs_type == MQUEUE_MAGIC && S_ISREG(facts->st.st_mode) && !(facts->flags & O_PATH);
}

static bool leads_there(const struct file_table *t, const char *path, const struct open_file *f)
{
	struct path_look look = tree_look(t, path);

	return look.there && look.dev == f->facts.st.st_dev && look.ino == f->facts.st.st_ino;
}

/* Return: the path of the queue below a mount, in the pool; NULL: none leads there */
static char *path_below(struct file_table *t, const struct open_file *f, const struct proc_mount_list *mounts)
{
	/* it was opened by a path, as by a restore */
	if (leads_there(t, f->facts.link, f))
		return pool_text(&t->pool, f->facts.link, strlen(f->facts.link));
	for (size_t i = 0; i < mounts->nr; i++) {
		const struct proc_mount *m = &mounts->items[i];
		char *path;

		if (strcmp(m->fstype, "mqueue") != 0 || strcmp(m->root, "/") != 0 || m->mountpoint[0] != '/')
			continue;
		path = pool_printf(&t->pool, "%s%s", m->mountpoint, f->facts.link);
		if (path && leads_there(t, path, f))
			return path;
	}
	return NULL;
}

/* "QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     "; mqueue_read_file(). Return: the process that is to be told, 0 nobody */
static int notified(const struct file_table *t, const char *path, int *ret, struct cr_error *err)
{
	autofd int fd = tree_open(t, path, O_RDONLY | O_NONBLOCK);
	static const char field[] = "NOTIFY_PID:";
	char text[128];
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *at;
	struct scan s;

	if (len < 0)
		return cr_fail(err, fd < 0 ? fd : -errno, "read %s", path);
	text[len] = '\0';
	at = strstr(text, field);
	if (!at)
		return cr_refuse(err, -EINVAL, "%s is not understood", path);
	s = (struct scan)SCAN_INIT(at + sizeof(field) - 1, strlen(at) - (sizeof(field) - 1));
	scan_blanks(&s);
	return scan_int(&s, ret) < 0 ? cr_refuse(err, -EINVAL, "%s is not understood", path) : 0;
}

static int queue_entry(struct file_table *t, struct open_file *f, char *path, struct cr_error *err)
{
	img_reg_file_entry *e = pool_new(&t->pool, img_reg_file_entry);
	int r;

	f->entry = file_entry_new(t, img_fd_types_REG, f->id, err);
	if (!e || !f->entry)
		return pool_failed(err);
	e->id = f->id;
	e->flags = f->facts.flags;
	e->has_mode = true;
	e->mode = f->facts.st.st_mode;
	e->name = path;
	e->fown = fown_dump(t, f, &r, err);
	f->entry->reg = e;
	return r;
}

void files_own_queues(struct file_table *t, dev_t dev)
{
	t->own_queues = dev;
}

/* All that is in it, and who is to be notified, is looked at with the namespace. */
static int own_queue_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_reg_file_ext *ext = pool_new(&t->pool, img_reg_file_ext);
	const char *base = strrchr(f->facts.link, '/');
	char *name = base ? pool_text(&t->pool, base, strlen(base)) : NULL;
	int r = ext && name ? queue_entry(t, f, name, err) : pool_failed(err);

	if (r != 0)
		return r;
	ext->has_message_queue = ext->message_queue = true;
	f->entry->reg->more = ext;
	return 0;
}

static int message_queue_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	const struct proc_mount_list *mounts = NULL;
	int r = tree_mounts(t, &mounts, err), told = 0;
	pid_t own = 0;
	char *path;

	if (r < 0)
		return r;
	if (f->facts.st.st_nlink == 0)
		return file_refuse(t, f, "", "POSIX message queue without a name, %s", f->facts.link);
	if (t->own_queues && f->facts.st.st_dev == t->own_queues)
		return own_queue_dump(t, f, err);
	path = path_below(t, f, mounts);
	if (!path)
		return file_refuse(t, f, "mount -t mqueue none /dev/mqueue",
				   "POSIX message queue that is mounted nowhere, %s", f->facts.link);
	r = notified(t, path, &told, err);
	if (r == 0 && told > 0)
		r = owner_pid(t, told, F_OWNER_PID, &own, err);
	if (r < 0)
		return r;
	if (own > 0)
		return file_refuse(t, f, "", "POSIX message queue of whose messages process %d is to be notified, %s",
				   told, f->facts.link);
	r = queue_entry(t, f, path, err);
	if (r == 0)
		path_mount(t, tree_look(t, path).mnt_id, f->entry->reg);
	return r;
}

void files_set_message_queues(struct files *fs, struct files_message_queues how)
{
	fs->message_queues = how;
}

int message_queue_open(struct files *fs, const img_reg_file_entry *e, struct cr_error *err)
{
	int fd;

	if (!fs->message_queues.open)
		return cr_refuse(err, -EBADMSG, "POSIX message queue %s of no IPC namespace", e->name);
	fd = fs->message_queues.open(fs->message_queues.arg, e->name + 1, (int)e->flags, err);
	return fd < 0 ? fd : fown_finish(fd, e->fown, err);
}

const struct file_ops message_queue_ops = {
	.name = "POSIX message queue",
	.type = img_fd_types_REG,
	.claims = message_queue_claims,
	.dump = message_queue_dump,
};
