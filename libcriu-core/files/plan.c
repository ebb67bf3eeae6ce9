/* From checked entries to open descriptors in the coordinator, and to the operations that bring them into each task. */
#include "files/restore-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "files/own-table.h"
#include "infect/parallel.h"
#include "infect/program.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -------------------------------------------------------------------- open */

/*
 * Tasks whose root is the root we have ourselves, or that of the mount namespace that they are born into, are not made to
 * chroot(2), which needs a privilege.
 */
static bool is_own_root(const struct files *fs, const struct restored_file *f)
{
	struct statx here, there;
	int r = fs->root_fd < 0 ? statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &here) :
				  statx(fs->root_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &here);

	if (r < 0 ||
	    statx(f->fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &there) < 0)
		return false;
	return here.stx_ino == there.stx_ino && here.stx_dev_major == there.stx_dev_major &&
	       here.stx_dev_minor == there.stx_dev_minor && here.stx_mnt_id == there.stx_mnt_id;
}

/* Room for all descriptions here, and for the highest number in any task, which inherits our limit. */
static int raise_limit(const struct files *fs, struct cr_error *err)
{
	uint64_t need = 0, top = 0;
	bool full = true; /* is every number up to the highest enough? */
	struct rlimit rl;

	for (size_t i = 0; i < fs->files.nr; i++)
		need += fs->files.items[i]->used || fs->files.items[i]->is_dir_ref ? 1 : 0;
	need += fs->files.nr + 64; /* at worst each is mapped as well; and what else is open */
	for (size_t i = 0; i < fs->tables.nr; i++) {
		const struct restored_table *tab = fs->tables.items[i];
		uint64_t last = tab->want.nr ? (uint64_t)tab->want.items[tab->want.nr - 1].fd : 0;

		top = last > top ? last : top;
		top = (uint64_t)tab->service > top ? (uint64_t)tab->service : top;
	}
	for (size_t i = 0; i < fs->tasks.nr; i++)
		full &= strcmp(files_find(fs, fs->tasks.items[i]->fs->root_id)->entry->reg->name, "/") == 0;
	/* entering another root directory takes one number more, see files_plan() */
	top += full ? 0 : 1;
	need = need > top + 1 ? need : top + 1;
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return cr_fail(err, -errno, "limit of open files");
	if (rl.rlim_cur >= need)
		return 0;
	if (rl.rlim_max < need)
		rl.rlim_max = need; /* needs CAP_SYS_RESOURCE */
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) == 0)
		return 0;
	/* without that privilege try with what there is: the estimate is generous */
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return cr_fail(err, -errno, "limit of open files");
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
		return cr_fail(err, -errno, "raise the limit of open files");
	if (rl.rlim_cur < top + 1) {
		cr_refuse(err, -EMFILE, "descriptor %llu is needed, but %llu descriptors are allowed here",
			  (unsigned long long)top, (unsigned long long)rl.rlim_cur);
		cr_advise(err, "raise the hard limit of open files (ulimit -Hn)");
		return -EMFILE;
	}
	return 0;
}

static int open_one(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	int fd = f->used && !f->late ? f->ops->open(fs, f, err)
				     : path_open(fs, f, O_PATH | O_DIRECTORY | O_CLOEXEC, err);

	if (fd < 0)
		return cr_within(err, fd, "file %u", f->id);
	f->fd = fd;
	return 0;
}

#define OPEN_CHUNK 128u

/* Files that are opened by their own path depend on nothing but the path: two threads halve the time of a large table. */
static int open_chunk(void *arg, size_t chunk, struct cr_error *err)
{
	struct files *fs = arg;
	size_t end = (chunk + 1) * OPEN_CHUNK < fs->files.nr ? (chunk + 1) * OPEN_CHUNK : fs->files.nr;
	int r = 0;

	for (size_t i = chunk * OPEN_CHUNK; i < end && r == 0; i++) {
		struct restored_file *f = fs->files.items[i];

		if (f->used && !f->late && f->entry->type == img_fd_types_REG && !f->ghost && !f->link)
			r = open_one(fs, f, err);
	}
	return r;
}

int files_open(struct files *fs, int root_fd, struct cr_error *err)
{
	const struct file_family *family;
	int r = raise_limit(fs, err);

	if (r == 0)
		r = inherit_begin(fs, err);
	fs->root_fd = root_fd;
	own_table_grow(fs->files.nr);
	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->make)
			r = family->make(fs, err);
	if (r == 0)
		r = parallel_pieces((fs->files.nr + OPEN_CHUNK - 1) / OPEN_CHUNK, open_chunk, fs, err);
	for (size_t i = 0; i < fs->files.nr && r == 0; i++)
		if (fs->files.items[i]->fd < 0 && !fs->files.items[i]->late &&
		    (fs->files.items[i]->is_dir_ref || fs->files.items[i]->used))
			r = open_one(fs, fs->files.items[i], err);
	if (r == 0)
		r = memfds_make(fs, err);
	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->settle)
			r = family->settle(fs, err);
	if (r == 0)
		r = locks_settle(fs, err);
	if (r == 0)
		pipes_settle(fs);
	if (r == 0)
		inherit_end(fs);
	return r;
}

/* ------------------------------------------------------------- for mappings */

static int opener_open(void *arg, uint32_t id, uint32_t flags, struct cr_error *err)
{
	struct files *fs = arg;
	struct restored_file *f = files_find(fs, id);
	bool rw = (flags & O_ACCMODE) == O_RDWR;
	const struct restored_file *leased;
	int *at, r;

	if (!f)
		return cr_refuse(err, -EBADMSG, "file %u is mapped but not there", id);
	if (f->entry->type == img_fd_types_PACKETSK && f->fd >= 0)
		return f->fd;
	at = &f->map_fd[rw];
	if (*at >= 0)
		return *at;
	/* a lease for writing is given to who has the file open alone: it was mapped through that very description */
	leased = lease_holder(fs, f);
	if (leased && leased->fd >= 0 && (!rw || (entry_flags(leased->entry) & O_ACCMODE) == O_RDWR))
		return leased->fd;
	flags = (rw ? O_RDWR : flags & O_ACCMODE) | O_CLOEXEC;
	if (f->entry->type == img_fd_types_MEMFD)
		*at = memfd_open_id(fs, f->entry->memfd->inode_id, flags, err);
	else if (f->entry->type == img_fd_types_REG)
		*at = path_open(fs, f, flags, err);
	else
		return cr_refuse(err, -ENOTSUP, "file %u of type %s cannot be mapped", id,
				 entry_type_name(f->entry->type));
	if (*at < 0)
		return cr_within(err, *at, "mapped file %u", id);
	if (f->entry->type != img_fd_types_REG)
		return *at;
	r = reg_validate(fs, f->entry->reg, *at, f->ghost || f->link, err);
	return r < 0 ? r : *at;
}

struct file_opener files_opener(struct files *fs)
{
	return (struct file_opener){ .open = opener_open, .arg = fs };
}

/* ------------------------------------------------------------------- plans */

int files_service_fd(const struct files *fs, pid_t ns_pid)
{
	const struct restored_task *t = files_task(fs, ns_pid);

	return t ? t->table->service : 0;
}

pid_t files_table_owner(const struct files *fs, pid_t ns_pid)
{
	const struct restored_task *t = files_task(fs, ns_pid);

	return t ? t->table->owner : ns_pid;
}

void files_plan_enter(const struct files *fs, pid_t ns_pid, int from, struct program *p, struct routine *r)
{
	const struct restored_task *t = files_task(fs, ns_pid);
	int service;

	if (!t || t->table->owner != ns_pid)
		return; /* the table is another's, and ready */
	service = t->table->service;
	if (from != service)
		op_keep(emit_call(p, r, "move the service descriptor", SYS_dup3, from, service, O_CLOEXEC), SLOT_PIDFD);
	if (service > 0)
		emit_call(p, r, "close inherited descriptors", __NR_close_range, 0, service - 1, 0);
	emit_call(p, r, "close inherited descriptors", __NR_close_range, service + 1, UINT_MAX, 0);
}

struct fd_emitter {
	const struct files *fs;
	const struct restored_table *tab;
	struct program *p;
	struct routine *r;
	size_t count; /* of operations, when p is NULL */
};

/* The descriptor arrives at @fd, close-on-exec */
static void emit_take(struct fd_emitter *e, const struct restored_file *f, int fd)
{
	if (f->late)
		f->ops->arrive(e->fs, f, fd, e->p, e->r);
	else
		op_equal(emit_call(e->p, e->r, "take a descriptor", __NR_pidfd_getfd, e->tab->service, f->fd, 0),
			 (uint64_t)fd);
}

static void emit_step(void *arg, const struct place_step *s)
{
	struct fd_emitter *e = arg;
	const img_fdinfo_entry *info;
	bool cloexec;

	if (!e->p) {
		e->count += s->kind == PLACE_TAKE ? 2 : 1;
		return;
	}
	switch (s->kind) {
	case PLACE_TAKE:
		info = e->tab->fds.items[s->want];
		emit_take(e, files_find(e->fs, info->id), s->fd);
		/* it arrives with close-on-exec set */
		if (s->final && !(info->flags & FD_CLOEXEC))
			emit_call(e->p, e->r, "clear close-on-exec", SYS_fcntl, s->fd, F_SETFD, 0);
		break;
	case PLACE_DUP:
		cloexec = e->tab->fds.items[s->want]->flags & FD_CLOEXEC;
		emit_call(e->p, e->r, "place a descriptor", SYS_dup3, s->from, s->fd, cloexec ? O_CLOEXEC : 0);
		break;
	case PLACE_PLUG:
		op_equal(emit_call(e->p, e->r, "hold a descriptor number", SYS_fcntl, e->tab->service, F_DUPFD_CLOEXEC,
				   s->fd),
			 (uint64_t)s->fd);
		break;
	case PLACE_CLOSE:
		emit_call(e->p, e->r, "free descriptor numbers", __NR_close_range, s->fd, s->last, 0);
		break;
	}
}

static void take_to_slot(const struct restored_table *tab, int fd, struct program *p, struct routine *r)
{
	op_keep(emit_call(p, r, "take a directory", __NR_pidfd_getfd, tab->service, fd, 0), SLOT_TMP);
}

static void plan_fs(const struct files *fs, const struct restored_task *t, struct program *p, struct routine *r)
{
	const struct restored_file *root = files_find(fs, t->fs->root_id), *cwd = files_find(fs, t->fs->cwd_id);
	const char *name = cwd->late ? cwd->entry->reg->name : NULL;
	unsigned int at = name ? SLOT_TMP2 : SLOT_TMP;

	/* below /proc of the tree: by its name, which may lead nowhere in another root */
	if (name)
		op_keep(emit_call(p, r, "open a directory of procfs", SYS_openat, AT_FDCWD,
				  emit_data(p, r, name, strlen(name) + 1, 1), O_PATH | O_DIRECTORY | O_CLOEXEC),
			SLOT_TMP2);
	if (!is_own_root(fs, root)) {
		take_to_slot(t->table, root->fd, p, r);
		op_from_slot(emit_call(p, r, "enter the root directory", SYS_fchdir, SLOT_TMP), 0);
		op_from_slot(emit_call(p, r, "close the root directory", SYS_close, SLOT_TMP), 0);
		emit_call(p, r, "change root", SYS_chroot, emit_data(p, r, ".", 2, 1));
	}
	if (!name)
		take_to_slot(t->table, cwd->fd, p, r);
	op_from_slot(emit_call(p, r, "enter the working directory", SYS_fchdir, at), 0);
	op_from_slot(emit_call(p, r, "close the working directory", SYS_close, at), 0);
	if (t->fs->has_umask)
		emit_call(p, r, "umask", SYS_umask, t->fs->umask);
}

void files_plan(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	const struct restored_task *t = files_task(fs, ns_pid);
	struct fd_emitter e = { .fs = fs, .p = p, .r = r };
	bool early;
	int n = 0;

	if (!t)
		return;
	e.tab = t->table;
	/* The directories pass through a free descriptor. A full table has none later; but files of procfs need our own root. */
	terminal_plan(fs, ns_pid, p, r);
	early = is_own_root(fs, files_find(fs, t->fs->root_id));
	if (early)
		plan_fs(fs, t, p, r);
	if (t->table->owner == ns_pid)
		n = place_plan(t->table->want.items, t->table->want.nr, t->table->service, emit_step, &e);
	if (n < 0 && !r->error)
		r->error = n;
	if (!early)
		plan_fs(fs, t, p, r);
}

/* ---------------------------------------------------------- late: owners etc. */

/*
 * F_SETOWN_EX records the caller's ids for the permission check of each signal. They are borrowed for the call; the
 * saved uid stays ours, so that the way back is open. Changing ids clears the parent-death signal, which must hold.
 */
static void plan_owner(const img_fown_entry *o, int fd, struct program *p, struct routine *r)
{
	struct f_owner_ex ex = { .type = (int)o->pid_type, .pid = (pid_t)o->pid };
	bool borrow = o->uid != getuid() || o->euid != geteuid();
	uid_t me = geteuid();

	if (borrow)
		emit_call(p, r, "ids of the owner of asynchronous I/O", SYS_setresuid, o->uid, o->euid, me);
	emit_call(p, r, "owner of asynchronous I/O", SYS_fcntl, fd, F_SETOWN_EX, emit_data(p, r, &ex, sizeof(ex), 8));
	if (!borrow)
		return;
	emit_call(p, r, "own ids again", SYS_setresuid, getuid(), me, me);
	emit_call(p, r, "die with the coordinator", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
}

void owner_plan(const struct files *fs, const struct restored_file *f, int fd, struct program *p, struct routine *r)
{
	const img_fown_entry *o = file_fown(fs, f);

	if (o && o->pid)
		plan_owner(o, fd, p, r);
}

/* Return: flags with O_ASYNC to be set, 0 if it is not set */
static uint32_t settle_async(const struct files *fs, const struct restored_file *f)
{
	const img_file_entry *e = f->entry;
	uint32_t flags = entry_flags(e);

	if (e->type == img_fd_types_FIFO)
		flags = files_find(fs, e->fifo->has_regf_id ? e->fifo->regf_id : e->id)->entry->reg->flags;
	if (e->type == img_fd_types_REG && async_at_open(e->reg))
		return 0;
	return flags & O_ASYNC && !(flags & O_PATH) ? flags : 0;
}

static void plan_settle(const struct files *fs, const struct restored_file *f, struct program *p, struct routine *r)
{
	const img_fown_entry *o = file_fown(fs, f);

	if (o && o->signum && f->late)
		emit_call(p, r, "signal of asynchronous I/O", SYS_fcntl, f->user_fd, F_SETSIG, o->signum);
	owner_plan(fs, f, f->user_fd, p, r);
	/* signals tell the number of the descriptor through which this was set, so it has to be done here */
	if (settle_async(fs, f))
		emit_call(p, r, "asynchronous I/O", SYS_fcntl, f->user_fd, F_SETFL, settle_async(fs, f));
	if (f->ops->settle)
		f->ops->settle(fs, f, f->user_fd, p, r);
}

void files_plan_late(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	const struct restored_task *t = files_task(fs, ns_pid);

	if (!t)
		return;
	if (t->table->owner == ns_pid)
		for (size_t i = 0; i < t->table->want.nr; i++) {
			const struct restored_file *f = files_find(fs, t->table->want.items[i].file);

			if (f->user_pid == ns_pid && f->user_fd == t->table->want.items[i].fd)
				plan_settle(fs, f, p, r);
		}
	locks_plan(fs, ns_pid, p, r);
	if (t->table->nr_users == 1)
		emit_call(p, r, "close the service descriptor", SYS_close, t->table->service);
}

void files_plan_leave(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	const struct restored_task *t = files_task(fs, ns_pid);

	if (t && t->table->nr_users > 1 && t->table->owner == ns_pid)
		emit_call(p, r, "close the service descriptor", SYS_close, t->table->service);
}

size_t files_plan_size(const struct files *fs, pid_t ns_pid)
{
	const struct restored_task *t = files_task(fs, ns_pid);
	struct fd_emitter e = { .fs = fs };
	size_t extra = 0;

	if (!t)
		return 0;
	if (t->table->owner == ns_pid) {
		place_plan(t->table->want.items, t->table->want.nr, t->table->service, emit_step, &e);
		for (size_t i = 0; i < t->table->want.nr; i++) {
			const struct restored_file *f = files_find(fs, t->table->want.items[i].file);
			const img_fown_entry *o = file_fown(fs, f);

			e.count += (o && o->pid ? 5 : 0) + (settle_async(fs, f) ? 1 : 0);
			if (f->late) {
				e.count += 2;
				extra += PATH_MAX;
			}
			if (f->ops->settle_size && f->user_pid == ns_pid && f->user_fd == t->table->want.items[i].fd)
				extra += f->ops->settle_size(f);
		}
	}
	if (files_find(fs, t->fs->cwd_id)->late)
		extra += PATH_MAX;
	e.count += locks_plan_ops(fs, ns_pid) + 24;
	return e.count * (sizeof(struct abi_op) + 32) + extra + 256;
}
