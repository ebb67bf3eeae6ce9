/* The last steps of a dump: asking the tasks for close-on-exec flags, and writing the images. */
#include "files/dump-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "image/image-set.h"
#include "infect/program.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ----------------------------------------------------------- close-on-exec */

static struct fd_table *table_asked(const struct file_table *t, const struct task *task)
{
	struct fd_table *tab = map_find(&t->by_files_id, (uint64_t)task->ids.files_id + 1);

	return tab && tab->task == task ? tab : NULL;
}

size_t files_ask_size(const struct file_table *t, const struct task *task)
{
	const struct fd_table *tab = table_asked(t, task);

	return tab ? tab->fds.nr * sizeof(struct abi_op) : 0;
}

/* The flag belongs to the descriptor, so no copy has it; /proc/PID/fdinfo shows it, at 8 microseconds each. */
void files_ask(struct file_table *t, struct task *task, struct program *p, struct routine *r)
{
	struct fd_table *tab = table_asked(t, task);

	if (!tab)
		return;
	tab->asked = true;
	tab->routine = r->index;
	tab->first_op = r->ops.nr;
	for (size_t i = 0; i < tab->fds.nr; i++)
		op_result(emit_call(p, r, "descriptor flags", SYS_fcntl, tab->fds.items[i].fd, F_GETFD));
}

int files_answers(struct file_table *t, struct task *task, const struct program *p, struct cr_error *err)
{
	struct fd_table *tab = table_asked(t, task);
	const struct abi_routine *r;
	const struct abi_op *ops;

	if (!tab || !tab->asked)
		return 0;
	r = program_routine(p, tab->routine);
	if (!r || tab->first_op + tab->fds.nr > r->nr_ops)
		return cr_refuse(err, -EBADMSG, "pid %d: questions about descriptors are gone", task->host_pid);
	ops = arena_at(&p->arena, r->ops + tab->first_op * sizeof(*ops), tab->fds.nr * sizeof(*ops));
	if (!ops)
		return cr_refuse(err, -EBADMSG, "pid %d: questions about descriptors are gone", task->host_pid);
	for (size_t i = 0; i < tab->fds.nr; i++) {
		if (ops[i].arg[0] & ~(uint64_t)FD_CLOEXEC)
			return cr_refuse(err, -EBADMSG, "pid %d: flags of fd %d: answer %lld", task->host_pid,
					 tab->fds.items[i].fd, (long long)ops[i].arg[0]);
		tab->fds.items[i].cloexec = ops[i].arg[0];
	}
	return 0;
}

/* --------------------------------------------------------------- files.img */

static int write_files(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_FILES, 0, &w, err);

	for (size_t i = 0; i < t->files.nr && r == 0; i++) {
		const struct open_file *f = t->files.items[i];

		if (f->entry)
			r = image_write(w, f->entry, err);
		if (f->entry && f->also && r == 0)
			r = image_write(w, f->also, err);
	}
	for (size_t i = 0; i < t->links.nr && r == 0; i++)
		r = image_write(w, link_remap_entry(t->links.items[i]), err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

static int write_fdinfo(const struct fd_table *tab, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_FDINFO, tab->files_id, &w, err);

	for (size_t i = 0; i < tab->fds.nr && r == 0; i++) {
		const struct fd_user *u = &tab->fds.items[i];
		img_fdinfo_entry e = { .id = u->file->id, .fd = (uint32_t)u->fd, .flags = u->cloexec ? FD_CLOEXEC : 0 };

		if (!u->file->entry)
			continue;
		e.type = u->file->entry->type;
		r = image_write(w, &e, err);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

static int write_fs(const struct file_table *t, struct image_set *set, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < t->fs_tasks.nr && r == 0; i++)
		r = image_write_single(set, IMG_FS, (uint64_t)t->fs_tasks.items[i]->ns_pid, &t->fs_tasks.items[i]->fs,
				       err);
	return r;
}

static int write_remaps(const struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_REMAP_FPATH, 0, &w, err);

	for (size_t i = 0; i < t->remaps.nr && r == 0; i++)
		r = image_write(w, &t->remaps.items[i], err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

int files_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	const struct file_family *family;
	int r = link_remaps_make(t, err);

	if (r == 0)
		r = write_files(t, set, err);
	for (size_t i = 0; i < t->tables.nr && r == 0; i++)
		r = write_fdinfo(t->tables.items[i], set, err);
	if (r == 0)
		r = write_fs(t, set, err);
	if (r == 0)
		r = write_remaps(t, set, err);
	if (r == 0)
		r = ghosts_write(t, set, err);
	if (r == 0)
		r = pipes_write(t, set, err);
	if (r == 0)
		r = memfds_write(t, set, err);
	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->write)
			r = family->write(t, set, err);
	return r < 0 ? r : locks_write(t, set, err);
}

/* -------------------------------------------------------------------- sink */

static int sink_add(void *arg, struct task *task, int fd, const char *path, uint32_t flags, uint32_t *ret_id,
		    struct cr_error *err)
{
	(void)path; /* the link of @fd says the same, unshortened and unescaped */
	return file_add_path(arg, task, fd, "mapped file", flags, ret_id, err);
}

static int sink_find_socket(void *arg, uint64_t ino, uint64_t len, uint32_t *ret_id)
{
	const struct file_table *t = arg;

	for (size_t i = 0; i < t->files.nr; i++) {
		const struct open_file *f = t->files.items[i];

		if (!S_ISSOCK(f->facts.st.st_mode) || f->facts.st.st_ino != ino || !f->entry || f->map_len != len)
			continue;
		*ret_id = f->id;
		return 0;
	}
	return 1;
}

struct file_sink files_sink(struct file_table *t)
{
	return (struct file_sink){
		.add = sink_add, .add_memfd = memfd_sink_add, .find_socket = sink_find_socket, .arg = t
	};
}
