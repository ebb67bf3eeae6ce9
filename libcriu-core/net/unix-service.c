/*
 * The socket on which a process has asked to be dumped itself. It is stored as closed and without a peer, with a mark. At
 * restore it is connected to nobody, and holds the answer to the request: whoever reads it learns that he was restored.
 */
#include "net/unix-internal.h"

#include "net/sock-opts.h"

#include "base/own.h"
#include "proto/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define ANSWER_MAX 256

/* -------------------------------------------------------------------- dump */

/* Inode numbers of sockets are unique on the machine while they are open: they come from one counter, get_next_ino(). */
bool unix_is_service(const struct file_table *t, const struct open_file *f)
{
	return t->ctx->opts->service_ino && f->facts.st.st_ino == t->ctx->opts->service_ino;
}

int unix_service_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_unix_sk_entry *e = pool_new(&t->pool, img_unix_sk_entry);
	img_unix_sk_ext *ext = pool_new(&t->pool, img_unix_sk_ext);
	int r;

	f->entry = file_entry_new(t, img_fd_types_UNIXSK, f->id, err);
	if (!f->entry || !e || !ext)
		return pool_failed(err);
	e->id = f->id;
	e->ino = (uint32_t)f->facts.st.st_ino;
	e->type = SOCK_SEQPACKET;
	e->state = UNIX_STATE_CLOSED;
	e->flags = f->facts.flags;
	e->uflags = UFLAG_SERVICE;
	e->fown = fown_dump(t, f, &r, err);
	if (!e->fown)
		return r;
	r = sock_opts_dump(t, f, &e->opts, err);
	if (r != 0)
		return r;
	if (t->ctx->opts->service_first) {
		ext->has_first_generation = ext->first_generation = true;
		e->ext = ext;
	}
	f->entry->usk = e;
	return 0;
}

/* ----------------------------------------------------------------- restore */

int unix_service_check(const img_file_entry *e, struct cr_error *err)
{
	const img_unix_sk_entry *s = e->usk;

	if (s->type != SOCK_SEQPACKET)
		return cr_refuse(err, -EBADMSG, "service socket %u: type %u", e->id, s->type);
	if (s->peer || s->name.len)
		return cr_refuse(err, -EBADMSG, "service socket %u has a peer or a name", e->id);
	if (sock_opts_check(s->opts, e->id, err) < 0)
		return -EBADMSG;
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

int unix_service_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_unix_sk_entry *e = f->entry->usk;
	autofd int ours = -1, theirs = -1;
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (e->flags & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0, fds) <
	    0)
		return cr_fail(err, -errno, "socketpair");
	ours = fds[0];
	theirs = fds[1];
	r = queue_answer(ours, e->ext && e->ext->has_first_generation && e->ext->first_generation, err);
	if (r == 0)
		r = sock_opts_restore(fs->ctx, theirs, e->opts, NULL, err);
	if (r == 0)
		r = sock_opts_finish(theirs, e->opts, err);
	if (r == 0 && e->fown->signum && fcntl(theirs, F_SETSIG, e->fown->signum) < 0)
		r = cr_fail(err, -errno, "signal of asynchronous I/O");
	return r < 0 ? r : take_fd(&theirs);
}
