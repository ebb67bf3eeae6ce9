/*
 * Subject of the tests of incremental dumps: a process that never stops to write to its memory, map, unmap, move, grow,
 * shrink, drop, protect and fork, and that knows what every page must hold. The reference is a table in a shared file, which
 * is no part of any image: for each page how often it was written to. Page contents follow from that.
 *
 * writer DIR SEED: DIR/table-PID is made by each process; DIR/fails gets a line for each difference. A process looks through
 * all of its pages every few thousand steps, and counts that in its table.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#define MADV_GUARD_REMOVE  103
#endif

#define PAGE   4096ul
#define WORDS  (PAGE / 8)
#define SLOTS  40
#define PAGES  512
#define FILED  64 /* pages of the mapped file */
#define KIDS   3
#define VERIFY 3000 /* steps between looks at everything */

enum kind { NONE, ANON, FILE_PRIVATE, BRK, SHARED };

/* In the shared file. */
struct table {
	uint64_t checks, steps, kids;
	uint32_t count[SLOTS][PAGES]; /* 0: as it was before anybody wrote to it */
};

/* Which memory belongs to which slot is private, and so a subject itself. */
struct region {
	enum kind kind;
	char *at;
	size_t pages, file_off;
	uint64_t id;
	bool sealed; /* without access at the moment */
	bool spare;  /* not to be written to before it has joined with another */
	bool pieces; /* several mappings: those that are watched do not join with new ones, and then cannot be moved as one */
};

static struct region regions[SLOTS];
static struct table *table;
static const char *dir;
static uint64_t seed, next_id = 1;
static pid_t kids[KIDS];
static bool is_kid;

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t rnd(uint64_t below)
{
	seed = mix(seed);
	return seed % below;
}

static void fail(const char *fmt, ...)
{
	char path[PATH_MAX], text[256];
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/fails", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		_exit(3);
	_exit(2);
}

#define must(cond) ((cond) ? (void)0 : fail("pid %d line %d: %s: %s\n", getpid(), __LINE__, #cond, strerror(errno)))

static void fill(uint64_t *page, uint64_t id, size_t index, uint32_t count)
{
	uint64_t x = mix(id << 32 ^ index << 16 ^ count);

	for (size_t i = 0; i < WORDS; i++)
		page[i] = x = x * 6364136223846793005u + 1442695040888963407u;
}

static void expect(const struct region *r, size_t index)
{
	uint64_t want[WORDS] = { 0 };
	uint32_t count = table->count[r - regions][index];
	const uint64_t *is = (const uint64_t *)(r->at + index * PAGE);

	if (count)
		fill(want, r->id, index, count);
	else if (r->kind == FILE_PRIVATE)
		fill(want, 0, r->file_off + index, 1);
	for (size_t i = 0; i < WORDS; i++)
		if (is[i] != want[i])
			fail("pid %d slot %d kind %d id %lu page %zu of %zu at %p written %u times: word %zu is %lx and not %lx\n",
			     getpid(), (int)(r - regions), r->kind, (unsigned long)r->id, index, r->pages, (void *)is, count, i,
			     (unsigned long)is[i], (unsigned long)want[i]);
}

static void look_at_all(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		for (size_t p = 0; regions[i].kind != NONE && !regions[i].sealed && p < regions[i].pages; p++)
			expect(&regions[i], p);
	table->checks++;
}

static void open_table(void)
{
	struct table *old = table;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/table-%d", dir, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd >= 0 && ftruncate(fd, sizeof(*table)) == 0);
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(table != MAP_FAILED);
	close(fd);
	if (old) {
		memcpy(table->count, old->count, sizeof(table->count));
		__atomic_add_fetch(&old->kids, 1, __ATOMIC_RELEASE);
		munmap(old, sizeof(*old));
	}
}

static struct region *pick(bool used)
{
	for (size_t i = 0, at = rnd(SLOTS); i < SLOTS; i++) {
		struct region *r = &regions[(at + i) % SLOTS];

		if ((r->kind != NONE) == used && !r->sealed)
			return r;
	}
	return NULL;
}

static void forget(struct region *r, size_t from, size_t to)
{
	memset(&table->count[r - regions][from], 0, (to - from) * sizeof(uint32_t));
}

/* By the kernel: from a system call of its own, and as it writes to others. */
static void have_written(const struct region *r, size_t i, uint32_t count)
{
	uint64_t page[WORDS];
	struct iovec from = { page, PAGE }, to = { r->at + i * PAGE, PAGE };
	int ends[2];

	fill(page, r->id, i, count);
	if (rnd(2)) {
		must(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)PAGE);
		return;
	}
	must(pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], page, PAGE) == (ssize_t)PAGE);
	must(read(ends[0], to.iov_base, PAGE) == (ssize_t)PAGE);
	close(ends[0]);
	close(ends[1]);
}

static void do_write(struct region *r)
{
	size_t i = rnd(r->pages), nr = 1 + rnd(8);

	for (; !r->spare && nr-- && i < r->pages; i++) {
		uint32_t count = table->count[r - regions][i] + 1;

		if (rnd(8))
			fill((uint64_t *)(r->at + i * PAGE), r->id, i, count);
		else
			have_written(r, i, count);
		table->count[r - regions][i] = count;
	}
}

static void do_map(struct region *r)
{
	size_t pages = rnd(10) == 0 ? PAGES : 1 + rnd(64);
	char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED);
	forget(r, 0, PAGES);
	*r = (struct region){ .kind = ANON, .at = at, .pages = pages, .id = next_id++, .spare = rnd(4) == 0 };
	if (pages == PAGES)
		madvise(at, pages * PAGE, MADV_HUGEPAGE);
}

static void do_map_file(struct region *r)
{
	size_t off = rnd(FILED / 2), pages = 1 + rnd(FILED - off);
	char path[PATH_MAX], *at;
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)(off * PAGE));
	must(at != MAP_FAILED);
	close(fd);
	forget(r, 0, PAGES);
	*r = (struct region){ .kind = FILE_PRIVATE, .at = at, .pages = pages, .file_off = off, .id = next_id++ };
}

/* The object is as large as any of these gets, so that they can grow within it. */
static void do_map_shared(struct region *r)
{
	size_t pages = 1 + rnd(64);
	char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED);
	must(munmap(at + pages * PAGE, (PAGES - pages) * PAGE) == 0);
	forget(r, 0, PAGES);
	*r = (struct region){ .kind = SHARED, .at = at, .pages = pages, .id = next_id++ };
}

/* What is unmapped is still in the object. */
static void empty_end(struct region *r, size_t from)
{
	if (r->kind == SHARED && from < r->pages)
		must(madvise(r->at + from * PAGE, (r->pages - from) * PAGE, MADV_REMOVE) == 0);
}

static void do_unmap(struct region *r)
{
	size_t left = rnd(2) ? rnd(r->pages) : 0;

	if (r->kind == BRK)
		return;
	empty_end(r, left);
	must(munmap(r->at + left * PAGE, (r->pages - left) * PAGE) == 0);
	r->pages = left;
	if (!left)
		r->kind = NONE;
}

static void do_resize(struct region *r)
{
	size_t pages = 1 + rnd(r->kind == FILE_PRIVATE ? FILED - r->file_off : PAGES);
	char *at;

	if (r->kind == BRK || r->pieces)
		return;
	empty_end(r, pages);
	at = mremap(r->at, r->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	/* dumped within do_split() and restored lazily: what was read at once does not join with what is still to come */
	if (at == MAP_FAILED && errno == EFAULT) {
		if (r->kind == SHARED && pages < r->pages)
			forget(r, pages, r->pages);
		r->pieces = true;
		return;
	}
	must(at != MAP_FAILED);
	if (pages > r->pages)
		forget(r, r->pages, pages);
	r->at = at;
	r->pages = pages;
}

/* To a place where something was a moment ago, or where nothing has been. */
static void do_move(struct region *r)
{
	struct region *over = rnd(2) ? pick(true) : NULL;
	char *to, *at;

	if (r->kind == BRK || r->pieces)
		return;
	if (over && over != r && over->kind != BRK && over->pages >= r->pages) {
		to = over->at;
		if (over->pages > r->pages)
			must(munmap(over->at + r->pages * PAGE, (over->pages - r->pages) * PAGE) == 0);
		over->kind = NONE;
	} else {
		to = mmap(NULL, r->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(to != MAP_FAILED);
	}
	at = mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	must(at == to);
	r->at = at;
}

/* To an end of another one: memory that nobody has touched becomes one mapping with it, which the kernel no longer watches. */
static void do_join(struct region *r)
{
	struct region *other = pick(true);
	char *to, *at;

	for (size_t i = 0; i < SLOTS && !(r->kind == ANON && r->spare); i++)
		r = &regions[i];
	if (r->kind != ANON || !r->spare || r->sealed || r->pieces || other == r || other->kind != ANON)
		return;
	for (int behind = 0; behind < 2; behind++) {
		to = behind ? other->at + other->pages * PAGE : other->at - r->pages * PAGE;
		at = mmap(to, r->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (at == MAP_FAILED)
			continue;
		must(at == to);
		must(mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		r->at = to;
		r->spare = false;
		return;
	}
}

/* Leaves the old place mapped, without pages. */
static void do_move_pages(struct region *r)
{
	struct region *other = pick(false);
	char *at;

	if (!other || r->kind != ANON || r->pieces)
		return;
	at = mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (at == MAP_FAILED)
		return;
	*other = (struct region){ .kind = ANON, .at = r->at, .pages = r->pages, .id = next_id++ };
	forget(other, 0, PAGES);
	r->at = at;
}

static void do_drop(struct region *r)
{
	size_t from = rnd(r->pages), to = from + 1 + rnd(r->pages - from);

	must(madvise(r->at + from * PAGE, (to - from) * PAGE, r->kind == SHARED ? MADV_REMOVE : MADV_DONTNEED) == 0);
	forget(r, from, to);
}

/* Guard pages in place of what was there, for a moment. */
static void do_guard(struct region *r)
{
	size_t from = rnd(r->pages), to = from + 1 + rnd(r->pages - from);

	if (r->kind != ANON || madvise(r->at + from * PAGE, (to - from) * PAGE, MADV_GUARD_INSTALL) < 0)
		return;
	must(madvise(r->at + from * PAGE, (to - from) * PAGE, MADV_GUARD_REMOVE) == 0);
	forget(r, from, to);
}

/* Small pages become huge ones where that is possible. */
static void do_collapse(struct region *r)
{
	if (r->kind == ANON && !r->spare)
		madvise(r->at, r->pages * PAGE, MADV_COLLAPSE);
}

static void do_replace(struct region *r)
{
	size_t from = rnd(r->pages), to = from + 1 + rnd(r->pages - from);

	if (r->kind != ANON)
		return;
	must(mmap(r->at + from * PAGE, (to - from) * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	r->pieces = true;
	forget(r, from, to);
}

static void do_seal(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (regions[i].sealed) {
			must(mprotect(regions[i].at, regions[i].pages * PAGE, PROT_READ | PROT_WRITE) == 0);
			regions[i].sealed = false;
		}
	struct region *r = pick(true);

	if (!r || r->kind == BRK)
		return;
	must(mprotect(r->at, r->pages * PAGE, rnd(2) ? PROT_NONE : PROT_READ) == 0);
	r->sealed = true;
}

static void do_split(struct region *r)
{
	size_t at = rnd(r->pages);

	must(mprotect(r->at + at * PAGE, PAGE, PROT_READ) == 0);
	expect(r, at);
	must(mprotect(r->at + at * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
}

/* The break belongs to this region alone: nothing here calls malloc(). */
static void do_brk(struct region *r)
{
	size_t pages = 1 + rnd(128);

	if (r->kind != BRK)
		return;
	must(brk(r->at + pages * PAGE) == 0);
	if (pages > r->pages)
		forget(r, r->pages, pages);
	r->pages = pages;
}

static void live(void);

/* Of a child, which has a table of its own: what it would write to is its parent's. */
static void leave_shared(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (regions[i].kind == SHARED) {
			must(munmap(regions[i].at, regions[i].pages * PAGE) == 0);
			regions[i] = (struct region){ 0 };
		}
}

static void do_fork(void)
{
	uint64_t made = table->kids;
	size_t i = rnd(KIDS);

	if (is_kid)
		return;
	if (kids[i]) {
		kill(kids[i], SIGKILL);
		must(waitpid(kids[i], NULL, 0) == kids[i]);
		kids[i] = 0;
		return;
	}
	kids[i] = fork();
	must(kids[i] >= 0);
	if (kids[i] == 0) {
		char number[24];

		is_kid = true;
		seed ^= (uint64_t)getpid();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (rnd(3) == 0) {
			__atomic_add_fetch(&table->kids, 1, __ATOMIC_RELEASE);
			snprintf(number, sizeof(number), "%lu", (unsigned long)seed | 1);
			execl("/proc/self/exe", "writer", dir, number, "kid", NULL);
			fail("exec: %s\n", strerror(errno));
		}
		leave_shared();
		open_table();
		live();
	}
	/* until it has its own copy of the table */
	while (__atomic_load_n(&table->kids, __ATOMIC_ACQUIRE) == made)
		usleep(100);
}

static void step(void)
{
	struct region *r = pick(true), *none = pick(false);
	uint64_t what = rnd(400);

	if (what < 330 && r)
		do_write(r);
	else if (what < 345 && none)
		rnd(3) ? do_map(none) : rnd(2) ? do_map_file(none) : do_map_shared(none);
	else if (what < 352 && r)
		do_unmap(r);
	else if (what < 360 && r)
		do_resize(r);
	else if (what < 366 && r)
		do_move(r);
	else if (what < 370 && r)
		do_move_pages(r);
	else if (what < 380 && r)
		do_drop(r);
	else if (what < 384 && r)
		do_replace(r);
	else if (what < 388)
		do_seal();
	else if (what < 392 && r)
		do_split(r);
	else if (what < 396)
		do_brk(&regions[0]);
	else if (what < 399 && r)
		do_join(r);
	else if (r && rnd(3) == 0)
		do_collapse(r);
	else if (r && rnd(3) == 0)
		do_guard(r);
	else if (rnd(10) == 0)
		do_fork();
	table->steps++;
}

static void live(void)
{
	for (uint64_t i = 0;; i++) {
		step();
		if (i % VERIFY == 0)
			look_at_all();
		if (i % 64 == 0)
			usleep(1000);
	}
}

static void make_file(void)
{
	char path[PATH_MAX];
	uint64_t page[WORDS];
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd >= 0);
	for (size_t i = 0; i < FILED; i++) {
		fill(page, 0, i, 1);
		must(write(fd, page, PAGE) == PAGE);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	char *end;

	if (argc < 3)
		return 1;
	dir = argv[1];
	seed = strtoul(argv[2], NULL, 0);
	is_kid = argc > 3;
	if (is_kid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	else
		make_file();
	open_table();
	end = sbrk(0);
	end = (char *)(((uintptr_t)end + PAGE - 1) & ~(PAGE - 1));
	must(brk(end + PAGE) == 0);
	regions[0] = (struct region){ .kind = BRK, .at = end, .pages = 1, .id = next_id++ };
	live();
}
