/*
 * AF_UNIX sockets: the row of files/, and the family. Dump: each socket is described when its descriptor is met; who is
 * connected to whom, and what is in the queues, when all of them are known. Restore: unix-make.c, then unix-settle.c.
 */
#include "net/unix-internal.h"

#include "files/family.h"
#include "net/sock-opts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

static bool unix_claims(const struct file_facts *facts)
{
	return facts->sk_family == AF_UNIX;
}

/* -------------------------------------------------------------------- dump */

struct unix_sock *unix_sock_find(const struct unix_table *u, uint32_t ino)
{
	return map_find(&u->by_ino, (uint64_t)ino + 1);
}

img_unix_sk_ext *unix_ext(struct file_table *t, img_unix_sk_entry *e, struct cr_error *err)
{
	if (!e->ext)
		e->ext = pool_new(&t->pool, img_unix_sk_ext);
	if (!e->ext)
		pool_failed(err);
	return e->ext;
}

static int table_begin(struct file_table *t, struct cr_error *err)
{
	if (t->sockets)
		return 0;
	t->sockets = calloc(1, sizeof(*t->sockets));
	if (!t->sockets)
		return pool_failed(err);
	t->sockets->data.max = (size_t)4 << 30;
	return unix_facts_read(&t->sockets->facts, err);
}

/* Is there something in its queue, or an error? Then it is looked at again when all are known. */
static bool look_again(const struct open_file *f, const struct unix_fact *fact)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };

	return fact->rqueue || (fact->state != UNIX_STATE_LISTENING && poll(&p, 1, 0) == 1);
}

/* A connection whose peer has no inode: that one is closed, or not accepted yet, which the list of who waits shows. */
static int sock_add(struct file_table *t, struct open_file *f, img_unix_sk_entry *e, const struct unix_fact *fact,
		    struct cr_error *err)
{
	struct unix_sock *s = pool_new(&t->pool, struct unix_sock);
	struct unix_sock **at = s ? unix_sock_vec_add(&t->sockets->socks) : NULL;
	int r = 1;

	if (!at || map_put(&t->sockets->by_ino, (uint64_t)e->ino + 1, s) < 0)
		return pool_failed(err);
	*at = s;
	*s = (struct unix_sock){ .f = f, .e = e, .fact = fact, .last = &s->first };
	if (fact->state != UNIX_STATE_LISTENING)
		r = unix_name_read(t, f->fd, true, &s->peer_name, err);
	s->gone = r == 0 && !fact->peer;
	f->keep_fd |= look_again(f, fact);
	return r < 0 ? r : 0;
}

/* Who made it, as its peer sees it; the pid as the tree counts. */
static int dump_cred(struct file_table *t, struct open_file *f, img_unix_sk_entry *e, struct cr_error *err)
{
	const struct task *root = t->tree->root;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	img_unix_sk_ext *ext;
	pid_t pid;
	int r;

	if (getsockopt(f->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return 0;
	r = owner_pid(t, cred.pid, F_OWNER_PID, &pid, err);
	if (r < 0)
		return r;
	/* of somebody outside the number is worth keeping only if both of us count alike */
	if (!pid && root->ns_pid == root->host_pid)
		pid = cred.pid;
	ext = unix_ext(t, e, err);
	if (!ext || !(ext->peer_cred = pool_new(&t->pool, img_unix_cred)))
		return pool_failed(err);
	*ext->peer_cred = (img_unix_cred){
		.has_pid = pid > 0,
		.pid = (uint32_t)pid,
		.has_uid = true,
		.uid = cred.uid,
		.has_gid = true,
		.gid = cred.gid,
	};
	return 0;
}

static int sock_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_unix_sk_entry *e = pool_new(&t->pool, img_unix_sk_entry);
	const struct unix_fact *fact;
	int r = e ? table_begin(t, err) : pool_failed(err);

	if (r < 0)
		return r;
	fact = unix_facts_find(&t->sockets->facts, (uint32_t)f->facts.st.st_ino);
	if (!fact)
		return file_refuse(t, f, "", "UNIX socket of another network namespace, %s", f->facts.link);
	r = owned_begin(t, f, img_fd_types_UNIXSK, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	f->entry->usk = e;
	e->ino = fact->ino;
	e->type = fact->type;
	e->state = fact->state;
	e->peer = fact->peer;
	if (fact->state == UNIX_STATE_LISTENING)
		e->backlog = fact->wqueue;
	e->has_shutdown = fact->shutdown != 0;
	e->shutdown = (img_sk_shutdown)(fact->shutdown & 3);
	r = sock_opts_dump(t, f, &e->opts, err);
	if (r == 0)
		r = unix_name_dump(t, f, e, err);
	if (r == 0)
		r = dump_cred(t, f, e, err);
	if (r != 0)
		return r;
	return sock_add(t, f, e, fact, err);
}

static int unix_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	return unix_is_service(t, f) ? unix_service_dump(t, f, err) : sock_dump(t, f, err);
}

/* The list grows while it is walked: by sockets that are on their way in queues. */
static int unix_collected(struct file_table *t, struct cr_error *err)
{
	struct unix_table *u = t->sockets;
	int r = 0;

	for (size_t i = 0; r >= 0 && u && i < u->socks.nr; i++)
		if (u->socks.items[i]->f->entry && u->socks.items[i]->f->keep_fd)
			r = unix_queue_dump(t, u->socks.items[i], err);
	return r < 0 || !u ? r : unix_peers_resolve(t, err);
}

static void unix_table_done(struct file_table *t)
{
	struct unix_table *u = t->sockets;

	if (!u)
		return;
	unix_facts_done(&u->facts);
	unix_sock_vec_done(&u->socks);
	map_done(&u->by_ino);
	map_done(&u->waiting);
	map_done(&u->externals);
	pool_done(&u->data);
	free(u);
	t->sockets = NULL;
}

/* ----------------------------------------------------------------- restore */

static int unix_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	struct restored_sock *s;

	if (f->entry->usk->uflags & UFLAG_SERVICE)
		return unix_service_open(fs, f, err);
	s = map_find(&fs->sockets->by_id, (uint64_t)f->id + 1);
	if (!s || s->fd < 0)
		return cr_refuse(err, -EBADMSG, "UNIX socket %u was not made", f->id);
	return take_fd(&s->fd);
}

const struct file_ops unix_ops = {
	.name = "UNIX socket",
	.type = img_fd_types_UNIXSK,
	.claims = unix_claims,
	.dump = unix_dump,
	.check = unix_check,
	.open = unix_open,
};

const struct file_family unix_family = {
	.name = "UNIX sockets",
	.collected = unix_collected,
	.write = unix_queues_write,
	.table_done = unix_table_done,
	.read = unix_read,
	.make = unix_make,
	.settle = unix_settle,
	.done = unix_set_done,
};
