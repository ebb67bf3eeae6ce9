/*
 * An object of System V IPC has a number that programs keep, so it must be the same one: the kernel takes a wish for the
 * next object from a sysctl (Linux 3.9, CONFIG_CHECKPOINT_RESTORE). Who made it is noted from the caller and cannot be set.
 */
#include "ns/ipc-object.h"

#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

static int get_segment(key_t key, uint64_t size, int flags)
{
	return shmget(key, size, flags);
}

static int get_queue(key_t key, uint64_t size, int flags)
{
	(void)size;
	return msgget(key, flags);
}

static int get_set(key_t key, uint64_t size, int flags)
{
	return semget(key, (int)size, flags);
}

const struct ipc_kind ipc_segment_kind = { "System V segment", "kernel/shm_next_id", get_segment };
const struct ipc_kind ipc_queue_kind = { "System V message queue", "kernel/msg_next_id", get_queue };
const struct ipc_kind ipc_set_kind = { "System V semaphore set", "kernel/sem_next_id", get_set };

img_ipc_desc_entry ipc_desc_of(const struct ipc_perm *perm, int id)
{
	return (img_ipc_desc_entry){
		.key = (uint32_t)perm->__key,
		.uid = perm->uid,
		.gid = perm->gid,
		.cuid = perm->cuid,
		.cgid = perm->cgid,
		.mode = perm->mode,
		.id = (uint32_t)id,
	};
}

int ipc_desc_check(const struct ipc_kind *kind, const img_ipc_desc_entry *d, struct cr_error *err)
{
	if (d->id > INT32_MAX || d->uid == UINT32_MAX || d->gid == UINT32_MAX || d->cuid == UINT32_MAX ||
	    d->cgid == UINT32_MAX)
		return cr_refuse(err, -EBADMSG, "%s %" PRIu32 " of uid %" PRIu32 " and gid %" PRIu32, kind->name, d->id,
				 d->uid, d->gid);
	return 0;
}

struct ipc_perm ipc_perm_of(const img_ipc_desc_entry *d)
{
	return (struct ipc_perm){ .uid = d->uid, .gid = d->gid, .mode = d->mode & 0777 };
}

int sysctl_write(const char *path, const char *text)
{
	autofd int dir = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd int fd = dir < 0 ? -1 : openat(dir, path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

int sysctl_read(const char *path, char *ret, size_t size)
{
	autofd int dir = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd int fd = dir < 0 ? -1 : openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -errno : fd_read_all(fd, ret, size - 1);

	if (len < 0)
		return (int)len;
	ret[len] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

/* Ids in effect of this thread alone, which the wrappers of the C library would change in all threads. */
static int become(uint32_t uid, uint32_t gid)
{
	if (syscall(SYS_setresgid, -1, gid, -1) < 0 || syscall(SYS_setresuid, -1, uid, -1) < 0)
		return -errno;
	return 0;
}

static int make_as(const struct ipc_kind *kind, const img_ipc_desc_entry *d, uint64_t size)
{
	uint32_t uid = geteuid(), gid = getegid();
	bool other = uid != d->cuid || gid != d->cgid;
	int id, r, dumpable = prctl(PR_GET_DUMPABLE);

	r = other ? become(d->cuid, d->cgid) : 0;
	id = r < 0 ? r : kind->get((key_t)d->key, size, (int)(d->mode & 0777) | IPC_CREAT | IPC_EXCL);
	if (id == -1)
		id = -errno;
	if (other) {
		/* the uid first: it brings the right to set the gid */
		if (syscall(SYS_setresuid, -1, uid, -1) < 0 || syscall(SYS_setresgid, -1, gid, -1) < 0)
			id = -errno;
		/* a change of ids takes it away (commit_creds()), and tasks of the tree could get no descriptor from us */
		if (dumpable == 1)
			prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	}
	return id;
}

int ipc_object_make(const struct ipc_kind *kind, const img_ipc_desc_entry *d, uint64_t size, struct cr_error *err)
{
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%" PRIu32, d->id);
	r = sysctl_write(kind->next_id, text);
	if (r < 0)
		return cr_fail(err, r, "set the id of %s %" PRIu32 " (%s)", kind->name, d->id, kind->next_id);
	r = make_as(kind, d, size);
	if (r < 0)
		return cr_fail(err, r, "make %s %" PRIu32 " with key %#" PRIx32, kind->name, d->id, d->key);
	if (r != (int)d->id)
		return cr_refuse(err, -EEXIST, "%s %" PRIu32 " can be made as number %d only", kind->name, d->id, r);
	return 0;
}
