/*
 * File locks. The fdinfo of a descriptor in the task that has it tells its locks. With many descriptors only those are
 * looked at whose inode is in /proc/locks; that file is not read for a few, since the kernel waits for all processors
 * first (percpu_down_write() in locks_start(), fs/locks.c): some 10 ms of frozen time. Nor is it read in a pid namespace: there it
 * leaves out the locks whose taker has ended, though the description that he had them by lives on (locks_show()). POSIX locks belong to a process, flock(2) and OFD locks to an open file
 * description, leases too. All are taken again by a task, not by the coordinator, so that the kernel names the right holder.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "base/thread.h"
#include "image/image-set.h"
#include "infect/program.h"
#include "kernel/uapi.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

enum lock_flag { LOCK_POSIX = 1, LOCK_FLOCK = 2, LOCK_OFD = 4, LOCK_LEASE = 8 }; /* file_lock_entry.flag */
/* file_lock_entry.type. A lease that is being broken has what it is to become, and LOCK_BREAKING. */
enum lock_type { LOCK_SHARED = 0, LOCK_EXCLUSIVE = 1, LOCK_NONE = 2, LOCK_BREAKING = 4 };

#define LOOK_AT_EACH 1500 /* descriptors whose fdinfo is read sooner than /proc/locks */

/* -------------------------------------------------------------------- dump */

static size_t nr_descriptors(const struct file_table *t)
{
	size_t nr = 0;

	for (size_t i = 0; i < t->tables.nr; i++)
		nr += t->tables.items[i]->fds.nr;
	return nr;
}

/* /proc/locks, read by a thread of its own while descriptors are collected: it only waits. */
struct lock_list {
	pthread_t thread;
	bool threaded;
	struct proc_lock_vec locks;
	int result;
	struct cr_error err;
};

static void *read_locks(void *arg)
{
	struct lock_list *l = arg;

	l->result = proc_locks_read(AT_FDCWD, &l->locks, &l->err);
	return NULL;
}

/* Only who looks from the first pid namespace (PROC_PID_INIT_INO of linux/proc_ns.h) is shown all locks. */
static bool sees_all_locks(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == 0xEFFFFFFCu;
}

void locks_begin(struct file_table *t)
{
	if (t->lock_list || t->fds_ahead <= LOOK_AT_EACH || !sees_all_locks())
		return;
	t->lock_list = calloc(1, sizeof(*t->lock_list));
	if (!t->lock_list)
		return; /* locks_collect() tries again, and says so */
	t->lock_list->threaded = thread_begin(&t->lock_list->thread, read_locks, t->lock_list) == 0;
	if (!t->lock_list->threaded)
		read_locks(t->lock_list);
}

static void join_locks(struct lock_list *l)
{
	if (l->threaded)
		pthread_join(l->thread, NULL);
	l->threaded = false;
}

void locks_done(struct file_table *t)
{
	if (t->lock_list) {
		join_locks(t->lock_list);
		proc_lock_vec_done(&t->lock_list->locks);
		free(t->lock_list);
	}
	t->lock_list = NULL;
	map_done(&t->locked_inodes);
}

static int learn_locks(struct file_table *t, struct cr_error *err)
{
	const struct proc_lock_vec *locks;
	int r = 0;

	t->fds_ahead = nr_descriptors(t);
	locks_begin(t);
	if (!t->lock_list)
		return pool_failed(err);
	join_locks(t->lock_list);
	if (t->lock_list->result < 0) {
		*err = t->lock_list->err;
		return t->lock_list->result;
	}
	locks = &t->lock_list->locks;
	for (size_t i = 0; i < locks->nr && r == 0; i++) {
		uint64_t key = locks->items[i].ino + 1;

		if (!map_find(&t->locked_inodes, key) && map_put(&t->locked_inodes, key, t) < 0)
			r = pool_failed(err);
	}
	return r;
}

/* On overlayfs the inode number in /proc/locks may be another than stat(2) tells. */
static bool may_be_locked(const struct file_table *t, const struct file_facts *facts)
{
	return !(facts->flags & O_PATH) &&
	       (map_find(&t->locked_inodes, facts->st.st_ino + 1) || facts->fs_type == OVERLAYFS_SUPER_MAGIC);
}

/* Owner of a lock: a table and an inode for POSIX, else the description. Was this one met at another descriptor? */
static bool lock_met(struct file_table *t, const struct fd_table *tab, const struct open_file *f,
		     const img_file_lock_entry *e, struct cr_error *err, int *ret_r)
{
	uint64_t key = map_mix(map_mix(map_mix(e->flag, e->type), (uint64_t)e->start), (uint64_t)e->len);

	if (e->flag == LOCK_POSIX)
		key = map_mix(map_mix(map_mix(key, tab->files_id), f->facts.st.st_dev), f->facts.st.st_ino);
	else
		key = map_mix(key, f->id);
	*ret_r = 0;
	if (map_find(&t->locks_met, key))
		return true;
	if (map_put(&t->locks_met, key, t) < 0)
		*ret_r = pool_failed(err);
	return false;
}

static const char *kind_name(const struct proc_lock *l)
{
	switch (l->kind) {
	case PROC_LOCK_POSIX:
		return "POSIX lock";
	case PROC_LOCK_OFD:
		return "open file description lock";
	case PROC_LOCK_FLOCK:
		return "flock lock";
	case PROC_LOCK_LEASE:
		return "lease";
	default:
		return "lock of unknown kind";
	}
}

static int lock_flag(const struct proc_lock *l)
{
	switch (l->kind) {
	case PROC_LOCK_POSIX:
		return LOCK_POSIX;
	case PROC_LOCK_FLOCK:
		return LOCK_FLOCK;
	case PROC_LOCK_LEASE:
		return LOCK_LEASE;
	default:
		return LOCK_OFD;
	}
}

static int lock_type(const struct proc_lock *l)
{
	int type = l->access == PROC_LOCK_WRITE ? LOCK_EXCLUSIVE : l->access == PROC_LOCK_READ ? LOCK_SHARED : LOCK_NONE;

	return l->mode == PROC_LOCK_BREAKING ? type | LOCK_BREAKING : type;
}

static int lock_note(struct file_table *t, const struct fd_table *tab, const struct fd_user *u,
		     const struct proc_lock *l, struct cr_error *err)
{
	struct open_file at = { .task = tab->task, .fd_there = u->fd }; /* whom an obstacle names */
	const rpc_criu_opts *o = t->ctx->opts->rpc;
	img_file_lock_entry e = {
		.flag = (uint32_t)lock_flag(l),
		.type = (uint32_t)lock_type(l),
		.pid = tab->task->ns_pid,
		.fd = u->fd,
		.start = l->start,
		.len = l->end == PROC_LOCK_EOF ? 0 : l->end - l->start + 1,
	};
	img_file_lock_entry *slot;
	int r;

	if (l->waiting || l->kind == PROC_LOCK_DELEG)
		return 0;
	if (l->kind == PROC_LOCK_OTHER || l->access == PROC_LOCK_RW ||
	    (l->access == PROC_LOCK_NONE && l->mode != PROC_LOCK_BREAKING))
		return file_refuse(t, &at, "", "%s, %s", kind_name(l), u->file->facts.link);
	if (!(o->has_file_locks && o->file_locks))
		return file_refuse(t, &at, "--file-locks", "%s, %s", kind_name(l), u->file->facts.link);
	if (lock_met(t, tab, u->file, &e, err, &r))
		return 0;
	slot = r == 0 ? file_lock_vec_add(&t->locks) : NULL;
	if (!slot)
		return pool_failed(err);
	*slot = e;
	return 0;
}

static int look_at(struct file_table *t, const struct fd_table *tab, const struct fd_user *u, struct cr_error *err)
{
	autofdinfo struct proc_fdinfo info = { 0 };
	int r = proc_fdinfo_read(&tab->task->dir, u->fd, &t->fdinfo_text, &info, err);

	for (size_t i = 0; i < info.locks.nr && r >= 0; i++)
		r = lock_note(t, tab, u, &info.locks.items[i], err);
	return cr_within(err, r < 0 ? r : 0, "pid %d: fd %d: locks", tab->task->host_pid, u->fd);
}

int locks_collect(struct file_table *t, struct cr_error *err)
{
	bool each = nr_descriptors(t) <= LOOK_AT_EACH || !sees_all_locks();
	int r = each ? 0 : learn_locks(t, err);

	if (r < 0 || (!each && !t->lock_list->locks.nr))
		return r;
	for (size_t i = 0; i < t->tables.nr; i++) {
		const struct fd_table *tab = t->tables.items[i];

		for (size_t k = 0; k < tab->fds.nr; k++) {
			const struct file_facts *facts = &tab->fds.items[k].file->facts;

			if (each ? facts->flags & O_PATH : !may_be_locked(t, facts))
				continue;
			r = look_at(t, tab, &tab->fds.items[k], err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int locks_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_FILELOCKS, 0, &w, err);

	for (size_t i = 0; i < t->locks.nr && r == 0; i++)
		r = image_write(w, &t->locks.items[i], err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

/* ----------------------------------------------------------------- restore */

/* The file that a table has at @fd; NULL: nothing */
static const struct restored_file *table_file(const struct files *fs, const struct restored_table *tab, int fd)
{
	size_t lo = 0, hi = tab->want.nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (tab->want.items[mid].fd == fd)
			return files_find(fs, tab->want.items[mid].file);
		if (tab->want.items[mid].fd < fd)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static const struct restored_file *lock_file(const struct files *fs, const img_file_lock_entry *e)
{
	const struct restored_task *t = e->pid > 0 ? files_task(fs, e->pid) : NULL;

	return t ? table_file(fs, t->table, e->fd) : NULL;
}

pid_t files_lock_holder(const struct files *fs, pid_t ns_pid, int fd)
{
	const struct restored_task *t = files_task(fs, ns_pid);
	const struct restored_file *f = t ? table_file(fs, t->table, fd) : NULL;
	struct proc_lock_vec locks = { 0 };
	struct cr_error ignored = { 0 };
	struct stat st;
	pid_t holder = 0;

	if (!f || f->fd < 0 || fstat(f->fd, &st) < 0)
		return 0;
	if (proc_locks_read(AT_FDCWD, &locks, &ignored) == 0)
		for (size_t i = 0; i < locks.nr && !holder; i++) {
			const struct proc_lock *l = &locks.items[i];

			if (!l->waiting && l->ino == st.st_ino && l->dev_major == major(st.st_dev) &&
			    l->dev_minor == minor(st.st_dev) && l->pid > 0 && !files_task(fs, l->pid))
				holder = l->pid;
		}
	proc_lock_vec_done(&locks);
	return holder;
}

static int lock_check(const struct files *fs, const img_file_lock_entry *e, struct cr_error *err)
{
	const struct restored_file *f = lock_file(fs, e);
	bool breaking = e->type == (LOCK_SHARED | LOCK_BREAKING) || e->type == (LOCK_NONE | LOCK_BREAKING);

	if (e->flag != LOCK_POSIX && e->flag != LOCK_FLOCK && e->flag != LOCK_OFD && e->flag != LOCK_LEASE)
		return cr_refuse(err, -ENOTSUP, "lock of kind %u", e->flag);
	if (e->type != LOCK_SHARED && e->type != LOCK_EXCLUSIVE && !(e->flag == LOCK_LEASE && breaking))
		return cr_refuse(err, -ENOTSUP, "lock of type %u", e->type);
	if (!f)
		return cr_refuse(err, -EBADMSG, "lock of pid %d on descriptor %d, which is not there", e->pid, e->fd);
	if (e->flag == LOCK_LEASE && (f->entry->type != img_fd_types_REG || f->late))
		return cr_refuse(err, -EBADMSG, "lease of pid %d on descriptor %d, which is no regular file", e->pid, e->fd);
	if (e->start < 0 || e->len < 0 || (e->len && e->start > INT64_MAX - e->len + 1))
		return cr_refuse(err, -EBADMSG, "lock from %lld, length %lld", (long long)e->start, (long long)e->len);
	return 0;
}

int locks_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	const rpc_criu_opts *o = fs->ctx->opts->rpc;
	void *entry;
	int r = image_reader_open(fs->set, IMG_FILELOCKS, 0, &rd, err);

	if (r == 1)
		return 0;
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1) {
		img_file_lock_entry **at = lock_entry_vec_add(&fs->locks);

		if (!at) {
			img_entry_free(entry);
			return files_no_memory(err);
		}
		*at = entry;
		r = lock_check(fs, entry, err);
	}
	if (r == 0 && fs->locks.nr && !(o->has_file_locks && o->file_locks)) {
		r = cr_refuse(err, -EINVAL, "the images have file locks");
		cr_advise(err, "--file-locks");
	}
	return cr_within(err, r, "filelocks.img");
}

/*
 * Who wants the file opens it, and need not succeed, to have a lease broken: that tells the holder by a signal, which it has
 * had or which is pending already, so nobody is the owner for that moment. The time in which it has to answer begins anew.
 */
static void break_plan(const struct files *fs, const img_file_lock_entry *e, struct program *p, struct routine *r)
{
	const struct restored_file *f = lock_file(fs, e);
	int service = files_task(fs, e->pid)->table->service;
	int mode = e->type == (LOCK_SHARED | LOCK_BREAKING) ? O_RDONLY : O_WRONLY;
	struct f_owner_ex owner = { .type = F_OWNER_PID };
	char name[12];

	number_text((unsigned int)f->fd, name);
	emit_call(p, r, "no owner of a lease", SYS_fcntl, e->fd, F_SETOWN_EX,
		  emit_data(p, r, &owner, sizeof(owner), 8));
	op_keep(emit_call(p, r, "take the list of descriptors", __NR_pidfd_getfd, service, fs->own_fds, 0), SLOT_TMP);
	op_keep(op_may_fail(op_from_slot(emit_call(p, r, "break a lease", SYS_openat, SLOT_TMP,
						   emit_data(p, r, name, sizeof(name), 1), mode | O_NONBLOCK | O_CLOEXEC),
					 0)),
		SLOT_TMP2);
	op_may_fail(op_from_slot(emit_call(p, r, "close what was not to be opened", SYS_close, SLOT_TMP2), 0));
	op_from_slot(emit_call(p, r, "close the list of descriptors", SYS_close, SLOT_TMP), 0);
	owner_plan(fs, f, e->fd, p, r);
}

/* What is being taken back altogether was a lease for reading, unless the file is open for writing. */
static int lease_before(const struct files *fs, const img_file_lock_entry *e)
{
	bool writes = (entry_flags(lock_file(fs, e)->entry) & O_ACCMODE) != O_RDONLY;

	if (e->type == LOCK_EXCLUSIVE || e->type == (LOCK_SHARED | LOCK_BREAKING))
		return F_WRLCK;
	return e->type == (LOCK_NONE | LOCK_BREAKING) && writes ? F_WRLCK : F_RDLCK;
}

static bool is_same_reg(const struct restored_file *a, const struct restored_file *b)
{
	return a->entry->type == img_fd_types_REG && b->entry->type == img_fd_types_REG && a->ghost == b->ghost &&
	       a->link == b->link && strcmp(a->entry->reg->name, b->entry->reg->name) == 0;
}

const struct restored_file *lease_holder(const struct files *fs, const struct restored_file *f)
{
	for (size_t i = 0; i < fs->locks.nr; i++) {
		const img_file_lock_entry *e = fs->locks.items[i];

		if (e->flag == LOCK_LEASE && lease_before(fs, e) == F_WRLCK && is_same_reg(lock_file(fs, e), f))
			return lock_file(fs, e);
	}
	return NULL;
}

static void lease_plan(const struct files *fs, const img_file_lock_entry *e, struct program *p, struct routine *r)
{
	const img_fown_entry *owner = file_fown(fs, lock_file(fs, e));
	struct f_owner_ex none = { .type = F_OWNER_PID };

	emit_call(p, r, "lease", SYS_fcntl, e->fd, F_SETLEASE, lease_before(fs, e));
	if (e->type & LOCK_BREAKING)
		break_plan(fs, e, p, r);
	/* who takes a lease becomes the owner where there is none (lease_setup() in fs/locks.c) */
	else if (!owner || !owner->pid)
		emit_call(p, r, "no owner of a lease", SYS_fcntl, e->fd, F_SETOWN_EX,
			  emit_data(p, r, &none, sizeof(none), 8));
}

static void lock_plan(const struct files *fs, const img_file_lock_entry *e, struct program *p, struct routine *r)
{
	struct flock fl = {
		.l_type = e->type == LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = e->start,
		.l_len = e->len,
	};

	if (e->flag == LOCK_LEASE)
		lease_plan(fs, e, p, r);
	else if (e->flag == LOCK_FLOCK)
		emit_call(p, r, "flock lock", SYS_flock, e->fd,
			  (e->type == LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH) | LOCK_NB);
	else
		emit_call(p, r, "record lock", SYS_fcntl, e->fd, e->flag == LOCK_POSIX ? F_SETLK : F_OFD_SETLK,
			  emit_data(p, r, &fl, sizeof(fl), 8));
}

int locks_settle(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->locks.nr && fs->own_fds < 0; i++) {
		if (fs->locks.items[i]->flag != LOCK_LEASE || !(fs->locks.items[i]->type & LOCK_BREAKING))
			continue;
		fs->own_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fs->own_fds < 0)
			return cr_fail(err, -errno, "open /proc/self/fd");
	}
	return 0;
}

void locks_plan(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	for (size_t i = 0; i < fs->locks.nr; i++)
		if (fs->locks.items[i]->pid == ns_pid)
			lock_plan(fs, fs->locks.items[i], p, r);
}

size_t locks_plan_ops(const struct files *fs, pid_t ns_pid)
{
	size_t nr = 0;

	for (size_t i = 0; i < fs->locks.nr; i++)
		if (fs->locks.items[i]->pid == ns_pid)
			nr += fs->locks.items[i]->flag == LOCK_LEASE ? 12 : 1;
	return nr;
}
