/*
 * System calls without a C library, for the interpreter blob. They return -errno, as the kernel does.
 * A host test defines BLOB_FAKE_SYS and brings its own blob_sys(), blob_start_thread() and blob_sigreturn().
 */
#ifndef CR_ARCH_SYSCALL_H
#define CR_ARCH_SYSCALL_H

#include <stdint.h>

#define NR_READ       0
#define NR_WRITE      1
#define NR_PREAD64    17
#define NR_READV      19
#define NR_GETPID     39
#define NR_GETTID     186
#define NR_FUTEX      202
#define NR_EXIT_GROUP 231
#define NR_TGKILL     234
#define NR_PPOLL      271
#define NR_PREADV     295
#define NR_CLONE3     435

#ifdef BLOB_FAKE_SYS
long blob_sys(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
#else
static inline long blob_sys(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	register uint64_t r10 __asm__("r10") = a3;
	register uint64_t r8 __asm__("r8") = a4;
	register uint64_t r9 __asm__("r9") = a5;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#endif

/*
 * clone3() whose child is a thread: it begins at the blob's entry, on the stack that @args names, with routine
 * @routine of @control and the slots at @slots. Only the parent comes back. In blob-entry.S.
 */
long blob_start_thread(void *args, uint64_t size, void *control, uint32_t routine, uint64_t *slots);

/* rt_sigreturn() through the ucontext at @frame; in blob-entry.S */
_Noreturn void blob_sigreturn(uint64_t frame);

#endif
