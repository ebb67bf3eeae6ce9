/*
 * Is what epoll watches still at its number? kcmp(2) tells (KCMP_EPOLL_TFD, Linux 4.13), but walks along all watches each time
 * (ep_find_tfd() in fs/eventpoll.c). For many a process of ours with a descriptor table of its own tries to add each file under
 * its number to a copy of the epoll descriptor: what is there already is refused, and nothing has changed.
 */
#include "files/epoll-watch.h"

#include "kernel/apart.h"
#include "files/dump-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ASK_EACH 48 /* watches up to which kcmp(2) costs less */

enum watch_place { WATCH_UNKNOWN, WATCH_IN_PLACE, WATCH_ELSEWHERE };

struct watches {
	struct open_file *epoll;
	img_eventpoll_tfd_entry *items;
	size_t nr;
	unsigned char *place; /* enum watch_place of each */
	uint32_t *offset;     /* how many of the same number come before */
};

int epoll_note(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct open_file **at = open_file_vec_add(&t->epolls);

	if (!at)
		return pool_failed(err);
	*at = f;
	f->keep_fd = true;
	return 0;
}

/* Return: is it the @i-th that is watched? */
static bool is_watched(const struct watches *w, size_t i, pid_t tid, int fd)
{
	struct kcmp_epoll_slot slot = {
		.efd = (uint32_t)w->epoll->fd_there, .tfd = w->items[i].tfd, .toff = w->offset[i]
	};

	return syscall(SYS_kcmp, tid, w->epoll->task->lead->host_tid, KCMP_EPOLL_TFD, fd, &slot) == 0;
}

/* Numbers that stand there twice: one of them at most is in place, and only the offset tells them apart. */
static int count_offsets(struct watches *w, struct cr_error *err)
{
	struct map counts = { 0 };
	int r = 0;

	for (size_t i = 0; i < w->nr && r == 0; i++) {
		uintptr_t before = (uintptr_t)map_find(&counts, (uint64_t)w->items[i].tfd + 1);

		w->offset[i] = (uint32_t)before;
		if (map_put(&counts, (uint64_t)w->items[i].tfd + 1, (void *)(before + 1)) < 0)
			r = pool_failed(err);
	}
	for (size_t i = 0; i < w->nr && r == 0; i++)
		if ((uintptr_t)map_find(&counts, (uint64_t)w->items[i].tfd + 1) > 1)
			w->place[i] = is_watched(w, i, w->epoll->task->lead->host_tid, (int)w->items[i].tfd) ?
					      WATCH_IN_PLACE :
					      WATCH_ELSEWHERE;
	map_done(&counts);
	return r;
}

/* In a process with a table of its own: nothing here but system calls. */
static int try_each(void *arg)
{
	struct watches *w = arg;
	uint32_t top = 0;
	int epoll, pidfd;

	for (size_t i = 0; i < w->nr; i++)
		top = w->items[i].tfd > top ? w->items[i].tfd : top;
	epoll = fcntl(w->epoll->fd, F_DUPFD_CLOEXEC, top + 1);
	pidfd = fcntl(w->epoll->task->pidfd, F_DUPFD_CLOEXEC, top + 1);
	if (epoll < 0 || pidfd < 0)
		return -errno;
	for (size_t i = 0; i < w->nr; i++) {
		int want = (int)w->items[i].tfd, got;
		struct epoll_event ev = { .events = EPOLLIN };

		if (w->place[i] != WATCH_UNKNOWN)
			continue;
		w->place[i] = WATCH_ELSEWHERE;
		got = (int)syscall(SYS_pidfd_getfd, pidfd, want, 0);
		if (got < 0)
			continue;
		if (got != want && dup2(got, want) < 0)
			return -errno;
		if (got != want)
			close(got);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, want, &ev) == 0)
			epoll_ctl(epoll, EPOLL_CTL_DEL, want, &ev);
		else if (errno == EEXIST)
			w->place[i] = WATCH_IN_PLACE;
		close(want);
	}
	return 0;
}

static void find_in_place(struct watches *w)
{
	const struct task *task = w->epoll->task;
	bool leader = task->threads.nr && !task->threads.items[0].dead;
	struct cr_error ignored = { 0 };

	if (w->nr > ASK_EACH && leader && apart_run_copies(try_each, w, &ignored) == 0)
		return;
	for (size_t i = 0; i < w->nr; i++)
		if (w->place[i] != WATCH_IN_PLACE)
			w->place[i] = is_watched(w, i, task->lead->host_tid, (int)w->items[i].tfd) ? WATCH_IN_PLACE :
												     WATCH_ELSEWHERE;
}

static bool may_be(const struct open_file *f, const img_eventpoll_tfd_entry *e)
{
	uint32_t dev = (uint32_t)major(f->facts.st.st_dev) << 20 | minor(f->facts.st.st_dev);

	return f->entry && f->fd_there >= 0 && !f->in_flight && (!e->has_inode || e->inode == f->facts.st.st_ino) &&
	       (!e->has_dev || e->dev == dev);
}

/* A number of @f in the table that @owner is asked for; -1: none */
static int number_of(const struct file_table *t, const struct task *owner, const struct open_file *f)
{
	const struct fd_table *tab = map_find(&t->by_files_id, (uint64_t)owner->ids.files_id + 1);

	for (size_t i = 0; tab && i < tab->fds.nr; i++)
		if (tab->fds.items[i].file == f)
			return tab->fds.items[i].fd;
	return -1;
}

/* What cannot be had of the coordinator, since it is opened by the task when all exist (restored_file.late): pidfds, files below
 * /proc/PID, /dev/tty. Processes that have ended are opened like anything else. */
static bool made_late(const struct open_file *f)
{
	if (f->entry->type == img_fd_types_PIDFD)
		return f->entry->pidfd->nspid != -1;
	return !f->ops->open || (f->facts.fs_type == PROC_SUPER_MAGIC && strncmp(f->facts.link, "/proc/", 6) == 0) ||
	       (S_ISCHR(f->facts.st.st_mode) && f->facts.st.st_rdev == makedev(TTYAUX_MAJOR, 0));
}

static int find_elsewhere(struct file_table *t, const struct watches *w, size_t i, struct cr_error *err)
{
	img_eventpoll_tfd_entry *e = &w->items[i];
	int number;

	for (size_t k = 0; k < t->files.nr; k++) {
		const struct open_file *f = t->files.items[k];

		if (!may_be(f, e) || !is_watched(w, i, f->task->lead->host_tid, f->fd_there))
			continue;
		number = number_of(t, w->epoll->task, f);
		if (number < 0 && made_late(f))
			return file_refuse(t, w->epoll, "the process must keep the descriptor, or take it out of the epoll set",
					   "epoll watches number %u, a %s that this process has closed and another has open", e->tfd,
					   f->ops->name);
		e->ext = pool_new(&t->pool, img_eventpoll_tfd_ext);
		if (!e->ext)
			return pool_failed(err);
		e->ext->has_number = e->ext->has_file_id = true;
		e->ext->number = e->tfd;
		e->ext->file_id = f->id;
		if (number >= 0)
			e->tfd = (uint32_t)number;
		return 0;
	}
	return file_refuse(t, w->epoll, "", "epoll watches a file under number %u that no process of the tree has open",
			   e->tfd);
}

/* A moved one still goes by its old number in the kernel's eyes, so all are looked for before any entry is changed. */
static int epoll_collected(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct img_eventpoll_tfd_entry_vec *v = &f->entry->epfd->tfd;
	struct watches w = { .epoll = f, .items = v->items, .nr = v->nr };
	int r;

	w.place = calloc(w.nr, sizeof(*w.place));
	w.offset = calloc(w.nr, sizeof(*w.offset));
	r = w.place && w.offset ? count_offsets(&w, err) : pool_failed(err);
	if (r == 0)
		find_in_place(&w);
	for (size_t i = 0; i < w.nr && r == 0; i++)
		if (w.place[i] != WATCH_IN_PLACE)
			r = find_elsewhere(t, &w, i, err);
	free(w.place);
	free(w.offset);
	return r;
}

int epolls_collected(struct file_table *t, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < t->epolls.nr && r >= 0; i++)
		if (t->epolls.items[i]->entry && !t->epolls.items[i]->in_flight)
			r = epoll_collected(t, t->epolls.items[i], err);
	return r < 0 ? r : 0;
}
