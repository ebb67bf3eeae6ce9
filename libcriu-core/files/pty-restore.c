/*
 * Pseudo terminals at restore. The kernel gives the lowest free number to a new pair, so numbers are reached by making
 * pairs and giving those back that are not wanted. Everything about a pair is settled by the coordinator but the
 * session that it belongs to, which its leader takes it for, before it has children to pass it on to.
 */
#include "files/tty-info.h"

#include "base/own.h"
#include "files/tty-line.h"
#include "image/image-set.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct restored_pty {
	uint32_t index;
	const char *ptmx;                      /* path that its master was opened by */
	img_tty_info_entry *info, *master_info; /* NULL: no such entry */
	img_tty_data_entry *input, *output;
	const struct restored_file *node; /* path of a slave, NULL */
	bool has_master, has_slave, has_hung_up;
	bool orphan; /* made for somebody else, who has the master */
	int master, slave; /* ours, -1 */
};
DEFINE_VEC(restored_pty_vec, struct restored_pty *)

DEFINE_VEC(tty_data_vec, img_tty_data_entry *)
DEFINE_VEC(spare_vec, int)

struct pty_set {
	struct restored_pty_vec ptys;
	struct map by_index; /* index + 1 -> struct restored_pty */
	struct tty_data_vec data;
};

static struct restored_pty *pty_find(const struct files *fs, uint32_t index)
{
	return fs->ptys ? map_find(&fs->ptys->by_index, (uint64_t)index + 1) : NULL;
}

static img_tty_info_entry *info_find(const struct files *fs, uint32_t id)
{
	return map_find(&fs->tty_by_id, (uint64_t)id + 1);
}

/* ----------------------------------------------------------------- reading */

static struct restored_pty *pty_get(struct files *fs, uint32_t index)
{
	struct restored_pty *p = pty_find(fs, index), **at;

	if (p)
		return p;
	p = pool_new(&fs->pool, struct restored_pty);
	at = p ? restored_pty_vec_add(&fs->ptys->ptys) : NULL;
	if (!at || map_put(&fs->ptys->by_index, (uint64_t)index + 1, p) < 0)
		return NULL;
	*at = p;
	p->index = index;
	p->ptmx = "/dev/ptmx";
	p->master = p->slave = -1;
	p->info = info_find(fs, index << 1);
	p->master_info = info_find(fs, index << 1 | 1);
	return p;
}

/* Other writers of images have one word for it: nothing can be asked of a terminal that was hung up. */
static bool is_hung_up(const img_tty_file_entry *e, const img_tty_info_entry *info)
{
	return !(e->tty_info_id & 1) && (!info->termios || (e->ext && e->ext->has_hung_up && e->ext->hung_up));
}

static int end_read(struct files *fs, const img_tty_file_entry *e, const img_tty_info_entry *info, struct cr_error *err)
{
	const struct restored_file *path = e->has_regf_id ? files_find(fs, e->regf_id) : NULL;
	struct restored_pty *p;

	if (info->id >> 1 > TTY_INDEX_MAX || (info->pty && info->pty->index != info->id >> 1))
		return cr_refuse(err, -EBADMSG, "pseudo terminal with number %u", info->id >> 1);
	p = pty_get(fs, info->id >> 1);
	if (!p)
		return files_no_memory(err);
	if (!(info->id & 1)) {
		p->node = path;
		if (is_hung_up(e, info))
			p->has_hung_up = true;
		else
			p->has_slave = true;
		return 0;
	}
	if (p->has_master)
		return cr_refuse(err, -EBADMSG, "pseudo terminal %u has two masters", p->index);
	p->has_master = true;
	if (path)
		p->ptmx = path->entry->reg->name;
	return 0;
}

static int data_check(const img_tty_data_entry *e, struct cr_error *err)
{
	size_t sum = 0;

	for (size_t i = 0; e->ext && i < e->ext->lines.nr; i++)
		sum += e->ext->lines.items[i];
	if (e->data.len > TTY_QUEUE_MAX || (e->ext && (e->ext->lines.nr > TTY_LINES_MAX || sum > e->data.len)))
		return cr_refuse(err, -EBADMSG, "unread data of terminal %u: %zu bytes in %zu lines of %zu bytes", e->tty_id,
				 e->data.len, e->ext ? e->ext->lines.nr : 0, sum);
	return 0;
}

/* Takes @e over. */
static int data_add(struct files *fs, img_tty_data_entry *e, struct cr_error *err)
{
	img_tty_data_entry **at = tty_data_vec_add(&fs->ptys->data);
	struct restored_pty *p = pty_find(fs, e->tty_id >> 1);
	int r;

	if (!at) {
		img_entry_free(e);
		return files_no_memory(err);
	}
	*at = e;
	r = data_check(e, err);
	if (r < 0)
		return r;
	if (!p || !p->has_master)
		return cr_refuse(err, -EBADMSG, "unread data of terminal %u, which is not there", e->tty_id);
	*(e->tty_id & 1 ? &p->output : &p->input) = e;
	return 0;
}

static int data_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_TTY_DATA, 0, &rd, err);

	while (rd && r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = data_add(fs, entry, err);
	return r < 0 ? cr_within(err, r, "tty-data.img") : 0;
}

int ptys_read(struct files *fs, struct cr_error *err)
{
	int r = 0;

	if (!fs->ttys.nr)
		return 0;
	fs->ptys = calloc(1, sizeof(*fs->ptys));
	if (!fs->ptys)
		return files_no_memory(err);
	for (size_t i = 0; i < fs->files.nr && r == 0; i++) {
		const struct restored_file *f = fs->files.items[i];
		const img_tty_info_entry *info;

		if (f->entry->type != img_fd_types_TTY || !f->used)
			continue;
		info = info_find(fs, f->entry->tty->tty_info_id);
		if (info->type == img_TtyType_PTY)
			r = end_read(fs, f->entry->tty, info, err);
	}
	return r < 0 ? r : data_read(fs, err);
}

bool pty_is_made(const struct files *fs, const img_tty_file_entry *e)
{
	const img_tty_info_entry *info = info_find(fs, e->tty_info_id);
	const struct restored_pty *p = info->type == img_TtyType_PTY ? pty_find(fs, info->id >> 1) : NULL;

	return p && (p->has_master || is_hung_up(e, info));
}

/* ------------------------------------------------------------------ making */

static int master_new(const struct files *fs, const char *path, uint32_t *ret_index, struct cr_error *err)
{
	autofd int fd = path_open_at(fs, path, O_RDWR | O_NOCTTY, 0, err);
	int no = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, TIOCGPTN, ret_index) < 0 || ioctl(fd, TIOCSPTLCK, &no) < 0)
		return cr_fail(err, -errno, "new pseudo terminal from %s", path);
	return take_fd(&fd);
}

#define LARGE_FILE 0100000u /* O_LARGEFILE of the kernel; for the C library it is 0 where all files are */

/*
 * From a master, without a path (Linux 4.13): whose mount namespace it was made in does not matter. Two things show of what
 * was opened in this way (ptm_open_peer() in drivers/tty/pty.c): O_LARGEFILE, which open(2) always sets on 64 bits, is not
 * set; and O_CLOEXEC would stay among the flags of the description.
 */
static int slave_of(int master, uint32_t flags, struct cr_error *err)
{
	autofd int fd = -1;

	if (!(flags & LARGE_FILE)) {
		int own = ioctl(master, TIOCGPTPEER, (flags & ~(uint32_t)O_ASYNC) | O_NOCTTY);

		if (own >= 0 && fcntl(own, F_SETFD, FD_CLOEXEC) == 0)
			return own;
		return cr_fail(err, -errno, "open the slave of a pseudo terminal");
	}
	fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? cr_fail(err, -errno, "open the slave of a pseudo terminal") : fd_reopen(fd, open_flags(flags), err);
}

static int by_path_and_index(const void *a, const void *b)
{
	const struct restored_pty *x = *(struct restored_pty *const *)a, *y = *(struct restored_pty *const *)b;
	int r = strcmp(x->ptmx, y->ptmx);

	return r ? r : x->index < y->index ? -1 : x->index > y->index;
}

/* Pairs of one instance, ascending. Return: 0; negative errno. Without a master afterwards: whose number is taken. */
static int make_numbered(struct files *fs, struct restored_pty **v, size_t nr, struct spare_vec *spares)
{
	struct cr_error why = { 0 };
	size_t i = 0;

	while (i < nr) {
		uint32_t index;
		autofd int fd = master_new(fs, v[i]->ptmx, &index, &why);
		int *spare;

		if (fd < 0)
			return 0; /* there are no more; who is left tries for any number, and says why not */
		while (i < nr && v[i]->index < index)
			i++;
		if (i < nr && v[i]->index == index) {
			v[i++]->master = take_fd(&fd);
			continue;
		}
		spare = spare_vec_add(spares);
		if (!spare)
			return -ENOMEM;
		*spare = take_fd(&fd);
	}
	return 0;
}

static int make_group(struct files *fs, struct restored_pty **v, size_t nr, struct cr_error *err)
{
	struct spare_vec spares = { 0 };
	int r = make_numbered(fs, v, nr, &spares);

	for (size_t i = 0; i < spares.nr; i++)
		close(spares.items[i]);
	spare_vec_done(&spares);
	if (r < 0)
		return files_no_memory(err);
	for (size_t i = 0; i < nr; i++) {
		uint32_t index;

		if (v[i]->master >= 0)
			continue;
		v[i]->master = master_new(fs, v[i]->ptmx, &index, err);
		if (v[i]->master < 0)
			return v[i]->master;
		log_warn(&fs->ctx->log, "pseudo terminal %u: its number is taken, continuing as number %u", v[i]->index,
			 index);
	}
	return 0;
}

/* What was hung up has to be so before others open the same terminal. */
static int hang_up(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		struct restored_file *f = fs->files.items[i];
		const img_tty_file_entry *e = f->entry->tty;
		const img_tty_info_entry *info = f->entry->type == img_fd_types_TTY ? info_find(fs, e->tty_info_id) : NULL;

		if (!info || !f->used || info->type != img_TtyType_PTY || !is_hung_up(e, info))
			continue;
		f->fd = slave_of(pty_find(fs, info->id >> 1)->master, e->flags, err);
		if (f->fd >= 0 && e->fown->signum && fcntl(f->fd, F_SETSIG, e->fown->signum) < 0)
			return cr_fail(err, -errno, "signal of asynchronous I/O");
		if (f->fd < 0)
			return f->fd;
	}
	for (size_t i = 0; i < fs->ptys->ptys.nr; i++) {
		struct restored_pty *p = fs->ptys->ptys.items[i];
		autofd int slave = -1;

		if (!p->has_hung_up)
			continue;
		if (!p->has_master) {
			close(take_fd(&p->master));
			continue;
		}
		slave = slave_of(p->master, O_RDWR | LARGE_FILE, err);
		if (slave < 0)
			return slave;
		if (ioctl(slave, TIOCVHANGUP) < 0) /* CAP_SYS_ADMIN */
			return cr_fail(err, -errno, "hang up pseudo terminal %u", p->index);
	}
	return 0;
}

int ptys_make(struct files *fs, struct cr_error *err)
{
	autofree struct restored_pty **v = NULL;
	size_t nr = 0;
	int r = 0;

	if (!fs->ptys || !fs->ptys->ptys.nr)
		return 0;
	v = calloc(fs->ptys->ptys.nr, sizeof(struct restored_pty *));
	if (!v)
		return files_no_memory(err);
	for (size_t i = 0; i < fs->ptys->ptys.nr; i++)
		if (fs->ptys->ptys.items[i]->has_master || fs->ptys->ptys.items[i]->has_hung_up)
			v[nr++] = fs->ptys->ptys.items[i];
	qsort(v, nr, sizeof(struct restored_pty *), by_path_and_index);
	for (size_t i = 0, end; i < nr && r == 0; i = end) {
		for (end = i + 1; end < nr && strcmp(v[end]->ptmx, v[i]->ptmx) == 0; end++)
			;
		r = make_group(fs, v + i, end - i, err);
	}
	return r < 0 ? r : hang_up(fs, err);
}

int pty_open(struct files *fs, const img_tty_file_entry *e, struct cr_error *err)
{
	const struct restored_pty *p = pty_find(fs, e->tty_info_id >> 1);
	autofd int fd = -1;
	int r;

	if (!(e->tty_info_id & 1))
		return slave_of(p->master, e->flags, err);
	fd = fcntl(p->master, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return cr_fail(err, -errno, "duplicate the master of pseudo terminal %u", p->index);
	r = fd_set_flags(fd, e->flags, err);
	return r < 0 ? r : take_fd(&fd);
}

int pty_orphan(struct files *fs, const img_tty_info_entry *info, uint32_t flags, struct cr_error *err)
{
	const struct cr_observer *obs = fs->ctx->obs;
	struct restored_pty *p = pty_find(fs, info->id >> 1);
	uint32_t index;
	int r;

	if (p->orphan)
		return fd_reopen(p->slave, open_flags(flags), err);
	if (!obs->give_fd)
		return -ECANCELED;
	autofd int master = master_new(fs, p->ptmx, &index, err);
	if (master < 0)
		return master;
	autofd int slave = slave_of(master, O_RDWR | LARGE_FILE, err);
	if (slave < 0)
		return slave;
	r = tty_settings(master, info, err);
	if (r < 0)
		return r;
	r = obs->give_fd(obs->arg, "orphan-pts-master", master);
	if (r < 0)
		return r == -ECANCELED ? r : cr_fail(err, r, "give the master of a pseudo terminal away");
	p->orphan = true;
	p->slave = take_fd(&slave);
	return fd_reopen(p->slave, open_flags(flags), err);
}

/* ---------------------------------------------------------------- settling */

static int node_settle(const struct restored_pty *p, struct cr_error *err)
{
	const img_reg_file_entry *path = p->node ? p->node->entry->reg : NULL;
	const img_tty_info_entry *e = p->info;

	if (!e)
		return 0;
	if (e->has_uid && e->has_gid && fchown(p->slave, e->uid, e->gid) < 0)
		return cr_fail(err, -errno, "owner of pseudo terminal %u", p->index);
	if (path && path->has_mode && fchmod(p->slave, path->mode & 07777) < 0)
		return cr_fail(err, -errno, "mode of pseudo terminal %u", p->index);
	return 0;
}

static void input_lines(const img_tty_data_entry *e, struct tty_queues *q)
{
	if (e->ext) {
		q->nr_lines = e->ext->lines.nr;
		memcpy(q->lines, e->ext->lines.items, q->nr_lines * sizeof(q->lines[0]));
		return;
	}
	for (size_t i = 0, from = 0; i < q->nr_input && q->nr_lines < TTY_LINES_MAX; i++)
		if (q->input[i] == '\n') {
			q->lines[q->nr_lines++] = (uint32_t)(i + 1 - from);
			from = i + 1;
		}
}

static int queues_settle(const struct restored_pty *p, struct cr_error *err)
{
	autofree struct tty_queues *q = malloc(sizeof(*q));
	const img_tty_info_entry *modes = p->info && p->info->termios ? p->info : p->master_info;
	const img_tty_info_ext *ext = p->master_info ? p->master_info->ext : NULL;

	if (!q)
		return files_no_memory(err);
	q->nr_output = p->output ? p->output->data.len : 0;
	q->nr_input = p->input ? p->input->data.len : 0;
	q->nr_lines = 0;
	q->stop = ext && ext->has_output_stopped && ext->output_stopped <= TTY_STOPPED_BY_CALL ?
			  (enum tty_stop)ext->output_stopped :
			  TTY_RUNS;
	q->by_lines = modes && modes->termios && modes->termios->c_lflag & ICANON && !(modes->termios->c_lflag & EXTPROC);
	if (q->nr_output)
		memcpy(q->output, p->output->data.data, q->nr_output);
	if (q->nr_input)
		memcpy(q->input, p->input->data.data, q->nr_input);
	if (p->input && q->by_lines)
		input_lines(p->input, q);
	return tty_queues_fill(p->master, p->slave, q, err);
}

static int exclude(int fd, const img_tty_info_entry *e, struct cr_error *err)
{
	if (e && e->exclusive && ioctl(fd, TIOCEXCL) < 0)
		return cr_fail(err, -errno, "exclusive use of a terminal");
	return 0;
}

static int master_settle(const struct restored_pty *p, struct cr_error *err)
{
	int yes = 1;
	int r = exclude(p->master, p->master_info, err);

	if (r == 0 && p->master_info && p->master_info->packet_mode && ioctl(p->master, TIOCPKT, &yes) < 0)
		r = cr_fail(err, -errno, "packet mode of pseudo terminal %u", p->index);
	if (r == 0 && p->master_info && p->master_info->locked && ioctl(p->master, TIOCSPTLCK, &yes) < 0)
		r = cr_fail(err, -errno, "lock of pseudo terminal %u", p->index);
	return r;
}

static int pty_settle(struct files *fs, struct restored_pty *p, struct cr_error *err)
{
	const img_tty_info_ext *ext = p->master_info ? p->master_info->ext : NULL;
	const img_tty_info_entry *owned = p->info && p->info->sid ? p->info : p->master_info;
	bool was_open = p->has_slave || p->has_hung_up || (ext && ext->has_slave_closed && ext->slave_closed) ||
			(owned && owned->sid);
	const img_tty_info_entry *modes = p->info && p->info->termios ? p->info : p->master_info;
	int r = modes ? tty_settings(p->master, modes, err) : 0;

	/* the first time that a slave is opened makes a difference that its master sees */
	if (r == 0 && was_open) {
		p->slave = slave_of(p->master, O_RDWR | O_NONBLOCK | LARGE_FILE, err);
		r = p->slave < 0 ? p->slave : node_settle(p, err);
		if (r == 0)
			r = queues_settle(p, err);
		if (r == 0)
			r = exclude(p->slave, p->info, err);
		if (r == 0)
			r = terminal_add(fs, owned, p->slave, false, err);
	}
	if (r == 0)
		r = master_settle(p, err);
	if (p->slave >= 0 && !(owned && owned->sid))
		close(take_fd(&p->slave));
	return cr_within(err, r, "pseudo terminal %u", p->index);
}

/* Those that come from outside, or are devices. */
static int others_settle(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++) {
		const struct restored_file *f = fs->files.items[i];
		const img_tty_info_entry *e;
		const struct restored_pty *p;
		pid_t session;

		if (f->entry->type != img_fd_types_TTY || f->fd < 0 || pty_is_made(fs, f->entry->tty))
			continue;
		e = info_find(fs, f->entry->tty->tty_info_id);
		p = e->type == img_TtyType_PTY ? pty_find(fs, e->id >> 1) : NULL;
		if (e->sid && ioctl(f->fd, TIOCGSID, &session) == 0)
			log_warn(&fs->ctx->log,
				 "session %u: its terminal is that of session %d here, continuing without a controlling one",
				 e->sid, (int)session);
		else
			r = terminal_add(fs, e, f->fd, !(p && p->orphan), err);
	}
	return r;
}

int ttys_settle(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; fs->ptys && i < fs->ptys->ptys.nr && r == 0; i++)
		if (fs->ptys->ptys.items[i]->has_master)
			r = pty_settle(fs, fs->ptys->ptys.items[i], err);
	return fs->ptys && r == 0 ? others_settle(fs, err) : r;
}

void ttys_done(struct files *fs)
{
	if (!fs->ptys)
		return;
	for (size_t i = 0; i < fs->ptys->ptys.nr; i++) {
		struct restored_pty *p = fs->ptys->ptys.items[i];

		if (p->slave >= 0)
			close(p->slave);
		if (p->master >= 0)
			close(p->master);
	}
	for (size_t i = 0; i < fs->ptys->data.nr; i++)
		img_entry_free(fs->ptys->data.items[i]);
	restored_pty_vec_done(&fs->ptys->ptys);
	tty_data_vec_done(&fs->ptys->data);
	terminals_done(fs);
	map_done(&fs->ptys->by_index);
	free(fs->ptys);
	fs->ptys = NULL;
}
