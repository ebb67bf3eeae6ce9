/* The CPUID instruction; see cpu-facts.h. Intel SDM volume 2, "CPUID"; AMD APM volume 3, appendix E. */
#include "cpu-facts.h"

#include <cpuid.h>
#include <string.h>

const struct cpuid_instruction cpuid_instructions[] = {
	{ CPUID_1_EDX, 0, "fpu" },
	{ CPUID_1_EDX, 4, "tsc" },
	{ CPUID_1_EDX, 8, "cx8" },
	{ CPUID_1_EDX, 15, "cmov" },
	{ CPUID_1_EDX, 19, "clflush" },
	{ CPUID_1_EDX, 23, "mmx" },
	{ CPUID_1_EDX, 24, "fxsr" },
	{ CPUID_1_EDX, 25, "sse" },
	{ CPUID_1_EDX, 26, "sse2" },

	{ CPUID_80000001_EDX, 11, "syscall" },
	{ CPUID_80000001_EDX, 22, "mmxext" },
	{ CPUID_80000001_EDX, 25, "fxsr_opt" },
	{ CPUID_80000001_EDX, 27, "rdtscp" },
	{ CPUID_80000001_EDX, 29, "lm" },
	{ CPUID_80000001_EDX, 30, "3dnowext" },
	{ CPUID_80000001_EDX, 31, "3dnow" },

	{ CPUID_1_ECX, 0, "pni" },
	{ CPUID_1_ECX, 1, "pclmulqdq" },
	{ CPUID_1_ECX, 9, "ssse3" },
	{ CPUID_1_ECX, 12, "fma" },
	{ CPUID_1_ECX, 13, "cx16" },
	{ CPUID_1_ECX, 19, "sse4_1" },
	{ CPUID_1_ECX, 20, "sse4_2" },
	{ CPUID_1_ECX, 22, "movbe" },
	{ CPUID_1_ECX, 23, "popcnt" },
	{ CPUID_1_ECX, 25, "aes" },
	{ CPUID_1_ECX, 26, "xsave" },
	{ CPUID_1_ECX, 27, "osxsave" },
	{ CPUID_1_ECX, 28, "avx" },
	{ CPUID_1_ECX, 29, "f16c" },
	{ CPUID_1_ECX, 30, "rdrand" },

	{ CPUID_80000001_ECX, 0, "lahf_lm" },
	{ CPUID_80000001_ECX, 5, "abm" },
	{ CPUID_80000001_ECX, 6, "sse4a" },
	{ CPUID_80000001_ECX, 7, "misalignsse" },
	{ CPUID_80000001_ECX, 8, "3dnowprefetch" },
	{ CPUID_80000001_ECX, 11, "xop" },
	{ CPUID_80000001_ECX, 15, "lwp" },
	{ CPUID_80000001_ECX, 16, "fma4" },
	{ CPUID_80000001_ECX, 21, "tbm" },
	{ CPUID_80000001_ECX, 29, "mwaitx" },

	{ CPUID_7_EBX, 0, "fsgsbase" },
	{ CPUID_7_EBX, 3, "bmi1" },
	{ CPUID_7_EBX, 4, "hle" },
	{ CPUID_7_EBX, 5, "avx2" },
	{ CPUID_7_EBX, 8, "bmi2" },
	{ CPUID_7_EBX, 11, "rtm" },
	{ CPUID_7_EBX, 14, "mpx" },
	{ CPUID_7_EBX, 16, "avx512f" },
	{ CPUID_7_EBX, 17, "avx512dq" },
	{ CPUID_7_EBX, 18, "rdseed" },
	{ CPUID_7_EBX, 19, "adx" },
	{ CPUID_7_EBX, 21, "avx512ifma" },
	{ CPUID_7_EBX, 23, "clflushopt" },
	{ CPUID_7_EBX, 24, "clwb" },
	{ CPUID_7_EBX, 26, "avx512pf" },
	{ CPUID_7_EBX, 27, "avx512er" },
	{ CPUID_7_EBX, 28, "avx512cd" },
	{ CPUID_7_EBX, 29, "sha_ni" },
	{ CPUID_7_EBX, 30, "avx512bw" },
	{ CPUID_7_EBX, 31, "avx512vl" },

	{ CPUID_D_1_EAX, 0, "xsaveopt" },
	{ CPUID_D_1_EAX, 1, "xsavec" },
	{ CPUID_D_1_EAX, 2, "xgetbv1" },

	{ CPUID_80000008_EBX, 0, "clzero" },
	{ CPUID_80000008_EBX, 4, "rdpru" },

	{ CPUID_7_ECX, 0, "prefetchwt1" },
	{ CPUID_7_ECX, 1, "avx512vbmi" },
	{ CPUID_7_ECX, 4, "ospke" },
	{ CPUID_7_ECX, 5, "waitpkg" },
	{ CPUID_7_ECX, 6, "avx512_vbmi2" },
	{ CPUID_7_ECX, 8, "gfni" },
	{ CPUID_7_ECX, 9, "vaes" },
	{ CPUID_7_ECX, 10, "vpclmulqdq" },
	{ CPUID_7_ECX, 11, "avx512_vnni" },
	{ CPUID_7_ECX, 12, "avx512_bitalg" },
	{ CPUID_7_ECX, 14, "avx512_vpopcntdq" },
	{ CPUID_7_ECX, 22, "rdpid" },
	{ CPUID_7_ECX, 25, "cldemote" },
	{ CPUID_7_ECX, 27, "movdiri" },
	{ CPUID_7_ECX, 28, "movdir64b" },
	{ CPUID_7_ECX, 29, "enqcmd" },

	{ CPUID_7_EDX, 2, "avx512_4vnniw" },
	{ CPUID_7_EDX, 3, "avx512_4fmaps" },
	{ CPUID_7_EDX, 8, "avx512_vp2intersect" },
	{ CPUID_7_EDX, 14, "serialize" },
	{ CPUID_7_EDX, 16, "tsxldtrk" },
	{ CPUID_7_EDX, 22, "amx_bf16" },
	{ CPUID_7_EDX, 23, "avx512_fp16" },
	{ CPUID_7_EDX, 24, "amx_tile" },
	{ CPUID_7_EDX, 25, "amx_int8" },
};

const size_t cpuid_nr_instructions = sizeof(cpuid_instructions) / sizeof(cpuid_instructions[0]);

enum reg { EAX, EBX, ECX, EDX };

/* Zeroes where the processor has no such leaf: past the last one it would answer with another leaf's values. */
static void leaf(uint32_t number, uint32_t sub, uint32_t ret[4])
{
	memset(ret, 0, 4 * sizeof(*ret));
	if ((uint32_t)__get_cpuid_max(number & 0x80000000u, NULL) >= number)
		__cpuid_count(number, sub, ret[EAX], ret[EBX], ret[ECX], ret[EDX]);
}

static void read_words(uint32_t *words)
{
	static const struct {
		uint32_t leaf, sub;
		uint8_t reg, word;
	} from[] = {
		{ 1, 0, EDX, CPUID_1_EDX },
		{ 1, 0, ECX, CPUID_1_ECX },
		{ 6, 0, EAX, CPUID_6_EAX },
		{ 7, 0, EBX, CPUID_7_EBX },
		{ 7, 0, ECX, CPUID_7_ECX },
		{ 7, 0, EDX, CPUID_7_EDX },
		{ 0xd, 1, EAX, CPUID_D_1_EAX },
		{ 0xf, 0, EDX, CPUID_F_0_EDX },
		{ 0xf, 1, EDX, CPUID_F_1_EDX },
		{ 0x80000001, 0, EDX, CPUID_80000001_EDX },
		{ 0x80000001, 0, ECX, CPUID_80000001_ECX },
		{ 0x80000007, 0, EBX, CPUID_80000007_EBX },
		{ 0x80000008, 0, EBX, CPUID_80000008_EBX },
		{ 0x8000000a, 0, EDX, CPUID_8000000A_EDX },
	};
	uint32_t r[4];

	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		leaf(from[i].leaf, from[i].sub, r);
		words[from[i].word] = r[from[i].reg];
	}
}

static void read_identity(struct cpuid_facts *f)
{
	uint32_t r[4], family;
	char vendor[13] = "";

	leaf(0, 0, r);
	memcpy(vendor, &r[EBX], 4);
	memcpy(vendor + 4, &r[EDX], 4);
	memcpy(vendor + 8, &r[ECX], 4);
	if (strcmp(vendor, "GenuineIntel") == 0)
		f->vendor = img_cpuinfo_x86_entry_vendor_INTEL;
	else if (strcmp(vendor, "AuthenticAMD") == 0 || strcmp(vendor, "HygonGenuine") == 0)
		f->vendor = img_cpuinfo_x86_entry_vendor_AMD;
	leaf(1, 0, r);
	family = r[EAX] >> 8 & 0xf;
	f->family = family == 0xf ? family + (r[EAX] >> 20 & 0xff) : family;
	f->model = (r[EAX] >> 4 & 0xf) | (family == 6 || family == 0xf ? (r[EAX] >> 16 & 0xf) << 4 : 0);
	f->stepping = r[EAX] & 0xf;
	for (uint32_t i = 0; i < 3; i++) {
		leaf(0x80000002 + i, 0, r);
		memcpy(f->brand + 16 * i, r, 16);
	}
}

void cpuid_read(struct cpuid_facts *ret)
{
	uint32_t r[4], low, high;

	memset(ret, 0, sizeof(*ret));
	read_identity(ret);
	read_words(ret->words);
	if (!(ret->words[CPUID_1_ECX] & bit_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	ret->xfeatures = (uint64_t)high << 32 | low;
	leaf(0xd, 0, r);
	ret->xsave_size = r[EBX];
	ret->xsave_size_max = r[ECX];
}
