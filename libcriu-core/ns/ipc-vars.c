/* Sysctls of an IPC namespace: kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.*. */
#include "ns/ipc-parts.h"

#include "base/own.h"
#include "ns/ipc-object.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_ID UINT64_MAX

static const struct var {
	const char *path;
	size_t offset, has; /* has: 0 it is always there */
	bool wide;          /* 64 bits */
	bool next_id;       /* -1 as long as nobody asked for one */
} vars[] = {
#define VAR(path, field, wide)                                           \
	{                                                                \
		path, offsetof(img_ipc_var_entry, field), 0, wide, false \
	}
#define VAR_MAYBE(path, field, next)                                                                            \
	{                                                                                                       \
		path, offsetof(img_ipc_var_entry, field), offsetof(img_ipc_var_entry, has_##field), false, next \
	}
	VAR("kernel/msgmax", msg_ctlmax, false),
	VAR("kernel/msgmnb", msg_ctlmnb, false),
	VAR("kernel/msgmni", msg_ctlmni, false),
	VAR("kernel/auto_msgmni", auto_msgmni, false),
	VAR("kernel/shmmax", shm_ctlmax, true),
	VAR("kernel/shmall", shm_ctlall, true),
	VAR("kernel/shmmni", shm_ctlmni, false),
	VAR("fs/mqueue/queues_max", mq_queues_max, false),
	VAR("fs/mqueue/msg_max", mq_msg_max, false),
	VAR("fs/mqueue/msgsize_max", mq_msgsize_max, false),
	VAR_MAYBE("fs/mqueue/msg_default", mq_msg_default, false),
	VAR_MAYBE("fs/mqueue/msgsize_default", mq_msgsize_default, false),
	VAR_MAYBE("kernel/msg_next_id", msg_next_id, true),
	VAR_MAYBE("kernel/sem_next_id", sem_next_id, true),
	VAR_MAYBE("kernel/shm_next_id", shm_next_id, true),
#undef VAR
#undef VAR_MAYBE
};

static const char forced_path[] = "kernel/shm_rmid_forced", sem_path[] = "kernel/sem";

#define NR_SEM_VALUES 4

static const void *member(const img_ipc_var_entry *e, size_t offset)
{
	return (const char *)e + offset;
}

static int read_number(const char *path, uint64_t *ret, struct cr_error *err)
{
	char text[32], *end;
	int r = sysctl_read(path, text, sizeof(text));

	if (r < 0)
		return cr_fail(err, r, "read sysctl %s", path);
	if (strcmp(text, "-1") == 0) {
		*ret = NO_ID;
		return 0;
	}
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno || end == text || *end || text[0] == '-' ? cr_refuse(err, -EINVAL, "sysctl %s is '%s'", path, text)
							      : 0;
}

static int write_number(const char *path, uint64_t value, struct cr_error *err)
{
	char text[24];
	int r;

	snprintf(text, sizeof(text), "%" PRIu64, value);
	r = sysctl_write(path, text);
	return r < 0 ? cr_fail(err, r, "set sysctl %s to %s", path, text) : 0;
}

static int dump_var(const struct var *v, img_ipc_var_entry *e, struct cr_error *err)
{
	char *at = (char *)e + v->offset;
	uint64_t value;
	int r = read_number(v->path, &value, err);

	/* kernels without a file for it have nothing to restore either; the required ones have been there since 3.5 */
	if (r == -ENOENT && v->has) {
		cr_error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (value == NO_ID && v->next_id)
		return 0;
	if (!v->wide && value > UINT32_MAX)
		return cr_refuse(err, -ERANGE, "sysctl %s is %" PRIu64, v->path, value);
	if (v->wide)
		memcpy(at, &value, sizeof(value));
	else
		memcpy(at, &(uint32_t){ (uint32_t)value }, sizeof(uint32_t));
	if (v->has)
		*((bool *)e + v->has) = true;
	return 0;
}

static int parse_sem(const char *text, uint32_t v[static NR_SEM_VALUES])
{
	for (int i = 0; i < NR_SEM_VALUES; i++) {
		char *end;
		unsigned long value;

		errno = 0;
		value = strtoul(text, &end, 10);
		if (end == text || errno || value > UINT32_MAX)
			return -EINVAL;
		v[i] = (uint32_t)value;
		text = end;
	}
	return 0;
}

static int dump_sem(img_ipc_var_entry *e, struct cr_error *err)
{
	char text[64];
	int r = sysctl_read(sem_path, text, sizeof(text));
	uint32_t *v = calloc(NR_SEM_VALUES, sizeof(*v));

	if (r == 0 && v)
		r = parse_sem(text, v);
	if (r < 0 || !v) {
		free(v);
		return cr_fail(err, r < 0 ? r : -ENOMEM, "read sysctl %s", sem_path);
	}
	e->sem_ctls.items = v;
	e->sem_ctls.nr = NR_SEM_VALUES;
	return 0;
}

static int set_sem(const uint32_t *v, struct cr_error *err)
{
	char text[64];
	int r;

	snprintf(text, sizeof(text), "%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32, v[0], v[1], v[2], v[3]);
	r = sysctl_write(sem_path, text);
	return r < 0 ? cr_fail(err, r, "set sysctl %s to %s", sem_path, text) : 0;
}

static uint64_t value_of(const struct var *v, const img_ipc_var_entry *e)
{
	return v->wide ? *(const uint64_t *)member(e, v->offset) : *(const uint32_t *)member(e, v->offset);
}

int ipc_vars_dump(img_ipc_var_entry *ret, struct cr_error *err)
{
	uint64_t forced;
	int r;

	*ret = (img_ipc_var_entry){ 0 };
	r = read_number(forced_path, &forced, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(vars); i++)
		r = dump_var(&vars[i], ret, err);
	if (r < 0)
		return r;
	ret->shm_rmid_forced = forced != 0;
	return dump_sem(ret, err);
}

void ipc_vars_done(img_ipc_var_entry *e)
{
	free(e->sem_ctls.items);
	e->sem_ctls.items = NULL;
	e->sem_ctls.nr = 0;
}

int ipc_vars_check(const img_ipc_var_entry *e, struct cr_error *err)
{
	if (e->sem_ctls.nr != NR_SEM_VALUES)
		return cr_refuse(err, -EBADMSG, "%zu values of sysctl %s", e->sem_ctls.nr, sem_path);
	if (e->shm_rmid_forced > 1)
		return cr_refuse(err, -EBADMSG, "sysctl %s is %" PRIu32, forced_path, e->shm_rmid_forced);
	return 0;
}

/* kernel.sem: each of the four as large as it is or as it was. */
static int raise_sem(const uint32_t *want, struct cr_error *err)
{
	img_ipc_var_entry now = { 0 };
	int r = dump_sem(&now, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < NR_SEM_VALUES; i++)
		if (now.sem_ctls.items[i] < want[i])
			now.sem_ctls.items[i] = want[i];
	r = set_sem(now.sem_ctls.items, err);
	ipc_vars_done(&now);
	return r;
}

/* What is there may be more than what is allowed by now. */
static uint64_t needed(const struct var *v, const struct ipc_queue_needs *needs)
{
	switch (v->offset) {
	case offsetof(img_ipc_var_entry, msg_ctlmax):
		return needs->message;
	case offsetof(img_ipc_var_entry, msg_ctlmnb):
		return needs->queue;
	case offsetof(img_ipc_var_entry, mq_queues_max):
		return needs->mqueues;
	case offsetof(img_ipc_var_entry, mq_msg_max):
		return needs->mqueue_messages;
	case offsetof(img_ipc_var_entry, mq_msgsize_max):
		return needs->mqueue_bytes;
	default:
		return 0;
	}
}

/* Not the next ids, which are no limits. */
int ipc_vars_raise(const img_ipc_var_entry *e, const struct ipc_queue_needs *needs, struct cr_error *err)
{
	int r = raise_sem(e->sem_ctls.items, err);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(vars) && !vars[i].has; i++) {
		const struct var *v = &vars[i];
		uint64_t now = 0, want = value_of(v, e);

		if (want < needed(v, needs))
			want = needed(v, needs);
		r = read_number(v->path, &now, err);
		if (r == 0 && now < want)
			r = write_number(v->path, want, err);
	}
	return r;
}

int ipc_vars_set(const img_ipc_var_entry *e, struct cr_error *err)
{
	int r = set_sem(e->sem_ctls.items, err);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(vars); i++) {
		const struct var *v = &vars[i];

		if (!v->has || *(const bool *)member(e, v->has))
			r = write_number(v->path, value_of(v, e), err);
	}
	return r;
}

int ipc_forced_set(const img_ipc_var_entry *e, struct cr_error *err)
{
	return e->shm_rmid_forced ? write_number(forced_path, 1, err) : 0;
}
