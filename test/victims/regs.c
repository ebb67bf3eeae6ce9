/*
 * Registers across a checkpoint. A thread loads a pattern, spins in user mode without touching any register, and stores
 * what it finds when it is told to go on. Flags are left alone by the loop too: it is made of mov, jrcxz and pause.
 */
#include "victim.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* where a spinning thread looks; 1 = go on */
static volatile uint64_t released;
static unsigned long spinner;
static unsigned char in[64 * 64] __attribute__((aligned(64))), out[64 * 64] __attribute__((aligned(64)));

#define SPIN  "1:\n\tpause\n\tmovq released(%%rip), %%rcx\n\tjrcxz 1b\n\t"
#define ALL16 "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define ALL32 ALL16 ",16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

static void let_go(void)
{
	released = 1;
	victim_join(spinner);
}

static void expect_vector(const char *what, int nr, int size)
{
	for (int i = 0; i < nr; i++)
		expect(memcmp(in + i * size, out + i * size, (size_t)size) == 0, "%s%d differs", what, i);
}

static void *spin_sse(void *arg)
{
	victim_thread_ready();
	asm volatile(".irp i," ALL16 "\n\tmovups \\i*16(%0), %%xmm\\i\n\t.endr\n\t" SPIN ".irp i," ALL16
		     "\n\tmovups %%xmm\\i, \\i*16(%1)\n\t.endr" ::"r"(in),
		     "r"(out)
		     : "memory", "rcx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
		       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return NULL;
}

__attribute__((target("avx"))) static void *spin_avx(void *arg)
{
	victim_thread_ready();
	asm volatile(".irp i," ALL16 "\n\tvmovups \\i*32(%0), %%ymm\\i\n\t.endr\n\t" SPIN ".irp i," ALL16
		     "\n\tvmovups %%ymm\\i, \\i*32(%1)\n\t.endr\n\tvzeroupper" ::"r"(in),
		     "r"(out)
		     : "memory", "rcx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
		       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return NULL;
}

/* 32 registers of 64 bytes, then 8 mask registers of 8 bytes */
__attribute__((target("avx512f,avx512bw"))) static void *spin_avx512(void *arg)
{
	victim_thread_ready();
	asm volatile(".irp i," ALL32 "\n\tvmovups \\i*64(%0), %%zmm\\i\n\t.endr\n\t"
		     ".irp i,0,1,2,3,4,5,6,7\n\tkmovq 2048+\\i*8(%0), %%k\\i\n\t.endr\n\t" SPIN ".irp i," ALL32
		     "\n\tvmovups %%zmm\\i, \\i*64(%1)\n\t.endr\n\t"
		     ".irp i,0,1,2,3,4,5,6,7\n\tkmovq %%k\\i, 2048+\\i*8(%1)\n\t.endr\n\tvzeroupper" ::"r"(in),
		     "r"(out)
		     : "memory", "rcx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
		       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19",
		       "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",
		       "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
	return NULL;
}

static void set_up_sse(void)
{
	pattern_fill(in, sizeof(in), 11);
	spinner = victim_thread(spin_sse, NULL);
}

static void check_sse(void)
{
	let_go();
	expect_vector("xmm", 16, 16);
}

static void set_up_avx(void)
{
	if (!__builtin_cpu_supports("avx"))
		victim_skip("the processor has no AVX");
	pattern_fill(in, sizeof(in), 12);
	spinner = victim_thread(spin_avx, NULL);
}

static void check_avx(void)
{
	let_go();
	expect_vector("ymm", 16, 32);
}

static void set_up_avx512(void)
{
	if (!__builtin_cpu_supports("avx512bw"))
		victim_skip("the processor has no AVX-512");
	pattern_fill(in, sizeof(in), 13);
	spinner = victim_thread(spin_avx512, NULL);
}

static void check_avx512(void)
{
	let_go();
	expect_vector("zmm", 32, 64);
	for (int i = 0; i < 8; i++)
		expect(memcmp(in + 2048 + i * 8, out + 2048 + i * 8, 8) == 0, "k%d differs", i);
}

/* --- x87 with its control, status and tag words, and mxcsr, by way of a whole fxsave area */

static void *spin_fx(void *arg)
{
	victim_thread_ready();
	asm volatile("fxrstor64 (%0)\n\t" SPIN "fxsave64 (%1)\n\tfninit\n\tldmxcsr %2" ::"r"(in), "r"(out),
		     "m"(*(const unsigned *)(in + 1024))
		     : "memory", "rcx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
		       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return NULL;
}

static void set_up_fx(void)
{
	static const long double values[] = { 3.14159265358979323846L, -0.0L, 1e4000L, 1e-4940L, 42.0L, -1e100L };

	asm volatile("fninit\n\tfxsave64 (%0)" ::"r"(in) : "memory");
	for (int i = 0; i < 6; i++)
		memcpy(in + 32 + i * 16, &values[i], 10);
	*(uint16_t *)in = 0x0e7f;                 /* control: round to zero, 53 bits */
	*(uint16_t *)(in + 2) = 0x1020 | 2 << 11; /* status: top of stack 2, precision raised */
	in[4] = 0x3c | 0xc0;                      /* which of them are in use */
	*(uint32_t *)(in + 24) = 0x7f80 | 0x21;   /* mxcsr: round to zero, all masked, two raised */
	pattern_fill(in + 160, 256, 14);
	*(uint32_t *)(in + 1024) = 0x1f80;
	spinner = victim_thread(spin_fx, NULL);
}

static void check_fx(void)
{
	let_go();
	expect(*(uint16_t *)in == *(uint16_t *)out, "x87 control word is %#x", *(uint16_t *)out);
	expect(*(uint16_t *)(in + 2) == *(uint16_t *)(out + 2), "x87 status word is %#x", *(uint16_t *)(out + 2));
	expect(in[4] == out[4], "x87 tag word is %#x", out[4]);
	expect(*(uint32_t *)(in + 24) == *(uint32_t *)(out + 24), "mxcsr is %#x", *(uint32_t *)(out + 24));
	for (int i = 0; i < 6; i++)
		expect(memcmp(in + 32 + i * 16, out + 32 + i * 16, 10) == 0, "st%d differs", i);
	expect(memcmp(in + 160, out + 160, 256) == 0, "xmm registers differ");
}

/* --- general registers, flags, the red zone below the stack pointer */

static void *spin_general(void *arg)
{
	victim_thread_ready();
	asm volatile(
		"subq $512, %%rsp\n\tpushq %%rbp\n\tmovq %0, %%rax\n\t"
		"movq 8(%%rax), %%rbx\n\tmovq 16(%%rax), %%rdx\n\tmovq 24(%%rax), %%rsi\n\tmovq 32(%%rax), %%rdi\n\t"
		"movq 40(%%rax), %%rbp\n\tmovq 48(%%rax), %%r8\n\tmovq 56(%%rax), %%r9\n\tmovq 64(%%rax), %%r10\n\t"
		"movq 72(%%rax), %%r11\n\tmovq 80(%%rax), %%r12\n\tmovq 88(%%rax), %%r13\n\tmovq 96(%%rax), %%r14\n\t"
		"movq 104(%%rax), %%r15\n\tmovq 112(%%rax), %%rcx\n\tmovq %%rcx, -128(%%rsp)\n\tmovq %%rcx, "
		"-8(%%rsp)\n\t"
		"pushq $0x8d5\n\tpopfq\n\tmovq %%rcx, -8(%%rsp)\n\tmovq 0(%%rax), %%rax\n\t" SPIN
		"movq -128(%%rsp), %%rcx\n\tmovq %%rcx, out+112(%%rip)\n\tmovq -8(%%rsp), %%rcx\n\tmovq %%rcx, "
		"out+120(%%rip)\n\t"
		"pushfq\n\tpopq %%rcx\n\tmovq %%rcx, out+128(%%rip)\n\tcld\n\t"
		"movq %%rax, out(%%rip)\n\tmovq %%rbx, out+8(%%rip)\n\tmovq %%rdx, out+16(%%rip)\n\tmovq %%rsi, "
		"out+24(%%rip)\n\t"
		"movq %%rdi, out+32(%%rip)\n\tmovq %%rbp, out+40(%%rip)\n\tmovq %%r8, out+48(%%rip)\n\tmovq %%r9, "
		"out+56(%%rip)\n\t"
		"movq %%r10, out+64(%%rip)\n\tmovq %%r11, out+72(%%rip)\n\tmovq %%r12, out+80(%%rip)\n\tmovq %%r13, "
		"out+88(%%rip)\n\t"
		"movq %%r14, out+96(%%rip)\n\tmovq %%r15, out+104(%%rip)\n\tpopq %%rbp\n\taddq $512, %%rsp" ::"r"(in)
		: "memory", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
		  "r15", "cc");
	return NULL;
}

static void set_up_general(void)
{
	pattern_fill(in, sizeof(in), 15);
	spinner = victim_thread(spin_general, NULL);
}

static void check_general(void)
{
	static const char *const names[] = { "rax", "rbx", "rdx", "rsi", "rdi", "rbp", "r8",          "r9",
					     "r10", "r11", "r12", "r13", "r14", "r15", "the red zone" };
	const uint64_t *was = (const uint64_t *)in, *is = (const uint64_t *)out;

	let_go();
	for (int i = 0; i < 15; i++)
		expect(was[i] == is[i], "%s was %lx, is %lx", names[i], was[i], is[i]);
	expect(is[15] == was[14], "the red zone's first word is %lx", is[15]);
	expect((is[16] & 0xcd5) == 0x8d5, "flags are %lx", is[16]);
}

/* --- protection keys: rights are in a register, keys in the page tables, allocation in the mm */

static int pkey;
static char *guarded;
static uint32_t pkru_seen;

static uint32_t read_pkru(void)
{
	uint32_t eax, edx;

	asm volatile(".byte 0x0f,0x01,0xee" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static void *spin_pkru(void *arg)
{
	asm volatile(".byte 0x0f,0x01,0xef" ::"a"(0x5555555c), "c"(0), "d"(0) : "memory");
	victim_thread_ready();
	while (!released)
		;
	pkru_seen = read_pkru();
	return NULL;
}

/*
 * Descriptors in the GDT, as 32-bit code has them for its thread-local storage; by its system calls a 64-bit program can
 * have them, too. They go with a thread: one has the first, the other the last.
 */
struct descriptor {
	unsigned int number, base, limit, bits;
};

#define NR_GETPID_32          20
#define NR_SET_THREAD_AREA_32 243
#define NR_GET_THREAD_AREA_32 244

static struct descriptor *low; /* where 32-bit addresses reach */
static volatile unsigned int seen_in_thread[3];

static long call_32(long nr, void *arg)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(arg) : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

/* Where the kernel has none (ia32_emulation=off, some virtual machines) the instruction is a fault. */
static void need_32(void)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		call_32(NR_GETPID_32, NULL);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		victim_skip("no system calls of 32-bit programs");
}

static long set_descriptor(unsigned int number, unsigned int base)
{
	*low = (struct descriptor){ number, base, 0xfff, 0x51 }; /* 32-bit data, limit in pages, usable */
	return call_32(NR_SET_THREAD_AREA_32, low);
}

static unsigned int base_of(unsigned int number)
{
	*low = (struct descriptor){ .number = number };
	return call_32(NR_GET_THREAD_AREA_32, low) == 0 ? low->base : 0xffffffffu;
}

static void *spin_descriptors(void *arg)
{
	/* it began with its maker's, and gives that up */
	*low = (struct descriptor){ 12, 0, 0, 0x28 };
	need(call_32(NR_SET_THREAD_AREA_32, low) == 0 && set_descriptor(14, 0x14000) == 0);
	victim_thread_ready();
	while (!released)
		;
	for (unsigned int i = 0; i < 3; i++)
		seen_in_thread[i] = base_of(12 + i);
	return arg;
}

static void set_up_descriptors(void)
{
	need_32();
	low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	need(low != MAP_FAILED);
	if (set_descriptor(12, 0x12000) != 0)
		victim_skip("no system calls of 32-bit programs");
	spinner = victim_thread(spin_descriptors, NULL);
}

static void check_descriptors(void)
{
	let_go();
	expect(base_of(12) == 0x12000 && base_of(13) == 0 && base_of(14) == 0, "the leader's: %x %x %x", base_of(12), base_of(13),
	       base_of(14));
	expect(seen_in_thread[0] == 0 && seen_in_thread[1] == 0 && seen_in_thread[2] == 0x14000, "the thread's: %x %x %x",
	       seen_in_thread[0], seen_in_thread[1], seen_in_thread[2]);
}

/* Selectors count for nothing in 64-bit code, but they are there; one of a descriptor of one's own gives gs its base. */

#define OF_USER_DATA 0x2b
#define OF_FIRST_TLS 0x63 /* number 12 */

static unsigned short selectors[3];

static void *spin_selectors(void *arg)
{
	need(set_descriptor(12, 0x12340000) == 0);
	asm volatile("movw %w0, %%ds\n\tmovw %w0, %%es\n\tmovw %w1, %%gs" ::"r"(OF_USER_DATA), "r"(OF_FIRST_TLS));
	victim_thread_ready();
	while (!released)
		;
	asm volatile("movw %%ds, %0\n\tmovw %%es, %1\n\tmovw %%gs, %2" : "=m"(selectors[0]), "=m"(selectors[1]), "=m"(selectors[2]));
	need(syscall(SYS_arch_prctl, ARCH_GET_GS, (unsigned long)out) == 0);
	return arg;
}

static void set_up_selectors(void)
{
	need_32();
	low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	need(low != MAP_FAILED);
	if (base_of(12) != 0)
		victim_skip("no system calls of 32-bit programs");
	spinner = victim_thread(spin_selectors, NULL);
}

static void check_selectors(void)
{
	let_go();
	expect(selectors[0] == OF_USER_DATA && selectors[1] == OF_USER_DATA && selectors[2] == OF_FIRST_TLS,
	       "ds %x es %x gs %x", selectors[0], selectors[1], selectors[2]);
	expect(*(uint64_t *)out == 0x12340000, "base of gs is %lx", *(uint64_t *)out);
}

/* --- alignment checks, which a tool that runs code in the thread has to switch off and on again */

static uint64_t flags_seen;

static void *spin_aligned(void *arg)
{
	victim_thread_ready();
	asm volatile("subq $256, %%rsp\n\tpushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\t" SPIN
		     "pushfq\n\tpopq %0\n\tpushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq\n\taddq $256, %%rsp"
		     : "=&r"(flags_seen)::"memory", "rcx", "cc");
	return arg;
}

static void set_up_aligned(void)
{
	spinner = victim_thread(spin_aligned, NULL);
}

static void check_aligned(void)
{
	let_go();
	expect(flags_seen & 0x40000, "flags are %lx", flags_seen);
}

/* --- the main thread, which comes back in another way than all others */

static void *releaser(void *arg)
{
	victim_thread_ready();
	victim_wait();
	released = 1;
	return arg;
}

static void spinning_leader(long arg)
{
	bool wide = __builtin_cpu_supports("avx512bw"), middle = __builtin_cpu_supports("avx");

	pattern_fill(in, sizeof(in), 16);
	victim_thread(releaser, NULL);
	victim_held();
	/* says that a thread is ready once more than there are: nobody waits for that */
	(wide ? spin_avx512 : middle ? spin_avx : spin_sse)(NULL);
	expect_vector("vector register ", wide ? 32 : 16, wide ? 64 : middle ? 32 : 16);
}

static pid_t leader;
static void set_up_leader(void)
{
	leader = victim_fork(spinning_leader, 0);
}

static void check_leader(void)
{
	victim_reap(leader);
}

static void set_up_pkeys(void)
{
	pkey = (int)syscall(SYS_pkey_alloc, 0, 1);
	if (pkey < 0)
		victim_skip("no protection keys");
	guarded = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(guarded != MAP_FAILED);
	memset(guarded, 7, 8192);
	need(syscall(SYS_pkey_mprotect, guarded, 4096, PROT_READ | PROT_WRITE, pkey) == 0);
	spinner = victim_thread(spin_pkru, NULL);
}

static void check_pkeys(void)
{
	let_go();
	expect(pkru_seen == 0x5555555c, "pkru of the thread is %x", pkru_seen);
	expect((read_pkru() >> (pkey * 2) & 3) == 1, "pkru of the leader is %x", read_pkru());
	expect(syscall(SYS_read, -1, guarded, 1) < 0 && errno == EBADF, "read");
	expect(syscall(SYS_pkey_mprotect, guarded, 4096, PROT_READ, pkey) == 0, "the key is not allocated any more");
	expect(syscall(SYS_pkey_free, pkey) == 0, "pkey_free");
}

/* --- segment bases */

static uint64_t gs_target[2] = { 0x1122334455667788, 0 };

static void *spin_gs(void *arg)
{
	uint64_t *seen = (uint64_t *)out;

	need(syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)gs_target) == 0);
	victim_thread_ready();
	while (!released)
		;
	asm volatile("movq %%gs:0, %0" : "=r"(seen[0]));
	return NULL;
}

static void set_up_gs(void)
{
	spinner = victim_thread(spin_gs, NULL);
}

static void check_gs(void)
{
	let_go();
	expect(*(uint64_t *)out == gs_target[0], "gs:0 reads %lx", *(uint64_t *)out);
}

/* --- a thread that is nearly always inside the vDSO */

static uint64_t vdso_steps, vdso_backwards;

static void *spin_vdso(void *arg)
{
	uint64_t last = now_ns(CLOCK_MONOTONIC);

	victim_thread_ready();
	while (!released) {
		uint64_t now = now_ns(CLOCK_MONOTONIC);
		vdso_backwards += now < last;
		vdso_steps++;
		last = now;
	}
	return NULL;
}

static void set_up_vdso(void)
{
	spinner = victim_thread(spin_vdso, NULL);
}

static void check_vdso(void)
{
	struct timespec by_call;
	uint64_t steps = vdso_steps;

	sleep_ms(50);
	let_go();
	expect(vdso_steps > steps + 100, "the loop came to a halt");
	expect(vdso_backwards == 0, "time went backwards %lu times", vdso_backwards);
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &by_call);
	int64_t off = (int64_t)now_ns(CLOCK_REALTIME) - (by_call.tv_sec * 1000000000ll + by_call.tv_nsec);
	expect(off >= 0 && off < 1000000000, "vDSO and kernel differ by %ld ns", (long)off);
}

/*
 * --- an rseq critical section: a thread that is interrupted in it has to find itself in the abort handler, on restore as
 * after any other preemption. The loop can end only by an abort or by the release outside of it.
 */

static volatile uint64_t rseq_aborts, rseq_inside;

static void *spin_rseq(void *arg)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	victim_thread_ready();
	while (!released) {
		asm volatile goto(
			".pushsection __rseq_cs, \"aw\"\n\t.balign 32\n\t3:\n\t.long 0, 0\n\t.quad 1f, 2f - 1f, "
			"4f\n\t.popsection\n\t"
			"leaq 3b(%%rip), %%rax\n\tmovq %%rax, %0\n\t"
			"1:\n\tincq %1\n\tpause\n\tmovq released(%%rip), %%rcx\n\tjrcxz 1b\n\t2:\n\tjmp 5f\n\t"
			".long 0x53053053\n\t4:\n\tjmp %l[aborted]\n\t5:\n\t" ::"m"(rs->rseq_cs),
			"m"(rseq_inside)
			: "memory", "rax", "rcx", "cc"
			: aborted);
		break;
	aborted:
		rseq_aborts++;
	}
	return NULL;
}

static void set_up_rseq(void)
{
	if (!__rseq_size)
		victim_skip("glibc registered no rseq area");
	spinner = victim_thread(spin_rseq, NULL);
	uint64_t before = rseq_inside;
	for (int i = 0; i < 100 && rseq_inside == before; i++)
		sleep_ms(10);
	need(rseq_inside != before);
	rseq_aborts = 0;
}

static void check_rseq(void)
{
	expect(rseq_aborts > 0, "a critical section was resumed in the middle");
	let_go();
}

const struct victim_case victim_cases[] = {
	{ "general", set_up_general, check_general, .flags = CASE_MORE },
	{ "sse", set_up_sse, check_sse },
	{ "avx", set_up_avx, check_avx },
	{ "avx512", set_up_avx512, check_avx512, .flags = CASE_MORE },
	{ "x87-mxcsr", set_up_fx, check_fx, .flags = CASE_MORE },
	{ "pkeys", set_up_pkeys, check_pkeys, .refuse = "protection key", .flags = CASE_KEEP_OR_REFUSE },
	{ "descriptors", set_up_descriptors, check_descriptors, .flags = CASE_MORE },
	{ "selectors", set_up_selectors, check_selectors },
	{ "alignment-checks", set_up_aligned, check_aligned },
	{ "leader", set_up_leader, check_leader, .flags = CASE_MORE | CASE_ALTERS },
	{ "gs-base", set_up_gs, check_gs },
	{ "vdso", set_up_vdso, check_vdso, .flags = CASE_MORE },
	{ "rseq-section", set_up_rseq, check_rseq, .flags = CASE_MORE },
	{ 0 },
};
