/*
 * Mappings of the rarer sorts, and what a process can do to the ones that it has: locks of those to come, no reservation,
 * guard pages everywhere, seals, access that was not asked for but may be later, devices of zeroes, a vDSO that was moved
 * or thrown away.
 */
#include "victim.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#define PAGE      4096ul
#define SYS_MSEAL 462

static char *area[8];
static pid_t kid;

static char *map(size_t nr_pages, int prot, int flags, int fd)
{
	char *p = mmap(NULL, nr_pages * PAGE, prot, flags, fd, 0);

	need(p != MAP_FAILED);
	return p;
}

static sigjmp_buf fault_jump;
static void on_fault(int sig)
{
	siglongjmp(fault_jump, sig);
}

static int fault_of(volatile char *p)
{
	struct sigaction sa = { .sa_handler = on_fault }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	if ((sig = sigsetjmp(fault_jump, 1)) == 0)
		(void)*p;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* is the page there without having been touched? */
static bool there(const void *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	need(fd >= 0 && pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) == 8);
	close(fd);
	return entry >> 63;
}

static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool here = false, has = false;

	need(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	fclose(f);
	return has;
}

/* --- locks */

static void set_up_onfault(void)
{
	need(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
}

static void check_onfault(void)
{
	area[0] = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	expect(has_flag(area[0], " lo"), "a new mapping is not locked");
	expect(!there(area[0]), "a new mapping is there before it is touched");
}

/* What is locked may reach beyond the end of its file, where nothing can be had. */
static void set_up_beyond(void)
{
	int fd = open(victim_path("cut"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	need(fd >= 0 && ftruncate(fd, 3 * (off_t)PAGE) == 0);
	area[0] = map(6, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	area[1] = map(6, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	area[2] = map(2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	area[2] = mremap(area[2], 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	need(area[2] != MAP_FAILED);
	need(mlockall(MCL_CURRENT) == 0);
	need(ftruncate(fd, PAGE) == 0);
	close(fd);
	for (int i = 0; i < 3; i++)
		area[i][5] = (char)('a' + i);
}

static void check_beyond(void)
{
	for (int i = 0; i < 3; i++) {
		expect(area[i][5] == 'a' + i, "content of %d", i);
		expect(has_flag(area[i], " lo") && has_flag(area[i] + 3 * PAGE, " lo"), "%d is not locked", i);
		expect(there(area[i]), "%d is not there", i);
		expect(fault_of(area[i] + 3 * PAGE) == SIGBUS, "%d has memory beyond its end", i);
	}
}

static int shmid;

static void set_up_shm_lock(void)
{
	need((shmid = shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600)) >= 0);
	need((area[0] = shmat(shmid, NULL, 0)) != (void *)-1);
	pattern_fill(area[0], 2 * PAGE, 5);
	need(shmctl(shmid, SHM_LOCK, NULL) == 0);
	/* a part of it, seen with other rights, and one that may run */
	need((area[1] = shmat(shmid, NULL, SHM_RDONLY)) != (void *)-1 && munmap(area[1] + 4 * PAGE, 4 * PAGE) == 0);
	need((area[2] = shmat(shmid, NULL, SHM_EXEC)) != (void *)-1);
	need(mprotect(area[2] + PAGE, PAGE, PROT_READ | PROT_EXEC) == 0);
}

static void check_shm_lock(void)
{
	struct shmid_ds ds;

	expect(shmctl(shmid, IPC_STAT, &ds) == 0 && ds.shm_perm.mode & SHM_LOCKED, "the segment is not locked: mode %o",
	       ds.shm_perm.mode);
	expect(pattern_same(area[0], 2 * PAGE, 5) && pattern_same(area[1], 2 * PAGE, 5) &&
		       pattern_same(area[2], 2 * PAGE, 5),
	       "content");
	for (size_t i = 2 * PAGE; i < 8 * PAGE; i++)
		if (area[0][i]) {
			expect(false, "byte %zx of what was never written to is %d", i, area[0][i]);
			break;
		}
	area[0][3 * PAGE] = 9;
	expect(area[1][3 * PAGE] == 9 && area[2][3 * PAGE] == 9, "the mappings are of different segments");
	expect(fault_of(area[1] + 5 * PAGE) == SIGSEGV, "what was unmapped is there again");
	shmctl(shmid, IPC_RMID, NULL);
}

/* One that goes with its last process, and so has to be made anew. */
static void set_up_shm_removed(void)
{
	set_up_shm_lock();
	need(shmctl(shmid, IPC_RMID, NULL) == 0);
}

static void check_shm_removed(void)
{
	struct shmid_ds ds;

	expect(shmctl(shmid, IPC_STAT, &ds) == 0 && ds.shm_perm.mode & SHM_DEST,
	       "it is no longer to be removed: mode %o", ds.shm_perm.mode);
	check_shm_lock();
	expect(shmdt(area[0]) == 0 && munmap(area[1], 4 * PAGE) == 0 && shmdt(area[2]) == 0, "detach");
	expect(shmctl(shmid, IPC_STAT, &ds) < 0 && errno == EINVAL, "it stays after the last has detached");
}

/* --- no reservation */

static void set_up_noreserve(void)
{
	for (int i = 0; i < 4; i++)
		area[i] = map(16, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE,
			      (i & 2 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	pattern_fill(area[0], PAGE, 1);
	pattern_fill(area[2], PAGE, 2);
}

static void check_noreserve(void)
{
	for (int i = 0; i < 4; i++)
		expect(has_flag(area[i], " nr"), "mapping %d is reserved", i);
	expect(pattern_same(area[0], PAGE, 1) && pattern_same(area[2], PAGE, 2), "content");
}

/* --- guard pages: at the edges, over all of a mapping, in a file's and in a shared one */

static bool guard(char *p, size_t nr)
{
	return madvise(p, nr * PAGE, MADV_GUARD_INSTALL) == 0;
}

static bool of_files;

static void set_up_guards(void)
{
	static char data[8 * PAGE];

	for (int i = 0; i < 3; i++) {
		area[i] = map(10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		pattern_fill(area[i], 10 * PAGE, (uint64_t)i);
	}
	if (!guard(area[0], 1) || !guard(area[0] + 9 * PAGE, 1))
		victim_skip("no guard pages: %s", strerror(errno));
	need(guard(area[1], 10));
	/* one here and there, some with a hole beside them */
	need(madvise(area[2] + 4 * PAGE, PAGE, MADV_DONTNEED) == 0 && guard(area[2] + 3 * PAGE, 1) &&
	     guard(area[2] + 5 * PAGE, 2));
	pattern_fill(data, sizeof(data), 7);
	spill(victim_path("guarded"), data, sizeof(data));
	int fd = open(victim_path("guarded"), O_RDWR);
	area[3] = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	area[4] = map(8, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	area[5] = map(8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	close(fd);
	pattern_fill(area[5], 8 * PAGE, 7);
	of_files = guard(area[3] + 2 * PAGE, 2) && guard(area[4] + 2 * PAGE, 2) && guard(area[5] + 2 * PAGE, 2);
}

static void expect_guards(int i, size_t nr, unsigned mask)
{
	for (size_t k = 0; k < nr; k++)
		expect((fault_of(area[i] + k * PAGE) == SIGSEGV) == (mask >> k & 1), "page %zu of mapping %d %s", k, i,
		       mask >> k & 1 ? "is not guarded" : "faults");
}

static void check_guards(void)
{
	expect_guards(0, 10, 0x201);
	expect_guards(1, 10, 0x3ff);
	expect_guards(2, 10, 0x68);
	expect(area[2][4 * PAGE] == 0 && area[2][4 * PAGE + 99] == 0, "the hole between guards is none");
	for (int i = 3; i < 6 && of_files; i++) {
		expect_guards(i, 8, 0xc);
		expect(pattern_same(area[i], 2 * PAGE, 7), "content of mapping %d", i);
	}
}

/* A shared mapping with large private ones around it, which are looked at in another way than all that is small */
static void set_up_guards_between(void)
{
	size_t large = (16ul << 20) / PAGE;
	char *room = map(2 * large + 12, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (int i = 0; i < 2; i++) {
		char *p = mmap(room + (size_t)i * (large + 12) * PAGE, large * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		need(p != MAP_FAILED);
		p[5 * PAGE] = 1;
	}
	area[5] = mmap(room + (large + 2) * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	need(area[5] != MAP_FAILED && munmap(room + large * PAGE, 2 * PAGE) == 0 &&
	     munmap(area[5] + 8 * PAGE, 2 * PAGE) == 0);
	pattern_fill(area[5], 8 * PAGE, 7);
	if (!guard(area[5] + 2 * PAGE, 2))
		victim_skip("no guard pages in shared memory: Linux 6.15");
}

static void check_guards_between(void)
{
	expect_guards(5, 8, 0xc);
	expect(pattern_same(area[5], 2 * PAGE, 7), "content");
}

/* --- seals: of memory, of a file's part that may only be read, of one without access */

static void set_up_seals(void)
{
	static char data[4 * PAGE];

	pattern_fill(data, sizeof(data), 8);
	spill(victim_path("sealed"), data, sizeof(data));
	int fd = open(victim_path("sealed"), O_RDWR);
	area[0] = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	area[1] = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	area[2] = map(4, PROT_READ, MAP_SHARED, fd);
	area[3] = map(4, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	close(fd);
	pattern_fill(area[0], 4 * PAGE, 9);
	for (size_t i = 0; i < 4; i++)
		area[1][i * PAGE] = 77;
	need(mprotect(area[1], 4 * PAGE, PROT_READ) == 0);
	for (int i = 0; i < 4; i++)
		if (syscall(SYS_MSEAL, area[i] + PAGE, 2 * PAGE, 0) < 0)
			victim_skip("mseal: %s", strerror(errno));
}

static void check_seals(void)
{
	for (int i = 0; i < 4; i++) {
		expect(mprotect(area[i] + PAGE, PAGE, PROT_NONE) < 0 && errno == EPERM, "mapping %d is not sealed", i);
		expect(mprotect(area[i], PAGE, PROT_READ) == 0 && mprotect(area[i] + 3 * PAGE, PAGE, PROT_READ) == 0,
		       "mapping %d is sealed beyond its seal", i);
	}
	expect(pattern_same(area[0], 4 * PAGE, 9) && area[1][PAGE] == 77, "content");
}

/* --- rights that a mapping does not have, but may be given */

static void set_up_rights(void)
{
	spill(victim_path("rights"), "some text", 9);
	int rw = open(victim_path("rights"), O_RDWR), ro = open(victim_path("rights"), O_RDONLY);
	area[0] = map(1, PROT_READ, MAP_SHARED, ro);
	area[1] = map(1, PROT_READ, MAP_SHARED, rw);
	area[2] = map(1, PROT_READ, MAP_PRIVATE, ro);
	area[3] = map(1, PROT_NONE, MAP_SHARED, rw);
	close(rw);
	close(ro);
}

static void check_rights(void)
{
	expect(mprotect(area[0], PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES,
	       "what was opened for reading can be written to");
	for (int i = 1; i < 4; i++)
		expect(mprotect(area[i], PAGE, PROT_READ | PROT_WRITE) == 0, "mapping %d cannot be written to", i);
	area[1][0] = 'S';
	expect(area[3][0] == 'S' && area[0][0] == 'S', "the mappings are of different files");
	area[2][0] = 'P';
	expect(area[0][0] == 'S', "a private mapping wrote to the file");
}

/* --- /dev/zero: privately it is anonymous memory with a name, shared it is a file of its own */

static void set_up_zero(void)
{
	int fd = open("/dev/zero", O_RDWR);

	need(fd >= 0);
	area[0] = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	area[1] = map(8, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	area[2] = map(8, PROT_READ, MAP_PRIVATE, fd);
	close(fd);
	pattern_fill(area[0] + PAGE, PAGE, 3);
	pattern_fill(area[1] + PAGE, PAGE, 4);
}

static void check_zero(void)
{
	expect(pattern_same(area[0] + PAGE, PAGE, 3) && pattern_same(area[1] + PAGE, PAGE, 4), "content");
	for (size_t i = 2; i < 8; i++)
		expect(area[0][i * PAGE] == 0 && area[1][i * PAGE] == 0 && area[2][i * PAGE] == 0,
		       "page %zu is not zero", i);
	expect(madvise(area[0] + PAGE, PAGE, MADV_DONTNEED) == 0 && area[0][PAGE] == 0,
	       "not zero after it was dropped");
}

/* --- a file of a mount without execution: nobody may make its mapping executable */

static void set_up_noexec(void)
{
	need(mkdir(victim_path("m"), 0755) == 0);
	if (mount("noexec", victim_path("m"), "tmpfs", MS_NOEXEC, NULL) < 0)
		victim_skip("mount tmpfs: %s", strerror(errno));
	spill(victim_path("m/file"), "text", 4);
	int fd = open(victim_path("m/file"), O_RDWR);
	area[0] = map(1, PROT_READ, MAP_PRIVATE, fd);
	close(fd);
	need(mprotect(area[0], PAGE, PROT_READ | PROT_EXEC) < 0);
}

static void check_noexec(void)
{
	expect(mprotect(area[0], PAGE, PROT_READ | PROT_EXEC) < 0 && errno == EACCES, "it can be made executable");
	munmap(area[0], PAGE);
	expect(umount(victim_path("m")) == 0, "umount");
}

/* --- the vDSO elsewhere, or nowhere. Only a child can do without: the C library knows where it was. */

struct special {
	uintptr_t start, end;
};

static size_t specials(struct special *ret, size_t max)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	size_t nr = 0;

	need(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;
		if ((strstr(line, "[vvar") || strstr(line, "[vdso]")) && sscanf(line, "%lx-%lx ", &start, &end) == 2 &&
		    nr < max)
			ret[nr++] = (struct special){ start, end };
	}
	fclose(f);
	return nr;
}

/* offset of clock_gettime(): the table of symbols lies right in front of their names */
static uintptr_t clock_offset(uintptr_t base)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)base;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(base + eh->e_phoff);
	uintptr_t symbols = 0, names = 0;

	for (int i = 0; i < eh->e_phnum; i++)
		for (const Elf64_Dyn *d = (const Elf64_Dyn *)(base + ph[i].p_offset);
		     ph[i].p_type == PT_DYNAMIC && d->d_tag; d++) {
			symbols = d->d_tag == DT_SYMTAB ? d->d_un.d_ptr : symbols;
			names = d->d_tag == DT_STRTAB ? d->d_un.d_ptr : names;
		}
	need(symbols && names > symbols);
	for (const Elf64_Sym *s = (const Elf64_Sym *)(base + symbols); (uintptr_t)s < base + names; s++)
		if (strcmp((const char *)base + names + s->st_name, "__vdso_clock_gettime") == 0)
			return s->st_value;
	return 0;
}

static void moved_vdso(long arg)
{
	struct special s[8];
	size_t nr = specials(s, 8);
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR), offset = clock_offset(vdso);

	need(nr >= 2 && offset);
	uintptr_t shift = (uintptr_t)map(256, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1) - s[0].start;
	for (size_t i = 0; i < nr; i++) {
		long r = syscall(SYS_mremap, s[i].start, s[i].end - s[i].start, s[i].end - s[i].start,
				 MREMAP_MAYMOVE | MREMAP_FIXED, s[i].start + shift);
		need(r == (long)(s[i].start + shift));
	}
	int (*gettime)(int, struct timespec *) = (int (*)(int, struct timespec *))(vdso + shift + offset);
	struct timespec fast, slow;
	need(gettime(CLOCK_REALTIME, &fast) == 0);
	victim_hold();
	for (int i = 0; i < 2; i++) {
		int clock = i ? CLOCK_MONOTONIC : CLOCK_REALTIME;
		expect(gettime(clock, &fast) == 0 && syscall(SYS_clock_gettime, clock, &slow) == 0, "clock_gettime");
		int64_t off = (slow.tv_sec - fast.tv_sec) * 1000000000ll + slow.tv_nsec - fast.tv_nsec;
		expect(off >= 0 && off < 5000000000ll, "clock %d is %ld ns off", clock, (long)off);
	}
}

static void set_up_moved_vdso(void)
{
	kid = victim_fork(moved_vdso, 0);
}

static void without_vdso(long arg)
{
	struct special s[8];
	size_t nr = specials(s, 8);

	for (size_t i = 0; i < nr; i++)
		need(munmap((void *)s[i].start, s[i].end - s[i].start) == 0);
	victim_hold();
	expect(specials(s, 8) == 0, "there is a vDSO again");
}

static void set_up_no_vdso(void)
{
	kid = victim_fork(without_vdso, 0);
}

static void reap(void)
{
	victim_reap(kid);
}

const struct victim_case victim_cases[] = {
	{ "future-locked-on-fault", set_up_onfault, check_onfault },
	{ "locked-beyond-end", set_up_beyond, check_beyond },
	{ "shm-locked", set_up_shm_lock, check_shm_lock, .flags = CASE_MORE },
	{ "shm-locked-removed", set_up_shm_removed, check_shm_removed },
	{ "noreserve", set_up_noreserve, check_noreserve },
	{ "guards", set_up_guards, check_guards, .flags = CASE_MORE },
	{ "guards-between", set_up_guards_between, check_guards_between, .flags = CASE_MORE },
	{ "seals", set_up_seals, check_seals, .flags = CASE_MORE },
	{ "rights-to-come", set_up_rights, check_rights, .flags = CASE_MUTATES },
	{ "zero-device", set_up_zero, check_zero, .flags = CASE_ALTERS },
	{ "noexec", set_up_noexec, check_noexec, .flags = CASE_MUTATES },
	{ "vdso-moved", set_up_moved_vdso, reap, .flags = CASE_MORE },
	{ "vdso-gone", set_up_no_vdso, reap },
	{ 0 },
};
