/* A system call in the name of a stopped thread. */
#ifndef CR_INFECT_REMOTE_CALL_H
#define CR_INFECT_REMOTE_CALL_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct tracee;

/**
 * remote_find_syscall() - address of a system call instruction that the thread may execute
 * Where it was stopped in a call, in the vDSO, or anywhere in its code.
 * Return: 0; -ENOEXEC there is none; negative errno.
 */
int remote_find_syscall(struct tracee *t, uint64_t *ret, struct cr_error *err);

/**
 * remote_start() - begin one; several threads can be at it at the same time. The thread stays borrowed until tracee_return()
 * @insn: from remote_find_syscall(), or another one
 * @sp:   stack pointer while it is made; 0: as it is
 * Return: 0; negative errno if it could not be begun.
 */
int remote_start(struct tracee *t, uint64_t insn, uint64_t sp, long nr, const uint64_t arg[6], struct cr_error *err);

/**
 * remote_advance() - past the first of the two stops of a call, so that the second is there sooner; may be left out
 * Return: 0; negative errno if it could not be run.
 */
int remote_advance(struct tracee *t, struct cr_error *err);

/**
 * remote_finish() - wait for its end
 * @ret: what the call returned, negative errno included
 * Return: 0; negative errno if it could not be run.
 */
int remote_finish(struct tracee *t, int64_t *ret, struct cr_error *err);

/** remote_syscall() - all of it */
int remote_syscall(struct tracee *t, uint64_t insn, long nr, const uint64_t arg[6], int64_t *ret, struct cr_error *err);

#endif
