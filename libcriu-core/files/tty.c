/*
 * Terminals that stay outside of the tree: that of the shell from which a job was started (--shell-job), or one declared
 * with --external. At restore the first becomes the coordinator's own terminal, the second is handed over with
 * --inherit-fd. Pseudo terminals that belong to the tree (their master is open in it) are not handled here.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/io.h"
#include "base/own.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TTY_PTS_MAJORS    8    /* 136 to 143 */
#define TTY_INDEX_CONSOLE 1002 /* tty_info_entry.id is twice this for what has no number of its own */
#define TTY_INDEX_VT      1004
#define TTY_INDEX_CTTY    1006
#define TTY_INDEX_SERIAL  1010
#define TTY_INDEX_EXT     1013

/* -------------------------------------------------------------------- dump */

bool file_is_tty(const struct file_facts *facts)
{
	unsigned int maj = major(facts->st.st_rdev);

	return S_ISCHR(facts->st.st_mode) &&
	       (maj == TTY_MAJOR || maj == TTYAUX_MAJOR || maj == 204 || maj == 188 || maj == 166 ||
		(maj >= UNIX98_PTY_SLAVE_MAJOR && maj < UNIX98_PTY_SLAVE_MAJOR + TTY_PTS_MAJORS));
}

static bool tty_claims(const struct file_facts *facts)
{
	return file_is_tty(facts) && !(facts->flags & O_PATH);
}

static bool is_master(const struct file_facts *facts)
{
	return major(facts->st.st_rdev) == TTYAUX_MAJOR && minor(facts->st.st_rdev) == 2;
}

static uint32_t info_id(struct file_table *t, const struct file_facts *facts, bool external, img_TtyType *ret_type)
{
	unsigned int maj = major(facts->st.st_rdev), min = minor(facts->st.st_rdev);

	(void)t;
	if (external) {
		*ret_type = img_TtyType_EXT_TTY;
		return TTY_INDEX_EXT << 1;
	}
	if (maj >= UNIX98_PTY_SLAVE_MAJOR && maj < UNIX98_PTY_SLAVE_MAJOR + TTY_PTS_MAJORS) {
		*ret_type = img_TtyType_PTY;
		return ((maj - UNIX98_PTY_SLAVE_MAJOR) * 256 + min) << 1;
	}
	if (maj == TTYAUX_MAJOR) {
		*ret_type = min == 0 ? img_TtyType_CTTY : img_TtyType_CONSOLE;
		return (min == 0 ? TTY_INDEX_CTTY : TTY_INDEX_CONSOLE) << 1;
	}
	*ret_type = maj == TTY_MAJOR && min < 64 ? img_TtyType_VT : img_TtyType_SERIAL;
	return (*ret_type == img_TtyType_VT ? TTY_INDEX_VT : TTY_INDEX_SERIAL) << 1;
}

static img_termios_entry *termios_dump(struct file_table *t, int fd, unsigned long request)
{
	img_termios_entry *e = pool_new(&t->pool, img_termios_entry);
	struct termios2 full = { 0 };
	struct termios locked = { 0 };

	if (!e || (request == TCGETS2 ? ioctl(fd, TCGETS2, &full) : ioctl(fd, request, &locked)) < 0)
		return NULL;
	if (request != TCGETS2)
		full = (struct termios2){ .c_iflag = locked.c_iflag,
					  .c_oflag = locked.c_oflag,
					  .c_cflag = locked.c_cflag,
					  .c_lflag = locked.c_lflag,
					  .c_line = locked.c_line };
	if (request != TCGETS2)
		memcpy(full.c_cc, locked.c_cc, sizeof(locked.c_cc));
	e->c_iflag = full.c_iflag;
	e->c_oflag = full.c_oflag;
	e->c_cflag = full.c_cflag;
	e->c_lflag = full.c_lflag;
	e->c_line = full.c_line;
	e->c_ispeed = full.c_ispeed;
	e->c_ospeed = full.c_ospeed;
	e->c_cc.items = pool_alloc(&t->pool, NCCS * sizeof(uint32_t));
	if (!e->c_cc.items)
		return NULL;
	for (e->c_cc.nr = 0; e->c_cc.nr < NCCS; e->c_cc.nr++)
		e->c_cc.items[e->c_cc.nr] = full.c_cc[e->c_cc.nr];
	return e;
}

static img_winsize_entry *winsize_dump(struct file_table *t, int fd)
{
	img_winsize_entry *e = pool_new(&t->pool, img_winsize_entry);
	struct winsize w;

	if (!e || ioctl(fd, TIOCGWINSZ, &w) < 0)
		return NULL;
	*e = (img_winsize_entry){
		.ws_row = w.ws_row, .ws_col = w.ws_col, .ws_xpixel = w.ws_xpixel, .ws_ypixel = w.ws_ypixel
	};
	return e;
}

/* Who has the terminal: its foreground group, as the tree numbers it. 0: a group outside of the tree, like the shell's. */
static uint32_t foreground_of(const struct file_table *t, dev_t rdev)
{
	const struct task_vec *tasks = &t->tree->tasks;
	pid_t group = 0;

	for (size_t i = 0; i < tasks->nr && group <= 0; i++)
		if (tasks->items[i]->stat.tty_nr && (dev_t)(unsigned int)tasks->items[i]->stat.tty_nr == rdev)
			group = tasks->items[i]->stat.tpgid;
	for (size_t i = 0; i < tasks->nr && group > 0; i++)
		if (tasks->items[i]->stat.pgrp == group)
			return (uint32_t)tasks->items[i]->ns_pgid;
	return 0;
}

static int info_dump(struct file_table *t, struct open_file *f, bool external, uint32_t *ret_id, struct cr_error *err)
{
	const struct stat *st = &f->facts.st;
	img_TtyType type;
	uint32_t id = info_id(t, &f->facts, external, &type);
	img_tty_info_entry *e, **at;
	int exclusive = 0;

	*ret_id = id;
	if (map_find(&t->tty_by_id, (uint64_t)id + 1))
		return 0;
	e = pool_new(&t->pool, img_tty_info_entry);
	at = e ? tty_info_vec_add(&t->ttys) : NULL;
	if (!at || map_put(&t->tty_by_id, (uint64_t)id + 1, e) < 0)
		return pool_failed(err);
	*at = e;
	e->id = id;
	e->type = type;
	e->rdev = (uint32_t)st->st_rdev; /* as stat(2) has it; dev is in the kernel's own layout */
	e->has_dev = e->has_uid = e->has_gid = true;
	e->dev = (uint32_t)major(st->st_dev) << 20 | minor(st->st_dev);
	e->pgrp = external ? 0 : foreground_of(t, st->st_rdev);
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	ioctl(f->fd, TIOCGEXCL, &exclusive); /* 3.8; zero where it cannot be asked */
	e->exclusive = exclusive;
	e->termios = termios_dump(t, f->fd, TCGETS2);
	e->termios_locked = termios_dump(t, f->fd, TIOCGLCKTRMIOS);
	e->winsize = winsize_dump(t, f->fd);
	if (type == img_TtyType_PTY) {
		e->pty = pool_new(&t->pool, img_tty_pty_entry);
		if (!e->pty)
			return pool_failed(err);
		e->pty->index = id >> 1;
	}
	return 0;
}

static int tty_entry_dump(struct file_table *t, struct open_file *f, bool external, struct cr_error *err)
{
	img_tty_file_entry *e = pool_new(&t->pool, img_tty_file_entry);
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_TTY, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->also = file_entry_new(t, img_fd_types_REG, file_next_id(t), err);
	if (!f->also)
		return -ENOMEM;
	e->has_regf_id = true;
	e->regf_id = f->also->id;
	r = info_dump(t, f, external, &e->tty_info_id, err);
	f->entry->tty = e;
	return r < 0 ? r : path_dump(t, f, f->also->id, f->facts.flags, false, &f->also->reg, err);
}

static int tty_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	const rpc_criu_opts *o = t->ctx->opts->rpc;
	bool external = external_tty(t, f);

	if (is_master(&f->facts))
		return file_refuse(t, f, "", "master of a pseudo terminal, %s", f->facts.link);
	if (!external && !(o->has_shell_job && o->shell_job))
		return file_refuse(t, f, "--shell-job", "terminal, %s", f->facts.link);
	return tty_entry_dump(t, f, external, err);
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
	if (map_find(&fs->tty_by_id, (uint64_t)e->id + 1))
		return cr_refuse(err, -EBADMSG, "terminal %u is there twice", e->id);
	return map_put(&fs->tty_by_id, (uint64_t)e->id + 1, e) < 0 ? files_no_memory(err) : 0;
}

int ttys_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_TTY_INFO, 0, &rd, err);

	while (rd && r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = info_add(fs, entry, err);
	for (size_t i = 0; i < fs->files.nr && r >= 0; i++) {
		const img_file_entry *e = fs->files.items[i]->entry;

		if (e->type == img_fd_types_TTY && !map_find(&fs->tty_by_id, (uint64_t)e->tty->tty_info_id + 1))
			r = cr_refuse(err, -EBADMSG, "terminal %u of file %u is not there", e->tty->tty_info_id, e->id);
	}
	return r < 0 ? cr_within(err, r, "tty-info.img") : 0;
}

static int tty_check(const img_file_entry *e, struct cr_error *err)
{
	return fown_check(e->tty->fown, err);
}

static int tty_inherited(struct files *fs, const img_tty_info_entry *info, struct cr_error *err)
{
	char key[64];
	int fd;

	if (!fs->ctx->opts->rpc->inherit_fd.nr)
		return -ENOENT;
	snprintf(key, sizeof(key), "tty[%x:%x]", info->rdev, info->dev);
	fd = inherit_find(fs, key, err);
	if (fd != -ENOENT)
		return fd;
	/* who makes the key with stat(2) has the other layout, which is the same only up to minor number 255 */
	snprintf(key, sizeof(key), "tty[%x:%llx]", info->rdev,
		 (unsigned long long)makedev(info->dev >> 20, info->dev & 0xfffff));
	return inherit_find(fs, key, err);
}

/* A job that drew on its terminal expects it as it left it; only who is in the foreground may change that without a signal. */
static void termios_apply(int fd, const img_termios_entry *e)
{
	struct termios2 full = {
		.c_iflag = e->c_iflag,
		.c_oflag = e->c_oflag,
		.c_cflag = e->c_cflag,
		.c_lflag = e->c_lflag,
		.c_line = (cc_t)e->c_line,
		.c_ispeed = e->c_ispeed,
		.c_ospeed = e->c_ospeed,
	};
	pid_t foreground;

	if (ioctl(fd, TIOCGPGRP, &foreground) < 0 || foreground != getpgrp())
		return;
	for (size_t i = 0; i < e->c_cc.nr && i < NCCS; i++)
		full.c_cc[i] = (cc_t)e->c_cc.items[i];
	ioctl(fd, TCSETS2, &full);
}

pid_t files_foreground_group(const struct files *fs)
{
	for (size_t i = 0; i < fs->ttys.nr; i++)
		if (fs->ttys.items[i]->pgrp && fs->ttys.items[i]->type != img_TtyType_EXT_TTY)
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
		termios_apply(fd, info->termios);
	return fd;
}

static int tty_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_tty_file_entry *e = f->entry->tty;
	const img_tty_info_entry *info = map_find(&fs->tty_by_id, (uint64_t)e->tty_info_id + 1);
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	autofd int fd = tty_inherited(fs, info, err);

	if (fd == -ENOENT && info->type == img_TtyType_EXT_TTY) {
		cr_refuse(err, -ENOENT, "terminal tty[%x:%x] comes from outside and was not given", info->rdev,
			  info->dev);
		cr_advise(err, "--inherit-fd fd[N]:tty[%x:%x]", info->rdev, info->dev);
		return -ENOENT;
	}
	if (fd == -ENOENT && info->id & 1)
		return cr_refuse(err, -ENOTSUP,
				 "pseudo terminal %u belongs to the tree, which this version does not restore",
				 info->id >> 1);
	if (fd == -ENOENT && !(o->has_shell_job && o->shell_job)) {
		cr_refuse(err, -EINVAL, "the images have a terminal from outside of the tree");
		cr_advise(err, "--shell-job");
		return -EINVAL;
	}
	if (fd == -ENOENT)
		fd = own_terminal(info, e->flags, err);
	return fd < 0 ? fd : fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops tty_ops = {
	.name = "terminal",
	.type = img_fd_types_TTY,
	.claims = tty_claims,
	.dump = tty_dump,
	.check = tty_check,
	.open = tty_open,
};
