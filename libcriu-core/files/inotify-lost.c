#include "files/inotify-lost.h"

#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define EVENT     ((int)sizeof(struct inotify_event)) /* without a name */
#define BATCH     256
#define QUEUE_MAX (1 << 20) /* events; the kernel's default limit is 16,384 */

/* An unnamed file, as by open(2): descriptors of memfd_create(2) itself need not make events. */
static int open_subject(char path[static 40], struct cr_error *err)
{
	autofd int made = memfd_create("inotify", MFD_CLOEXEC);
	int fd;

	if (made < 0)
		return cr_fail(err, -errno, "memfd_create");
	snprintf(path, 40, "/proc/self/fd/%d", made);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return cr_fail(err, -errno, "open a memory file");
	snprintf(path, 40, "/proc/self/fd/%d", fd);
	return fd;
}

static int queued(int fd, struct cr_error *err)
{
	int bytes = 0;

	return ioctl(fd, FIONREAD, &bytes) < 0 ? cr_fail(err, -errno, "length of an inotify queue") : bytes;
}

/* Two kinds of events in turn: one that is like the last in the queue is not added to it (inotify_merge(), fs/notify/inotify). */
static int fill(int fd, int subject, struct cr_error *err)
{
	int before, now = 0;
	char byte = 0;

	do {
		before = now;
		for (int i = 0; i < BATCH; i++)
			if (pwrite(subject, &byte, 1, 0) != 1 || pread(subject, &byte, 1, 0) != 1)
				return cr_fail(err, -errno, "write to a memory file");
		now = queued(fd, err);
	} while (now > before && now <= QUEUE_MAX * EVENT);
	return now;
}

/* All but the last @keep bytes. */
static int take(int fd, int keep, struct cr_error *err)
{
	char events[4096];
	int left = queued(fd, err);

	while (left > keep) {
		size_t want = (size_t)(left - keep) < sizeof(events) ? (size_t)(left - keep) : sizeof(events);
		ssize_t n = read(fd, events, want);

		if (n <= 0)
			return cr_fail(err, n < 0 ? -errno : -EIO, "read inotify events");
		left = queued(fd, err);
	}
	return left < 0 ? left : 0;
}

int inotify_tell_lost(int fd, struct cr_error *err)
{
	char path[40];
	autofd int subject = open_subject(path, err);
	int watch, r;

	if (subject < 0)
		return subject;
	watch = inotify_add_watch(fd, path, IN_ACCESS | IN_MODIFY);
	if (watch < 0)
		return cr_fail(err, -errno, "watch a memory file");
	r = fill(fd, subject, err);
	/* for what this leaves there is no room */
	if (inotify_rm_watch(fd, watch) < 0 && r >= 0)
		r = cr_fail(err, -errno, "drop a watch");
	if (r < 0)
		return r;
	if (r > QUEUE_MAX * EVENT) {
		r = take(fd, 0, err);
		return r < 0 ? r : cr_fail(err, -EOPNOTSUPP, "inotify queues of more than %d events", QUEUE_MAX);
	}
	return take(fd, EVENT, err);
}
