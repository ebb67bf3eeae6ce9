/*
 * A model of address spaces that carries out the memory operations of a program: a window of pages, each with what the
 * kernel would know of it. Anything that the kernel would refuse fails.
 */
#ifndef TEST_MM_SPACE_SIM_H
#define TEST_MM_SPACE_SIM_H

#include "infect/program.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_BASE     UINT64_C(0x40000000)
#define SIM_PAGES    2048
#define SIM_SCRATCH  1900 /* page of the scratch memory, which is one */
#define SIM_AT(page) (SIM_BASE + (uint64_t)(page)*4096)

enum sim_special { SIM_PLAIN, SIM_VDSO, SIM_VVAR };

struct sim_page {
	bool mapped;
	uint8_t special; /* enum sim_special */
	uint8_t nth;     /* page of the special area */
	bool sealed, locked, guarded;
	uint32_t prot, flags;
	int64_t fd; /* -1 anonymous */
	uint64_t pgoff;
	uint64_t content; /* first word of what was read, 0 zeroes or the file's */
	uint64_t copied;  /* number of the write that made it; equal to the parent's while it is shared */
	uint64_t advice;
};

struct sim {
	struct sim_page page[SIM_PAGES];
	uint64_t writes, populated;
	uint64_t piped; /* bytes that came out of the pipe, those that nobody wanted too */
	uint64_t read, checked; /* pages, of those the number that was compared with checksums */
	uint64_t slot[ABI_NR_SLOTS];
	bool laid_out; /* PR_SET_MM_MAP was called */
	char why[160];
};

/** sim_run() - carry out all operations of a finished routine. Return: 0; -1 with sim->why. */
int sim_run(struct sim *s, const struct program *p, uint32_t routine);

#endif
