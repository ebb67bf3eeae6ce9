/*
 * Dump: what is unread in a UNIX socket, peeked at with its offset for peeking (SO_PEEK_OFF, Linux 3.4) moved along the queue, and
 * put back. Descriptors in messages come as new ones of ours. Nothing is taken out.
 */
#include "net/unix-internal.h"

#include "base/own.h"
#include "image/image-set.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX   (1u << 30)
#define FIRST_ROOM  ((size_t)64 << 10)
#define CONTROL_MAX 4096 /* rights, credentials, timestamps, a security label */

struct peek {
	int fd, type;
	char *buf;
	size_t room;
	/* of the last message */
	ssize_t len;
	int rights[UNIX_RIGHTS_MAX];
	size_t nr_rights;
	bool has_cred, cut;
	struct ucred cred;
	struct sockaddr_storage from;
	socklen_t from_len;
};

static void peek_close(struct peek *p)
{
	for (size_t i = 0; i < p->nr_rights; i++)
		if (p->rights[i] >= 0)
			close(p->rights[i]);
	p->nr_rights = 0;
}

static void take_control(struct peek *p, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS && p->nr_rights + len / sizeof(int) <= UNIX_RIGHTS_MAX) {
			memcpy(p->rights + p->nr_rights, CMSG_DATA(c), len);
			p->nr_rights += len / sizeof(int);
		} else if (c->cmsg_type == SCM_CREDENTIALS && len >= sizeof(p->cred)) {
			memcpy(&p->cred, CMSG_DATA(c), sizeof(p->cred));
			p->has_cred = true;
		} else if (c->cmsg_type == UAPI_SCM_PIDFD && len >= sizeof(int)) {
			int fd; /* of the sender; the kernel makes a new one for each look */

			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
			if (fd >= 0)
				close(fd);
		}
	}
}

/* The message, or piece of a stream, at @off of the queue, up to @max bytes. Return: 0, p->len -1: there is none; negative errno */
static int peek_at(struct peek *p, size_t off, size_t max, struct cr_error *err)
{
	char control[CONTROL_MAX] __attribute__((aligned(8)));
	struct iovec io = { p->buf, max };
	struct msghdr msg = { .msg_name = &p->from,
			      .msg_namelen = sizeof(p->from),
			      .msg_iov = &io,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int at = (int)off;

	peek_close(p);
	p->has_cred = p->cut = false;
	if (setsockopt(p->fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at)) < 0)
		return cr_fail(err, -errno, "peek into a socket");
	p->len = recvmsg(p->fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	if (p->len < 0)
		return errno == EAGAIN || errno == ECONNRESET ? 0 : cr_fail(err, -errno, "peek into a socket");
	take_control(p, &msg);
	p->from_len = msg.msg_namelen;
	if (msg.msg_flags & MSG_CTRUNC)
		return cr_refuse(err, -EMFILE, "the descriptors in a socket's queue are more than we may have open");
	p->cut = p->type != SOCK_STREAM && (size_t)p->len > max;
	return 0;
}

static int peek_grow(struct peek *p, size_t room, struct cr_error *err)
{
	char *buf = room > QUEUE_MAX ? NULL : realloc(p->buf, room);

	if (!buf)
		return cr_fail(err, -ENOMEM, "peek at %zu bytes in a socket", room);
	p->buf = buf;
	p->room = room;
	return 0;
}

/* Whole, whatever its length. */
static int peek_message(struct peek *p, size_t off, struct cr_error *err)
{
	int r = peek_at(p, off, p->room, err);

	if (r == 0 && p->cut) {
		r = peek_grow(p, (size_t)p->len, err);
		if (r == 0)
			r = peek_at(p, off, p->room, err);
	}
	return r;
}

/*
 * A stream stops behind the buffer that carries descriptors, but what was before that is in the same piece. Looks that are
 * shorter do not help: each shows the descriptors of the buffer behind it, too. But a buffer that cannot be copied wholly is not
 * copied at all (unix_stream_read_generic() in net/unix/af_unix.c), so a look whose last byte has nowhere to go ends before it.
 * Return: where in the piece of @len bytes its last buffer begins
 */
static int find_rights(struct peek *p, size_t off, size_t len, size_t *ret, struct cr_error *err)
{
	struct iovec io[2] = { { p->buf, len - 1 }, { NULL, 1 } };
	struct msghdr msg = { .msg_iov = io, .msg_iovlen = 2 };
	int at = (int)off;
	ssize_t n;

	if (setsockopt(p->fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at)) < 0)
		return cr_fail(err, -errno, "peek into a socket");
	n = recvmsg(p->fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && errno != EFAULT)
		return cr_fail(err, -errno, "peek into a socket");
	*ret = n > 0 ? (size_t)n : 0;
	return *ret < len ? 0 : cr_refuse(err, -EPROTO, "the pieces of a socket's queue cannot be told apart");
}

/* ------------------------------------------------------------------ entries */

static struct unix_packet *packet_add(struct file_table *t, struct unix_sock *s, const char *data, size_t len,
				      struct cr_error *err)
{
	struct unix_packet *k = pool_new(&t->sockets->data, struct unix_packet);

	if (!k || !(k->data = pool_text(&t->sockets->data, data, len))) {
		pool_failed(err);
		return NULL;
	}
	k->entry.id_for = s->f->id;
	k->entry.length = (uint32_t)len;
	*s->last = k;
	s->last = &k->next;
	return k;
}

static int add_rights(struct file_table *t, struct unix_sock *s, struct peek *p, struct unix_packet *k,
		      struct cr_error *err)
{
	img_scm_entry *scm = pool_new(&t->pool, img_scm_entry);
	int r = 0;

	if (!scm || !(scm->rights.items = pool_alloc(&t->pool, p->nr_rights * sizeof(uint32_t))))
		return pool_failed(err);
	scm->type = SCM_RIGHTS;
	for (size_t i = 0; i < p->nr_rights && r >= 0; i++) {
		struct open_file *f;
		int one = file_add_in_flight(t, s->f->task, &p->rights[i], &f, err);

		r = one < 0 || one > r ? one : r;
		if (one == 0)
			scm->rights.items[scm->rights.nr++] = f->id;
	}
	k->entry.scm.items = scm;
	k->entry.scm.nr = 1;
	return r;
}

static int add_ext(struct file_table *t, struct peek *p, struct unix_packet *k, struct cr_error *err)
{
	size_t head = offsetof(struct sockaddr_un, sun_path);
	bool named = p->type == SOCK_DGRAM && p->from_len > head && p->from_len <= sizeof(p->from);
	img_sk_packet_ext *ext = pool_new(&t->pool, img_sk_packet_ext);
	pid_t pid = 0;
	int r;

	if (!ext)
		return pool_failed(err);
	if (named) {
		ext->from.data =
			(const uint8_t *)pool_text(&t->pool, (const char *)&p->from + head, p->from_len - head);
		ext->from.len = p->from_len - head;
	}
	if (p->has_cred) {
		ext->cred = pool_new(&t->pool, img_unix_cred);
		r = owner_pid(t, p->cred.pid, F_OWNER_PID, &pid, err);
		if (r < 0)
			return r;
		if (ext->cred)
			*ext->cred = (img_unix_cred){ .has_pid = pid > 0,
						      .pid = (uint32_t)pid,
						      .has_uid = true,
						      .uid = p->cred.uid,
						      .has_gid = true,
						      .gid = p->cred.gid };
	}
	if ((named && !ext->from.data) || (p->has_cred && !ext->cred))
		return pool_failed(err);
	if (named || p->has_cred)
		k->entry.ext = ext;
	return 0;
}

/* The last message, as one entry or two */
static int add_message(struct file_table *t, struct unix_sock *s, struct peek *p, size_t off, struct cr_error *err)
{
	size_t len = (size_t)p->len, before = 0;
	struct unix_packet *k;
	int r = 0;

	if (p->type == SOCK_STREAM && p->nr_rights && len > 1) {
		r = find_rights(p, off, len, &before, err);
		if (r == 0)
			r = peek_at(p, off, len, err);
		if (r == 0 && before && (k = packet_add(t, s, p->buf, before, err)))
			r = add_ext(t, p, k, err);
		else if (r == 0 && before)
			r = -ENOMEM;
	}
	if (r < 0)
		return r;
	k = packet_add(t, s, p->buf + before, len - before, err);
	r = k ? add_ext(t, p, k, err) : -ENOMEM;
	return r == 0 && p->nr_rights ? add_rights(t, s, p, k, err) : r;
}

static int dump_all(struct file_table *t, struct unix_sock *s, struct peek *p, struct cr_error *err)
{
	size_t off = 0;
	int worst = 0, left = 0, r = 0;
	char byte;

	if (p->type == SOCK_STREAM) {
		if (recv(p->fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0)
			return file_refuse(t, s->f, "", "UNIX socket with an urgent byte in its queue, %s",
					   s->f->facts.link);
		if (ioctl(p->fd, SIOCINQ, &left) < 0)
			return cr_fail(err, -errno, "look into a socket");
		r = peek_grow(p, (size_t)left + 1, err);
	}
	/* a stream is not looked at behind its end, where an error that waits would be taken */
	while (r >= 0 && (p->type != SOCK_STREAM || off < (size_t)left) && (r = peek_message(p, off, err)) == 0 &&
	       p->len >= 0) {
		/* the end, which reads as an empty message */
		if (p->len == 0 && (p->type == SOCK_STREAM || (s->fact->shutdown & 1 && p->type == SOCK_SEQPACKET)))
			break;
		off += (size_t)p->len;
		if (off > QUEUE_MAX)
			return cr_refuse(err, -EFBIG, "more than %u bytes in a socket", QUEUE_MAX);
		r = add_message(t, s, p, off - (size_t)p->len, err);
		worst = r > 0 ? r : worst;
	}
	if (r >= 0 && p->type == SOCK_STREAM && off != (size_t)left)
		return file_refuse(t, s->f, "", "UNIX socket of whose %d unread bytes %zu can be seen, %s", left, off,
				   s->f->facts.link);
	return r < 0 ? r : worst;
}

/*
 * An error that waits (a peer that was closed with unread data) is taken by whatever looks for packets first, while streams tell
 * it behind their data: __skb_try_recv_datagram() in net/core/datagram.c. Return: 1 there is nothing to look for.
 */
static int look_for_error(struct file_table *t, struct unix_sock *s)
{
	struct pollfd p = { .fd = s->f->fd };
	int left = 0;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLERR))
		return 0;
	s->error = true;
	if (s->fact->type == SOCK_STREAM)
		return 0;
	if (!s->gone || ioctl(p.fd, SIOCINQ, &left) < 0 || left)
		return file_refuse(t, s->f, "", "UNIX socket with an error that waits to be read, %s",
				   s->f->facts.link);
	return 1;
}

int unix_queue_dump(struct file_table *t, struct unix_sock *s, struct cr_error *err)
{
	struct peek p = { .fd = s->f->fd, .type = s->fact->type };
	int was = -1, r;
	socklen_t len = sizeof(was);

	if (s->fact->state == UNIX_STATE_LISTENING)
		return 0;
	r = look_for_error(t, s);
	if (r != 0)
		return r;
	if (getsockopt(p.fd, SOL_SOCKET, SO_PEEK_OFF, &was, &len) < 0)
		return cr_fail(err, -errno, "peek into a socket");
	r = peek_grow(&p, FIRST_ROOM, err);
	if (r == 0)
		r = dump_all(t, s, &p, err);
	peek_close(&p);
	free(p.buf);
	if (setsockopt(p.fd, SOL_SOCKET, SO_PEEK_OFF, &was, sizeof(was)) < 0 && r >= 0)
		r = cr_fail(err, -errno, "put the offset for peeking back");
	return r;
}

int unix_queues_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r;

	if (!t->sockets)
		return 0;
	r = image_writer_open(set, IMG_SK_QUEUES, 0, &w, err);
	for (size_t i = 0; i < t->sockets->socks.nr && r == 0; i++)
		for (struct unix_packet *k = t->sockets->socks.items[i]->first; k && r == 0; k = k->next) {
			r = image_write(w, &k->entry, err);
			if (r == 0)
				r = image_write_raw(w, k->data, k->entry.length, err);
		}
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}
