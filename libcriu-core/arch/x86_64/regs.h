/*
 * General registers of a stopped thread: what has to be set to make it run something of ours, and what its own
 * registers say about where it was stopped.
 */
#ifndef CR_ARCH_REGS_H
#define CR_ARCH_REGS_H

#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

struct cr_error;

struct regs {
	struct user_regs_struct u;
};

/* Bytes of the system call instruction */
#define SYSCALL_INSN_SIZE 2
extern const unsigned char syscall_insn[SYSCALL_INSN_SIZE];

static inline uint64_t regs_ip(const struct regs *r)
{
	return r->u.rip;
}
static inline uint64_t regs_thread_pointer(const struct regs *r)
{
	return r->u.fs_base;
}
static inline uint64_t regs_sp(const struct regs *r)
{
	return r->u.rsp;
}
static inline void regs_set_sp(struct regs *r, uint64_t sp)
{
	r->u.rsp = sp;
}
/* 32-bit code: the i386 code segment (__USER32_CS); also a 64-bit process that jumped there */
static inline bool regs_compat(const struct regs *r)
{
	return r->u.cs == 0x23;
}
/* Inside a system call, or just out of one that has not been restarted yet */
static inline bool regs_in_syscall(const struct regs *r)
{
	return (int64_t)r->u.orig_rax >= 0;
}

/** regs_get(), regs_set() - of the stopped tracee @tid. Return: 0 or negative errno. */
int regs_get(int tid, struct regs *ret);
int regs_set(int tid, const struct regs *r);

/** regs_enter_blob() - make @r run the blob; segments and bases stay. No system call will be restarted. */
void regs_enter_blob(struct regs *r, uint64_t entry, uint64_t stack, uint64_t control, uint32_t routine, uint64_t slots,
		     uint64_t frame);

/** regs_enter_syscall() - make @r run the system call instruction at @insn */
void regs_enter_syscall(struct regs *r, uint64_t insn, long nr, const uint64_t arg[6]);

/** regs_result() - what a system call returned, negative errno included */
static inline int64_t regs_result(const struct regs *r)
{
	return (int64_t)r->u.rax;
}

/**
 * regs_settle() - registers with which the thread goes on by itself, with no help of the kernel's
 * @r: as ptrace shows them in a stop; changed in place
 *
 * A stop inside a system call shows an internal code in the result register, with which the kernel restarts the call
 * when the thread leaves the stop. Images and signal frames cannot rely on that, so it is done here:
 * see regs.c for each code. Return: 0; or the code, where the kernel would return EINTR instead if a handler runs first (for
 * all handlers or those without SA_RESTART) or not.
 */
int regs_settle(struct regs *r);

/**
 * regs_repeat() - has the stop alone ended the call with EINTR? Then let the kernel make it again instead, unless a handler
 * runs first. Return: whether @r was changed.
 */
bool regs_repeat(struct regs *r);

/* Bytes in front of a system call instruction in which its number may be found */
#define REGS_CODE_BYTES 16

/** regs_needs_code() - is the number of the interrupted call lost? Then regs_find_call() with the code in front of it helps. */
bool regs_needs_code(const struct regs *r);

/** regs_find_call() - @code: the REGS_CODE_BYTES in front of the instruction at ip - 2; sets the number in @r if it is found */
void regs_find_call(struct regs *r, const unsigned char code[REGS_CODE_BYTES]);

/* What a thread waits for in a restarted call, as far as the kernel tells: the time of a sleep, a futex, files of poll() */
enum regs_wait { REGS_WAIT_UNKNOWN, REGS_WAIT_TIME, REGS_WAIT_FUTEX, REGS_WAIT_FILES };

/** regs_name_call() - where the code does not have the number: from what is waited for, and the arguments */
void regs_name_call(struct regs *r, enum regs_wait what);

void regs_to_image(const struct regs *r, img_user_x86_regs_entry *ret);

/**
 * regs_from_image() - @ret is complete: segments and flags are made safe, a call to be made again is the kernel's to decide
 * @restart: what regs_settle() returned for them, 0: nothing, or not known
 * Return: 0; -ENOTSUP 32-bit; -EINVAL with a sentence.
 */
int regs_from_image(const img_user_x86_regs_entry *e, uint32_t restart, struct regs *ret, struct cr_error *err);

/* A thread's descriptor in the global descriptor table, struct user_desc of asm/ldt.h */
struct regs_tls {
	uint32_t entry_number, base_addr, limit;
	uint32_t bits; /* seg_32bit 0, contents 1-2, read_exec_only 3, limit_in_pages 4, seg_not_present 5, useable 6 */
};

#define REGS_TLS_FIRST 12u /* GDT_ENTRY_TLS_MIN of 64-bit kernels */
#define REGS_TLS_NR    3u
enum { REGS_TLS_EMPTY = 1 };

/** regs_tls_get(), regs_tls_set() - of the stopped tracee @tid. Return: 0 or negative errno. */
int regs_tls_get(int tid, uint32_t entry_number, struct regs_tls *ret);
int regs_tls_set(int tid, const struct regs_tls *d);
void regs_tls_to_image(const struct regs_tls *d, img_user_desc_t *ret);
/** regs_tls_from_image() - Return: 0; REGS_TLS_EMPTY nothing to set; -EBADMSG. */
int regs_tls_from_image(const img_user_desc_t *e, struct regs_tls *ret, struct cr_error *err);

#endif
