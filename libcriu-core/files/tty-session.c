/*
 * Controlling terminals at restore. The leader takes its terminal right after setsid(2), before there are children to inherit
 * it; everything else waits until all processes and groups exist.
 */
#include "files/tty-info.h"

#include "infect/program.h"
#include "kernel/uapi.h"

#include <asm/ioctls.h>
#include <sys/syscall.h>

int terminal_add(struct files *fs, const img_tty_info_entry *e, int fd, bool may_fail, struct cr_error *err)
{
	struct terminal *at;

	if (!e || !e->sid || e->type == img_TtyType_EXT_TTY || e->type == img_TtyType_CTTY)
		return 0;
	for (size_t i = 0; i < fs->terminals.nr; i++)
		if (fs->terminals.items[i].sid == e->sid)
			return 0;
	at = terminal_vec_add(&fs->terminals);
	if (!at)
		return files_no_memory(err);
	*at = (struct terminal){ e->sid, e->pgrp, fd, may_fail, e->ext };
	return 0;
}

static const struct terminal *terminal_of(const struct files *fs, pid_t session)
{
	for (size_t i = 0; i < fs->terminals.nr; i++)
		if (fs->terminals.items[i].sid == (uint32_t)session)
			return &fs->terminals.items[i];
	return NULL;
}

static void with_terminal(const struct files *fs, pid_t pid, const struct terminal *t, const char *what,
			  unsigned long request, uint64_t arg, struct program *p, struct routine *r)
{
	struct abi_op *op;

	op_keep(emit_call(p, r, "take a terminal", __NR_pidfd_getfd, files_service_fd(fs, pid), t->fd, 0), SLOT_TMP);
	op = op_from_slot(emit_call(p, r, what, SYS_ioctl, SLOT_TMP, request, arg), 0);
	if (t->may_fail)
		op_may_fail(op);
	op_from_slot(emit_call(p, r, "close a terminal", SYS_close, SLOT_TMP), 0);
}

/* A child is born with the controlling terminal of its parent, and can come to it in no other way (copy_process()). */
void files_plan_session(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	const struct terminal *t = terminal_of(fs, ns_pid);

	if (t)
		with_terminal(fs, ns_pid, t, "controlling terminal", TIOCSCTTY, 0, p, r);
}

static bool gave_up(const struct terminal *t, pid_t pid)
{
	for (size_t i = 0; t->ext && i < t->ext->gave_up.nr; i++)
		if (t->ext->gave_up.items[i] == (uint32_t)pid)
			return true;
	return false;
}

void terminal_plan(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r)
{
	const struct restored_task *task = files_task(fs, ns_pid);
	const struct terminal *t = task ? terminal_of(fs, task->ns_sid) : NULL;
	int32_t pgrp;

	if (!t)
		return;
	if (t->sid != (uint32_t)ns_pid && gave_up(t, ns_pid))
		with_terminal(fs, ns_pid, t, "give up the controlling terminal", TIOCNOTTY, 0, p, r);
	if (t->sid != (uint32_t)ns_pid || !t->pgrp || t->pgrp == t->sid)
		return;
	pgrp = (int32_t)t->pgrp;
	with_terminal(fs, ns_pid, t, "process group in the foreground", TIOCSPGRP,
		      emit_data(p, r, &pgrp, sizeof(pgrp), 4), p, r);
}

void terminals_done(struct files *fs)
{
	terminal_vec_done(&fs->terminals);
}
