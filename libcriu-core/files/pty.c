/*
 * Pseudo terminals at dump: which descriptors are the two ends of one, what each pair is like, and to whom it belongs.
 * A pair whose master is in the tree is saved whole; a slave alone has its other end outside. What the line discipline
 * holds is taken and put back when images are written (tty-line.h).
 */
#include "files/tty-info.h"

#include "base/own.h"
#include "files/tree-root.h"
#include "files/tty-line.h"
#include "image/image-set.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tty.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct pty_pair {
	dev_t fs; /* the instance of devpts */
	uint32_t index;
	struct open_file *master, *slave, *hung_up; /* the first of each that was met, NULL */
	bool opened;       /* the slave: now, or once */
	bool slave_closed; /* opened, and nobody has it any more */
	img_tty_info_entry *info, *master_info;
};
DEFINE_VEC(pty_pair_vec, struct pty_pair *)

struct slave_end {
	struct open_file *file;
	struct pty_pair *pair;
};
DEFINE_VEC(slave_end_vec, struct slave_end)

struct pty_table {
	struct pty_pair_vec pairs;
	struct map by_index;         /* index + 1 -> struct pty_pair */
	struct slave_end_vec slaves; /* that were not hung up */
	struct open_file_vec own;    /* of /dev/tty */
};

static struct pty_table *pty_table_of(struct file_table *t)
{
	if (!t->ptys)
		t->ptys = calloc(1, sizeof(*t->ptys));
	return t->ptys;
}

/*
 * A master is of the instance that is mounted at "pts" beside its node, or is in it; devpts_mntget() in fs/devpts/inode.c.
 * One that was opened through a mount from outside, in a namespace that we take for ours, must be of the one that is there in
 * the tree as well. Return: 0; 1 an obstacle was noted; negative errno
 */
static int instance_of(struct file_table *t, struct open_file *f, dev_t *ret, struct cr_error *err)
{
	static const char beside[] = "pts";
	const char *slash = strrchr(f->facts.link, '/');
	char path[LINK_TEXT_MAX + sizeof(beside)];
	struct path_look at, outside;
	size_t len;

	*ret = f->facts.st.st_dev;
	if (f->facts.fs_type == 0x1cd1) /* DEVPTS_SUPER_MAGIC */
		return 0;
	if (!slash)
		return cr_refuse(err, -EINVAL, "a path without directory");
	len = (size_t)(slash + 1 - f->facts.link);
	memcpy(path, f->facts.link, len);
	memcpy(path + len, beside, sizeof(beside));
	at = tree_look(t, path);
	outside = tree_has_mount(t, f->mnt_id) ? at : path_look_at(-1, path);
	if (!at.there || !outside.there || at.dev != outside.dev)
		return file_refuse(t, f, "", "master of a pseudo terminal whose devpts is not at %s in the tree", path);
	*ret = at.dev;
	return 0;
}

static struct pty_pair *pair_add(struct file_table *t, dev_t fs, uint32_t index)
{
	struct pty_pair *p = pool_new(&t->pool, struct pty_pair);
	struct pty_pair **at = p ? pty_pair_vec_add(&t->ptys->pairs) : NULL;

	if (!at || map_put(&t->ptys->by_index, (uint64_t)index + 1, p) < 0)
		return NULL;
	*at = p;
	p->fs = fs;
	p->index = index;
	return p;
}

int pty_note(struct file_table *t, struct open_file *f, bool master, bool hung_up, uint32_t *ret_info_id,
	     struct cr_error *err)
{
	struct pty_table *table = pty_table_of(t);
	uint32_t index = master ? 0 : slave_index(f->facts.st.st_rdev);
	struct slave_end *end;
	struct pty_pair *p;
	dev_t fs = f->facts.st.st_dev;
	int r = 0;

	if (!table)
		return pool_failed(err);
	if (master && ioctl(f->fd, TIOCGPTN, &index) < 0)
		return cr_fail(err, -errno, "number of a pseudo terminal");
	if (master)
		r = instance_of(t, f, &fs, err);
	if (r != 0)
		return r;
	p = map_find(&table->by_index, (uint64_t)index + 1);
	if (p && p->fs != fs)
		return file_refuse(t, f, "", "pseudo terminal %u of a second instance of devpts, %s", index,
				   f->facts.link);
	if (!p)
		p = pair_add(t, fs, index);
	end = p && !master && !hung_up ? slave_end_vec_add(&table->slaves) : NULL;
	if (!p || (!master && !hung_up && !end))
		return pool_failed(err);
	if (end)
		*end = (struct slave_end){ f, p };
	if (master)
		p->master = f;
	else if (hung_up && !p->hung_up)
		p->hung_up = f;
	else if (!hung_up && !p->slave)
		p->slave = f;
	f->keep_fd = true;
	*ret_info_id = index << 1 | master;
	return 0;
}

int own_terminal_note(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct pty_table *table = pty_table_of(t);
	struct open_file **at = table ? open_file_vec_add(&table->own) : NULL;

	if (!at)
		return pool_failed(err);
	*at = f;
	f->keep_fd = true;
	return 0;
}

/* ----------------------------------------------------------- whose it is */

bool terminal_may_be_outside(const struct file_table *t)
{
	const rpc_criu_opts *o = t->ctx->opts->rpc;

	return (o->has_shell_job && o->shell_job) || (o->has_orphan_pts_master && o->orphan_pts_master);
}

/* Only the master tells of both; it does so as we count. Return: 0; 1 an obstacle was noted; negative errno */
static int owner_by_master(struct file_table *t, const struct pty_pair *p, img_tty_info_entry *e)
{
	pid_t sid = 0, pgrp = 0;

	if (ioctl(p->master->fd, TIOCGSID, &sid) < 0)
		return 0; /* of no session */
	if (!session_is_ours(t, sid, &e->sid))
		return file_refuse(t, p->master, "include that session in the tree",
				   "pseudo terminal %u is the controlling one of session %d outside of the tree", p->index,
				   (int)sid);
	if (ioctl(p->master->fd, TIOCGPGRP, &pgrp) < 0)
		return 0;
	e->pgrp = group_of_tree(t, pgrp);
	if (!e->pgrp && pgrp)
		log_warn(&t->ctx->log,
			 "pseudo terminal %u: process group %d in the foreground has ended, continuing with that of the "
			 "session's leader",
			 p->index, (int)pgrp);
	return 0;
}

static bool has_terminal(const struct task *task, dev_t rdev)
{
	return task->stat.tty_nr && (dev_t)(unsigned int)task->stat.tty_nr == rdev;
}

void owner_by_tasks(const struct file_table *t, dev_t rdev, img_tty_info_entry *e)
{
	const struct task_vec *tasks = &t->tree->tasks;

	for (size_t i = 0; i < tasks->nr; i++) {
		if (!has_terminal(tasks->items[i], rdev))
			continue;
		if (tasks->items[i]->host_pid == tasks->items[i]->stat.session)
			e->sid = (uint32_t)tasks->items[i]->ns_sid;
		if (!e->pgrp)
			e->pgrp = group_of_tree(t, tasks->items[i]->stat.tpgid);
	}
}

/* ------------------------------------------------------------- collecting */

static int check_master(struct file_table *t, struct pty_pair *p)
{
	struct pollfd state = { .fd = p->master->fd, .events = POLLIN | POLLPRI };
	struct termios2 modes = { 0 };

	poll(&state, 1, 0);
	p->slave_closed = state.revents & POLLHUP;
	p->opened = p->slave || p->slave_closed;
	if (ioctl(p->master->fd, TCGETS2, &modes) == 0 && modes.c_line != N_TTY)
		return file_refuse(t, p->master, "", "pseudo terminal %u with line discipline %u", p->index, modes.c_line);
	if ((p->master->facts.flags & O_ACCMODE) != O_RDWR)
		return file_refuse(t, p->master, "", "master of pseudo terminal %u that is not open for both reading and writing",
				   p->index);
	if (state.revents & POLLPRI)
		return file_refuse(t, p->master, "try again",
				   "pseudo terminal %u in packet mode, with news that its master has not read", p->index);
	/* echoes: opening the slave, which putting them back takes, would be the first time */
	if (!p->opened && state.revents & POLLIN)
		return file_refuse(t, p->master, "try again",
				   "pseudo terminal %u with unread output whose slave nobody has opened yet", p->index);
	return 0;
}

static int master_info(struct file_table *t, struct pty_pair *p, struct cr_error *err)
{
	img_tty_info_entry *e =
		tty_info_new(t, p->index << 1 | 1, img_TtyType_PTY, p->master->fd, &p->master->facts.st, err);
	int locked = 0, packet = 0;

	if (!e)
		return -ENOMEM;
	/* 3.8 */
	if (ioctl(p->master->fd, TIOCGPTLCK, &locked) < 0 || ioctl(p->master->fd, TIOCGPKT, &packet) < 0)
		return cr_fail(err, -errno, "state of the master of pseudo terminal %u", p->index);
	e->locked = locked;
	e->packet_mode = packet;
	e->ext->has_slave_closed = e->ext->slave_closed = p->slave_closed;
	p->master_info = e;
	return 0;
}

static int slave_info(struct file_table *t, struct pty_pair *p, struct cr_error *err)
{
	const struct open_file *f = p->slave ? p->slave : p->hung_up;
	/* who is hung up tells nothing */
	int fd = p->slave || !p->master ? f->fd : p->master->fd;
	int exclusive = 0;

	p->info = tty_info_new(t, p->index << 1, img_TtyType_PTY, fd, &f->facts.st, err);
	if (!p->info)
		return -ENOMEM;
	ioctl(f->fd, TIOCGEXCL, &exclusive);
	p->info->exclusive = exclusive;
	return 0;
}

static int pair_collected(struct file_table *t, struct pty_pair *p, struct cr_error *err)
{
	img_tty_info_entry *owned;
	int r = 0;

	if (p->slave || p->hung_up)
		r = slave_info(t, p, err);
	if (r == 0 && p->master) {
		r = check_master(t, p);
		if (r == 0)
			r = master_info(t, p, err);
	}
	if (r != 0)
		return r;
	owned = p->info ? p->info : p->master_info;
	if (p->master)
		return owner_by_master(t, p, owned);
	if (p->slave)
		owner_by_tasks(t, p->slave->facts.st.st_rdev, owned);
	return 0;
}

static int slaves_collected(struct file_table *t)
{
	const struct slave_end_vec *v = &t->ptys->slaves;
	int r = 0;

	for (size_t i = 0; i < v->nr && r >= 0; i++)
		if (!v->items[i].pair->master && !terminal_may_be_outside(t))
			r = file_refuse(t, v->items[i].file, "--shell-job, or --external tty[..]",
					"terminal whose master is outside of the tree, %s", v->items[i].file->facts.link);
	return r < 0 ? r : 0;
}

static bool terminal_is_known(const struct file_table *t, dev_t rdev)
{
	if (rdev_is_slave(rdev))
		return t->ptys && map_find(&t->ptys->by_index, (uint64_t)slave_index(rdev) + 1);
	for (size_t i = 0; i < t->ttys.nr; i++)
		if (t->ttys.items[i]->rdev == (uint32_t)rdev)
			return true;
	return false;
}

/* /dev/tty is opened again by the task, so it must be what that name means to the task. */
static int own_collected(struct file_table *t, struct open_file *f)
{
	unsigned int rdev = 0;
	uint32_t sid;

	if (!session_is_ours(t, f->task->stat.session, &sid))
		return terminal_may_be_outside(t) ? 0 :
						    file_refuse(t, f, "--shell-job", "terminal of a session outside of the tree, %s",
								f->facts.link);
	/* 2.6.33; a hung-up one tells nothing */
	if (ioctl(f->fd, TIOCGDEV, &rdev) < 0 || (int)rdev != f->task->stat.tty_nr)
		return file_refuse(t, f, "", "%s that is not the controlling terminal of its process any more",
				   f->facts.link);
	if (!terminal_is_known(t, rdev) && !terminal_may_be_outside(t))
		return file_refuse(t, f, "--shell-job", "%s, a terminal that is open in no other way in the tree",
				   f->facts.link);
	return 0;
}

static void warn_of_terminals(const struct file_table *t)
{
	for (size_t i = 0; i < t->tree->tasks.nr; i++) {
		const struct task *task = t->tree->tasks.items[i];

		if (task->stat.tty_nr && task->host_pid == task->stat.session &&
		    !terminal_is_known(t, (dev_t)(unsigned int)task->stat.tty_nr))
			log_warn(&t->ctx->log,
				 "pid %d (%s): its controlling terminal (0x%x) is open in no process of the tree, continuing "
				 "without it",
				 (int)task->host_pid, task->comm, (unsigned int)task->stat.tty_nr);
	}
}

/* Whoever is born into a session with a terminal has it. */
static int note_who_gave_up(struct file_table *t, img_tty_info_entry *e, struct cr_error *err)
{
	size_t nr = 0;

	if (!e->sid)
		return 0;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < t->tree->tasks.nr; i++) {
			const struct task *task = t->tree->tasks.items[i];

			if ((uint32_t)task->ns_sid != e->sid || task->stat.tty_nr || task->state == TASK_DEAD)
				continue;
			if (pass)
				e->ext->gave_up.items[e->ext->gave_up.nr++] = (uint32_t)task->ns_pid;
			else
				nr++;
		}
		if (!nr)
			return 0;
		if (!pass)
			e->ext->gave_up.items = pool_alloc(&t->pool, nr * sizeof(uint32_t));
		if (!e->ext->gave_up.items)
			return pool_failed(err);
	}
	return 0;
}

static int ttys_collected(struct file_table *t, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; t->ptys && i < t->ptys->pairs.nr && r >= 0; i++)
		r = cr_within(err, pair_collected(t, t->ptys->pairs.items[i], err), "pseudo terminal %u",
			      t->ptys->pairs.items[i]->index);
	if (t->ptys && r >= 0)
		r = slaves_collected(t);
	for (size_t i = 0; t->ptys && i < t->ptys->own.nr && r >= 0; i++)
		r = own_collected(t, t->ptys->own.items[i]);
	for (size_t i = 0; i < t->ttys.nr && r >= 0; i++)
		r = note_who_gave_up(t, t->ttys.items[i], err);
	if (r >= 0)
		warn_of_terminals(t);
	return r < 0 ? r : 0;
}

/* ---------------------------------------------------------------- writing */

/* A slave of our own. Return: descriptor, owned by the caller; negative errno */
static int slave_open(const struct pty_pair *p, struct cr_error *err)
{
	int locked = p->master_info->locked, no = 0;
	int fd;

	if (locked)
		ioctl(p->master->fd, TIOCSPTLCK, &no);
	fd = ioctl(p->master->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC); /* 4.13 */
	if (fd < 0)
		cr_fail(err, -errno, "open the slave");
	if (locked)
		ioctl(p->master->fd, TIOCSPTLCK, &locked);
	return fd < 0 ? err->code : fd;
}

static int data_write(struct image_writer *w, uint32_t id, unsigned char *data, size_t nr, uint32_t *lines,
		      size_t nr_lines, struct cr_error *err)
{
	img_tty_data_ext ext = { .lines = { .items = lines, .nr = nr_lines } };
	img_tty_data_entry e = { .tty_id = id, .data = { .data = data, .len = nr }, .ext = nr_lines ? &ext : NULL };

	return nr || nr_lines ? image_write(w, &e, err) : 0;
}

static int pair_write(struct pty_pair *p, struct tty_queues *q, struct image_writer *w, struct cr_error *err)
{
	autofd int slave = slave_open(p, err);
	int r = slave < 0 ? slave : tty_queues_peek(p->master->fd, slave, q, err);

	if (r < 0)
		return r;
	if (q->stop) {
		p->master_info->ext->has_output_stopped = true;
		p->master_info->ext->output_stopped = (uint32_t)q->stop;
	}
	r = data_write(w, p->index << 1 | 1, q->output, q->nr_output, NULL, 0, err);
	return r < 0 ? r : data_write(w, p->index << 1, q->input, q->nr_input, q->lines, q->nr_lines, err);
}

static int queues_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	autofree struct tty_queues *q = malloc(sizeof(*q));
	int r = q ? image_writer_open(set, IMG_TTY_DATA, 0, &w, err) : pool_failed(err);

	for (size_t i = 0; i < t->ptys->pairs.nr && r == 0; i++) {
		struct pty_pair *p = t->ptys->pairs.items[i];

		if (p->master && p->opened)
			r = cr_within(err, pair_write(p, q, w, err), "pseudo terminal %u", p->index);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

static int infos_write(const struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_TTY_INFO, 0, &w, err);

	for (size_t i = 0; i < t->ttys.nr && r == 0; i++)
		r = image_write(w, t->ttys.items[i], err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

/* What is held back is known once the queues were looked at. */
static int ttys_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	int r = t->ptys ? queues_write(t, set, err) : 0;

	return r < 0 ? r : infos_write(t, set, err);
}

static void pty_table_done(struct file_table *t)
{
	if (!t->ptys)
		return;
	pty_pair_vec_done(&t->ptys->pairs);
	slave_end_vec_done(&t->ptys->slaves);
	open_file_vec_done(&t->ptys->own);
	map_done(&t->ptys->by_index);
	free(t->ptys);
	t->ptys = NULL;
}

const struct file_family tty_family = {
	.name = "terminals",
	.collected = ttys_collected,
	.write = ttys_write,
	.table_done = pty_table_done,
	.read = ttys_read,
	.make = ptys_make,
	.settle = ttys_settle,
	.done = ttys_done,
};
