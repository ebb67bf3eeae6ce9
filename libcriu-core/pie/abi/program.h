/*
 * A program: a list of operations, nearly all of them raw system calls, that the interpreter blob carries out
 * inside a process that is not ours. The dumper writes one into a tracee to ask what only the process itself can
 * tell; the restorer writes one for every task and thread that it recreates. Both sides include this file.
 *
 * Fixed-width fields, no pointers, no library headers. Addresses are those of the process that runs the program.
 */
#ifndef CR_PIE_ABI_PROGRAM_H
#define CR_PIE_ABI_PROGRAM_H

#include <stdint.h>

#define ABI_PROGRAM_VERSION 6

enum abi_op_kind {
	ABI_OP_SYSCALL = 1, /* system call nr with arg[0..5] */
	ABI_OP_FORK,        /* arg: 0 routine of the child, 1 pid wanted (0 any), 2 clone flags, 3 exit signal;
	                       the child goes on with its routine, the parent with its next operation; the child of a tracee
	                       is none: it never goes back to what its parent did before */
	ABI_OP_THREAD,      /* arg: 0 routine of the thread, 1 tid wanted, 2 top of its stack, 3 address of a word that is not 0
	                       as long as the thread is there (0: there is none) */
	ABI_OP_BARRIER,     /* arg: 0 stage; counts itself as arrived and waits until control.stage is past it */
	ABI_OP_ARRIVE,      /* arg: 0 stage; counts itself as arrived and goes on */
	ABI_OP_READ,        /* arg: 0 descriptor, 1 file offset, 2 address of abi_iov array, 3 count: read all of it;
	                       arg 5: ABI_FROM_PIPE or 0 */
	ABI_OP_COMPARE,     /* as READ, but a page is stored only where memory differs: keeps copy-on-write sharing;
	                       arg 4: address of scratch memory, 5: its size (0: one page); areas are whole pages */
	ABI_OP_CHECK,       /* arg: 0 descriptor of checksums, 1 offset of the first, 2 address of abi_iov array, 3 count, 4 and 5
	                       as COMPARE: the sum of each page in the areas is the next one of the file; fails with EBADMSG,
	                       and arg[0] is then the address of the page */
	ABI_OP_STORE,       /* arg: 0 address, 1 value, 2 size in bytes (1, 2, 4, 8) */
	ABI_OP_CALL,        /* arg: 0 routine; runs it and comes back */
	ABI_OP_TRAP,        /* end of a program in a tracee: reports to the tracer; see blob.c */
	ABI_OP_PARK,        /* end of a restored task or thread: waits in the blob until the tracer takes over */
	ABI_OP_HELPER,      /* arg: as THREAD; a process in the same memory, which sends no signal when it ends and shows only to
	                       wait4(2) with __WALL or __WCLONE */
	ABI_OP_CLAIM,       /* arg: 0 address of a word, 1 count; who is the first here goes on, all others leave out that many
	                       operations: so several threads share the work of one routine */
	ABI_OP_AWAIT,       /* arg: 0 address of a word: waits until it is 0; see THREAD */
	ABI_OP_SWEEP,       /* arg: 0 count, at most 63; system call nr with each number below that in place of arg[0]. The result
	                       has a bit for each that was not refused with one of EINVAL, EBADF, EPERM, EACCES and ENOSYS */
};

/* flags of an operation */
#define ABI_F_MAY_FAIL 0x01 /* a failure is kept in the result and the program goes on */
#define ABI_F_RESULT   0x02 /* the result replaces arg[0] (program memory must be writable) */
#define ABI_F_KEEP     0x04 /* the result goes to slot[op.slot] */
#define ABI_F_EQUAL    0x08 /* the result must equal arg[5] (of a call with at most five arguments) */

#define ABI_NR_SLOTS         16
#define ABI_SLOT_COORDINATOR 0 /* restore: pidfd of the coordinator */

struct abi_op {
	uint8_t kind;
	uint8_t flags;
	uint8_t slot;      /* with ABI_F_KEEP */
	uint8_t slot_args; /* bit i: arg[i] is the number of a slot whose value is passed */
	uint32_t nr;       /* system call number */
	uint32_t tag;      /* what the library calls this operation in errors */
	uint32_t pad;
	uint64_t arg[6];
};
_Static_assert(sizeof(struct abi_op) == 64, "both sides must agree");

struct abi_iov {
	uint64_t base, len;
};
_Static_assert(sizeof(struct abi_iov) == 16, "both sides must agree");

struct abi_routine {
	uint64_t ops; /* address of its abi_op array */
	uint32_t nr_ops;
	uint32_t failed_op; /* out: index of the operation that failed */
	int32_t error;      /* out: its negative errno, 0 = none */
	uint32_t state;     /* out: enum abi_state */
	uint32_t facts;     /* out, in a tracee: thread_facts() of the thread that ran it */
	uint32_t pad;
};
_Static_assert(sizeof(struct abi_routine) == 32, "both sides must agree");

enum abi_state { ABI_IDLE = 0, ABI_RUNNING = 1, ABI_DONE = 2, ABI_PARKED = 3, ABI_FAILED = 4 };

/* added to the size in arg[5], which is of whole pages */
#define ABI_CHECK_HARDWARE 1 /* CHECK: the processor has what page_sum_hardware() needs */
#define ABI_FROM_PIPE      2 /* READ, COMPARE: the descriptor has no positions, what it gives next is the right thing */

#define ABI_NR_STAGES 17

/* Shared by the coordinator and all tasks of a restore; in a tracee private to it. All counters are futex words. */
struct abi_control {
	uint32_t version; /* ABI_PROGRAM_VERSION */
	uint32_t nr_routines;
	uint64_t routines; /* address of the abi_routine array */
	uint32_t stage;    /* tasks may pass the stages below this; written by the coordinator only */
	uint32_t abort;    /* set: everybody ends at once; the coordinator changes stage after it (control_abort()) */
	uint32_t events;   /* grows with each arrival that completes a stage, and with each failure */
	uint32_t failed;   /* number of routines that failed */
	uint32_t first_failed; /* 1 + index of the first routine that failed, 0 = none */
	uint32_t trap_signal;  /* tracee: the signal that ABI_OP_TRAP raises */
	uint32_t watch_below;  /* restore: who waits while stage is below this ends when the coordinator has ended */
	uint32_t pad;
	uint32_t expected[ABI_NR_STAGES]; /* arrivals that complete a stage */
	uint32_t arrived[ABI_NR_STAGES];
};
_Static_assert(sizeof(struct abi_control) == 184, "both sides must agree");

#endif
