/*
 * Sockets. All of them are obstacles but one: the socket on which a process has asked to be dumped itself. It is stored
 * as closed and without a peer, with a mark. At restore it is connected to nobody, and holds the answer to the request:
 * whoever reads it learns that he was restored. Bound and other sockets: sockets.c says what they are.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"
#include "files/sockets.h"

#include "base/own.h"
#include "proto/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define UFLAG_SERVICE 2u /* unix_sk_entry.uflags */
#define STATE_CLOSED  7u /* TCP_CLOSE of include/net/tcp_states.h */
#define ANSWER_MAX    256

static bool socket_claims(const struct file_facts *facts)
{
	return S_ISSOCK(facts->st.st_mode) && facts->fs_type == SOCKFS_MAGIC;
}

/* -------------------------------------------------------------------- dump */

/* Inode numbers of sockets are unique on the machine while they are open: they come from one counter, get_next_ino(). */
static bool is_service(const struct file_table *t, const struct open_file *f)
{
	return t->ctx->opts->service_ino && f->facts.st.st_ino == t->ctx->opts->service_ino;
}

static int option_of(int fd, int option)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? 0 : v;
}

static struct timeval timeout_of(int fd, int option)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);

	return getsockopt(fd, SOL_SOCKET, option, &tv, &len) < 0 ? (struct timeval){ 0 } : tv;
}

static void dump_options(int fd, img_sk_opts_entry *o)
{
	struct timeval send = timeout_of(fd, SO_SNDTIMEO), receive = timeout_of(fd, SO_RCVTIMEO);

	o->so_sndbuf = (uint32_t)option_of(fd, SO_SNDBUF);
	o->so_rcvbuf = (uint32_t)option_of(fd, SO_RCVBUF);
	o->so_snd_tmo_sec = (uint64_t)send.tv_sec;
	o->so_snd_tmo_usec = (uint64_t)send.tv_usec;
	o->so_rcv_tmo_sec = (uint64_t)receive.tv_sec;
	o->so_rcv_tmo_usec = (uint64_t)receive.tv_usec;
	o->has_so_passcred = true;
	o->so_passcred = option_of(fd, SO_PASSCRED);
}

static int service_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_unix_sk_entry *e = pool_new(&t->pool, img_unix_sk_entry);
	img_sk_opts_entry *opts = pool_new(&t->pool, img_sk_opts_entry);
	img_unix_sk_ext *ext = pool_new(&t->pool, img_unix_sk_ext);
	int r;

	f->entry = file_entry_new(t, img_fd_types_UNIXSK, f->id, err);
	if (!f->entry || !e || !opts || !ext)
		return pool_failed(err);
	e->id = f->id;
	e->ino = (uint32_t)f->facts.st.st_ino;
	e->type = (uint32_t)option_of(f->fd, SO_TYPE);
	e->state = STATE_CLOSED;
	e->flags = f->facts.flags;
	e->uflags = UFLAG_SERVICE;
	e->fown = fown_dump(t, f, &r, err);
	if (!e->fown)
		return r;
	dump_options(f->fd, opts);
	e->opts = opts;
	if (t->ctx->opts->service_first) {
		ext->has_first_generation = ext->first_generation = true;
		e->ext = ext;
	}
	f->entry->usk = e;
	return 0;
}

static int socket_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	char what[128];

	if (is_service(t, f))
		return service_dump(t, f, err);
	socket_describe(f->fd, what, sizeof(what));
	return file_refuse(t, f, "", "%s", what);
}

/* ----------------------------------------------------------------- restore */

static int socket_check(const img_file_entry *e, struct cr_error *err)
{
	const img_unix_sk_entry *s = e->usk;

	if (s->uflags != UFLAG_SERVICE)
		return cr_refuse(err, -EOPNOTSUPP, "file %u is a UNIX socket, which this version cannot restore",
				 e->id);
	if (s->type != SOCK_SEQPACKET)
		return cr_refuse(err, -EBADMSG, "service socket %u: type %u", e->id, s->type);
	if (s->peer || s->name.len)
		return cr_refuse(err, -EBADMSG, "service socket %u has a peer or a name", e->id);
	if (s->opts->so_snd_tmo_usec >= 1000000 || s->opts->so_rcv_tmo_usec >= 1000000 ||
	    s->opts->so_snd_tmo_sec > INT64_MAX || s->opts->so_rcv_tmo_sec > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "service socket %u: timeout out of range", e->id);
	return fown_check(s->fown, err);
}

static int queue_answer(int fd, bool first, struct cr_error *err)
{
	rpc_criu_dump_resp dump = { .has_restored = true, .restored = true };
	rpc_criu_resp resp = { .type = rpc_criu_req_type_DUMP, .success = true, .dump = &dump };
	struct proto_buf buf = proto_buf_of(ANSWER_MAX);
	struct proto_error why = { 0 };
	int r = rpc_resp_encode(&resp, first ? RPC_GENERATION_FIRST : RPC_GENERATION_TODAY, &buf, &why);

	if (r < 0)
		cr_refuse(err, r, "encode the answer to the request: %s", why.text);
	else if (send(fd, buf.data, buf.len, MSG_NOSIGNAL) != (ssize_t)buf.len)
		r = cr_fail(err, errno ? -errno : -EIO, "queue the answer to the request");
	proto_buf_done(&buf);
	return r;
}

/* Sizes are set to half, since the kernel doubles them: sk_setsockopt() in net/core/sock.c. Beyond the limits they are cut. */
static int set_options(int fd, const img_sk_opts_entry *o, struct cr_error *err)
{
	struct timeval send = { (time_t)o->so_snd_tmo_sec, (suseconds_t)o->so_snd_tmo_usec };
	struct timeval receive = { (time_t)o->so_rcv_tmo_sec, (suseconds_t)o->so_rcv_tmo_usec };
	int sndbuf = (int)(o->so_sndbuf / 2), rcvbuf = (int)(o->so_rcvbuf / 2),
	    passcred = o->has_so_passcred && o->so_passcred;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive)) < 0 ||
	    (passcred && setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &passcred, sizeof(passcred)) < 0))
		return cr_fail(err, -errno, "socket options");
	return 0;
}

static int socket_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_unix_sk_entry *e = f->entry->usk;
	autofd int ours = -1, theirs = -1;
	int fds[2], r;

	(void)fs;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (e->flags & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0, fds) <
	    0)
		return cr_fail(err, -errno, "socketpair");
	ours = fds[0];
	theirs = fds[1];
	r = queue_answer(ours, e->ext && e->ext->has_first_generation && e->ext->first_generation, err);
	if (r == 0)
		r = set_options(theirs, e->opts, err);
	if (r == 0 && e->fown->signum && fcntl(theirs, F_SETSIG, e->fown->signum) < 0)
		r = cr_fail(err, -errno, "signal of asynchronous I/O");
	return r < 0 ? r : take_fd(&theirs);
}

static const img_fown_entry *socket_fown(const struct files *fs, const img_file_entry *e)
{
	(void)fs;
	return e->usk->fown;
}

const struct file_ops socket_ops = {
	.name = "socket",
	.type = img_fd_types_UNIXSK,
	.claims = socket_claims,
	.dump = socket_dump,
	.check = socket_check,
	.open = socket_open,
	.fown = socket_fown,
};
