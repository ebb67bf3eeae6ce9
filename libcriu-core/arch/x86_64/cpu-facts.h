/* What this processor is and can do, in the layout that cpuinfo.img has. */
#ifndef CR_ARCH_CPU_FACTS_H
#define CR_ARCH_CPU_FACTS_H

#include "proto/images.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Words of features, numbered as in arch/x86/include/asm/cpufeature.h of Linux 4.20 (enum cpuid_leafs). Those that the
 * kernel makes up, or that are of vendors of long ago, are 0.
 */
enum cpuid_word {
	CPUID_1_EDX = 0,
	CPUID_80000001_EDX = 1,
	CPUID_1_ECX = 4,
	CPUID_80000001_ECX = 6,
	CPUID_7_EBX = 9,
	CPUID_D_1_EAX = 10,
	CPUID_F_0_EDX = 11,
	CPUID_F_1_EDX = 12,
	CPUID_80000008_EBX = 13,
	CPUID_6_EAX = 14,
	CPUID_8000000A_EDX = 15,
	CPUID_7_ECX = 16,
	CPUID_80000007_EBX = 17,
	CPUID_7_EDX = 18,
	CPUID_WORDS = 19,
};

struct cpuid_facts {
	img_cpuinfo_x86_entry_vendor vendor;
	uint32_t family, model, stepping;
	uint32_t words[CPUID_WORDS];
	char brand[49];
	uint64_t xfeatures;                  /* XCR0; 0: no XSAVE */
	uint32_t xsave_size, xsave_size_max; /* bytes of an area, with what is enabled, with all there is */
};

/** cpuid_read() - ask this processor */
void cpuid_read(struct cpuid_facts *ret);

/* An instruction that a program may use if this bit is set. */
struct cpuid_instruction {
	uint8_t word, bit;
	const char *name; /* as /proc/cpuinfo has it */
};

extern const struct cpuid_instruction cpuid_instructions[];
extern const size_t cpuid_nr_instructions;

#endif
