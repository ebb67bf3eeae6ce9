/* Memory that several processes have in common: copy-on-write pages, shared mappings of every origin. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define NR   64ul /* pages of an area */

static char *area, *area2;
static pid_t kids[16];
static int nr_kids;
static int memfd = -1;
static volatile uint64_t *steps; /* a shared page for processes that act one after the other */

static void reap_kids(void)
{
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
}

static void await(uint64_t step)
{
	for (int i = 0; i < 1000 && steps[0] < step; i++)
		sleep_ms(5);
	expect(steps[0] >= step, "step %lu did not come", step);
}

static void share_steps(void)
{
	steps = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(steps != MAP_FAILED);
}

/* --- copy-on-write: pages that neither side wrote after the fork have one frame in both */

static uint64_t frame_of(const void *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) != 8)
		entry = 0;
	close(fd);
	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

static void cow_child(long generation)
{
	pattern_fill(area + (size_t)generation * 4 * PAGE, PAGE, 100 + (uint64_t)generation);
	pid_t kid = generation < 3 ? victim_fork(cow_child, generation + 1) : 0;
	victim_hold();
	for (size_t i = 0; i < NR; i++) {
		bool own = i % 4 == 0 && i / 4 <= (size_t)generation && i;
		expect(pattern_same(area + i * PAGE, PAGE, own ? 100 + i / 4 : i), "page %zu of generation %ld", i,
		       generation);
		steps[8 + (size_t)generation * NR + i] = frame_of(area + i * PAGE);
	}
	if (kid)
		victim_reap(kid);
}

static void set_up_cow(void)
{
	steps = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	area = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(area != MAP_FAILED);
	madvise(area, NR * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < NR; i++)
		pattern_fill(area + i * PAGE, PAGE, i);
	kids[nr_kids++] = victim_fork(cow_child, 1);
}

static void check_cow(void)
{
	reap_kids();
	long shared = 0;
	for (size_t i = 0; i < NR; i++) {
		expect(pattern_same(area + i * PAGE, PAGE, i), "page %zu", i);
		uint64_t mine = frame_of(area + i * PAGE);
		shared += mine && mine == steps[8 + NR + i];
	}
	if (frame_of(area))
		expect(shared >= (long)NR - 2, "%ld of %lu pages are shared between parent and child", shared, NR - 1);
}

/* --- one area, several processes; every one writes its page after the restore and sees the others' */

static void sharer(long me)
{
	victim_hold();
	await((uint64_t)me);
	for (long k = 0; k < 4; k++)
		expect(pattern_same(area + (size_t)k * PAGE, PAGE, (uint64_t)k + 70), "page %ld seen by process %ld", k,
		       me);
	for (long k = 4; k < 4 + me; k++)
		expect(area[(size_t)k * PAGE] == (char)k, "what process %ld wrote is not seen by %ld", k - 4, me);
	area[(size_t)(4 + me) * PAGE] = (char)(4 + me);
	steps[0] = (uint64_t)me + 1;
}

static void start_sharers(void)
{
	share_steps();
	for (size_t k = 0; k < 4; k++)
		pattern_fill(area + k * PAGE, PAGE, k + 70);
	for (long me = 0; me < 3; me++)
		kids[nr_kids++] = victim_fork(sharer, me);
}

static void check_sharers(void)
{
	await(3);
	for (long k = 4; k < 7; k++)
		expect(area[(size_t)k * PAGE] == (char)k, "what process %ld wrote is not seen by the root", k - 4);
	reap_kids();
}

static void map_shared(int fd)
{
	area = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	need(area != MAP_FAILED);
}

static void set_up_anon(void)
{
	map_shared(-1);
	start_sharers();
}

static void set_up_file(void)
{
	int fd = open(victim_path("shared file"), O_RDWR | O_CREAT, 0644);

	need(fd >= 0 && ftruncate(fd, NR * PAGE) == 0);
	map_shared(fd);
	close(fd);
	start_sharers();
}

static void set_up_tmpfs(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/shm/victim-%d", (int)getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		victim_skip("/dev/shm: %s", strerror(errno));
	need(ftruncate(fd, NR * PAGE) == 0);
	map_shared(fd);
	need(unlink(path) == 0);
	close(fd);
	start_sharers();
}

/* A memfd that is open in all and mapped in some; seals, position and close-on-exec are state as well. */
static void set_up_memfd(void)
{
	memfd = memfd_create("a memfd (x)", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	need(memfd >= 0 && ftruncate(memfd, NR * PAGE) == 0);
	need(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	need(lseek(memfd, 1234, SEEK_SET) == 1234);
	map_shared(memfd);
	start_sharers();
}

static void check_memfd(void)
{
	check_sharers();
	expect(fcntl(memfd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW), "seals are %x", fcntl(memfd, F_GET_SEALS));
	expect(lseek(memfd, 0, SEEK_CUR) == 1234, "position is %ld", (long)lseek(memfd, 0, SEEK_CUR));
	expect(fcntl(memfd, F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect(ftruncate(memfd, 1) < 0 && errno == EPERM, "the seal does not hold");
}

static void set_up_memfd_unmapped(void)
{
	memfd = memfd_create("alone", 0);
	need(memfd >= 0 && ftruncate(memfd, 1 << 20) == 0);
	need(pwrite(memfd, "some bytes", 10, 500000) == 10);
	kids[1] = memfd_create("sealed", MFD_ALLOW_SEALING);
	need(write(kids[1], "fixed", 5) == 5);
	need(fcntl(kids[1], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
}

static void check_memfd_unmapped(void)
{
	char text[16] = "";
	struct stat st;

	expect(pread(memfd, text, 10, 500000) == 10 && strcmp(text, "some bytes") == 0, "contents are %s", text);
	expect(fstat(memfd, &st) == 0 && st.st_size == 1 << 20, "size is %ld", (long)st.st_size);
	expect(st.st_blocks <= 64, "the hole became %ld blocks", (long)st.st_blocks);
	expect(fcntl(kids[1], F_GET_SEALS) == 15, "seals are %x", fcntl(kids[1], F_GET_SEALS));
	expect(pread(kids[1], text, 5, 0) == 5 && memcmp(text, "fixed", 5) == 0, "sealed contents are %s", text);
}

/* --- SysV: attached twice in one process, once read-only in another */

static int shmid;

static void attached(long me)
{
	char *again = shmat(shmid, NULL, SHM_RDONLY);

	need(again != (void *)-1);
	victim_hold();
	await(1);
	expect(again[8 * PAGE] == 33, "the write of the root is not seen");
	expect(pattern_same(again, PAGE, 80), "contents");
	struct shmid_ds ds;
	expect(shmctl(shmid, IPC_STAT, &ds) == 0, "segment %d is not there", shmid);
	expect(shmdt(again) == 0, "shmdt");
}

static void set_up_sysv(void)
{
	share_steps();
	shmid = shmget(IPC_PRIVATE, NR * PAGE, IPC_CREAT | 0640);
	need(shmid >= 0);
	area = shmat(shmid, NULL, 0);
	need(area != (void *)-1);
	pattern_fill(area, PAGE, 80);
	kids[nr_kids++] = victim_fork(attached, 0);
	area2 = shmat(shmid, NULL, SHM_RDONLY);
	need(area2 != (void *)-1);
}

static void check_sysv(void)
{
	struct shmid_ds ds;

	area[8 * PAGE] = 33;
	steps[0] = 1;
	expect(area2[8 * PAGE] == 33, "the second mapping is of something else");
	reap_kids();
	expect(shmctl(shmid, IPC_STAT, &ds) == 0 && ds.shm_nattch == 2, "%lu attached, should be 2", ds.shm_nattch);
	expect((ds.shm_perm.mode & 0777) == 0640, "mode %o", ds.shm_perm.mode);
	expect(shmdt(area) == 0 && shmdt(area2) == 0, "shmdt");
	shmctl(shmid, IPC_RMID, NULL);
}

/* --- parts of one shared object at several offsets, with holes, moved and cut in pieces */

static void set_up_pieces(void)
{
	map_shared(-1);
	share_steps();
	for (size_t i = 0; i < NR; i += 8)
		pattern_fill(area + i * PAGE, PAGE, i + 1);
	kids[nr_kids++] = victim_fork(sharer, 0);
	need(munmap(area + 16 * PAGE, 8 * PAGE) == 0);
	need(mprotect(area + 40 * PAGE, 8 * PAGE, PROT_READ) == 0);
	area2 = mremap(area + 48 * PAGE, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 1024 * PAGE);
	need(area2 != MAP_FAILED);
	for (size_t k = 0; k < 4; k++)
		pattern_fill(area + k * PAGE, PAGE, k + 70);
}

static void check_pieces(void)
{
	reap_kids();
	expect(area[4 * PAGE] == 4, "what the child wrote is not seen");
	expect(pattern_same(area + 8 * PAGE, PAGE, 9) && pattern_same(area + 40 * PAGE, PAGE, 41) &&
		       pattern_same(area2, PAGE, 49) && pattern_same(area2 + 8 * PAGE, PAGE, 57),
	       "contents");
	expect(area[33 * PAGE] == 0, "a hole is not zero");
}

const struct victim_case victim_cases[] = {
	{ "copy-on-write", set_up_cow, check_cow, .flags = CASE_MORE },
	{ "anonymous", set_up_anon, check_sharers, .flags = CASE_MORE },
	{ "file", set_up_file, check_sharers, .flags = CASE_MORE },
	{ "tmpfs-deleted", set_up_tmpfs, check_sharers },
	{ "memfd", set_up_memfd, check_memfd, .flags = CASE_MORE },
	{ "memfd-unmapped", set_up_memfd_unmapped, check_memfd_unmapped },
	{ "sysv", set_up_sysv, check_sysv, .flags = CASE_MORE },
	{ "pieces", set_up_pieces, check_pieces },
	{ 0 },
};
