/*
 * System V message queues. MSG_COPY (Linux 3.8, CONFIG_CHECKPOINT_RESTORE) reads a message and leaves it where it is. Who
 * sent and received last, and when, is not kept: nothing sets it.
 */
#include "ns/ipc-parts.h"

#include "base/own.h"
#include "ns/ipc-object.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

#define MESSAGE_MAX ((size_t)1 << 30)

struct message {
	long type;
	char text[];
};

static int write_message(struct image_writer *w, int id, size_t nth, struct message *m, size_t room,
			 struct cr_error *err)
{
	static const char zeroes[8];
	ssize_t len = msgrcv(id, m, room, (long)nth, MSG_COPY | IPC_NOWAIT);
	img_ipc_msg e;
	int r;

	if (len < 0)
		return cr_fail(err, -errno, "look at message %zu of System V message queue %d", nth, id);
	e = (img_ipc_msg){ .mtype = (uint64_t)m->type, .msize = (uint32_t)len };
	r = image_write_record(w, IMG_MSG_ipc_msg, &e, err);
	if (r == 0)
		r = image_write_raw(w, m->text, (size_t)len, err);
	return r < 0 ? r : image_write_raw(w, zeroes, (0 - (size_t)len) & 7, err);
}

static int write_queue(struct image_writer *w, int id, const struct msqid_ds *ds, struct cr_error *err)
{
	img_ipc_desc_entry desc = ipc_desc_of(&ds->msg_perm, id);
	img_ipc_msg_entry e = { .desc = &desc, .qbytes = (uint32_t)ds->msg_qbytes, .qnum = (uint32_t)ds->msg_qnum };
	size_t room = ds->__msg_cbytes;
	autofree struct message *m = room > MESSAGE_MAX ? NULL : malloc(sizeof(*m) + room);
	int r;

	if (!m)
		return cr_fail(err, -ENOMEM, "read System V message queue %d", id);
	if (ds->msg_qbytes > UINT32_MAX || ds->msg_qnum > UINT32_MAX)
		return cr_refuse(err, -ERANGE, "System V message queue %d is too large", id);
	r = image_write(w, &e, err);
	for (size_t i = 0; r == 0 && i < ds->msg_qnum; i++)
		r = write_message(w, id, i, m, room, err);
	return r;
}

int ipc_queues_write(struct image_set *set, uint64_t id, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	struct msginfo info;
	int last = msgctl(0, MSG_INFO, (struct msqid_ds *)&info), r;

	if (last < 0)
		return cr_fail(err, -errno, "list System V message queues");
	r = image_writer_open(set, IMG_IPCNS_MSG, id, &w, err);
	for (int i = 0; r == 0 && i <= last; i++) {
		struct msqid_ds ds;
		int queue = msgctl(i, MSG_STAT, &ds);

		/* an index that nobody has */
		if (queue < 0 && (errno == EINVAL || errno == EIDRM))
			continue;
		r = queue < 0 ? cr_fail(err, -errno, "look at a System V message queue")
			      : write_queue(w, queue, &ds, err);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

static int send(int queue, const img_ipc_msg *e, const void *text, struct cr_error *err)
{
	autofree struct message *m = malloc(sizeof(*m) + e->msize);

	if (!m)
		return cr_fail(err, -ENOMEM, "restore a message of %" PRIu32 " bytes", e->msize);
	m->type = (long)e->mtype;
	memcpy(m->text, text, e->msize);
	return msgsnd(queue, m, e->msize, IPC_NOWAIT) < 0
		       ? cr_fail(err, -errno, "put a message of %" PRIu32 " bytes into a queue", e->msize)
		       : 0;
}

/* @queue: -1 only to look. Return: 0; negative errno. Adds the bytes to *@total. */
static int read_message(struct image_reader *reader, int queue, struct ipc_queue_needs *needs, uint64_t *total,
			struct cr_error *err)
{
	const void *text = NULL;
	void *entry = NULL;
	img_ipc_msg *e;
	int r = image_read_record(reader, IMG_MSG_ipc_msg, &entry, err);

	if (r <= 0)
		return r < 0 ? r : cr_refuse(err, -EBADMSG, "a message is missing");
	e = entry;
	if (!e->mtype || e->mtype > LONG_MAX || e->msize > MESSAGE_MAX)
		r = cr_refuse(err, -EBADMSG, "message of type %" PRIu64 " and %" PRIu32 " bytes", e->mtype, e->msize);
	else
		r = image_read_raw(reader, ((size_t)e->msize + 7) & ~(size_t)7, &text, err);
	if (r == 0 && queue >= 0)
		r = send(queue, e, text, err);
	*total += e->msize;
	if (e->msize > needs->message)
		needs->message = e->msize;
	img_entry_free(entry);
	return r;
}

static int read_queue(struct image_reader *reader, const img_ipc_msg_entry *e, bool make, struct ipc_queue_needs *needs,
		      struct cr_error *err)
{
	struct msqid_ds ds = { .msg_perm = ipc_perm_of(e->desc), .msg_qbytes = e->qbytes };
	int id = (int)e->desc->id, r = ipc_desc_check(&ipc_queue_kind, e->desc, err);
	uint64_t total = 0;

	if (r == 0 && make)
		r = ipc_object_make(&ipc_queue_kind, e->desc, 0, err);
	for (uint32_t i = 0; r == 0 && i < e->qnum; i++)
		r = read_message(reader, make ? id : -1, needs, &total, err);
	/* what a queue must allow: as many bytes, and as many messages (do_msgsnd() in ipc/msg.c) */
	total = total < e->qbytes ? e->qbytes : total;
	total = total < e->qnum ? e->qnum : total;
	if (total > needs->queue)
		needs->queue = total;
	if (r == 0 && total > INT_MAX)
		r = cr_refuse(err, -EBADMSG, "%" PRIu64 " bytes of messages", total);
	if (r == 0 && make && msgctl(id, IPC_SET, &ds) < 0)
		r = cr_fail(err, -errno, "set owner and size");
	return cr_within(err, r, "System V message queue %d", id);
}

int ipc_queues_read(struct image_set *set, uint64_t id, bool make, struct ipc_queue_needs *ret, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry = NULL;
	int r = image_reader_open(set, IMG_IPCNS_MSG, id, &reader, err);

	if (r != 0)
		return r < 0 ? r : 0;
	while ((r = image_read(reader, &entry, err)) > 0) {
		r = read_queue(reader, entry, make, ret, err);
		img_entry_free(entry);
		if (r < 0)
			return r;
	}
	return r;
}
