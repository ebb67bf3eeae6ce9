/*
 * The few instructions of the interpreter blob that C cannot express: its entry, a lone system call instruction
 * for the tracer's use, the start of a thread on its own stack, and the way back through a signal frame.
 */
#include "blob-layout.h"

	.section .text.entry, "ax", @progbits
	.globl	blob_entry
	.hidden	blob_entry
blob_entry:
	jmp	1f
	.balign	16, 0xcc
	/* BLOB_OFF_SYSCALL */
	syscall
	int3
	.balign	16, 0xcc
1:	cld
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	blob_main
	ud2

	.text
	.globl	blob_start_thread
	.hidden	blob_start_thread
	/* rdi args, rsi size, rdx control, ecx routine, r8 slots */
blob_start_thread:
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	movq	%rdx, %rbx
	movl	%ecx, %r12d
	movq	%r8, %r13
	movl	$435, %eax
	syscall
	testq	%rax, %rax
	jz	2f
	popq	%r13
	popq	%r12
	popq	%rbx
	ret
2:	/* the thread: its stack is empty, all other registers are copies of its parent's */
	movq	%rbx, %rdi
	movl	%r12d, %esi
	movq	%r13, %rdx
	xorl	%ecx, %ecx
	jmp	blob_entry

	.globl	blob_sigreturn
	.hidden	blob_sigreturn
	/*
	 * The kernel looks for the frame 8 bytes below rsp, where a handler's return address was popped:
	 * rt_sigreturn() in arch/x86/kernel/signal_64.c. So rsp is the address of the ucontext.
	 */
blob_sigreturn:
	movq	%rdi, %rsp
	movl	$15, %eax
	syscall
	ud2

	.section .note.GNU-stack, "", @progbits
