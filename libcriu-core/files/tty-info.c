/* Entries of tty-info.img: what any terminal tells of itself, and takes back. */
#include "files/tty-info.h"

#include <asm/termbits.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* -------------------------------------------------------------------- dump */

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

img_tty_info_entry *tty_info_new(struct file_table *t, uint32_t id, img_TtyType type, int fd, const struct stat *st,
				 struct cr_error *err)
{
	img_tty_info_entry *e = pool_new(&t->pool, img_tty_info_entry), **at = e ? tty_info_vec_add(&t->ttys) : NULL;
	int exclusive = 0;

	if (!at || map_put(&t->tty_by_id, (uint64_t)id + 1, e) < 0) {
		pool_failed(err);
		return NULL;
	}
	*at = e;
	e->id = id;
	e->type = type;
	e->rdev = (uint32_t)st->st_rdev; /* as stat(2) has it; dev is in the kernel's own layout */
	e->has_dev = e->has_uid = e->has_gid = true;
	e->dev = (uint32_t)major(st->st_dev) << 20 | minor(st->st_dev);
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	ioctl(fd, TIOCGEXCL, &exclusive); /* 3.8; zero where it cannot be asked */
	e->exclusive = exclusive;
	e->ext = pool_new(&t->pool, img_tty_info_ext);
	if (!e->ext) {
		pool_failed(err);
		return NULL;
	}
	e->termios = termios_dump(t, fd, TCGETS2);
	e->termios_locked = termios_dump(t, fd, TIOCGLCKTRMIOS);
	e->winsize = winsize_dump(t, fd);
	if (type != img_TtyType_PTY)
		return e;
	e->pty = pool_new(&t->pool, img_tty_pty_entry);
	if (!e->pty) {
		pool_failed(err);
		return NULL;
	}
	e->pty->index = id >> 1;
	return e;
}

bool session_is_ours(const struct file_table *t, pid_t sid, uint32_t *ret_sid)
{
	for (size_t i = 0; sid > 0 && i < t->tree->tasks.nr; i++) {
		const struct task *task = t->tree->tasks.items[i];

		if (task->host_pid == sid && task->stat.session == sid) {
			*ret_sid = (uint32_t)task->ns_sid;
			return true;
		}
	}
	return false;
}

uint32_t group_of_tree(const struct file_table *t, pid_t pgrp)
{
	for (size_t i = 0; pgrp > 0 && i < t->tree->tasks.nr; i++)
		if (t->tree->tasks.items[i]->stat.pgrp == pgrp)
			return (uint32_t)t->tree->tasks.items[i]->ns_pgid;
	return 0;
}

/* ----------------------------------------------------------------- restore */

int tty_set_modes(int fd, const img_termios_entry *e)
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

	for (size_t i = 0; i < e->c_cc.nr && i < NCCS; i++)
		full.c_cc[i] = (cc_t)e->c_cc.items[i];
	return ioctl(fd, TCSETS2, &full) < 0 ? -errno : 0;
}

static bool locks_something(const img_termios_entry *e, struct termios *ret)
{
	static const struct termios none;

	*ret = (struct termios){ .c_iflag = e->c_iflag,
				 .c_oflag = e->c_oflag,
				 .c_cflag = e->c_cflag,
				 .c_lflag = e->c_lflag,
				 .c_line = (cc_t)e->c_line };
	for (size_t i = 0; i < e->c_cc.nr && i < NCCS; i++)
		ret->c_cc[i] = (cc_t)e->c_cc.items[i];
	return memcmp(ret, &none, sizeof(none)) != 0;
}

int tty_settings(int fd, const img_tty_info_entry *e, struct cr_error *err)
{
	struct termios locked;
	int r = e->termios ? tty_set_modes(fd, e->termios) : 0;

	if (r < 0)
		return cr_fail(err, r, "modes of a terminal");
	if (e->winsize) {
		struct winsize w = { (unsigned short)e->winsize->ws_row, (unsigned short)e->winsize->ws_col,
				     (unsigned short)e->winsize->ws_xpixel, (unsigned short)e->winsize->ws_ypixel };

		if (ioctl(fd, TIOCSWINSZ, &w) < 0)
			return cr_fail(err, -errno, "size of a terminal");
	}
	if (e->termios_locked && locks_something(e->termios_locked, &locked) && ioctl(fd, TIOCSLCKTRMIOS, &locked) < 0) {
		r = cr_fail(err, -errno, "locks of the modes of a terminal");
		if (r == -EPERM)
			cr_advise(err, "needs CAP_SYS_ADMIN, or CAP_CHECKPOINT_RESTORE since Linux 6.5");
		return r;
	}
	return 0;
}
