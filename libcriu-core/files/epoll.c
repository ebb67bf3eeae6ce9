/*
 * Descriptors made by epoll_create1(2). The kernel names what is watched by the number it had when it was added, and goes on
 * knowing it by that number when it is closed or something else, as long as the file is open elsewhere; epoll-watch.c finds out.
 */
#include "files/dump-internal.h"
#include "files/epoll-watch.h"
#include "files/family.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "infect/program.h"
#include "kernel/uapi.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_WATCHES ((size_t)1 << 22)

/* struct epoll_params, EPIOCSPARAMS and EPIOCGPARAMS of linux/eventpoll.h, which does not go with sys/epoll.h */
struct busy_poll {
	uint32_t usecs;
	uint16_t budget;
	uint8_t prefer, pad;
};

#define SET_BUSY_POLL _IOW(0x8A, 0x01, struct busy_poll)
#define GET_BUSY_POLL _IOR(0x8A, 0x02, struct busy_poll)

static bool epoll_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:[eventpoll]") == 0;
}

/* "tfd: 5 events: 19 data: ffff pos:0 ino:61af sdev:7"; ep_show_fdinfo() in fs/eventpoll.c, since Linux 3.8, pos and on since 4.13 */
static int watch_parse(struct scan line, img_eventpoll_tfd_entry *e)
{
	uint64_t v;

	scan_blanks(&line);
	if (scan_dec32(&line, &e->tfd) < 0)
		return -EINVAL;
	scan_blanks(&line);
	if (scan_lit(&line, "events:") < 0)
		return -EINVAL;
	scan_blanks(&line);
	if (scan_hex32(&line, &e->events) < 0)
		return -EINVAL;
	scan_blanks(&line);
	if (scan_lit(&line, "data:") < 0)
		return -EINVAL;
	scan_blanks(&line);
	if (scan_hex(&line, &e->data) < 0)
		return -EINVAL;
	scan_blanks(&line);
	if (scan_lit(&line, "pos:") < 0)
		return 0;
	e->has_pos = scan_dec(&line, &e->pos) == 0;
	scan_blanks(&line);
	e->has_inode = scan_lit(&line, "ino:") == 0 && scan_hex(&line, &e->inode) == 0;
	scan_blanks(&line);
	e->has_dev = scan_lit(&line, "sdev:") == 0 && scan_hex(&line, &v) == 0 && v <= UINT32_MAX;
	e->dev = e->has_dev ? (uint32_t)v : 0;
	return 0;
}

static size_t count_watches(struct scan rest)
{
	struct scan line;
	size_t nr = 0;

	while (proc_fdinfo_next(&rest, &line))
		nr += scan_lit(&line, "tfd:") == 0;
	return nr;
}

static int watches_read(struct file_table *t, struct scan rest, img_eventpoll_file_entry *e, struct cr_error *err)
{
	size_t nr = count_watches(rest);
	struct scan line;

	if (nr > MAX_WATCHES)
		return cr_refuse(err, -E2BIG, "epoll watches %zu descriptors", nr);
	e->tfd.items = nr ? pool_alloc(&t->pool, nr * sizeof(*e->tfd.items)) : NULL;
	if (nr && !e->tfd.items)
		return pool_failed(err);
	while (proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "tfd:") == 0 && watch_parse(line, &e->tfd.items[e->tfd.nr++]) < 0)
			return cr_refuse(err, -EINVAL, "fdinfo of an epoll descriptor is not understood");
	return 0;
}

/* Linux 6.9; of a new one all are 0. */
static int busy_poll_read(struct file_table *t, int fd, img_eventpoll_file_entry *e, struct cr_error *err)
{
	struct busy_poll p = { 0 };

	if (ioctl(fd, GET_BUSY_POLL, &p) < 0 || (!p.usecs && !p.budget && !p.prefer))
		return 0;
	e->ext = pool_new(&t->pool, img_eventpoll_file_ext);
	if (!e->ext)
		return pool_failed(err);
	e->ext->has_busy_poll_usecs = e->ext->has_busy_poll_budget = e->ext->has_prefer_busy_poll = true;
	e->ext->busy_poll_usecs = p.usecs;
	e->ext->busy_poll_budget = p.budget;
	e->ext->prefer_busy_poll = p.prefer;
	return 0;
}

static int busy_poll_set(int fd, const img_eventpoll_file_ext *ext, struct cr_error *err)
{
	struct busy_poll p = { ext->busy_poll_usecs, (uint16_t)ext->busy_poll_budget, ext->prefer_busy_poll, 0 };

	return ioctl(fd, SET_BUSY_POLL, &p) < 0 ? cr_fail(err, -errno, "busy polling of an epoll descriptor (EPIOCSPARAMS)") : 0;
}

static int epoll_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_eventpoll_file_entry *e = pool_new(&t->pool, img_eventpoll_file_entry);
	struct scan rest;
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_EVENTPOLL, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->epfd = e;
	r = watches_read(t, rest, e, err);
	if (r == 0)
		r = busy_poll_read(t, f->fd, e, err);
	return r < 0 || !e->tfd.nr ? r : epoll_note(t, f, err);
}

static int epoll_check(const img_file_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < e->epfd->tfd.nr; i++)
		if (e->epfd->tfd.items[i].tfd > INT32_MAX)
			return cr_refuse(err, -EBADMSG, "epoll %u watches descriptor %u", e->id,
					 e->epfd->tfd.items[i].tfd);
	if (e->epfd->ext && (e->epfd->ext->busy_poll_budget > UINT16_MAX || e->epfd->ext->busy_poll_usecs > INT32_MAX))
		return cr_refuse(err, -EBADMSG, "epoll %u polls devices for %u us, %u packets", e->id,
				 e->epfd->ext->busy_poll_usecs, e->epfd->ext->busy_poll_budget);
	return fown_check(e->epfd->fown, err);
}

static int epoll_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	autofd int fd = epoll_create1(EPOLL_CLOEXEC);

	(void)fs;
	if (fd < 0)
		return cr_fail(err, -errno, "epoll_create1");
	if (f->entry->epfd->flags & O_NONBLOCK && fd_set_flags(fd, O_NONBLOCK, err) < 0)
		return err ? err->code : -EINVAL;
	if (f->entry->epfd->ext) {
		int r = busy_poll_set(fd, f->entry->epfd->ext, err);

		if (r < 0)
			return r;
	}
	return fown_finish(take_fd(&fd), f->entry->epfd->fown, err);
}

/* What is at a number in the table of the task that settles this: a descriptor with these flags, or nothing (-1) */
static int occupant(const struct files *fs, const struct restored_file *f, int number)
{
	const struct restored_table *tab = files_task(fs, f->user_pid)->table;
	size_t lo = 0, hi = tab->fds.nr;

	if (number == tab->service)
		return FD_CLOEXEC;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if ((int)tab->fds.items[mid]->fd == number)
			return (int)tab->fds.items[mid]->flags;
		if ((int)tab->fds.items[mid]->fd < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

/*
 * What is watched takes its old number for a moment. What is there now steps aside; record locks, which that would cost, are
 * taken later.
 */
static void settle_moved(const struct files *fs, const struct restored_file *f, int fd,
			 const img_eventpoll_tfd_entry *e, uint64_t event, struct program *p, struct routine *r)
{
	const struct restored_file *target = files_find(fs, e->ext->file_id);
	int number = (int)e->ext->number, flags = occupant(fs, f, number);

	if (target->late)
		op_keep(emit_call(p, r, "duplicate what epoll watches", SYS_fcntl, e->tfd, F_DUPFD_CLOEXEC, 0), SLOT_TMP);
	else
		op_keep(emit_call(p, r, "take what epoll watches", __NR_pidfd_getfd, files_service_fd(fs, f->user_pid),
				  target->fd, 0),
			SLOT_TMP);
	if (flags >= 0)
		op_keep(emit_call(p, r, "keep a descriptor aside", SYS_fcntl, number, F_DUPFD_CLOEXEC, 0), SLOT_TMP2);
	op_from_slot(emit_call(p, r, "give a number to what epoll watches", SYS_dup2, SLOT_TMP, number), 0);
	emit_call(p, r, "epoll watch", SYS_epoll_ctl, fd, EPOLL_CTL_ADD, number, event);
	if (flags >= 0) {
		op_from_slot(emit_call(p, r, "put a descriptor back", SYS_dup3, SLOT_TMP2, number,
				       flags & FD_CLOEXEC ? O_CLOEXEC : 0),
			     0);
		op_from_slot(emit_call(p, r, "close a duplicate", SYS_close, SLOT_TMP2), 0);
		op_from_slot(emit_call(p, r, "close a duplicate", SYS_close, SLOT_TMP), 0);
		return;
	}
	emit_call(p, r, "free a number", SYS_close, number);
	/* it may have come to the very number that it is wanted at, and is closed then */
	op_may_fail(op_from_slot(emit_call(p, r, "close a duplicate", SYS_close, SLOT_TMP), 0));
}

static void epoll_settle(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
			 struct routine *r)
{
	const struct img_eventpoll_tfd_entry_vec *v = &f->entry->epfd->tfd;

	for (size_t i = 0; i < v->nr; i++) {
		struct epoll_event ev = { .events = v->items[i].events, .data.u64 = v->items[i].data };
		uint64_t at = emit_data(p, r, &ev, sizeof(ev), 8);

		if (v->items[i].ext)
			settle_moved(fs, f, fd, &v->items[i], at, p, r);
		else
			emit_call(p, r, "epoll watch", SYS_epoll_ctl, fd, EPOLL_CTL_ADD, v->items[i].tfd, at);
	}
}

static size_t epoll_settle_size(const struct restored_file *f)
{
	const struct img_eventpoll_tfd_entry_vec *v = &f->entry->epfd->tfd;
	size_t ops = 0;

	for (size_t i = 0; i < v->nr; i++)
		ops += v->items[i].ext ? 8 : 1;
	return ops * sizeof(struct abi_op) + v->nr * (sizeof(struct epoll_event) + 8);
}

/* References of watches that moved. */
static int epolls_read(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const img_file_entry *e = fs->files.items[i]->entry;

		for (size_t k = 0; e->type == img_fd_types_EVENTPOLL && k < e->epfd->tfd.nr; k++) {
			const img_eventpoll_tfd_ext *ext = e->epfd->tfd.items[k].ext;
			const struct restored_file *target = ext ? files_find(fs, ext->file_id) : NULL;

			if (!ext)
				continue;
			if (!ext->has_number || !ext->has_file_id || ext->number > INT32_MAX / 16 || !target || !target->used)
				return cr_refuse(err, -EBADMSG, "epoll %u watches file %u at number %u", e->id, ext->file_id,
						 ext->number);
		}
	}
	return 0;
}

const struct file_ops epoll_ops = {
	.name = "epoll",
	.type = img_fd_types_EVENTPOLL,
	.claims = epoll_claims,
	.dump = epoll_dump,
	.check = epoll_check,
	.open = epoll_open,
	.settle = epoll_settle,
	.settle_size = epoll_settle_size,
};

const struct file_family epoll_family = {
	.name = "epoll",
	.collected = epolls_collected,
	.read = epolls_read,
};
