/*
 * POSIX message queues of an IPC namespace. Nothing shows a message but receiving it: so a dump takes all of a queue and
 * puts them back, in a process that finishes if the dumper is killed. Messages come in the order of their priorities, and of equal
 * ones the oldest first; sent in that order they are in that order again. Who waits to send has his message put in as soon as one
 * is taken (pipelined_receive() in ipc/mqueue.c, 6.18), and then not all can be put back: so no full queue is touched where somebody
 * outside of the tree, which stands still, may wait.
 */
#include "ns/ipc-parts.h"

#include "base/own.h"
#include "infect/task.h"
#include "kernel/apart.h"
#include "kernel/uapi.h"
#include "procfs/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UAPI_FSCONFIG_CMD_CREATE 6 /* enumerator of linux/mount.h */

#define MESSAGES_MAX  65536              /* HARD_MSGMAX of linux/ipc_namespace.h */
#define MESSAGE_MAX   (16u << 20)        /* HARD_MSGSIZEMAX */
#define PRIORITY_MAX  32768              /* MQ_PRIO_MAX of linux/limits.h */
#define CONTENT_MAX   ((size_t)64 << 20) /* of all queues, which one image entry holds */
#define SPARE_ENTRIES 16                 /* for what others send meanwhile */
#define PATIENCE_S    600                /* until there is room again, if others have sent meanwhile */

/* The calling thread's queues have a file system, which is mounted nowhere for this. Return: descriptor; negative errno. */
static int open_queues(void)
{
	autofd int fs = (int)syscall(__NR_fsopen, "mqueue", 1 /* FSOPEN_CLOEXEC */);
	int fd;

	if (fs < 0)
		return -errno;
	if (syscall(__NR_fsconfig, fs, UAPI_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(__NR_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	if (fd < 0)
		return -errno;

	autofd int mount = fd;

	fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---------------------------------------------------------------- dump */

/* Calls @fn for each queue. Return: 0; 1 the kernel has no queues; negative errno. */
static int each_queue(int (*fn)(void *arg, int dirfd, const char *name, struct cr_error *err), void *arg,
		      struct cr_error *err)
{
	int r = 0, fd = open_queues();
	struct dirent *d;
	DIR *dir;

	if (fd == -ENODEV)
		return 1;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = cr_fail(err, fd < 0 ? fd : -errno, "list POSIX message queues");
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = cr_within(err, fn(arg, fd, d->d_name, err), "POSIX message queue /%s", d->d_name);
	closedir(dir);
	return r;
}

/* "QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     "; mqueue_read_file() in ipc/mqueue.c */
static int read_field(int fd, const char *field, uint64_t *ret, struct cr_error *err)
{
	char text[128];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
	const char *at;
	struct scan s;

	if (len < 0)
		return cr_fail(err, -errno, "read its state");
	text[len] = '\0';
	at = strstr(text, field);
	if (!at)
		return cr_refuse(err, -EINVAL, "its state is not understood");
	at += strlen(field);
	s = (struct scan)SCAN_INIT(at, strlen(at));
	scan_blanks(&s);
	return scan_dec(&s, ret) < 0 ? cr_refuse(err, -EINVAL, "its state is not understood") : 0;
}

struct collecting {
	struct cr_context *ctx;
	const struct task *root;
	bool others; /* outside of the tree have the namespace, too */
	uint64_t bytes;
	dev_t dev;
};

static int refuse(const struct collecting *c, const char *name, const char *why, const char *advice,
		  struct cr_error *err)
{
	int r = obstacle_add(&c->ctx->obstacles, c->root->host_pid, c->root->comm, "IPC namespace", advice,
			     "POSIX message queue /%s %s", name, why);

	return r < 0 ? cr_fail(err, r, "note an obstacle") : 0;
}

static bool may_be_waited_for(const struct mq_attr *attr, bool others)
{
	return others && attr->mq_curmsgs >= attr->mq_maxmsg;
}

static int collect_queue(void *arg, int dirfd, const char *name, struct cr_error *err)
{
	autofd int fd = openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct collecting *c = arg;
	uint64_t told = 0, size = 0;
	struct mq_attr attr;
	int r;

	if (fd < 0 || mq_getattr(fd, &attr) < 0)
		return cr_fail(err, -errno, "open");
	r = read_field(fd, "NOTIFY_PID:", &told, err);
	if (r == 0)
		r = read_field(fd, "QSIZE:", &size, err);
	if (r < 0)
		return r;
	c->bytes += size;
	if (told)
		return refuse(c, name, "of whose messages a process is to be notified", "", err);
	if (may_be_waited_for(&attr, c->others))
		return refuse(c, name,
			      "that is full, in a namespace with processes outside of the tree, which may wait to send",
			      "try again when a message of it has been received", err);
	return c->bytes > CONTENT_MAX ? refuse(c, name, "with more messages than images can hold", "", err) : 0;
}

int ipc_mqueues_collect(struct cr_context *ctx, const struct task *root, bool others, dev_t *ret_dev,
			struct cr_error *err)
{
	struct collecting c = { .ctx = ctx, .root = root, .others = others };
	autofd int fd = open_queues();
	struct stat st;
	int r = each_queue(collect_queue, &c, err);

	if (r < 0)
		return r;
	*ret_dev = fd >= 0 && fstat(fd, &st) == 0 ? st.st_dev : 0;
	return 0;
}

struct taken {
	unsigned int priority;
	size_t len;
};

/* What the process apart works on: it must not allocate. */
struct taking {
	int fd;
	bool others;
	char *buf; /* messages, one behind the other */
	size_t size, used, message_size;
	struct taken *list;
	size_t nr, max, back, back_at; /* of them, so many and so many bytes are back */
};

static int put_back(struct taking *t, const struct timespec *until)
{
	for (; t->back < t->nr; t->back_at += t->list[t->back++].len)
		if (syscall(SYS_mq_timedsend, t->fd, t->buf + t->back_at, t->list[t->back].len,
			    t->list[t->back].priority, until) < 0)
			return -errno;
	return 0;
}

/* No more than there are now: what comes in meanwhile takes the place of what was taken. Return: as apart_run(). */
static int take_and_put_back(void *arg)
{
	struct taking *t = arg;
	struct mq_attr now;

	if (mq_getattr(t->fd, &now) < 0)
		return -errno;
	if (may_be_waited_for(&now, t->others))
		return -EBUSY;
	if (t->max > (size_t)now.mq_curmsgs)
		t->max = (size_t)now.mq_curmsgs;
	while (t->nr < t->max && t->size - t->used >= t->message_size) {
		long len = syscall(SYS_mq_timedreceive, t->fd, t->buf + t->used, t->size - t->used,
				   &t->list[t->nr].priority, NULL);

		if (len < 0)
			break;
		t->list[t->nr++].len = (size_t)len;
		t->used += (size_t)len;
	}
	return put_back(t, NULL);
}

/*
 * Others have sent in the microseconds in which messages were out, and there is no room for all. A process of its own, of
 * which nobody is the parent, sends the rest as soon as somebody receives; also the tree can, when it goes on. Return: 0; negative errno.
 */
static int put_back_behind(struct taking *t)
{
	struct timespec until;
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		pid = fork();
		if (pid)
			_exit(pid < 0);
		setsid();
		dup2(t->fd, 0);
		syscall(__NR_close_range, 1, ~0u, 0);
		t->fd = 0;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += PATIENCE_S;
		_exit(fcntl(0, F_SETFL, O_RDWR) < 0 || put_back(t, &until) < 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status ? -EAGAIN : 0;
}

static int keep_messages(const struct taking *t, struct pool *pool, img_message_queue *q, struct cr_error *err)
{
	size_t at = 0;

	for (size_t i = 0; i < t->nr; at += t->list[i].len, i++) {
		img_queued_message *m = pool_vec_add(pool, (void **)&q->messages.items, &q->messages.nr, sizeof(*m));
		char *data = m ? pool_alloc(pool, t->list[i].len) : NULL;

		if (!data)
			return cr_fail(err, -ENOMEM, "keep its messages");
		memcpy(data, t->buf + at, t->list[i].len);
		m->priority = t->list[i].priority;
		m->data.data = t->list[i].len ? (uint8_t *)data : NULL;
		m->data.len = t->list[i].len;
	}
	return 0;
}

/* Return: as apart_run() */
static int take_all(struct taking *t, struct cr_error *err)
{
	int r = apart_run(take_and_put_back, t, err);

	if (r == -EBUSY)
		return cr_refuse(err, r,
				 "it is full by now, and processes outside of the tree may wait to send: try again");
	if (r < 0 && t->back < t->nr) {
		size_t left = t->nr - t->back;
		int code = put_back_behind(t);

		return code < 0 ? cr_fail(err, code, "%zu messages that were looked at are lost: others sent meanwhile",
					  left)
				: cr_refuse(err, r,
					    "others sent while messages were looked at: %zu come back when there is "
					    "room: try again",
					    left);
	}
	return r < 0 ? cr_fail(err, r, "take its messages and put them back") : 0;
}

static int dump_messages(int fd, const struct mq_attr *attr, bool others, struct pool *pool, img_message_queue *q,
			 struct cr_error *err)
{
	struct taking t = { .fd = fd, .others = others, .message_size = (size_t)attr->mq_msgsize };
	uint64_t bytes;
	int r = read_field(fd, "QSIZE:", &bytes, err);

	if (r < 0 || !attr->mq_curmsgs)
		return r;
	if (bytes > CONTENT_MAX)
		return cr_refuse(err, -EFBIG, "%llu bytes of messages", (unsigned long long)bytes);
	/* a message is received only by who has room for the largest */
	t.size = bytes + (size_t)SPARE_ENTRIES * t.message_size;
	t.max = (size_t)attr->mq_curmsgs + SPARE_ENTRIES;
	t.buf = malloc(t.size);
	t.list = calloc(t.max, sizeof(*t.list));
	r = t.buf && t.list ? take_all(&t, err) : cr_fail(err, -ENOMEM, "keep its messages");
	if (r == 0)
		r = keep_messages(&t, pool, q, err);
	free(t.buf);
	free(t.list);
	return r;
}

struct dumping {
	struct pool *pool;
	bool others;
	img_ipc_var_ext *ext;
};

static int dump_queue(void *arg, int dirfd, const char *name, struct cr_error *err)
{
	autofd int fd = openat(dirfd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct dumping *d = arg;
	struct mq_attr attr;
	img_message_queue *q;
	struct stat st;

	if (fd < 0)
		return cr_fail(err, -errno, "open");
	if (fstat(fd, &st) < 0 || mq_getattr(fd, &attr) < 0)
		return cr_fail(err, -errno, "look at it");
	q = pool_vec_add(d->pool, (void **)&d->ext->queues.items, &d->ext->queues.nr, sizeof(*q));
	if (!q)
		return cr_fail(err, -ENOMEM, "keep it");
	q->name = pool_text(d->pool, name, strlen(name));
	if (!q->name)
		return cr_fail(err, -ENOMEM, "keep it");
	q->uid = st.st_uid;
	q->gid = st.st_gid;
	q->mode = st.st_mode & 07777;
	q->max_messages = (uint64_t)attr.mq_maxmsg;
	q->message_size = (uint64_t)attr.mq_msgsize;
	return dump_messages(fd, &attr, d->others, d->pool, q, err);
}

int ipc_mqueues_dump(struct pool *pool, bool others, img_ipc_var_ext *ret, struct cr_error *err)
{
	struct dumping d = { pool, others, ret };
	int r = each_queue(dump_queue, &d, err);

	return r < 0 ? r : 0;
}

/* ---------------------------------------------------------------- restore */

static int check_queue(const img_message_queue *q, struct cr_error *err)
{
	size_t len = strlen(q->name);

	if (!len || len > NAME_MAX || strchr(q->name, '/') || strcmp(q->name, ".") == 0 || strcmp(q->name, "..") == 0)
		return cr_refuse(err, -EBADMSG, "POSIX message queue with a name of %zu bytes", len);
	if (q->mode > 07777 || !q->max_messages || q->max_messages > MESSAGES_MAX || !q->message_size ||
	    q->message_size > MESSAGE_MAX || q->messages.nr > q->max_messages || q->uid == UINT32_MAX ||
	    q->gid == UINT32_MAX)
		return cr_refuse(err, -EBADMSG, "POSIX message queue /%s is out of range", q->name);
	for (size_t i = 0; i < q->messages.nr; i++)
		if (q->messages.items[i].priority >= PRIORITY_MAX || q->messages.items[i].data.len > q->message_size)
			return cr_refuse(err, -EBADMSG, "POSIX message queue /%s: message %zu", q->name, i);
	return 0;
}

int ipc_mqueues_check(const img_ipc_var_ext *e, struct ipc_queue_needs *ret, struct cr_error *err)
{
	int r = 0;

	ret->mqueues = e->queues.nr;
	for (size_t i = 0; i < e->queues.nr && r == 0; i++) {
		const img_message_queue *q = &e->queues.items[i];

		r = check_queue(q, err);
		if (ret->mqueue_messages < q->max_messages)
			ret->mqueue_messages = q->max_messages;
		if (ret->mqueue_bytes < q->message_size)
			ret->mqueue_bytes = q->message_size;
	}
	return r;
}

static int make_queue(const img_message_queue *q, struct cr_error *err)
{
	struct mq_attr attr = { .mq_maxmsg = (long)q->max_messages, .mq_msgsize = (long)q->message_size };
	autofd int fd =
		(int)syscall(SYS_mq_open, q->name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &attr);

	if (fd < 0) {
		int r = cr_fail(err, -errno, "make it");

		if (r == -EMFILE)
			cr_advise(err, "allow more bytes: ulimit -q (RLIMIT_MSGQUEUE)");
		return r;
	}
	for (size_t i = 0; i < q->messages.nr; i++) {
		const img_queued_message *m = &q->messages.items[i];

		if (syscall(SYS_mq_timedsend, fd, m->data.len ? (const char *)m->data.data : "", m->data.len,
			    m->priority, NULL) < 0)
			return cr_fail(err, -errno, "put message %zu into it", i);
	}
	if (fchown(fd, q->uid, q->gid) < 0 || fchmod(fd, q->mode) < 0)
		return cr_fail(err, -errno, "give it its owner and mode");
	return 0;
}

int ipc_mqueues_make(const img_ipc_var_ext *e, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < e->queues.nr && r == 0; i++)
		r = cr_within(err, make_queue(&e->queues.items[i], err), "POSIX message queue /%s",
			      e->queues.items[i].name);
	return r;
}

int ipc_mqueue_open(const char *name, int flags, struct cr_error *err)
{
	int fd = (int)syscall(SYS_mq_open, name, (flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC, 0, NULL);

	return fd < 0 ? cr_fail(err, -errno, "open POSIX message queue /%s", name) : fd;
}
