/*
 * Fixed places in the blob, and what it expects in the registers on entry. Included by assembler, too.
 *
 *	rdi  address of abi_control       esi  number of the routine
 *	rdx  address of ABI_NR_SLOTS initial slot values, 0 = all zero
 *	rcx  tracee: address of the ucontext to go back to when nobody traces us any more, else 0
 *	rsp  top of a stack of at least BLOB_STACK bytes
 */
#ifndef CR_ARCH_BLOB_LAYOUT_H
#define CR_ARCH_BLOB_LAYOUT_H

#define BLOB_OFF_ENTRY   0
#define BLOB_OFF_SYSCALL 16 /* a lone `syscall` instruction, for remote system calls */
#define BLOB_STACK       2048
#define BLOB_SLOTS_BYTES 128 /* ABI_NR_SLOTS * 8; a new thread finds them at the top of its stack */
#define BLOB_MAX_SIZE    16384

#endif
