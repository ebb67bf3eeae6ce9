/*
 * System V semaphore sets. Which processes have to undo what is theirs (tasks/undo.c); who changed a semaphore last, and
 * when, is not kept: nothing sets it.
 */
#include "ns/ipc-parts.h"

#include "base/own.h"
#include "ns/ipc-object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/sem.h>

#define SET_MAX   ((size_t)1 << 24) /* semaphores of a set; what the sysctl may say is less */
#define VALUE_MAX 32767             /* SEMVMX of linux/sem.h */

static int write_set(struct image_writer *w, int id, const struct semid_ds *ds, struct cr_error *err)
{
	static const char zeroes[8];
	img_ipc_desc_entry desc = ipc_desc_of(&ds->sem_perm, id);
	img_ipc_sem_entry e = { .desc = &desc, .nsems = (uint32_t)ds->sem_nsems };
	size_t len = ds->sem_nsems * sizeof(uint16_t);
	autofree uint16_t *values = ds->sem_nsems > SET_MAX ? NULL : malloc(len + 1);
	int r;

	if (!values)
		return cr_fail(err, -ENOMEM, "read System V semaphore set %d", id);
	if (semctl(id, 0, GETALL, values) < 0)
		return cr_fail(err, -errno, "read System V semaphore set %d", id);
	r = image_write(w, &e, err);
	if (r == 0)
		r = image_write_raw(w, values, len, err);
	return r < 0 ? r : image_write_raw(w, zeroes, (0 - len) & 7, err);
}

int ipc_sets_write(struct image_set *set, uint64_t id, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	struct seminfo info;
	int last = semctl(0, 0, SEM_INFO, &info), r;

	if (last < 0)
		return cr_fail(err, -errno, "list System V semaphore sets");
	r = image_writer_open(set, IMG_IPCNS_SEM, id, &w, err);
	for (int i = 0; r == 0 && i <= last; i++) {
		struct semid_ds ds;
		int sem = semctl(i, 0, SEM_STAT, &ds);

		/* an index that nobody has */
		if (sem < 0 && (errno == EINVAL || errno == EIDRM))
			continue;
		r = sem < 0 ? cr_fail(err, -errno, "look at a System V semaphore set") : write_set(w, sem, &ds, err);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

static int make_set(const img_ipc_sem_entry *e, const uint16_t *values, struct cr_error *err)
{
	struct semid_ds ds = { .sem_perm = ipc_perm_of(e->desc) };
	int id = (int)e->desc->id, r = ipc_object_make(&ipc_set_kind, e->desc, e->nsems, err);

	if (r == 0 && semctl(id, 0, SETALL, values) < 0)
		r = cr_fail(err, -errno, "set the values of System V semaphore set %d", id);
	if (r == 0 && semctl(id, 0, IPC_SET, &ds) < 0)
		r = cr_fail(err, -errno, "give System V semaphore set %d its owner", id);
	return r;
}

static int read_set(struct image_reader *reader, const img_ipc_sem_entry *e, bool make, struct cr_error *err)
{
	const uint16_t *values = NULL;
	const void *raw = NULL;
	int r = ipc_desc_check(&ipc_set_kind, e->desc, err);

	if (r == 0 && (!e->nsems || e->nsems > SET_MAX))
		r = cr_refuse(err, -EBADMSG, "System V semaphore set %" PRIu32 " of %" PRIu32, e->desc->id, e->nsems);
	if (r == 0)
		r = image_read_raw(reader, ((size_t)e->nsems * sizeof(*values) + 7) & ~(size_t)7, &raw, err);
	if (r < 0)
		return r;
	if (!raw)
		return cr_refuse(err, -EBADMSG, "System V semaphore set %" PRIu32 ": no values", e->desc->id);

	/* the bytes may be anywhere */
	autofree uint16_t *copy = malloc(e->nsems * sizeof(*copy));

	if (!copy)
		return cr_fail(err, -ENOMEM, "read System V semaphore set %" PRIu32, e->desc->id);
	__builtin_memcpy(copy, raw, e->nsems * sizeof(*copy));
	for (uint32_t i = 0; i < e->nsems; i++)
		if (copy[i] > VALUE_MAX)
			return cr_refuse(err, -EBADMSG, "System V semaphore set %" PRIu32 ": value %u", e->desc->id,
					 (unsigned int)copy[i]);
	return make ? make_set(e, copy, err) : 0;
}

int ipc_sets_read(struct image_set *set, uint64_t id, bool make, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	void *entry = NULL;
	int r = image_reader_open(set, IMG_IPCNS_SEM, id, &reader, err);

	if (r != 0)
		return r < 0 ? r : 0;
	while ((r = image_read(reader, &entry, err)) > 0) {
		r = read_set(reader, entry, make, err);
		img_entry_free(entry);
		if (r < 0)
			return r;
	}
	return r;
}
