/* Private memory of one process: contents, holes, protections, advice, locks, growth, huge pages, program break. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define PAGE       4096ul
#define PM_PRESENT (1ull << 63)
#define PM_SWAP    (1ull << 62)

static char *area, *area2;
static size_t area_len;

static void *map(size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED);
	return p;
}

static void *map_private(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* how many pages of the range have memory of their own; the shared zero page has a page frame but is not counted */
static long populated(const void *p, size_t len)
{
	static uint64_t entries[1 << 16];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long nr = 0;

	need(fd >= 0 && len / PAGE <= 1 << 16);
	ssize_t n = pread(fd, entries, len / PAGE * 8, (off_t)((uintptr_t)p / PAGE * 8));
	close(fd);
	for (ssize_t i = 0; i < n / 8; i++)
		nr += (entries[i] & (PM_PRESENT | PM_SWAP)) != 0;
	return nr;
}

/* value of a line of smaps for the mapping that starts at @p, or its flags as a string in @ret_flags */
static long smaps_value(const void *p, const char *name, char *ret_flags, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool here = false;
	long value = -1;

	need(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr("0123456789abcdef", line[0]))
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && strncmp(line, name, strlen(name)) == 0 &&
			 sscanf(line + strlen(name), ": %ld", &value) >= 0 && ret_flags)
			snprintf(ret_flags, size, "%.*s", (int)size - 1, line);
	}
	fclose(f);
	return value;
}

static void expect_flag(const void *p, const char *flag, bool want)
{
	char flags[256] = "";

	smaps_value(p, "VmFlags", flags, sizeof(flags));
	expect((strstr(flags, flag) != NULL) == want, "VmFlags at %p: %s; '%s' should %sbe there", p, flags, flag,
	       want ? "" : "not ");
}

/* does touching the byte end in a signal? */
static sigjmp_buf fault_jump;
static void on_fault(int sig)
{
	siglongjmp(fault_jump, sig);
}

static int fault_of(volatile char *p, bool write)
{
	struct sigaction sa = { .sa_handler = on_fault }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	if ((sig = sigsetjmp(fault_jump, 1)) == 0) {
		if (write)
			*p = *p;
		else
			(void)*p;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* --- contents and holes: pages with patterns, pages of zeroes that were written, pages only read, and untouched ones */

static void set_up_sparse(void)
{
	area_len = 4096 * PAGE;
	area = map_private(area_len);
	madvise(area, area_len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < 4096; i += 16) {
		pattern_fill(area + i * PAGE, PAGE, i);
		memset(area + (i + 1) * PAGE, 0, PAGE);
		(void)*(volatile char *)(area + (i + 2) * PAGE);
	}
}

static void check_sparse(void)
{
	long nr = populated(area, area_len);

	expect(nr >= 256 && nr <= 256 * 3, "%ld pages are populated, should be 256 to 768 of 4096", nr);
	for (size_t i = 0; i < 4096; i += 16) {
		expect(pattern_same(area + i * PAGE, PAGE, i), "page %zu differs", i);
		for (size_t k = 1; k < 16; k += 7)
			expect(area[(i + k) * PAGE] == 0 && area[(i + k) * PAGE + 77] == 0, "page %zu is not zero",
			       i + k);
	}
}

/* Content with a page of zeroes now and then, then every other page, then now and then again. */
static bool page_of_zeroes(size_t i)
{
	return i / 2048 % 2 ? i % 2 : i % 37 == 5;
}

static void set_up_zeroes(void)
{
	area_len = 6144 * PAGE;
	area = map_private(area_len);
	madvise(area, area_len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < 6144; i++) {
		if (page_of_zeroes(i))
			memset(area + i * PAGE, 0, PAGE);
		else
			pattern_fill(area + i * PAGE, PAGE, i);
	}
}

static void check_zeroes(void)
{
	static const char none[PAGE];

	for (size_t i = 0; i < 6144; i++)
		expect(page_of_zeroes(i) ? memcmp(area + i * PAGE, none, PAGE) == 0 : pattern_same(area + i * PAGE, PAGE, i),
		       "page %zu differs", i);
}

static void set_up_protections(void)
{
	static const int prots[] = { PROT_NONE,
				     PROT_READ,
				     PROT_WRITE,
				     PROT_READ | PROT_WRITE,
				     PROT_EXEC,
				     PROT_READ | PROT_EXEC,
				     PROT_READ | PROT_WRITE | PROT_EXEC };

	area = map_private(16 * PAGE);
	pattern_fill(area, 16 * PAGE, 3);
	for (int i = 0; i < 7; i++)
		need(mprotect(area + (size_t)i * 2 * PAGE, PAGE, prots[i]) == 0);
}

static void check_protections(void)
{
	expect(fault_of(area, false) == SIGSEGV, "PROT_NONE can be read");
	expect(fault_of(area + 2 * PAGE, true) == SIGSEGV, "PROT_READ can be written");
	expect(fault_of(area + 6 * PAGE, true) == 0, "read-write faults");
	need(mprotect(area, 16 * PAGE, PROT_READ) == 0);
	expect(pattern_same(area, 16 * PAGE, 3), "contents differ, also behind PROT_NONE");
}

static void set_up_code(void)
{
	static const unsigned char code[] = { 0x8d, 0x47, 0x2a, 0xc3 }; /* lea 42(%rdi), %eax; ret */

	area = map_private(PAGE);
	memcpy(area, code, sizeof(code));
	need(mprotect(area, PAGE, PROT_READ | PROT_EXEC) == 0);
}

static void check_code(void)
{
	expect(((int (*)(int))(uintptr_t)area)(58) == 100, "generated code");
}

/* --- advice, locks */

static const struct {
	int advice;
	const char *flag;
} advices[] = {
	{ MADV_SEQUENTIAL, "sr" }, { MADV_RANDOM, "rr" },   { MADV_DONTFORK, "dc" },   { MADV_DONTDUMP, "dd" },
	{ MADV_WIPEONFORK, "wf" }, { MADV_HUGEPAGE, "hg" }, { MADV_NOHUGEPAGE, "nh" }, { MADV_MERGEABLE, "mg" },
};

#define NR_ADVICES (int)(sizeof(advices) / sizeof(advices[0]))

static bool advised[NR_ADVICES];

static void set_up_advice(void)
{
	area = map_private((size_t)NR_ADVICES * 4 * PAGE);
	for (int i = 0; i < NR_ADVICES; i++) {
		pattern_fill(area + (size_t)i * 4 * PAGE, PAGE, (uint64_t)i);
		advised[i] = madvise(area + (size_t)i * 4 * PAGE, 2 * PAGE, advices[i].advice) == 0;
	}
}

static void check_advice(void)
{
	for (int i = 0; i < NR_ADVICES; i++) {
		if (advised[i])
			expect_flag(area + (size_t)i * 4 * PAGE, advices[i].flag, true);
		expect(pattern_same(area + (size_t)i * 4 * PAGE, PAGE, (uint64_t)i), "contents of advice %d",
		       advices[i].advice);
	}
}

static void set_up_mlock(void)
{
	area = map_private(16 * PAGE);
	pattern_fill(area, PAGE, 1);
	need(mlock(area, 4 * PAGE) == 0);
	need(syscall(SYS_mlock2, area + 8 * PAGE, 4 * PAGE, 1) == 0);
}

static void check_mlock(void)
{
	expect_flag(area, "lo", true);
	expect_flag(area + 8 * PAGE, "lo", true);
	expect_flag(area + 14 * PAGE, "lo", false);
	expect(populated(area, 4 * PAGE) == 4, "locked memory is not there: %ld pages", populated(area, 4 * PAGE));
	expect(populated(area + 8 * PAGE, 4 * PAGE) == 0, "memory locked on fault is there");
	expect(pattern_same(area, PAGE, 1), "contents");
}

static void set_up_mcl_future(void)
{
	need(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	area = map_private(4 * PAGE);
}

static void check_mcl_future(void)
{
	expect_flag(area, "lo", true);
	area2 = map_private(4 * PAGE);
	expect_flag(area2, "lo", true);
}

static void set_up_names(void)
{
	area = map_private(4 * PAGE);
	if (prctl(0x53564d41, 0, area, 4 * PAGE, "a name") < 0)
		victim_skip("names of anonymous mappings: %s", strerror(errno));
}

static void check_names(void)
{
	static char maps[1 << 20];

	slurp("/proc/self/maps", maps, sizeof(maps));
	expect(strstr(maps, "[anon:a name]"), "the name is lost");
}

/* --- growth: stacks downwards, the break upwards */

static __attribute__((noinline)) int deeper(int levels)
{
	volatile char frame[PAGE * 4];

	frame[0] = (char)levels;
	frame[sizeof(frame) - 1] = (char)(levels ? deeper(levels - 1) : 0);
	return frame[0] + frame[sizeof(frame) - 1];
}

static void set_up_stack(void)
{
	deeper(8);
}
static void check_stack(void)
{
	deeper(300);
} /* some 5 MiB, more than is ever mapped at first */

static void set_up_growsdown(void)
{
	char *p = map(256 * PAGE, PROT_NONE, MAP_PRIVATE);

	munmap(p, 256 * PAGE);
	area = mmap(p + 248 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	need(area != MAP_FAILED);
	pattern_fill(area, 8 * PAGE, 9);
	*(volatile char *)(area - PAGE) = 1;
}

static void check_growsdown(void)
{
	expect(pattern_same(area, 8 * PAGE, 9), "contents");
	expect(area[-(long)PAGE] == 1, "the page it grew by");
	expect(fault_of(area - 2 * PAGE, true) == 0, "it does not grow any more");
}

static char *brk_was;

static void set_up_brk(void)
{
	brk_was = sbrk(10 * PAGE + 123);
	need(brk_was != (void *)-1);
	pattern_fill(brk_was, 10 * PAGE, 5);
}

static void check_brk(void)
{
	expect((char *)sbrk(0) == brk_was + 10 * PAGE + 123, "break is %p", sbrk(0));
	expect(sbrk(100 * PAGE) != (void *)-1, "the break cannot grow");
	memset(brk_was + 20 * PAGE, 1, 50 * PAGE);
	expect(pattern_same(brk_was, 10 * PAGE, 5), "contents");
	expect(sbrk(-50 * (long)PAGE) != (void *)-1, "the break cannot shrink");
	void *p = malloc(1 << 20);
	expect(p != NULL, "malloc");
	free(p);
}

/* --- huge pages */

static void set_up_thp(void)
{
	char *p = map_private(12 << 20);

	area = (char *)(((uintptr_t)p + (2 << 20) - 1) & ~((2ul << 20) - 1));
	if (madvise(area, 8 << 20, MADV_HUGEPAGE) < 0)
		victim_skip("no transparent huge pages");
	pattern_fill(area, 8 << 20, 21);
	if (smaps_value(area, "AnonHugePages", NULL, 0) < 2048)
		victim_skip("the kernel gave no huge page");
}

static void check_thp(void)
{
	expect(pattern_same(area, 8 << 20, 21), "contents");
	expect_flag(area, "hg", true);
	expect(smaps_value(area, "AnonHugePages", NULL, 0) >= 2048, "no huge pages any more");
}

static void set_up_hugetlb(void)
{
	area = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (area == MAP_FAILED)
		victim_skip("no huge pages are reserved (vm.nr_hugepages)");
	pattern_fill(area, 2 << 20, 22);
}

static void check_hugetlb(void)
{
	expect(pattern_same(area, 2 << 20, 22), "contents");
	expect(smaps_value(area, "KernelPageSize", NULL, 0) == 2048, "pages of another size");
}

/* --- guard pages: no mapping of their own, and invisible in maps */

static void set_up_guards(void)
{
	area = map_private(64 * PAGE);
	pattern_fill(area, 64 * PAGE, 31);
	if (madvise(area + 10 * PAGE, 3 * PAGE, MADV_GUARD_INSTALL) < 0)
		victim_skip("no guard pages: %s", strerror(errno));
}

static void check_guards(void)
{
	for (size_t i = 0; i < 64; i++) {
		bool guard = i >= 10 && i < 13;
		if (i > 7 && i < 16)
			expect(fault_of(area + i * PAGE, false) == (guard ? SIGSEGV : 0), "page %zu %s", i,
			       guard ? "can be read" : "faults");
	}
	expect(pattern_same(area, 10 * PAGE, 31), "contents before");
}

/* --- many mappings, at a distance so that they cannot merge, and neighbours that differ only in flags */

#define NR_MANY 5000

static void set_up_many(void)
{
	area = map(NR_MANY * 2 * PAGE, PROT_NONE, MAP_PRIVATE);
	for (size_t i = 0; i < NR_MANY; i++) {
		need(mprotect(area + i * 2 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
		if (i % 10 == 0)
			*(uint64_t *)(area + i * 2 * PAGE) = i;
	}
}

static void check_many(void)
{
	for (size_t i = 0; i < NR_MANY; i++)
		expect(*(uint64_t *)(area + i * 2 * PAGE) == (i % 10 ? 0 : i), "mapping %zu", i);
}

/* --- files mapped privately: own copies of some pages, the file's bytes in the others, beyond its end a SIGBUS */

static void set_up_private_file(void)
{
	static char data[8 * PAGE];

	pattern_fill(data, sizeof(data), 50);
	spill(victim_path("mapped"), data, 6 * PAGE + 100);
	int fd = open(victim_path("mapped"), O_RDWR);
	need(fd >= 0);
	area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	area2 = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
	need(area != MAP_FAILED && area2 != MAP_FAILED);
	close(fd);
	pattern_fill(area + PAGE, PAGE, 51);
	pattern_fill(area + 4 * PAGE, PAGE, 52);
}

static void check_private_file(void)
{
	static char data[8 * PAGE];

	pattern_fill(data, sizeof(data), 50);
	for (size_t i = 0; i < 6; i++)
		if (i == 1 || i == 4)
			expect(pattern_same(area + i * PAGE, PAGE, 50 + i / 4 + 1), "own copy of page %zu", i);
		else
			expect(memcmp(area + i * PAGE, data + i * PAGE, PAGE) == 0, "page %zu is not the file's", i);
	expect(memcmp(area2, data + 2 * PAGE, 2 * PAGE) == 0, "the second mapping");
	expect(area[6 * PAGE + 99] == data[6 * PAGE + 99] && area[6 * PAGE + 100] == 0, "the page of the file's end");
	expect(fault_of(area + 7 * PAGE, false) == SIGBUS, "beyond the end");
	expect(populated(area, PAGE) + populated(area + 5 * PAGE, PAGE) <= 2, "clean pages were made own");
	int fd = open(victim_path("mapped"), O_RDONLY);
	char first[64];
	expect(pread(fd, first, 64, PAGE) == 64 && memcmp(first, data + PAGE, 64) == 0, "the file was written to");
	close(fd);
}

static void set_up_deleted_file(void)
{
	static char data[4 * PAGE];

	pattern_fill(data, sizeof(data), 60);
	spill(victim_path("ghost"), data, sizeof(data));
	int fd = open(victim_path("ghost"), O_RDWR);
	need(fd >= 0);
	area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	area2 = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(area != MAP_FAILED && area2 != MAP_FAILED);
	close(fd);
	need(unlink(victim_path("ghost")) == 0);
	area[PAGE] = 1;
	area2[2 * PAGE] = 2;
}

static void check_deleted_file(void)
{
	static char data[4 * PAGE];

	pattern_fill(data, sizeof(data), 60);
	expect(memcmp(area, data, PAGE) == 0 && memcmp(area2, data, PAGE) == 0, "first page");
	expect(area[PAGE] == 1 && area2[PAGE] == data[PAGE], "own copy");
	expect(area[2 * PAGE] == 2 && area2[2 * PAGE] == 2, "shared write");
	area2[3 * PAGE] = 77;
	expect(area[3 * PAGE] == 77, "the mappings are not of one file any more");
	expect(access(victim_path("ghost"), F_OK) < 0, "the deleted file is back");
}

/* --- time: the vDSO after a restore, which may have a new place or new contents */

static uint64_t real_was, mono_was;

static void set_up_time(void)
{
	real_was = now_ns(CLOCK_REALTIME);
	mono_was = now_ns(CLOCK_MONOTONIC);
}

static void check_time(void)
{
	static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE,
				      CLOCK_TAI };

	for (int i = 0; i < 5; i++) {
		struct timespec ts;
		syscall(SYS_clock_gettime, clocks[i], &ts);
		int64_t off = (int64_t)now_ns(clocks[i]) - (ts.tv_sec * 1000000000ll + ts.tv_nsec);
		expect(off > -20000000 && off < 500000000, "clock %d is %ld ns off the kernel's", clocks[i], (long)off);
	}
	struct timeval tv;
	expect(gettimeofday(&tv, NULL) == 0 && (uint64_t)tv.tv_sec >= real_was / 1000000000, "gettimeofday");
	expect(now_ns(CLOCK_MONOTONIC) > mono_was, "monotonic time went backwards");
	unsigned cpu;
	expect(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0, "getcpu");
	expect(labs((long)(time(NULL) - (time_t)(now_ns(CLOCK_REALTIME) / 1000000000))) <= 1, "time()");
}

static void set_up_big(void)
{
	area_len = 96 << 20;
	area = map_private(area_len);
	for (size_t i = 0; i < area_len; i += PAGE)
		pattern_fill(area + i, 64, i);
}

static void check_big(void)
{
	for (size_t i = 0; i < area_len; i += PAGE)
		expect(pattern_same(area + i, 64, i), "page at %zx", i);
}

const struct victim_case victim_cases[] = {
	{ "sparse", set_up_sparse, check_sparse, .flags = CASE_MORE },
	{ "zeroes", set_up_zeroes, check_zeroes },
	{ "big", set_up_big, check_big, .flags = CASE_MORE },
	{ "protections", set_up_protections, check_protections, .flags = CASE_MORE },
	{ "code", set_up_code, check_code },
	{ "advice", set_up_advice, check_advice },
	{ "mlock", set_up_mlock, check_mlock },
	{ "mcl-future", set_up_mcl_future, check_mcl_future },
	{ "anon-names", set_up_names, check_names },
	{ "stack-growth", set_up_stack, check_stack, .flags = CASE_MORE },
	{ "grows-down", set_up_growsdown, check_growsdown },
	{ "brk", set_up_brk, check_brk, .flags = CASE_MORE },
	{ "huge-transparent", set_up_thp, check_thp },
	{ "hugetlb", set_up_hugetlb, check_hugetlb, .refuse = "hugetlb", .flags = CASE_KEEP_OR_REFUSE },
	{ "guard-pages", set_up_guards, check_guards },
	{ "many-mappings", set_up_many, check_many },
	{ "private-file", set_up_private_file, check_private_file, .flags = CASE_MORE },
	{ "deleted-file", set_up_deleted_file, check_deleted_file, .flags = CASE_MORE },
	{ "vdso-time", set_up_time, check_time },
	{ 0 },
};
