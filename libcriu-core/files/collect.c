/*
 * Collecting the descriptors of a stopped tree: each is copied with pidfd_getfd(2), looked at, compared with what is
 * known, and described by its kind once per open file description. Nothing here changes what the tasks share with us:
 * positions are only read, data stays where it is.
 */
#include "files/dump-internal.h"

#include "base/own.h"
#include "files/family.h"
#include "files/own-table.h"
#include "files/sweep.h"
#include "files/tree-root.h"
#include "kernel/uapi.h"
#include "procfs/fdinfo.h"
#include "procfs/lists.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SWEEP_MIN 256   /* descriptors in a table from which on a second thread pays */

int pool_failed(struct cr_error *err)
{
	return cr_fail(err, -ENOMEM, "list open files");
}

uint32_t file_next_id(struct file_table *t)
{
	return ++t->last_id;
}

struct open_file *file_new(struct file_table *t, struct task *task, int fd_there, struct cr_error *err)
{
	struct open_file *f = pool_new(&t->pool, struct open_file);
	struct open_file **at = f ? open_file_vec_add(&t->files) : NULL;

	if (!at) {
		pool_failed(err);
		return NULL;
	}
	f->id = file_next_id(t);
	f->task = task;
	f->fd_there = fd_there;
	f->fd = -1;
	f->fresh = true;
	*at = f;
	return f;
}

img_file_entry *file_entry_new(struct file_table *t, img_fd_types type, uint32_t id, struct cr_error *err)
{
	img_file_entry *e = pool_new(&t->pool, img_file_entry);

	if (!e) {
		pool_failed(err);
		return NULL;
	}
	e->type = type;
	e->id = id;
	return e;
}

int file_read_fdinfo(struct file_table *t, const struct open_file *f, struct scan *ret_rest, struct cr_error *err)
{
	struct proc_dir self = { .fd = t->self_fdinfo, .pid = getpid() };
	autofdinfo struct proc_fdinfo info = { 0 };
	int r = f->fdinfo ? proc_fdinfo_parse(f->fdinfo, strlen(f->fdinfo), &info, err) :
			    proc_fdinfo_read(&self, f->fd, &t->fdinfo_text, &info, err);

	if (r < 0)
		return r;
	*ret_rest = info.rest;
	return 0;
}

/* What opens through /proc/PID/fd only, and is something else then, or nothing at all. */
static bool is_nameless(uint32_t fs_type)
{
	return fs_type == ANON_INODE_FS_MAGIC || fs_type == PIPEFS_MAGIC || fs_type == SOCKFS_MAGIC || fs_type == PID_FS_MAGIC;
}

int file_describe(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	int r;

	f->fresh = false;
	f->ops = file_ops_for(&f->facts);
	if (f->facts.flags & O_PATH && is_nameless(f->facts.fs_type))
		return file_refuse(t, f, "", "path (O_PATH) of what has no name, %s", f->facts.link);
	if (!f->ops)
		return file_refuse(t, f, "", "unknown kind of file, %s", f->facts.link);
	if (!f->ops->dump)
		return file_refuse(t, f, f->ops->advice, "%s, %s", f->ops->name, f->facts.link);
	r = f->ops->dump(t, f, err);
	return cr_within(err, r, "%s %s", f->ops->name, f->facts.link);
}

/* ------------------------------------------------------------ descriptors */

/* @link: its text if known, NULL; @copy becomes -1 when the description keeps it */
static int describe_copy(struct file_table *t, struct open_file *f, const char *link, int *copy, struct cr_error *err)
{
	int len = link ? (int)strlen(link) : facts_read_link(t, *copy, err);
	int r;

	if (len == -ENAMETOOLONG)
		return file_refuse(t, f, "", "file with a path longer than %d bytes", LINK_TEXT_MAX);
	if (len < 0)
		return len;
	f->facts.link = pool_text(&t->pool, link ? link : t->text, (size_t)len);
	if (!f->facts.link)
		return pool_failed(err);
	f->fd = *copy;
	r = file_describe(t, f, err);
	if (f->keep_fd)
		*copy = -1;
	else
		f->fd = -1;
	return r;
}

/* The key that tells descriptions apart; anonymous inodes have it in their fdinfo. */
static int key_of(struct file_table *t, int copy, const struct file_facts *facts, uint64_t *ret, struct cr_error *err)
{
	struct open_file tmp = { .fd = copy };
	bool anon = facts->fs_type == ANON_INODE_FS_MAGIC && !(facts->flags & O_PATH);
	struct scan rest;
	int r = anon ? file_read_fdinfo(t, &tmp, &rest, err) : 0;

	if (r == 0)
		*ret = sharing_key(facts, anon ? t->fdinfo_text.data : NULL);
	return r;
}

/* Locks that belong to the description show in the fdinfo of our copy, too, whatever it is of. Return: as file_describe(). */
static int refuse_locked(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct proc_dir self = { .fd = t->self_fdinfo, .pid = getpid() };
	autofdinfo struct proc_fdinfo info = { 0 };
	int r = proc_fdinfo_read(&self, f->fd, &t->fdinfo_text, &info, err);

	return r < 0 || !info.locks.nr ? r : file_refuse(t, f, "", "locked file %s", f->facts.link);
}

int file_add_in_flight(struct file_table *t, struct task *task, int *copy, struct open_file **ret, struct cr_error *err)
{
	struct file_facts facts;
	struct open_file *f = NULL;
	uint32_t mnt_id;
	uint64_t key;
	bool new = false;
	int r = facts_read(t, *copy, &facts, &mnt_id, err);

	if (r == 0)
		r = key_of(t, *copy, &facts, &key, err);
	if (r == 0)
		r = sharing_find_ours(t, task, *copy, &facts, key, &f, &new, err);
	if (r < 0)
		return r;
	*ret = f;
	if (!new)
		return f->entry ? 0 : 1;
	f->mnt_id = mnt_id;
	f->where = "a descriptor in a socket's queue";
	f->in_flight = f->keep_fd = true;
	r = describe_copy(t, f, NULL, copy, err);
	/* who would do what can only be done inside of a task that has it? */
	if (r == 0 && (f->ops->settle || !f->ops->open || f->facts.fown.pid))
		r = file_refuse(t, f, "", "%s that no process has open but through a socket's queue", f->ops->name);
	return r == 0 ? refuse_locked(t, f, err) : r;
}

static int add_user(struct fd_table *tab, int fd, struct open_file *f, struct cr_error *err)
{
	struct fd_user *u = fd_user_vec_add(&tab->fds);

	if (!u)
		return pool_failed(err);
	u->fd = fd;
	u->file = f;
	return 0;
}

/* Return: 0; 1 there is no such descriptor; negative errno */
static int collect_fd(struct file_table *t, struct fd_table *tab, int pidfd, int fd, struct cr_error *err)
{
	autofd int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	struct file_facts facts;
	struct open_file *f;
	uint32_t mnt_id;
	uint64_t key;
	bool new = false;
	int r;

	if (copy < 0 && errno == EBADF)
		return 1;
	if (copy < 0)
		return cr_fail(err, -errno, "take a copy of fd %d", fd);
	r = facts_read(t, copy, &facts, &mnt_id, err);
	if (r == 0)
		r = key_of(t, copy, &facts, &key, err);
	if (r == 0)
		r = sharing_guess(t, tab->task, fd, key, &f, err);
	if (r == 0 && !f)
		r = sharing_find(t, tab->task, fd, &facts, key, &f, &new, err);
	if (r == 0 && new) {
		f->mnt_id = mnt_id;
		r = describe_copy(t, f, NULL, &copy, err);
	}
	return r < 0 ? cr_within(err, r, "fd %d", fd) : add_user(tab, fd, f, err);
}

/*
 * The number of open descriptors is the size of /proc/PID/fd since Linux 6.2 (proc_readfd_count() in fs/proc/fd.c).
 * Then trying the numbers one by one costs a quarter of listing the directory, which makes an inode for each.
 * Return: the count, 0 if unknown.
 */
static uint64_t count_fds(const struct task *task)
{
	struct stat st;

	return fstatat(task->dir.fd, "fd", &st, 0) < 0 || st.st_size < 0 ? 0 : (uint64_t)st.st_size;
}

/* @from: lower numbers have been seen to */
static int collect_listed(struct file_table *t, struct fd_table *tab, int pidfd, int from, struct cr_error *err)
{
	autointvec struct int_vec fds = { 0 };
	int r = proc_fds_read(&tab->task->dir, &fds, err);

	for (size_t i = 0; i < fds.nr && r >= 0; i++)
		if (fds.items[i] >= from)
			r = collect_fd(t, tab, pidfd, fds.items[i], err);
	return r < 0 ? r : 0;
}

static int describe_probe(struct file_table *t, struct fd_table *tab, struct probe *p, struct cr_error *err)
{
	struct open_file *f = p->file;
	int r = 0;

	if (f->fresh) {
		f->id = file_next_id(t);
		f->mnt_id = p->mnt_id;
		f->look = p->look;
		f->fdinfo = p->fdinfo;
		r = describe_copy(t, f, p->facts.link, &p->copy, err);
		f->fdinfo = NULL;
	}
	return r < 0 ? cr_within(err, r, "fd %d", p->fd) : add_user(tab, p->fd, f, err);
}

/* Large tables, from two threads. Return: 0; 1 there are too many to have copies of at once; negative errno */
static int collect_swept(struct file_table *t, struct fd_table *tab, int pidfd, uint32_t room, uint64_t count,
			 struct cr_error *err)
{
	uint32_t last_id = t->last_id;
	struct sweep s;
	int r;

	own_table_grow(count);
	r = sweep_run(t->root_fd, pidfd, room, &s, err);
	if (r == -EMFILE) {
		cr_error_clear(err);
		return 1;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < s.nr && r == 0; i++)
		r = fs_type_of(t, s.probes[i].copy, s.probes[i].facts.st.st_dev, &s.probes[i].facts.fs_type, err);
	if (r == 0)
		r = sharing_group(t, tab->task, s.probes, s.nr, err);
	/* numbers in the order of descriptors, which is how people read images */
	t->last_id = last_id;
	for (size_t i = 0; i < s.nr && r == 0; i++)
		r = describe_probe(t, tab, &s.probes[i], err);
	sweep_done(&s);
	return r;
}

#define GAP_MAX 48   /* numbers tried in vain before the directory is listed after all */

static int collect_fds(struct file_table *t, struct fd_table *tab, int pidfd, struct cr_error *err)
{
	uint64_t count = count_fds(tab->task);
	uint32_t room = tab->task->status.fd_size;
	uint64_t seen = 0, missed = 0;

	if (!count || !(tab->task->status.lines & PROC_STATUS_FDSIZE) || room > count * 8 + 1024)
		return collect_listed(t, tab, pidfd, 0, err);
	if (count >= SWEEP_MIN) {
		int r = collect_swept(t, tab, pidfd, room, count, err);

		if (r != 1)
			return r;
	}
	for (uint32_t fd = 0; fd < room && seen < count; fd++) {
		int r;

		if (missed > GAP_MAX)
			return collect_listed(t, tab, pidfd, (int)fd, err);
		r = collect_fd(t, tab, pidfd, (int)fd, err);
		if (r < 0)
			return r;
		seen += r == 0;
		missed += r != 0;
	}
	return 0;
}

/*
 * A leader that has exited has no descriptors any more, its threads do: then the pidfd must be of a thread (Linux 6.9, EINVAL
 * before). Return: 0 it may be looked into; 1 an obstacle was noted; negative errno.
 */
static int task_pidfd(struct file_table *t, const struct task *task, int *ret_fd, int *ret_own, struct cr_error *err)
{
	*ret_fd = task->pidfd;
	if (task->threads.nr && !task->threads.items[0].dead)
		return 0;
	*ret_fd = *ret_own = (int)syscall(__NR_pidfd_open, task->lead->host_tid, PIDFD_THREAD);
	if (*ret_own >= 0)
		return 0;
	if (errno != EINVAL)
		return cr_fail(err, -errno, "pidfd of thread %d", task->lead->host_tid);
	if (obstacle_add(&t->ctx->obstacles, task->host_pid, task->comm, "", "use Linux 6.9 or newer",
			 "the main thread has exited; this kernel does not give the descriptors of the others") < 0)
		return cr_fail(err, -ENOMEM, "note an obstacle");
	return 1;
}

static int collect_table(struct file_table *t, struct task *task, struct cr_error *err)
{
	struct fd_table *tab = pool_new(&t->pool, struct fd_table);
	struct fd_table **at = tab ? fd_table_vec_add(&t->tables) : NULL;
	autofd int own = -1;
	int pidfd, r;

	if (!at)
		return pool_failed(err);
	*at = tab;
	tab->files_id = task->ids.files_id;
	tab->task = task;
	if (map_put(&t->by_files_id, (uint64_t)tab->files_id + 1, tab) < 0)
		return pool_failed(err);
	t->fds_ahead += count_fds(task);
	locks_begin(t);
	r = task_pidfd(t, task, &pidfd, &own, err);
	return r == 0 ? collect_fds(t, tab, pidfd, err) : r < 0 ? r : 0;
}

/* -------------------------------------------------- files known by a path */

static uint64_t path_key(const struct file_facts *facts, uint32_t mnt_id, uint32_t flags, const char *text)
{
	uint64_t h = map_mix(0, facts->st.st_dev);

	h = map_mix(h, facts->st.st_ino);
	h = map_mix(h, mnt_id);
	h = map_mix(h, flags);
	return map_mix_text(h, text);
}

static bool path_same(const struct open_file *f, const struct file_facts *facts, uint32_t flags, const char *text)
{
	return f->facts.st.st_dev == facts->st.st_dev && f->facts.st.st_ino == facts->st.st_ino && f->facts.flags == flags &&
	       strcmp(f->facts.link, text) == 0;
}

static int path_new(struct file_table *t, struct task *task, int fd, const char *where, const struct file_facts *facts,
		    uint32_t mnt_id, struct open_file **ret, struct cr_error *err)
{
	struct open_file *f = file_new(t, task, -1, err);
	int r;

	if (!f)
		return -ENOMEM;
	f->where = where;
	f->facts = *facts;
	f->mnt_id = mnt_id;
	f->facts.link = pool_text(&t->pool, t->text, strlen(t->text));
	if (!f->facts.link)
		return pool_failed(err);
	f->entry = file_entry_new(t, img_fd_types_REG, f->id, err);
	if (!f->entry)
		return -ENOMEM;
	f->fd = fd;
	r = path_dump(t, f, f->id, facts->flags, true, &f->entry->reg, err);
	f->fd = -1;
	*ret = f;
	return r < 0 ? r : 0;
}

int file_add_path(struct file_table *t, struct task *task, int fd, const char *where, uint32_t flags, uint32_t *ret_id,
		  struct cr_error *err)
{
	struct file_facts facts;
	struct open_file *f;
	uint32_t mnt_id;
	uint64_t key;
	int r = facts_read(t, fd, &facts, &mnt_id, err);

	if (r == 0)
		r = facts_read_link(t, fd, err);
	if (r < 0)
		return cr_within(err, r, "%s", where);
	facts.flags = flags;
	facts.pos = 0;
	facts.fown = (img_fown_entry){ 0 };
	key = path_key(&facts, mnt_id, flags, t->text);
	f = map_find(&t->by_path, key);
	if (!f || !path_same(f, &facts, flags, t->text)) {
		bool known = f;

		r = path_new(t, task, fd, where, &facts, mnt_id, &f, err);
		if (r == 0 && !known && map_put(&t->by_path, key, f) < 0)
			r = pool_failed(err);
		if (r < 0)
			return cr_within(err, r, "%s", where);
	}
	if (!f->entry)
		return 1;
	*ret_id = f->id;
	return 0;
}

static int collect_link(struct file_table *t, struct task *task, const char *link, const char *where, uint32_t *ret_id,
			struct cr_error *err)
{
	autofd int fd = proc_open(&task->dir, link, O_PATH, err);

	return fd < 0 ? fd : file_add_path(t, task, fd, where, 0, ret_id, err);
}

static int collect_fs(struct file_table *t, struct task *task, struct cr_error *err)
{
	struct task **at;
	/* where both are the same an obstacle is about the root, of which more is asked */
	int r = collect_link(t, task, "root", "root directory", &task->fs.root_id, err);

	if (r >= 0)
		r = collect_link(t, task, "cwd", "working directory", &task->fs.cwd_id, err);
	if (r < 0)
		return r;
	if (task->status.lines & PROC_STATUS_UMASK) {
		task->fs.has_umask = true;
		task->fs.umask = task->status.umask;
	}
	at = fs_task_vec_add(&t->fs_tasks);
	if (!at)
		return pool_failed(err);
	*at = task;
	return 0;
}

int files_collect(struct file_table *t, struct task *task, struct cr_error *err)
{
	const struct proc_mount_list *mounts;
	int r = t->root_fd < 0 ? 0 : tree_mounts(t, &mounts, err);

	if (!kernel_has(&t->ctx->probes, KERNEL_KCMP) || !kernel_has(&t->ctx->probes, KERNEL_PIDFD_GETFD))
		return cr_refuse(err, -ENOSYS, "this kernel cannot tell which descriptors are shared (%s is missing)",
				 kernel_has(&t->ctx->probes, KERNEL_KCMP) ? "pidfd_getfd" : "kcmp");
	if (r == 0 && !map_find(&t->by_files_id, (uint64_t)task->ids.files_id + 1))
		r = collect_table(t, task, err);
	if (r == 0)
		r = collect_fs(t, task, err);
	return r;
}

int files_collect_end(struct file_table *t, struct cr_error *err)
{
	const struct file_family *family;
	int r = pipes_check_ends(t, err);

	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->collected)
			r = cr_within(err, family->collected(t, err), "%s", family->name);
	return r < 0 ? r : locks_collect(t, err);
}

/* ------------------------------------------------------------------ table */

/* Ghosts, pipes with data and memfds keep a descriptor each until they are written. */
static void raise_own_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

int file_table_new(struct cr_context *ctx, const struct tree *tree, struct file_table **ret, struct cr_error *err)
{
	autofree_by(file_table_free) struct file_table *t = calloc(1, sizeof(*t));

	if (!t)
		return pool_failed(err);
	t->ctx = ctx;
	t->tree = tree;
	t->root_fd = t->self_fd = t->self_fdinfo = -1;
	t->fdinfo_text = (struct buf)BUF_INIT(PROC_FDINFO_MAX);
	t->self_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	t->self_fdinfo = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->self_fd < 0 || t->self_fdinfo < 0)
		return cr_fail(err, -errno, "open /proc/self");
	raise_own_limit();
	*ret = take_ptr(&t);
	return 0;
}

void file_table_free(struct file_table *t)
{
	const struct file_family *family;

	if (!t)
		return;
	for (unsigned int i = 0; (family = file_family_at(i)); i++)
		if (family->table_done)
			family->table_done(t);
	locks_done(t);
	link_remaps_done(t);
	ghosts_done(t);
	pipes_done(t);
	memfds_done(t);
	sharing_done(t);
	for (size_t i = 0; i < t->files.nr; i++)
		if (t->files.items[i]->keep_fd && t->files.items[i]->fd >= 0)
			close(t->files.items[i]->fd);
	for (size_t i = 0; i < t->tables.nr; i++)
		fd_user_vec_done(&t->tables.items[i]->fds);
	fd_table_vec_done(&t->tables);
	open_file_vec_done(&t->files);
	open_file_vec_done(&t->epolls);
	open_file_vec_done(&t->inotifies);
	fs_task_vec_done(&t->fs_tasks);
	ghost_vec_done(&t->ghosts);
	link_remap_vec_done(&t->links);
	pipe_data_vec_done(&t->pipes);
	memfd_inode_vec_done(&t->memfds);
	remap_vec_done(&t->remaps);
	tty_info_vec_done(&t->ttys);
	file_lock_vec_done(&t->locks);
	proc_mount_list_done(&t->our_mounts);
	map_done(&t->mounts_by_id);
	map_done(&t->by_files_id);
	map_done(&t->by_path);
	map_done(&t->fs_types);
	map_done(&t->owners);
	map_done(&t->ghost_by_inode);
	map_done(&t->remap_by_inode);
	map_done(&t->pipe_by_ino);
	map_done(&t->memfd_by_ino);
	map_done(&t->tty_by_id);
	map_done(&t->locks_met);
	buf_done(&t->fdinfo_text);
	if (t->self_fd >= 0)
		close(t->self_fd);
	if (t->self_fdinfo >= 0)
		close(t->self_fdinfo);
	pool_done(&t->pool);
	free(t);
}

void file_table_commit(struct file_table *t)
{
	t->committed = true;
}

void files_outlive_undo(struct file_table *t)
{
	const struct file_family *family;

	for (unsigned int i = 0; (family = file_family_at(i)); i++)
		if (family->outlive_undo)
			family->outlive_undo(t);
}

int files_outlive(struct file_table *t, struct cr_error *err)
{
	const struct file_family *family;
	int r = 0;

	for (unsigned int i = 0; r == 0 && (family = file_family_at(i)); i++)
		if (family->outlive)
			r = family->outlive(t, err);
	if (r < 0)
		files_outlive_undo(t);
	return r;
}
