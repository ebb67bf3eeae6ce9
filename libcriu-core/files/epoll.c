/*
 * Descriptors made by epoll_create1(2). The kernel names what is watched by the number it had when it was added; the
 * number may be another file by now. kcmp(2) tells (KCMP_EPOLL_TFD, Linux 4.13).
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "infect/program.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_WATCHES ((size_t)1 << 22)

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

/* Is what is watched still at its number? */
static bool watch_in_place(const struct open_file *f, uint32_t tfd)
{
	struct kcmp_epoll_slot slot = { .efd = (uint32_t)f->fd_there, .tfd = tfd };

	pid_t tid = f->task->lead->host_tid;

	return syscall(SYS_kcmp, tid, tid, KCMP_EPOLL_TFD, tfd, &slot) == 0;
}

/* @numbers: those met so far */
static int watch_read(struct file_table *t, struct open_file *f, struct scan line, struct map *numbers,
		      img_eventpoll_tfd_entry *e, struct cr_error *err)
{
	if (watch_parse(line, e) < 0)
		return cr_refuse(err, -EINVAL, "fdinfo of an epoll descriptor is not understood");
	/* two watches of one number: at least one is of a file that is no longer there */
	if (map_find(numbers, (uint64_t)e->tfd + 1) || !watch_in_place(f, e->tfd))
		return file_refuse(t, f, "", "epoll watches a file whose number %u is closed or used for another",
				   e->tfd);
	return map_put(numbers, (uint64_t)e->tfd + 1, t) < 0 ? pool_failed(err) : 0;
}

static int watches_read(struct file_table *t, struct open_file *f, struct scan rest, img_eventpoll_file_entry *e,
			struct cr_error *err)
{
	size_t nr = count_watches(rest);
	struct map numbers = { 0 };
	struct scan line;
	int r = 0;

	if (nr > MAX_WATCHES)
		return cr_refuse(err, -E2BIG, "epoll watches %zu descriptors", nr);
	e->tfd.items = nr ? pool_alloc(&t->pool, nr * sizeof(*e->tfd.items)) : NULL;
	if (nr && !e->tfd.items)
		return pool_failed(err);
	while (r == 0 && proc_fdinfo_next(&rest, &line))
		if (scan_lit(&line, "tfd:") == 0)
			r = watch_read(t, f, line, &numbers, &e->tfd.items[e->tfd.nr++], err);
	map_done(&numbers);
	return r;
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
	return watches_read(t, f, rest, e, err);
}

static int epoll_check(const img_file_entry *e, struct cr_error *err)
{
	for (size_t i = 0; i < e->epfd->tfd.nr; i++)
		if (e->epfd->tfd.items[i].tfd > INT32_MAX)
			return cr_refuse(err, -EBADMSG, "epoll %u watches descriptor %u", e->id,
					 e->epfd->tfd.items[i].tfd);
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
	return fown_finish(take_fd(&fd), f->entry->epfd->fown, err);
}

static void epoll_settle(const struct files *fs, const struct restored_file *f, int fd, struct program *p,
			 struct routine *r)
{
	const struct img_eventpoll_tfd_entry_vec *v = &f->entry->epfd->tfd;

	(void)fs;
	for (size_t i = 0; i < v->nr; i++) {
		struct epoll_event ev = { .events = v->items[i].events, .data.u64 = v->items[i].data };

		emit_call(p, r, "epoll watch", SYS_epoll_ctl, fd, EPOLL_CTL_ADD, v->items[i].tfd,
			  emit_data(p, r, &ev, sizeof(ev), 8));
	}
}

static size_t epoll_settle_size(const struct restored_file *f)
{
	return f->entry->epfd->tfd.nr * (sizeof(struct abi_op) + sizeof(struct epoll_event) + 8);
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
