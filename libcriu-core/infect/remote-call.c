#include "infect/remote-call.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/own.h"
#include "infect/remote-mem.h"
#include "infect/tracee.h"
#include "procfs/proc-dir.h"
#include "procfs/scan.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define REMOTE_CALL_MS 10000
#define CHUNK          4096u
#define SCAN_MAX       (64u << 20)

/* Any place whose bytes decode as the instruction will do, also inside of another one. */
static int find_in(pid_t pid, uint64_t start, uint64_t end, uint64_t *ret)
{
	char bytes[CHUNK];

	for (uint64_t at = start; at < end; at += CHUNK - 1) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;

		/* not across a page that cannot be read */
		if (len > CHUNK - at % CHUNK && at % CHUNK == 0)
			len = CHUNK;
		if (remote_read(pid, at, bytes, len) < 0)
			return -ENOEXEC;

		const char *hit = memmem(bytes, len, syscall_insn, SYSCALL_INSN_SIZE);

		if (hit) {
			*ret = at + (uint64_t)(hit - bytes);
			return 0;
		}
	}
	return -ENOEXEC;
}

static uint64_t vdso_of(const struct proc_dir *dir)
{
	Elf64_auxv_t aux[64];
	ssize_t len = proc_read_small(dir, "auxv", (char *)aux, sizeof(aux), NULL);

	for (ssize_t i = 0; i < len / (ssize_t)sizeof(aux[0]); i++)
		if (aux[i].a_type == AT_SYSINFO_EHDR)
			return aux[i].a_un.a_val;
	return 0;
}

static int find_in_code(struct tracee *t, const struct proc_dir *dir, uint64_t *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(256u << 20);
	int r = proc_read_buf(dir, "maps", &text, err);
	struct scan s = SCAN_INIT(text.data, text.len), line;

	if (r < 0)
		return r;
	while (scan_line(&s, &line) > 0) {
		uint64_t start, end;

		if (scan_hex(&line, &start) < 0 || scan_char(&line, '-') < 0 || scan_hex(&line, &end) < 0 ||
		    scan_char(&line, ' ') < 0 || scan_left(&line) < 3 || line.p[0] != 'r' || line.p[2] != 'x')
			continue;
		if (find_in(t->tid, start, end - start < SCAN_MAX ? end : start + SCAN_MAX, ret) == 0)
			return 0;
	}
	return cr_refuse(err, -ENOEXEC, "thread %d has no system call instruction in its memory", t->tid);
}

int remote_find_syscall(struct tracee *t, uint64_t *ret, struct cr_error *err)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	unsigned char bytes[SYSCALL_INSN_SIZE];
	uint64_t vdso;
	int r = tracee_settle(t, err);

	if (r < 0)
		return r;
	*ret = regs_ip(&t->regs) - SYSCALL_INSN_SIZE;
	if (remote_read(t->tid, *ret, bytes, sizeof(bytes)) == 0 && memcmp(bytes, syscall_insn, sizeof(bytes)) == 0)
		return 0;
	r = proc_dir_open(AT_FDCWD, t->tid, &dir, err);
	if (r < 0)
		return r;
	vdso = vdso_of(&dir);
	if (vdso && find_in(t->tid, vdso, vdso + 4 * CHUNK, ret) == 0)
		return 0;
	return find_in_code(t, &dir, ret, err);
}

int remote_start(struct tracee *t, uint64_t insn, uint64_t sp, long nr, const uint64_t arg[6], struct cr_error *err)
{
	struct regs r;
	int e = tracee_settle(t, err);

	if (e < 0)
		return e;
	r = t->regs;
	regs_enter_syscall(&r, insn, nr, arg);
	if (sp)
		regs_set_sp(&r, sp);
	return tracee_start(t, &r, 0, TRACEE_TO_SYSCALL, err);
}

int remote_advance(struct tracee *t, struct cr_error *err)
{
	int e;

	if (t->run != TRACEE_TO_SYSCALL)
		return 0;
	e = tracee_await(t, 0, deadline_in(REMOTE_CALL_MS), err);
	if (e < 0)
		return e;
	e = tracee_go_on(t, err);
	/* the next stop is the last one */
	t->run = TRACEE_OUT_OF_SYSCALL;
	return e;
}

int remote_finish(struct tracee *t, int64_t *ret, struct cr_error *err)
{
	struct regs r;
	int e = remote_advance(t, err);

	if (e == 0)
		e = tracee_await(t, 0, deadline_in(REMOTE_CALL_MS), err);
	if (e < 0)
		return e;
	e = regs_get(t->tid, &r);
	if (e < 0)
		return cr_fail(err, e, "read registers of thread %d", t->tid);
	*ret = regs_result(&r);
	return 0;
}

int remote_syscall(struct tracee *t, uint64_t insn, long nr, const uint64_t arg[6], int64_t *ret, struct cr_error *err)
{
	int r = remote_start(t, insn, 0, nr, arg, err);

	return r == 0 ? remote_finish(t, ret, err) : r;
}
