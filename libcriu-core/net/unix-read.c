/*
 * Restore: the UNIX sockets of an image set and what is in their queues. Afterwards each knows its peer, and every number and
 * reference of these images has been checked.
 */
#include "net/unix-internal.h"

#include "files/xattr.h"
#include "image/image-set.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX (1u << 30)

bool unix_name_is_path(struct proto_bytes name)
{
	return name.len && name.data[0];
}

int restored_sock_fd(const struct restored_sock *s)
{
	return s->fd >= 0 ? s->fd : s->file->fd;
}

static int name_check(struct proto_bytes name, uint32_t id, struct cr_error *err)
{
	size_t len = name.len;

	if (unix_name_is_path(name) && name.data[len - 1] == '\0')
		len--;
	if (len > UNIX_NAME_MAX - 1 || (unix_name_is_path(name) && memchr(name.data, '\0', len)))
		return cr_refuse(err, -EBADMSG, "UNIX socket %u has a name of %zu bytes that cannot be one", id,
				 name.len);
	return 0;
}

static int ext_check(const img_unix_sk_ext *x, uint32_t id, struct cr_error *err)
{
	if (!x)
		return 0;
	if (x->name_root && (x->name_root[0] != '/' || strlen(x->name_root) >= LINK_TEXT_MAX))
		return cr_refuse(err, -EBADMSG, "UNIX socket %u: root directory that is not an absolute path", id);
	if (xattrs_check(&x->xattrs, err) < 0)
		return -EBADMSG;
	return name_check(x->peer_name, id, err);
}

int unix_check(const img_file_entry *e, struct cr_error *err)
{
	const img_unix_sk_entry *s = e->usk;

	if (s->uflags & UFLAG_SERVICE)
		return unix_service_check(e, err);
	if (s->uflags & ~UFLAG_EXTERNAL)
		return cr_refuse(err, -ENOTSUP, "UNIX socket %u with flags 0x%x, which this version does not restore",
				 e->id, s->uflags);
	if (s->type != SOCK_STREAM && s->type != SOCK_DGRAM && s->type != SOCK_SEQPACKET)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u of type %u", e->id, s->type);
	if (s->state != UNIX_STATE_CONNECTED && s->state != UNIX_STATE_CLOSED && s->state != UNIX_STATE_LISTENING)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u in state %u", e->id, s->state);
	/* one for datagrams may be connected to itself */
	if (!s->ino || (s->peer == s->ino && (s->type != SOCK_DGRAM || !s->name.len)))
		return cr_refuse(err, -EBADMSG, "UNIX socket %u with inode %u and peer %u", e->id, s->ino, s->peer);
	if (s->has_shutdown && (unsigned int)s->shutdown > 3)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u is shut down in way %d", e->id, (int)s->shutdown);
	if (s->file_perms && s->file_perms->mode & ~(uint32_t)(S_IFMT | 07777))
		return cr_refuse(err, -EBADMSG, "UNIX socket %u: mode 0%o of its file", e->id, s->file_perms->mode);
	if (s->name_dir && s->name_dir[0] && (s->name_dir[0] != '/' || strlen(s->name_dir) >= LINK_TEXT_MAX))
		return cr_refuse(err, -EBADMSG, "UNIX socket %u: directory that is not an absolute path", e->id);
	if (name_check(s->name, e->id, err) < 0 || ext_check(s->ext, e->id, err) < 0 ||
	    sock_opts_check(s->opts, e->id, err) < 0)
		return -EBADMSG;
	return fown_check(s->fown, err);
}

/* ------------------------------------------------------------------- peers */

static int set_add(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	struct unix_set *set = fs->sockets;
	const img_unix_sk_entry *e = f->entry->usk;
	struct restored_sock *s = pool_new(&fs->pool, struct restored_sock);
	struct restored_sock **at = s ? restored_sock_vec_add(&set->socks) : NULL;

	if (!at)
		return files_no_memory(err);
	*at = s;
	s->file = f;
	s->e = e;
	s->last = &s->first;
	s->fd = s->path_fd = s->other = -1;
	if (map_find(&set->by_ino, (uint64_t)e->ino + 1))
		return cr_refuse(err, -EBADMSG, "two UNIX sockets have inode %u", e->ino);
	if (map_put(&set->by_ino, (uint64_t)e->ino + 1, s) < 0 || map_put(&set->by_id, (uint64_t)f->id + 1, s) < 0)
		return files_no_memory(err);
	return 0;
}

int unix_may_connect(const struct files *fs, const struct restored_sock *s, struct cr_error *err)
{
	bool listed;

	if (unix_external_allowed(fs->ctx->opts->rpc, s->e->peer, &listed))
		return 0;
	cr_refuse(err, -EPERM, "UNIX socket %u is connected to one outside of the tree, unix[%u]", s->file->id,
		  s->e->peer);
	cr_advise(err, "--external unix[%u] or --ext-unix-sk", s->e->peer);
	return -EPERM;
}

static int resolve_external(const struct files *fs, const struct restored_sock *s, struct cr_error *err)
{
	struct proto_bytes name = s->peer->e->name;

	/* the caller may give one in its place, which shows when it is made */
	if (!fs->ctx->opts->rpc->inherit_fd.nr && unix_may_connect(fs, s, err) < 0)
		return -EPERM;
	if (name.len && name.data[0] && name.data[0] != '/')
		return cr_refuse(err, -EBADMSG, "UNIX socket %u is connected to a relative name", s->file->id);
	return 0;
}

static int resolve_peer(const struct files *fs, struct restored_sock *s, struct cr_error *err)
{
	const img_unix_sk_entry *p;

	if (!s->e->peer || s->e->uflags & UFLAG_EXTERNAL)
		return 0;
	s->peer = map_find(&fs->sockets->by_ino, (uint64_t)s->e->peer + 1);
	if (!s->peer)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u: its peer, inode %u, is not there", s->file->id,
				 s->e->peer);
	p = s->peer->e;
	if (p->uflags & UFLAG_EXTERNAL)
		return resolve_external(fs, s, err);
	if (p->type != s->e->type || s->e->state == UNIX_STATE_LISTENING)
		return cr_refuse(err, -EBADMSG, "UNIX sockets %u and %u cannot be connected", s->file->id,
				 s->peer->file->id);
	if (s->e->type == SOCK_DGRAM)
		return 0; /* by its name, or because they were made together: unix-turned.c */
	/* one end of a connection, or a client that waits */
	if (p->peer != s->e->ino && p->state != UNIX_STATE_LISTENING)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u is connected to %u, which is connected elsewhere",
				 s->file->id, s->peer->file->id);
	return 0;
}

static int check_pending(const struct files *fs, const struct restored_sock *s, struct cr_error *err)
{
	const img_unix_sk_ext *x = s->e->ext;

	for (size_t i = 0; x && i < x->pending.nr; i++) {
		const struct restored_sock *c = map_find(&fs->sockets->by_ino, (uint64_t)x->pending.items[i] + 1);

		if (!c || c->peer != s || s->e->state != UNIX_STATE_LISTENING)
			return cr_refuse(err, -EBADMSG, "UNIX socket %u: inode %u does not wait there", s->file->id,
					 x->pending.items[i]);
	}
	return x && x->pending.nr > 1u << 20 ? cr_refuse(err, -EBADMSG, "UNIX socket %u: too many wait", s->file->id)
					     : 0;
}

/* ------------------------------------------------------------------- queues */

/* What is on its way is opened even if nobody else has it. */
static int use_right(struct files *fs, uint32_t id, struct cr_error *err)
{
	struct restored_file *f = files_find(fs, id);

	if (!f)
		return cr_refuse(err, -EBADMSG, "sk-queues.img: file %u is not there", id);
	if (f->used)
		return f->late ? cr_refuse(err, -ENOTSUP, "file %u is in a socket's queue, and made by a process", id)
			       : 0;
	if (!f->ops || f->late || !f->ops->open || f->ops->settle)
		return cr_refuse(err, -ENOTSUP,
				 "file %u of type %s is in a socket's queue alone, which this version does not restore",
				 id, entry_type_name(f->entry->type));
	f->used = true;
	return 0;
}

static int packet_check(struct files *fs, const img_sk_packet_entry *e, struct cr_error *err)
{
	if (e->length > PACKET_MAX)
		return cr_refuse(err, -EBADMSG, "sk-queues.img: a message of %u bytes", e->length);
	if (e->scm.nr > 1)
		return cr_refuse(err, -EBADMSG, "sk-queues.img: a message with %zu control messages", e->scm.nr);
	for (size_t i = 0; i < e->scm.nr; i++) {
		const img_scm_entry *scm = &e->scm.items[i];
		int r = 0;

		if (scm->type != SCM_RIGHTS || scm->rights.nr > UNIX_RIGHTS_MAX)
			return cr_refuse(err, -EBADMSG,
					 "sk-queues.img: control message of type %u with %zu descriptors", scm->type,
					 scm->rights.nr);
		for (size_t k = 0; k < scm->rights.nr && r == 0; k++)
			r = use_right(fs, scm->rights.items[k], err);
		if (r < 0)
			return r;
	}
	return e->ext ? name_check(e->ext->from, e->id_for, err) : 0;
}

/* Takes @e over. */
static int add_packet(struct files *fs, struct image_reader *rd, img_sk_packet_entry *e, struct cr_error *err)
{
	struct restored_sock *s = fs->sockets ? map_find(&fs->sockets->by_id, (uint64_t)e->id_for + 1) : NULL;
	struct queued *q = s ? pool_new(&fs->pool, struct queued) : NULL;
	const void *bytes = "";
	int r;

	if (!q) {
		r = s ? files_no_memory(err)
		      : cr_refuse(err, -EBADMSG, "sk-queues.img: socket %u is not there", e->id_for);
		img_entry_free(e);
		return r;
	}
	q->entry = e;
	*s->last = q;
	s->last = &q->next;
	if (s->e->uflags & UFLAG_EXTERNAL || s->e->state == UNIX_STATE_LISTENING)
		return cr_refuse(err, -EBADMSG, "sk-queues.img: socket %u has no queue", e->id_for);
	r = packet_check(fs, e, err);
	if (r == 0 && e->length)
		r = image_read_raw(rd, e->length, &bytes, err);
	if (r < 0)
		return r;
	q->data = pool_text(&fs->pool, bytes, e->length);
	return q->data ? 0 : files_no_memory(err);
}

static int read_queues(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_SK_QUEUES, 0, &rd, err);

	if (r == 1)
		return 0;
	while (r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = add_packet(fs, rd, entry, err);
	return r;
}

/* A queue can be filled through the peer, through one that has gone, or by address. */
static int check_sender(const struct restored_sock *s, struct cr_error *err)
{
	bool connection = s->e->type != SOCK_DGRAM && s->e->state == UNIX_STATE_CONNECTED;
	bool gone = !s->e->peer && (connection || (s->e->ext && s->e->ext->peer_gone));

	if (!s->first || gone || (s->peer && s->peer->peer == s) || (s->e->type == SOCK_DGRAM && s->e->name.len))
		return 0;
	if (s->left || s->alone || (s->peer && s->peer->left == s))
		return 0;
	if (s->peer && s->peer->e->uflags & UFLAG_EXTERNAL)
		return 0; /* it is given by the caller, or an error says so */
	return cr_refuse(err, -EBADMSG, "UNIX socket %u has unread data that nobody can have sent", s->file->id);
}

static uint64_t unix_name_key(uint32_t type, struct proto_bytes name)
{
	uint64_t h = map_mix(type, name.len);

	for (size_t i = 0; i < name.len; i++)
		h = map_mix(h, name.data[i]);
	return h;
}

/* Those that can be sent to or connected to; connections share the name of the socket that they were accepted from. */
static int by_name_add(struct unix_set *set, struct restored_sock *s)
{
	uint64_t key = unix_name_key(s->e->type, s->e->name);

	if (!s->e->name.len || s->e->uflags & UFLAG_EXTERNAL ||
	    (s->e->type != SOCK_DGRAM && s->e->state != UNIX_STATE_LISTENING) || map_find(&set->by_name, key))
		return 0;
	return map_put(&set->by_name, key, s);
}

struct restored_sock *unix_find_name(const struct unix_set *set, uint32_t type, struct proto_bytes name)
{
	struct restored_sock *s = name.len ? map_find(&set->by_name, unix_name_key(type, name)) : NULL;

	return s && s->e->type == type && s->e->name.len == name.len &&
			       memcmp(s->e->name.data, name.data, name.len) == 0
		       ? s
		       : NULL;
}

int unix_read(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->files.nr && r == 0; i++) {
		struct restored_file *f = fs->files.items[i];

		if (f->entry->type != img_fd_types_UNIXSK || f->entry->usk->uflags & UFLAG_SERVICE)
			continue;
		if (!fs->sockets && !(fs->sockets = calloc(1, sizeof(*fs->sockets))))
			return files_no_memory(err);
		r = set_add(fs, f, err);
	}
	for (size_t i = 0; fs->sockets && i < fs->sockets->socks.nr && r == 0; i++)
		r = resolve_peer(fs, fs->sockets->socks.items[i], err);
	if (r == 0)
		r = read_queues(fs, err);
	if (r == 0 && fs->sockets)
		r = unix_turned_find(fs->sockets, err);
	for (size_t i = 0; fs->sockets && i < fs->sockets->socks.nr && r == 0; i++) {
		struct restored_sock *s = fs->sockets->socks.items[i];

		r = check_pending(fs, s, err);
		if (r == 0)
			r = check_sender(s, err);
		if (r == 0 && by_name_add(fs->sockets, s) < 0)
			r = files_no_memory(err);
	}
	return r;
}

static void sock_done(struct files *fs, struct restored_sock *s)
{
	if (s->made_file && !fs->committed)
		unix_unbind(fs, s);
	if (s->fd >= 0)
		close(s->fd);
	if (s->path_fd >= 0)
		close(s->path_fd);
	if (s->other >= 0)
		close(s->other);
	for (struct queued *q = s->first; q; q = q->next)
		img_entry_free(q->entry);
}

void unix_set_done(struct files *fs)
{
	struct unix_set *set = fs->sockets;

	if (!set)
		return;
	for (size_t i = 0; i < set->socks.nr; i++)
		sock_done(fs, set->socks.items[i]);
	restored_sock_vec_done(&set->socks);
	map_done(&set->by_ino);
	map_done(&set->by_id);
	map_done(&set->by_name);
	map_done(&set->live);
	if (set->nowhere > 0)
		close(set->nowhere);
	free(set);
	fs->sockets = NULL;
}
