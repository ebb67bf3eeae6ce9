/*
 * Checksums of pages. Freestanding: the interpreter blob uses it as well, with general registers only.
 *
 * The sum of a page is made of eight CRC-32C values. Its 64-bit words go to them in turn: word i to value i % 8, low byte
 * first. The sum is the CRC-32C of the eight values, in order, each in four bytes, low byte first. A CRC instruction takes
 * three cycles, and processors begin one or two of them in each: one value takes 75 ms a GiB, four 23, eight 16.
 */
#ifndef CR_ARCH_PAGE_SUM_H
#define CR_ARCH_PAGE_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SUM_PAGE 4096

/**
 * crc32c_in_hardware() - has the processor the CRC32 instruction (SSE4.2)?
 * Not for the blob: the answer was noted when the program started, since CPUID takes tens of microseconds in a virtual machine.
 */
static inline bool crc32c_in_hardware(void)
{
	return __builtin_cpu_supports("sse4.2");
}

static inline uint64_t crc32c_word_hardware(uint64_t crc, uint64_t word)
{
	__asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
	return crc;
}

/* Half a byte at a time: short enough for the blob, and only for processors of before 2008, and emulated ones. */
static inline uint32_t crc32c_byte_plain(uint32_t crc, uint8_t byte)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	crc ^= byte;
	crc = crc >> 4 ^ table[crc & 15];
	return crc >> 4 ^ table[crc & 15];
}

static inline uint64_t crc32c_word_plain(uint64_t crc, uint64_t word)
{
	for (int i = 0; i < 8; i++)
		crc = crc32c_byte_plain((uint32_t)crc, (uint8_t)(word >> (8 * i)));
	return crc;
}

/** crc32c() - the usual CRC-32C of some bytes, for what is short */
static inline uint32_t crc32c(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++)
		crc = crc32c_byte_plain(crc, p[i]);
	return ~crc;
}

static inline __attribute__((always_inline)) uint32_t page_sum_by(uint64_t (*step)(uint64_t crc, uint64_t word),
								   const uint64_t *w)
{
	uint64_t a = UINT32_MAX, b = a, c = a, d = a, e = a, f = a, g = a, h = a, sum = a;

	for (const uint64_t *end = w + PAGE_SUM_PAGE / sizeof(*w); w < end; w += 8) {
		a = step(a, w[0]);
		b = step(b, w[1]);
		c = step(c, w[2]);
		d = step(d, w[3]);
		e = step(e, w[4]);
		f = step(f, w[5]);
		g = step(g, w[6]);
		h = step(h, w[7]);
	}
	sum = step(sum, (~a & UINT32_MAX) | ~b << 32);
	sum = step(sum, (~c & UINT32_MAX) | ~d << 32);
	sum = step(sum, (~e & UINT32_MAX) | ~f << 32);
	return ~(uint32_t)step(sum, (~g & UINT32_MAX) | ~h << 32);
}

/** page_sum_hardware() - @page: PAGE_SUM_PAGE bytes, aligned to 8; only where crc32c_in_hardware() says so */
static inline uint32_t page_sum_hardware(const void *page)
{
	return page_sum_by(crc32c_word_hardware, page);
}

/** page_sum_plain() - the same sum on any processor */
static inline uint32_t page_sum_plain(const void *page)
{
	return page_sum_by(crc32c_word_plain, page);
}

/** page_sum() - @hardware: what crc32c_in_hardware() said */
static inline uint32_t page_sum(const void *page, bool hardware)
{
	return hardware ? page_sum_hardware(page) : page_sum_plain(page);
}

#endif
