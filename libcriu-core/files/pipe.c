/* Pipes made by pipe2(2), and named pipes (FIFOs). What is in them is in pipe-data.c and pipe-restore.c. */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>

/* -------------------------------------------------------------------- pipe */

static bool pipe_claims(const struct file_facts *facts)
{
	return S_ISFIFO(facts->st.st_mode) && facts->fs_type == PIPEFS_MAGIC && !(facts->flags & O_PATH);
}

/* Its owner and mode say who may open it through /proc/PID/fd, as /dev/stdout is. */
static int owner_dump(struct file_table *t, const struct stat *st, img_pipe_entry *e, struct cr_error *err)
{
	if (!st->st_uid && !st->st_gid && (st->st_mode & 07777) == 0600)
		return 0;
	e->ext = pool_new(&t->pool, img_pipe_ext);
	if (!e->ext)
		return pool_failed(err);
	*e->ext = (img_pipe_ext){ .has_uid = true, .uid = st->st_uid, .has_gid = true, .gid = st->st_gid,
				  .has_mode = true, .mode = st->st_mode & 07777 };
	return 0;
}

static int pipe_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_pipe_entry *e = pool_new(&t->pool, img_pipe_entry);
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_PIPE, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->entry->pipe = e;
	r = owner_dump(t, &f->facts.st, e, err);
	return r < 0 ? r : pipe_note(t, f, false, &e->pipe_id, err);
}

static int pipe_check(const img_file_entry *e, struct cr_error *err)
{
	if ((e->pipe->flags & O_ACCMODE) == O_ACCMODE)
		return cr_refuse(err, -EBADMSG, "pipe %u has open flags 0x%x", e->id, e->pipe->flags);
	if (e->pipe->ext && e->pipe->ext->mode & ~07777u)
		return cr_refuse(err, -EBADMSG, "pipe %u has mode 0%o", e->id, e->pipe->ext->mode);
	return fown_check(e->pipe->fown, err);
}

static int pipe_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_pipe_entry *e = f->entry->pipe;
	autofd int fd = pipe_open_end(fs, e, err);

	if (fd < 0)
		return fd;
	return fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops pipe_ops = {
	.name = "pipe",
	.type = img_fd_types_PIPE,
	.claims = pipe_claims,
	.dump = pipe_dump,
	.check = pipe_check,
	.open = pipe_open,
};

/* -------------------------------------------------------------------- fifo */

static bool fifo_claims(const struct file_facts *facts)
{
	return S_ISFIFO(facts->st.st_mode) && facts->fs_type != PIPEFS_MAGIC && !(facts->flags & O_PATH);
}

/* Flags, position and owner are in the entry of its path, which has an id of its own. */
static int fifo_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_fifo_entry *e = pool_new(&t->pool, img_fifo_entry);
	int r;

	f->entry = file_entry_new(t, img_fd_types_FIFO, f->id, err);
	if (!f->entry || !e)
		return pool_failed(err);
	f->also = file_entry_new(t, img_fd_types_REG, file_next_id(t), err);
	if (!f->also)
		return -ENOMEM;
	e->id = f->id;
	e->has_regf_id = true;
	e->regf_id = f->also->id;
	f->entry->fifo = e;
	f->facts.pos = 0;
	r = path_dump(t, f, f->also->id, f->facts.flags, false, &f->also->reg, err);
	return r != 0 ? r : pipe_note(t, f, true, &e->pipe_id, err);
}

static int fifo_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_fifo_entry *e = f->entry->fifo;
	struct restored_file *path = files_find(fs, e->has_regf_id ? e->regf_id : e->id);
	const img_reg_file_entry *reg = path->entry->reg;
	autofd int fd = inherit_find(fs, reg->name + 1, S_IFIFO, reg->flags, err);

	if (fd == -ENOENT)
		fd = fifo_open_end(fs, e->pipe_id, path, reg->flags, err);
	if (fd < 0)
		return fd;
	return fown_finish(take_fd(&fd), reg->fown, err);
}

static const img_fown_entry *fifo_fown(const struct files *fs, const img_file_entry *e)
{
	return files_find(fs, e->fifo->has_regf_id ? e->fifo->regf_id : e->id)->entry->reg->fown;
}

const struct file_ops fifo_ops = {
	.name = "fifo",
	.type = img_fd_types_FIFO,
	.claims = fifo_claims,
	.dump = fifo_dump,
	.open = fifo_open,
	.fown = fifo_fown,
};
