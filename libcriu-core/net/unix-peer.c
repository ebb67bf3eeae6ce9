/*
 * Dump: who is connected to whom. Both ends of a connection name each other's inode; a client that nobody has accepted yet
 * names none, but the listening socket has its inode in its list. What leads out of the tree is an obstacle, unless the
 * options allow it: then the peer gets an entry of its own that says where to find it.
 */
#include "net/unix-internal.h"

#include "procfs/scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool parse_external(const char *text, uint64_t *ret)
{
	struct scan s = SCAN_INIT(text, strlen(text));

	return scan_lit(&s, "unix[") == 0 && scan_dec(&s, ret) == 0 && scan_char(&s, ']') == 0 && s.p == s.end;
}

bool unix_external_allowed(const rpc_criu_opts *o, uint32_t ino, bool *ret_listed)
{
	bool any = false;
	uint64_t v;

	*ret_listed = false;
	for (size_t i = 0; i < o->external.nr; i++)
		if (parse_external(o->external.items[i], &v)) {
			any = true;
			*ret_listed |= v == ino;
		}
	/* without a list, --ext-unix-sk allows all */
	return *ret_listed || (o->has_ext_unix_sk && o->ext_unix_sk && !any);
}

/* Clients that wait for being accepted, by the inode of each. */
static int note_waiting(struct unix_table *u, struct cr_error *err)
{
	for (size_t i = 0; i < u->facts.all.nr; i++) {
		struct unix_fact *l = &u->facts.all.items[i];

		for (size_t k = 0; k < l->nr_icons; k++) {
			uint64_t key = (uint64_t)u->facts.icons.items[l->first_icon + k] + 1;

			if (key > 1 && !map_find(&u->waiting, key) && map_put(&u->waiting, key, l) < 0)
				return pool_failed(err);
		}
	}
	return 0;
}

static int refuse_external(struct file_table *t, struct unix_sock *s, uint32_t ino, const char *name)
{
	char advice[64];

	snprintf(advice, sizeof(advice), "--external unix[%u]%s", ino, name[0] ? " or --ext-unix-sk" : "");
	return file_refuse(t, s->f, advice, "UNIX socket whose peer%s%.80s unix[%u] is outside of the tree",
			   name[0] ? " " : "", name, ino);
}

/* The entry of a peer outside; one for all that are connected to it. */
static int external_entry(struct file_table *t, struct unix_sock *s, uint32_t ino, struct proto_bytes name,
			  struct cr_error *err)
{
	img_unix_sk_entry *e;
	struct open_file *f = map_find(&t->sockets->externals, (uint64_t)ino + 1);

	if (f)
		return 0;
	f = file_new(t, s->f->task, -1, err);
	if (!f || map_put(&t->sockets->externals, (uint64_t)ino + 1, f) < 0)
		return pool_failed(err);
	f->entry = file_entry_new(t, img_fd_types_UNIXSK, f->id, err);
	e = pool_new(&t->pool, img_unix_sk_entry);
	if (!f->entry || !e || !(e->fown = pool_new(&t->pool, img_fown_entry)) ||
	    !(e->opts = pool_new(&t->pool, img_sk_opts_entry)))
		return pool_failed(err);
	f->entry->usk = e;
	e->id = f->id;
	e->ino = ino;
	e->type = SOCK_DGRAM;
	e->state = UNIX_STATE_LISTENING;
	e->uflags = UFLAG_EXTERNAL;
	e->name = name;
	return 0;
}

/* @ino: of the peer, or of the listening socket at which @s waits */
static int resolve_external(struct file_table *t, struct unix_sock *s, uint32_t ino, struct cr_error *err)
{
	struct proto_bytes name = s->peer_name;
	char text[UNIX_NAME_MAX + 1];
	bool listed;

	unix_name_text(name, text, sizeof(text));
	if (!unix_external_allowed(t->ctx->opts->rpc, ino, &listed))
		return refuse_external(t, s, ino, text);
	if (!name.len && !listed)
		return file_refuse(
			t, s->f, "--external unix[INODE], and a replacement at restore: --inherit-fd fd[N]:unix[INODE]",
			"UNIX socket whose peer unix[%u] is outside of the tree and has no name to be connected to "
			"again",
			ino);
	if (name.len && name.data[0] && name.data[0] != '/')
		return file_refuse(t, s->f, "",
				   "UNIX socket whose peer unix[%u] outside of the tree has a relative name, %.60s",
				   ino, text);
	if (s->first && s->e->type != SOCK_DGRAM && !listed)
		return file_refuse(
			t, s->f, "--external unix[INODE], and a replacement at restore: --inherit-fd fd[N]:unix[INODE]",
			"UNIX socket with unread data of its peer unix[%u] outside of the tree", ino);
	s->e->peer = ino;
	return external_entry(t, s, ino, name, err);
}

/*
 * What it has sent lies in a socket that nobody can have a descriptor of, so it cannot be looked at; that there is something
 * shows in the memory that it is charged for.
 */
static int resolve_waiting(struct file_table *t, struct unix_sock *s, const struct unix_fact *l, struct cr_error *err)
{
	img_unix_sk_ext *ext = unix_ext(t, s->e, err);

	if (s->fact->wqueue)
		return file_refuse_passing(
			t, s->f, "let the server accept it first",
			"UNIX socket that has sent something on a connection that nobody has accepted yet, %s",
			s->f->facts.link);
	s->e->peer = l->ino;
	if (!ext || !(ext->own_cred = pool_new(&t->pool, img_unix_cred)))
		return pool_failed(err);
	*ext->own_cred = (img_unix_cred){ .has_pid = true,
					  .pid = (uint32_t)s->f->task->ns_pid,
					  .has_uid = true,
					  .uid = s->f->task->status.uid[1],
					  .has_gid = true,
					  .gid = s->f->task->status.gid[1] };
	return unix_sock_find(t->sockets, l->ino) ? 0 : resolve_external(t, s, l->ino, err);
}

/* Its peer was closed: whether with unread data shows as an error that waits, and it may have had a name. */
static int resolve_gone(struct file_table *t, struct unix_sock *s, struct cr_error *err)
{
	img_unix_sk_ext *ext = unix_ext(t, s->e, err);

	if (!ext)
		return -ENOMEM;
	ext->peer_name = s->peer_name;
	ext->has_peer_gone = ext->peer_gone = true;
	if (s->error)
		ext->has_reset = ext->reset = true;
	return 0;
}

static int resolve_listening(struct file_table *t, struct unix_sock *s, struct cr_error *err)
{
	const struct unix_table *u = t->sockets;
	const uint32_t *icons = u->facts.icons.items + s->fact->first_icon;
	img_unix_sk_ext *ext = s->fact->nr_icons ? unix_ext(t, s->e, err) : NULL;
	bool listed;

	if (!s->fact->nr_icons)
		return 0;
	if (!ext || !(ext->pending.items = pool_alloc(&t->pool, s->fact->nr_icons * sizeof(uint32_t))))
		return pool_failed(err);
	for (size_t i = 0; i < s->fact->nr_icons; i++) {
		/* of those the kernel does not even tell whether they had sent anything */
		if (!icons[i])
			return file_refuse_passing(
				t, s->f, "let the server accept it first",
				"UNIX socket with a connection that nobody has accepted yet, whose client has gone, %s",
				s->f->facts.link);
		if (!unix_sock_find(u, icons[i])) {
			if (!unix_external_allowed(t->ctx->opts->rpc, icons[i], &listed))
				return refuse_external(t, s, icons[i], "");
			log_warn(&t->ctx->log,
				 "the connection of unix[%u], which nobody has accepted yet, is lost, continuing",
				 icons[i]);
			continue;
		}
		ext->pending.items[ext->pending.nr++] = icons[i];
	}
	return 0;
}

static int resolve(struct file_table *t, struct unix_sock *s, struct cr_error *err)
{
	const struct unix_fact *l;

	if (s->fact->state == UNIX_STATE_LISTENING)
		return resolve_listening(t, s, err);
	if (s->fact->peer)
		return unix_sock_find(t->sockets, s->fact->peer) ? 0 : resolve_external(t, s, s->fact->peer, err);
	/* those without a connection end here, and the one of datagrams that had somebody's is noted when it is looked at */
	if (s->e->type == SOCK_DGRAM || s->fact->state != UNIX_STATE_CONNECTED)
		return s->e->type == SOCK_DGRAM && s->gone ? resolve_gone(t, s, err) : 0;
	l = map_find(&t->sockets->waiting, (uint64_t)s->e->ino + 1);
	return l ? resolve_waiting(t, s, l, err) : resolve_gone(t, s, err);
}

int unix_peers_resolve(struct file_table *t, struct cr_error *err)
{
	struct unix_table *u = t->sockets;
	int r = note_waiting(u, err);

	for (size_t i = 0; r >= 0 && i < u->socks.nr; i++)
		if (u->socks.items[i]->f->entry)
			r = cr_within(err, resolve(t, u->socks.items[i], err), "%s", u->socks.items[i]->f->facts.link);
	return r < 0 ? r : 0;
}
