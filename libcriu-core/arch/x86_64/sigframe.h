/* A signal frame made by hand: with it rt_sigreturn(2) puts a whole thread context back, without a tracer's help. */
#ifndef CR_ARCH_SIGFRAME_H
#define CR_ARCH_SIGFRAME_H

#include "regs.h"
#include "xstate.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** sigframe_size() - bytes that a frame takes at most, for an extended state of @xstate_size bytes */
size_t sigframe_size(size_t xstate_size);

/**
 * sigframe_build() - @buf will be seen at @remote, which is aligned to 64 bytes
 * @r: settled registers (regs_settle(): the kernel restarts no call after a sigreturn)
 * Return: remote address of the ucontext, which rsp must point at when rt_sigreturn is called.
 */
uint64_t sigframe_build(void *buf, uint64_t remote, const struct regs *r, uint64_t mask, const struct xstate_layout *l,
			const void *xstate, size_t xstate_size);

/*
 * Code that every C library has, with which a thread finishes a call and goes back through a frame: a call instruction with a
 * return behind it, and the trampoline at which signal handlers return, which calls rt_sigreturn.
 * Return: offset in @bytes, -1: not there.
 */
#define WAY_CODE_MAX 9u   /* bytes that one of them takes */
#define WAY_RED_ZONE 128u /* below the stack pointer, in use: System V ABI */
ssize_t way_find_call(const void *bytes, size_t len);
ssize_t way_find_back(const void *bytes, size_t len);

#endif
