/* Timers made by timerfd_create(2). */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "procfs/fdinfo.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t) /* 3.17, CONFIG_CHECKPOINT_RESTORE */
#endif

static bool timerfd_claims(const struct file_facts *facts)
{
	return strcmp(facts->link, "anon_inode:[timerfd]") == 0;
}

/* "(seconds, nanoseconds)" */
static int parse_pair(struct scan *s, uint64_t *ret_sec, uint64_t *ret_nsec)
{
	scan_blanks(s);
	if (scan_char(s, '(') < 0 || scan_dec(s, ret_sec) < 0 || scan_char(s, ',') < 0)
		return -EINVAL;
	scan_blanks(s);
	return scan_dec(s, ret_nsec) < 0 || scan_char(s, ')') < 0 ? -EINVAL : 0;
}

/*
 * timerfd_show() in fs/timerfd.c, Linux 3.17 and later: it_value is what is left, also of an absolute time; the flags of
 * the last timerfd_settime(2) are octal.
 */
static int timerfd_parse(struct scan rest, img_timerfd_entry *e, struct cr_error *err)
{
	unsigned int seen = 0;
	struct scan line;
	uint64_t v;
	int r = 0;

	while (r == 0 && proc_fdinfo_next(&rest, &line)) {
		if (scan_lit(&line, "clockid:") == 0) {
			scan_blanks(&line);
			r = scan_dec32(&line, &e->clockid);
			seen |= 1;
		} else if (scan_lit(&line, "ticks:") == 0) {
			scan_blanks(&line);
			r = scan_dec(&line, &e->ticks);
			seen |= 2;
		} else if (scan_lit(&line, "settime flags:") == 0) {
			scan_blanks(&line);
			r = scan_oct(&line, &v);
			e->settime_flags = r == 0 ? (uint32_t)v : 0;
			seen |= 4;
		} else if (scan_lit(&line, "it_value:") == 0) {
			r = parse_pair(&line, &e->vsec, &e->vnsec);
			seen |= 8;
		} else if (scan_lit(&line, "it_interval:") == 0) {
			r = parse_pair(&line, &e->isec, &e->insec);
			seen |= 16;
		}
	}
	return r < 0 || seen != 31 ? cr_refuse(err, -EINVAL, "fdinfo of a timerfd is not understood") : 0;
}

/*
 * One that has expired stands still, and its later expirations are counted when somebody asks (do_timerfd_gettime() in
 * fs/timerfd.c): that is here, and its owner sees nothing of it.
 */
static int count_expirations(struct file_table *t, struct open_file *f, img_timerfd_entry *e, struct cr_error *err)
{
	struct itimerspec left;
	struct scan rest;
	int r;

	if (timerfd_gettime(f->fd, &left) < 0)
		return cr_fail(err, -errno, "timerfd_gettime");
	f->fdinfo = NULL; /* was read before that */
	r = file_read_fdinfo(t, f, &rest, err);
	return r < 0 ? r : timerfd_parse(rest, e, err);
}

static int timerfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_timerfd_entry *e = pool_new(&t->pool, img_timerfd_entry);
	struct scan rest;
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin_fdinfo(t, f, img_fd_types_TIMERFD, OWNED_ENTRY(e), &rest, err);
	if (r != 0)
		return r;
	f->entry->tfd = e;
	r = timerfd_parse(rest, e, err);
	return r == 0 && e->ticks && (e->isec || e->insec) ? count_expirations(t, f, e, err) : r;
}

static int timerfd_check(const img_file_entry *e, struct cr_error *err)
{
	const img_timerfd_entry *t = e->tfd;

	if (t->vnsec >= 1000000000 || t->insec >= 1000000000 || t->vsec > INT64_MAX / 2 || t->isec > INT64_MAX / 2)
		return cr_refuse(err, -EBADMSG, "timerfd %u has a time that is none", e->id);
	if (t->settime_flags & ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return cr_refuse(err, -EBADMSG, "timerfd %u has flags 0x%x", e->id, t->settime_flags);
	return fown_check(t->fown, err);
}

static int timerfd_arm(int fd, const img_timerfd_entry *e, struct cr_error *err)
{
	struct itimerspec its = { .it_value = { (time_t)e->vsec, (long)e->vnsec },
				  .it_interval = { (time_t)e->isec, (long)e->insec } };
	bool stopped = !e->vsec && !e->vnsec;
	struct timespec now;

	/*
	 * One that has expired is not started again before somebody asks for its expirations (timerfd_read_iter() in
	 * fs/timerfd.c), so nothing is left of its time although it goes on: here it does from now on. One that was
	 * stopped has no expirations, but may have an interval.
	 */
	if (stopped && e->ticks) {
		its.it_value = its.it_interval;
		stopped = !e->isec && !e->insec;
	}
	if (!stopped && e->settime_flags & TFD_TIMER_ABSTIME) {
		if (clock_gettime((clockid_t)e->clockid, &now) < 0)
			return cr_fail(err, -errno, "read clock %u", e->clockid);
		its.it_value.tv_sec += now.tv_sec;
		its.it_value.tv_nsec += now.tv_nsec;
		if (its.it_value.tv_nsec >= 1000000000) {
			its.it_value.tv_nsec -= 1000000000;
			its.it_value.tv_sec++;
		}
	}
	return timerfd_settime(fd, (int)e->settime_flags, &its, NULL) < 0 ? cr_fail(err, -errno, "timerfd_settime") : 0;
}

static int timerfd_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_timerfd_entry *e = f->entry->tfd;
	autofd int fd = timerfd_create((int)e->clockid, TFD_CLOEXEC | (int)(e->flags & TFD_NONBLOCK));
	int r;

	(void)fs;
	if (fd < 0)
		return cr_fail(err, -errno, "timerfd of clock %u", e->clockid);
	r = timerfd_arm(fd, e, err);
	if (r < 0)
		return r;
	if (e->ticks && ioctl(fd, TFD_IOC_SET_TICKS, &e->ticks) < 0)
		return cr_fail(err, -errno, "expirations of a timerfd");
	return fown_finish(take_fd(&fd), e->fown, err);
}

const struct file_ops timerfd_ops = {
	.name = "timerfd",
	.type = img_fd_types_TIMERFD,
	.claims = timerfd_claims,
	.dump = timerfd_dump,
	.check = timerfd_check,
	.open = timerfd_open,
};
