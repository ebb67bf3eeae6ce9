/*
 * What a thread can find out about its own processor state in a few instructions, and a tracer only with a request each.
 * Used by the interpreter blob and by the library.
 */
#ifndef CR_ARCH_THREAD_FACTS_H
#define CR_ARCH_THREAD_FACTS_H

#include <stdint.h>

#define THREAD_FACTS_KNOWN  0x80000000u
#define THREAD_FACT_TLS(i)  (1u << (i)) /* the @i-th of the descriptors that set_thread_area(2) makes is there */
#define THREAD_TLS_SELECTOR 0x63u       /* of the first: GDT_ENTRY_TLS_MIN (12) of 64-bit kernels, for user space */
#define THREAD_TLS_NR       3u

/*
 * LAR finds any segment that its caller may use, present or not, and nothing in an empty descriptor, whose type is none
 * (Intel SDM, volume 2A). All that the kernel lets a thread make are for user space: fill_ldt() in asm/desc.h.
 */
static inline uint32_t thread_facts(void)
{
	uint32_t facts = THREAD_FACTS_KNOWN;

	for (uint32_t i = 0; i < THREAD_TLS_NR; i++) {
		uint32_t rights, selector = THREAD_TLS_SELECTOR + 8 * i;
		uint8_t valid;

		__asm__ volatile("lar %2, %0\n\tsetz %1" : "=r"(rights), "=q"(valid) : "r"(selector) : "cc");
		if (valid)
			facts |= THREAD_FACT_TLS(i);
	}
	return facts;
}

#endif
