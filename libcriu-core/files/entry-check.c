/* Are entries of files.img and fdinfo what they say they are? Pure. */
#include "files/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

struct sub_message {
	img_fd_types type;
	const char *name;
	size_t at;       /* of the pointer in img_file_entry */
	size_t id_at;    /* of the id in the sub-message */
	size_t flags_at; /* of the open flags; NOWHERE: it has none, or nobody asks for them */
	size_t fown_at;  /* of the pointer to the owner; NOWHERE */
};

#define NOWHERE SIZE_MAX
/* clang-format off */
#define SUB(t, member, msg) { img_fd_types_##t, #t, offsetof(img_file_entry, member), offsetof(msg, id), NOWHERE, NOWHERE }
#define OWN(t, member, msg) { img_fd_types_##t, #t, offsetof(img_file_entry, member), offsetof(msg, id), offsetof(msg, flags), \
			      offsetof(msg, fown) }
/* clang-format on */

static const struct sub_message subs[] = {
	OWN(REG, reg, img_reg_file_entry),
	OWN(INETSK, isk, img_inet_sk_entry),
	SUB(NS, nsf, img_ns_file_entry),
	OWN(PACKETSK, psk, img_packet_sock_entry),
	OWN(NETLINKSK, nlsk, img_netlink_sk_entry),
	OWN(EVENTFD, efd, img_eventfd_file_entry),
	OWN(EVENTPOLL, epfd, img_eventpoll_file_entry),
	OWN(SIGNALFD, sgfd, img_signalfd_entry),
	SUB(TUNF, tunf, img_tunfile_entry),
	OWN(TIMERFD, tfd, img_timerfd_entry),
	OWN(INOTIFY, ify, img_inotify_file_entry),
	OWN(FANOTIFY, ffy, img_fanotify_file_entry),
	SUB(EXT, ext, img_ext_file_entry),
	OWN(UNIXSK, usk, img_unix_sk_entry),
	SUB(FIFO, fifo, img_fifo_entry),
	OWN(PIPE, pipe, img_pipe_entry),
	OWN(TTY, tty, img_tty_file_entry),
	OWN(MEMFD, memfd, img_memfd_file_entry),
	SUB(BPFMAP, bpf, img_bpfmap_file_entry),
	OWN(PIDFD, pidfd, img_pidfd_entry),
};

static const void *sub_of(const img_file_entry *e, const struct sub_message *s)
{
	const void *p;

	memcpy(&p, (const char *)e + s->at, sizeof(p));
	return p;
}

const char *entry_type_name(img_fd_types type)
{
	for (size_t i = 0; i < ARRAY_LEN(subs); i++)
		if (subs[i].type == type)
			return subs[i].name;
	return "unknown";
}

/* Where the member at this place of the part of an entry is; NULL: it has none. */
static const void *member_of(const img_file_entry *e, size_t flags_or_fown)
{
	for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
		size_t at;

		if (subs[i].type != e->type)
			continue;
		memcpy(&at, (const char *)&subs[i] + flags_or_fown, sizeof(at));
		return at == NOWHERE ? NULL : (const char *)sub_of(e, &subs[i]) + at;
	}
	return NULL;
}

uint32_t entry_flags(const img_file_entry *e)
{
	const uint32_t *flags = member_of(e, offsetof(struct sub_message, flags_at));

	return flags ? *flags : 0;
}

const img_fown_entry *entry_fown(const img_file_entry *e)
{
	img_fown_entry *const *fown = member_of(e, offsetof(struct sub_message, fown_at));

	return fown ? *fown : NULL;
}

int entry_check(const img_file_entry *e, struct cr_error *err)
{
	const struct sub_message *mine = NULL;
	const void *sub;
	uint32_t id;

	for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
		if (subs[i].type == e->type)
			mine = &subs[i];
		else if (sub_of(e, &subs[i]))
			return cr_refuse(err, -EBADMSG, "file %u of type %s has a part of type %s", e->id,
					 entry_type_name(e->type), subs[i].name);
	}
	if (!mine)
		return cr_refuse(err, -EBADMSG, "file %u is of unknown type %d", e->id, (int)e->type);
	sub = sub_of(e, mine);
	if (!sub)
		return cr_refuse(err, -EBADMSG, "file %u of type %s is empty", e->id, mine->name);
	memcpy(&id, (const char *)sub + mine->id_at, sizeof(id));
	if (id != e->id || id == 0)
		return cr_refuse(err, -EBADMSG, "file %u of type %s calls itself %u", e->id, mine->name, id);
	return 0;
}

int fown_check(const img_fown_entry *e, struct cr_error *err)
{
	if (e->signum > (uint32_t)SIGRTMAX)
		return cr_refuse(err, -EBADMSG, "signal %u of asynchronous I/O does not exist", e->signum);
	if (e->pid && (e->pid > INT_MAX || e->pid_type > F_OWNER_PGRP))
		return cr_refuse(err, -EBADMSG, "owner %u of asynchronous I/O, type %u", e->pid, e->pid_type);
	return 0;
}

int reg_check(const img_reg_file_entry *e, struct cr_error *err)
{
	size_t len = strlen(e->name);
	bool ext = e->has_ext && e->ext;

	if (len == 0 || len >= PATH_MAX || (!ext && e->name[0] != '/'))
		return cr_refuse(err, -EBADMSG, "file %u has a name that is not an absolute path", e->id);
	if (e->build_id.nr > 16)
		return cr_refuse(err, -EBADMSG, "file %u has a build id of %zu words", e->id, e->build_id.nr);
	if (e->pos != UINT64_MAX && e->pos > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "file %u has position %llu", e->id, (unsigned long long)e->pos);
	return fown_check(e->fown, err);
}

int fdinfo_check(const img_fdinfo_entry *e, struct cr_error *err)
{
	/* fs.nr_open cannot be raised above this; sysctl_nr_open_max in fs/file.c */
	if (e->fd > (uint32_t)INT_MAX / 16)
		return cr_refuse(err, -EBADMSG, "descriptor number %u is too large", e->fd);
	if (e->flags & ~(uint32_t)FD_CLOEXEC)
		return cr_refuse(err, -EBADMSG, "descriptor %u has flags 0x%x", e->fd, e->flags);
	return 0;
}
