/*
 * Terminals. Pseudo terminals whose master is in the tree are in pty.c and pty-restore.c. Others come from outside: that of
 * the shell from which a job was started (--shell-job), or one declared with --external; at restore the first becomes the
 * coordinator's own terminal, the second is handed over with --inherit-fd. A device (console, virtual terminal, serial line)
 * is opened again by its name, and /dev/tty by the task, once its session has a terminal.
 */
#include "files/tty-info.h"

#include "base/io.h"
#include "base/own.h"
#include "files/tree-root.h"
#include "image/image-set.h"
#include "infect/program.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DELETED " (deleted)"

/* -------------------------------------------------------------------- dump */

bool file_is_tty(const struct file_facts *facts)
{
	unsigned int maj = major(facts->st.st_rdev);

	return S_ISCHR(facts->st.st_mode) && (maj == TTY_MAJOR || maj == TTYAUX_MAJOR || maj == 204 || maj == 188 ||
					      maj == 166 || rdev_is_slave(facts->st.st_rdev));
}

static bool tty_claims(const struct file_facts *facts)
{
	return file_is_tty(facts) && !(facts->flags & O_PATH);
}

static bool is_master(const struct file_facts *facts)
{
	return major(facts->st.st_rdev) == TTYAUX_MAJOR && minor(facts->st.st_rdev) == 2;
}

/* Of what has no number of its own in the images. */
static img_TtyType device_type(dev_t rdev)
{
	if (major(rdev) == TTYAUX_MAJOR && minor(rdev) <= 1)
		return minor(rdev) == 0 ? img_TtyType_CTTY : img_TtyType_CONSOLE;
	return major(rdev) == TTY_MAJOR && minor(rdev) < 64 ? img_TtyType_VT : img_TtyType_SERIAL;
}

static uint32_t device_index(img_TtyType type)
{
	return type == img_TtyType_CTTY	     ? TTY_INDEX_CTTY
	       : type == img_TtyType_CONSOLE ? TTY_INDEX_CONSOLE
	       : type == img_TtyType_VT	     ? TTY_INDEX_VT
					     : TTY_INDEX_SERIAL;
}

static int device_note(struct file_table *t, struct open_file *f, img_TtyType type, uint32_t id, struct cr_error *err)
{
	img_tty_info_entry *e = map_find(&t->tty_by_id, (uint64_t)id + 1);

	if (e && e->rdev == (uint32_t)f->facts.st.st_rdev)
		return 0;
	if (e)
		return file_refuse(t, f, "--external tty[..]", "a second terminal of its kind (%u:%u), %s",
				   major(f->facts.st.st_rdev), minor(f->facts.st.st_rdev), f->facts.link);
	e = tty_info_new(t, id, type, f->fd, &f->facts.st, err);
	if (!e)
		return -ENOMEM;
	if (type != img_TtyType_CTTY && type != img_TtyType_EXT_TTY)
		owner_by_tasks(t, f->facts.st.st_rdev, e);
	return 0;
}

static int terminal_of(struct file_table *t, struct open_file *f, bool external, bool hung_up, uint32_t *ret_id,
		       struct cr_error *err)
{
	dev_t rdev = f->facts.st.st_rdev;
	img_TtyType type;
	int r;

	if (external) {
		*ret_id = TTY_INDEX_EXT << 1;
		return device_note(t, f, img_TtyType_EXT_TTY, *ret_id, err);
	}
	if (is_master(&f->facts) || rdev_is_slave(rdev))
		return pty_note(t, f, is_master(&f->facts), hung_up, ret_id, err);
	type = device_type(rdev);
	*ret_id = device_index(type) << 1;
	r = device_note(t, f, type, *ret_id, err);
	return r == 0 && type == img_TtyType_CTTY ? own_terminal_note(t, f, err) : r;
}

/*
 * Is the name of no use? The node of a pair whose master has been closed is gone, and nothing is lost with it. What comes from
 * outside of the tree, and is so again, has a name there.
 */
static bool is_name_idle(const struct file_table *t, const struct open_file *f, bool external, bool hung_up)
{
	return hung_up || (!tree_has_mount(t, f->mnt_id) &&
			   (external || (rdev_is_slave(f->facts.st.st_rdev) && terminal_may_be_outside(t))));
}

static int idle_path(struct file_table *t, struct open_file *f, uint32_t id, img_reg_file_entry **ret,
			struct cr_error *err)
{
	img_reg_file_entry *e = pool_new(&t->pool, img_reg_file_entry);
	size_t len = strlen(f->facts.link), tail = strlen(DELETED);
	int r = 0;

	if (!e)
		return pool_failed(err);
	if (len > tail && strcmp(f->facts.link + len - tail, DELETED) == 0)
		len -= tail;
	e->id = id;
	e->flags = f->facts.flags;
	e->has_mode = true;
	e->mode = f->facts.st.st_mode;
	e->name = pool_text(&t->pool, f->facts.link, len);
	e->fown = fown_dump(t, f, &r, err);
	if (!e->name)
		return pool_failed(err);
	*ret = e;
	return r;
}

static int tty_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_tty_file_entry *e = pool_new(&t->pool, img_tty_file_entry);
	bool external = external_tty(t, f), hung_up;
	struct termios now;
	int r;

	if (!e)
		return pool_failed(err);
	/* hung_up_tty_ioctl() in drivers/tty/tty_io.c */
	hung_up = !is_master(&f->facts) && ioctl(f->fd, TCGETS, &now) < 0 && errno == EIO;
	if (hung_up && !external && !rdev_is_slave(f->facts.st.st_rdev))
		return file_refuse(t, f, "", "terminal that was hung up, %s", f->facts.link);
	r = owned_begin(t, f, img_fd_types_TTY, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->also = file_entry_new(t, img_fd_types_REG, file_next_id(t), err);
	if (!f->also)
		return -ENOMEM;
	e->has_regf_id = true;
	e->regf_id = f->also->id;
	if (hung_up) {
		e->ext = pool_new(&t->pool, img_tty_file_ext);
		if (!e->ext)
			return pool_failed(err);
		e->ext->has_hung_up = e->ext->hung_up = true;
	}
	f->entry->tty = e;
	r = terminal_of(t, f, external, hung_up, &e->tty_info_id, err);
	if (r != 0)
		return r;
	return is_name_idle(t, f, external, hung_up) ? idle_path(t, f, f->also->id, &f->also->reg, err) :
						       path_dump(t, f, f->also->id, f->facts.flags, false, &f->also->reg, err);
}

/* ----------------------------------------------------------------- restore */

/* Takes @e over. */
static int info_add(struct files *fs, img_tty_info_entry *e, struct cr_error *err)
{
	img_tty_info_entry **at = tty_source_vec_add(&fs->ttys);

	if (!at) {
		img_entry_free(e);
		return files_no_memory(err);
	}
	*at = e;
	if ((e->termios && e->termios->c_cc.nr > NCCS) || (e->termios_locked && e->termios_locked->c_cc.nr > NCCS))
		return cr_refuse(err, -EBADMSG, "terminal %u has too many control characters", e->id);
	if (e->winsize && (e->winsize->ws_row | e->winsize->ws_col | e->winsize->ws_xpixel | e->winsize->ws_ypixel) > 0xffff)
		return cr_refuse(err, -EBADMSG, "terminal %u is larger than any", e->id);
	if (e->sid > INT32_MAX || e->pgrp > INT32_MAX)
		return cr_refuse(err, -EBADMSG, "terminal %u of session %u, group %u", e->id, e->sid, e->pgrp);
	if (map_find(&fs->tty_by_id, (uint64_t)e->id + 1))
		return cr_refuse(err, -EBADMSG, "terminal %u is there twice", e->id);
	return map_put(&fs->tty_by_id, (uint64_t)e->id + 1, e) < 0 ? files_no_memory(err) : 0;
}

static const img_tty_info_entry *info_of(const struct files *fs, const img_tty_file_entry *e)
{
	return map_find(&fs->tty_by_id, (uint64_t)e->tty_info_id + 1);
}

/* Does the session of this task get a terminal of its own? */
static bool session_has_terminal(const struct files *fs, pid_t user)
{
	const struct restored_task *task = files_task(fs, user);

	for (size_t i = 0; task && i < fs->ttys.nr; i++)
		if (fs->ttys.items[i]->sid && fs->ttys.items[i]->sid == (uint32_t)task->ns_sid &&
		    fs->ttys.items[i]->type != img_TtyType_CTTY && files_task(fs, task->ns_sid))
			return true;
	return false;
}

static int check_references(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		struct restored_file *f = fs->files.items[i];
		const img_tty_info_entry *info;
		const struct restored_file *path;

		if (f->entry->type != img_fd_types_TTY)
			continue;
		info = info_of(fs, f->entry->tty);
		path = f->entry->tty->has_regf_id ? files_find(fs, f->entry->tty->regf_id) : NULL;
		if (!info)
			return cr_refuse(err, -EBADMSG, "terminal %u of file %u is not there", f->entry->tty->tty_info_id,
					 f->id);
		if (f->entry->tty->has_regf_id && (!path || path->entry->type != img_fd_types_REG))
			return cr_refuse(err, -EBADMSG, "terminal %u of file %u has no path", f->entry->tty->tty_info_id,
					 f->id);
		f->late = info->type == img_TtyType_CTTY && f->used && session_has_terminal(fs, f->user_pid);
	}
	return 0;
}

int ttys_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_TTY_INFO, 0, &rd, err);

	while (rd && r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = info_add(fs, entry, err);
	if (r >= 0)
		r = check_references(fs, err);
	return r < 0 ? cr_within(err, r, "tty-info.img") : ptys_read(fs, err);
}

static int tty_check(const img_file_entry *e, struct cr_error *err)
{
	return fown_check(e->tty->fown, err);
}

static int tty_inherited(struct files *fs, const img_tty_info_entry *info, uint32_t flags, struct cr_error *err)
{
	char key[64];
	int fd;

	if (!fs->ctx->opts->rpc->inherit_fd.nr)
		return -ENOENT;
	snprintf(key, sizeof(key), "tty[%x:%x]", info->rdev, info->dev);
	fd = inherit_find(fs, key, S_IFCHR, flags, err);
	if (fd != -ENOENT)
		return fd;
	/* who makes the key with stat(2) has the other layout, which is the same only up to minor number 255 */
	snprintf(key, sizeof(key), "tty[%x:%llx]", info->rdev,
		 (unsigned long long)makedev(info->dev >> 20, info->dev & 0xfffff));
	return inherit_find(fs, key, S_IFCHR, flags, err);
}

/* A job that drew on its terminal expects it as it left it; only who is in the foreground may change that without a signal. */
static void modes_if_foreground(int fd, const img_termios_entry *e)
{
	pid_t foreground;

	if (ioctl(fd, TIOCGPGRP, &foreground) == 0 && foreground == getpgrp())
		tty_set_modes(fd, e);
}

pid_t files_foreground_group(const struct files *fs)
{
	for (size_t i = 0; i < fs->ttys.nr; i++)
		if (fs->ttys.items[i]->pgrp && fs->ttys.items[i]->type != img_TtyType_EXT_TTY &&
		    !(fs->ttys.items[i]->sid && files_task(fs, (pid_t)fs->ttys.items[i]->sid)))
			return (pid_t)fs->ttys.items[i]->pgrp;
	return 0;
}

static int own_terminal(const img_tty_info_entry *info, uint32_t flags, struct cr_error *err)
{
	struct termios now;
	int fd;

	if (info->type == img_TtyType_CTTY) {
		fd = open("/dev/tty", (int)(open_flags(flags)));
		return fd < 0 ? cr_fail(err, -errno, "open the controlling terminal") : fd;
	}
	if (ioctl(STDIN_FILENO, TCGETS, &now) < 0)
		return cr_refuse(err, -ENOTTY, "the job needs a terminal, and standard input is none");
	fd = fd_reopen(STDIN_FILENO, open_flags(flags), err);
	if (fd >= 0 && info->termios)
		modes_if_foreground(fd, info->termios);
	return fd;
}

/* Whose modes are set was closed by all, or is used by others as well: it becomes as it was. */
static int device_open(struct files *fs, const img_tty_file_entry *e, const img_tty_info_entry *info,
		       struct cr_error *err)
{
	const struct restored_file *path = e->has_regf_id ? files_find(fs, e->regf_id) : NULL;
	autofd int fd = -1;
	struct stat st;
	int r;

	if (!path)
		return cr_refuse(err, -EBADMSG, "terminal 0x%x has no path", info->rdev);
	fd = path_open_at(fs, path->entry->reg->name, open_flags(e->flags), 0, err);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || (uint32_t)st.st_rdev != info->rdev)
		return cr_refuse(err, -ENODEV, "%s is another device than 0x%x", path->entry->reg->name, info->rdev);
	r = tty_settings(fd, info, err);
	return r < 0 ? r : take_fd(&fd);
}

static int from_outside(struct files *fs, const img_tty_file_entry *e, const img_tty_info_entry *info,
			struct cr_error *err)
{
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	bool job = o->has_shell_job && o->shell_job, orphan = o->has_orphan_pts_master && o->orphan_pts_master;
	int fd;

	if (orphan && info->type == img_TtyType_PTY) {
		fd = pty_orphan(fs, info, e->flags, err);
		if (fd != -ECANCELED)
			return fd;
		cr_error_clear(err);
	}
	if (job || (orphan && info->type == img_TtyType_PTY))
		return own_terminal(info, e->flags, err);
	if (info->type != img_TtyType_PTY && info->type != img_TtyType_CTTY)
		return device_open(fs, e, info, err);
	cr_refuse(err, -EINVAL, "the images have a terminal from outside of the tree");
	cr_advise(err, "--shell-job");
	return -EINVAL;
}

static int tty_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_tty_file_entry *e = f->entry->tty;
	const img_tty_info_entry *info = info_of(fs, e);
	autofd int fd = tty_inherited(fs, info, e->flags, err);

	if (fd == -ENOENT && info->type == img_TtyType_EXT_TTY) {
		cr_refuse(err, -ENOENT, "terminal tty[%x:%x] comes from outside and was not given", info->rdev,
			  info->dev);
		cr_advise(err, "--inherit-fd fd[N]:tty[%x:%x]", info->rdev, info->dev);
		return -ENOENT;
	}
	if (fd == -ENOENT)
		fd = pty_is_made(fs, e) ? pty_open(fs, e, err) : from_outside(fs, e, info, err);
	return fd < 0 ? fd : fown_finish(take_fd(&fd), e->fown, err);
}

static void tty_arrive(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
			   struct routine *r)
{
	/* where /dev is the tree's own, that may be anywhere */
	const struct restored_file *path = fs->root_fd >= 0 && f->entry->tty->has_regf_id
						   ? files_find(fs, f->entry->tty->regf_id)
						   : NULL;
	const char *name = path ? path->entry->reg->name : "/dev/tty";

	op_equal(emit_call(p, r, "open the controlling terminal", SYS_open, emit_data(p, r, name, strlen(name) + 1, 1),
			   open_flags(f->entry->tty->flags)),
		 (uint64_t)fd);
}

const struct file_ops tty_ops = {
	.name = "terminal",
	.type = img_fd_types_TTY,
	.claims = tty_claims,
	.dump = tty_dump,
	.check = tty_check,
	.open = tty_open,
	.arrive = tty_arrive,
};
