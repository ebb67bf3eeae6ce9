/* What tty-info.img holds of any terminal, and the pairs of pseudo terminals behind it. */
#ifndef CR_FILES_TTY_INFO_H
#define CR_FILES_TTY_INFO_H

#include "files/dump-internal.h"
#include "files/family.h"
#include "files/restore-internal.h"

#include <linux/major.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/sysmacros.h>

#define TTY_PTS_MAJORS    8       /* 136 to 143 */
#define TTY_INDEX_MAX     1048575 /* NR_UNIX98_PTY_MAX of the kernel */
#define TTY_INDEX_CONSOLE 1002    /* tty_info_entry.id is twice this for what has no number of its own */
#define TTY_INDEX_VT      1004
#define TTY_INDEX_CTTY    1006
#define TTY_INDEX_SERIAL  1010
#define TTY_INDEX_EXT     1013

static inline bool rdev_is_slave(dev_t rdev)
{
	return major(rdev) >= UNIX98_PTY_SLAVE_MAJOR && major(rdev) < UNIX98_PTY_SLAVE_MAJOR + TTY_PTS_MAJORS;
}

static inline uint32_t slave_index(dev_t rdev)
{
	return (major(rdev) - UNIX98_PTY_SLAVE_MAJOR) * 256 + minor(rdev);
}

static inline dev_t slave_rdev(uint32_t index)
{
	return makedev(UNIX98_PTY_SLAVE_MAJOR + index / 256, index % 256);
}

/* -------------------------------------------------------------------- dump */

/**
 * tty_info_new() - an entry of tty-info.img with everything that the terminal itself tells
 * @fd: any description of it, a master too; its node is @st
 */
img_tty_info_entry *tty_info_new(struct file_table *t, uint32_t id, img_TtyType type, int fd, const struct stat *st,
				 struct cr_error *err);

/* pty.c */
/** pty_note() - a master or slave was met; its info is made once all were. @ret_info_id: of its entry */
int pty_note(struct file_table *t, struct open_file *f, bool master, bool hung_up, uint32_t *ret_info_id,
	     struct cr_error *err);
/** own_terminal_note() - a descriptor of /dev/tty was met */
int own_terminal_note(struct file_table *t, struct open_file *f, struct cr_error *err);
/** terminal_may_be_outside() - do the options of the dump say so? */
bool terminal_may_be_outside(const struct file_table *t);
/** owner_by_tasks() - session and foreground group of a terminal, as far as tasks of the tree have it as controlling one */
void owner_by_tasks(const struct file_table *t, dev_t rdev, img_tty_info_entry *e);
/** session_is_ours() - is its leader alive, and in the tree? @sid: as we count. *ret_sid: as the tree does */
bool session_is_ours(const struct file_table *t, pid_t sid, uint32_t *ret_sid);
/** group_of_tree() - a process group as the tree counts; 0: it has no process there */
uint32_t group_of_tree(const struct file_table *t, pid_t pgrp);

/* ----------------------------------------------------------------- restore */

/** tty_settings() - size and modes of the images, the latter locked as they were. Return: 0; negative errno. */
int tty_settings(int fd, const img_tty_info_entry *e, struct cr_error *err);
/** tty_set_modes() - modes alone */
int tty_set_modes(int fd, const img_termios_entry *e);

/* pty-restore.c */
/** ptys_read() - pairs that the tree has both ends of, or that are hung up; after tty-info.img */
int ptys_read(struct files *fs, struct cr_error *err);
/** pty_is_made() - is this end to be opened with pty_open(), or does the terminal come from outside? */
bool pty_is_made(const struct files *fs, const img_tty_file_entry *e);
int pty_open(struct files *fs, const img_tty_file_entry *e, struct cr_error *err);
/** pty_orphan() - a new pair for a slave whose master was outside; the master goes to whoever asked. Return: the slave, as ops.open */
int pty_orphan(struct files *fs, const img_tty_info_entry *info, uint32_t flags, struct cr_error *err);

/* tty-session.c */
/** terminal_add() - session e->sid, if it has one, gets the terminal open at @fd (borrowed) as its controlling one */
int terminal_add(struct files *fs, const img_tty_info_entry *e, int fd, bool may_fail, struct cr_error *err);
void terminals_done(struct files *fs);

int ptys_make(struct files *fs, struct cr_error *err);
int ttys_settle(struct files *fs, struct cr_error *err);
void ttys_done(struct files *fs);

#endif
