/* The way from C into the interpreter blob in a process of our own: switch to its stack and never come back. */
#ifndef CR_ARCH_BLOB_JUMP_H
#define CR_ARCH_BLOB_JUMP_H

#include <stdint.h>

/**
 * blob_jump() - run a routine in this process, for ever
 * @entry:   address of the blob's entry
 * @control: address of abi_control
 * @slots:   address of ABI_NR_SLOTS initial values
 * @top:     top of the stack to run on
 */
static inline _Noreturn void blob_jump(uint64_t entry, uint64_t control, uint32_t routine, uint64_t slots, uint64_t top)
{
	__asm__ volatile("movq %[top], %%rsp\n\tjmpq *%[entry]"
			 :
			 : [top] "r"(top), [entry] "r"(entry), "D"(control), "S"((uint64_t)routine), "d"(slots),
			   "c"(0ull)
			 : "memory");
	__builtin_unreachable();
}

#endif
