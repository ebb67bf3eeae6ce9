/*
 * Plans of address spaces, carried out on a model: whatever layout the images describe, it must come out, page for page,
 * with nothing else mapped. Layouts are random; the seed of a failure is in its message.
 */
#include "mm/planner.h"
#include "space-sim.h"

#include "kernel/context.h"
#include "kernel/uapi.h"
#include "page-sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#define REGION_PAGE  SIM_SCRATCH
#define REGION_PAGES 148
#define SPARE_PAGES  64
#define MAX_VMAS     200
#define FD_OF(id)    (1000 + (int)(id))

static uint64_t rnd_state;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(rnd_state >> 33) % below;
}

static int open_file(void *arg, uint32_t id, uint32_t flags, struct cr_error *err)
{
	(void)arg;
	(void)flags;
	(void)err;
	return FD_OF(id);
}

/* A space with its pages file. */
struct made {
	struct mm_space space;
	img_mm_entry entry;
	img_vma_entry vma[MAX_VMAS + 4];
	img_vma_ext vdso_ext; /* of a set that is streamed */
	char vdso[8192];
};

static void store(struct made *m, uint64_t start, uint64_t nr, const uint64_t *words)
{
	struct stored_run *run = stored_runs_add(&m->space.pages);
	uint64_t off = m->space.pages.nr > 1 ? run[-1].off + (run[-1].end - run[-1].start) : 0;

	*run = (struct stored_run){ .start = start, .end = start + nr * 4096, .off = off };
	for (uint64_t i = 0; i < nr; i++) {
		const struct page_file *f = &m->space.files.items[0];
		uint64_t page[512] = { words[i] };
		uint32_t sum = page_sum_plain(page);

		assert_int_equal(pwrite(f->fd, &words[i], 8, (off_t)(off + i * 4096)), 8);
		if (f->sums >= 0)
			assert_int_equal(pwrite(f->sums, &sum, 4, (off_t)(f->sums_at + (off / 4096 + i) * 4)), 4);
	}
	assert_int_equal(ftruncate(m->space.files.items[0].fd, (off_t)(off + nr * 4096)), 0);
}

static void random_vma(img_vma_entry *v, uint64_t start, uint64_t end)
{
	static const uint32_t prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
					  PROT_READ | PROT_WRITE };
	uint32_t kind = rnd(10);

	*v = (img_vma_entry){ .start = start, .end = end, .prot = prots[rnd(5)], .fd = -1 };
	if (kind < 6) {
		v->status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE;
		v->flags = MAP_PRIVATE | MAP_ANONYMOUS | (rnd(8) ? 0 : MAP_GROWSDOWN) | (rnd(8) ? 0 : MAP_NORESERVE) |
			   (rnd(8) ? 0 : MAP_LOCKED);
		v->has_madv = !rnd(6);
		v->madv = v->has_madv ? UINT64_C(1) << (rnd(2) ? MADV_DONTFORK : MADV_HUGEPAGE) : 0;
	} else {
		bool shared = kind > 7;

		v->status = MM_ST_REGULAR | (shared ? MM_ST_FILE_SHARED : MM_ST_FILE_PRIVATE);
		v->flags = shared ? MAP_SHARED : MAP_PRIVATE;
		v->shmid = 1 + rnd(3);
		v->pgoff = rnd(16) * 4096;
	}
}

static void random_pages(struct made *m, const img_vma_entry *v)
{
	uint64_t words[64];

	if (!(v->status & (MM_ST_ANON_PRIVATE | MM_ST_FILE_PRIVATE)) || !rnd(3))
		return;
	for (uint64_t at = v->start + rnd(3) * 4096; at < v->end; at += (1 + rnd(4)) * 4096) {
		uint64_t nr = 1 + rnd(4);

		nr = nr > (v->end - at) / 4096 ? (v->end - at) / 4096 : nr;
		for (uint64_t i = 0; i < nr; i++)
			words[i] = 1 + rnd(1000);
		store(m, at, nr, words);
		at += nr * 4096;
	}
}

/* What the kernel of the test maps: vvar in two areas, and the vDSO. */
static void set_running(struct mm_segments *g, size_t page, uint8_t *code, size_t len)
{
	*g = (struct mm_segments){ .running = { .code = code, .len = len, .specials = { .nr = 3, .vdso = 2 } } };
	g->running.specials.area[0] = (struct mm_range){ SIM_AT(page), SIM_AT(page + 4) };
	g->running.specials.area[1] = (struct mm_range){ SIM_AT(page + 4), SIM_AT(page + 6) };
	g->running.specials.area[2] = (struct mm_range){ SIM_AT(page + 6), SIM_AT(page + 8) };
}

static void keep_vdso(struct made *m, img_vma_entry *v, const uint64_t *words)
{
	if (!m->space.files.items[0].piped)
		return;
	memcpy(m->vdso, &words[0], 8);
	memcpy(m->vdso + 4096, &words[1], 8);
	m->vdso_ext = (img_vma_ext){ .vdso = { .data = (uint8_t *)m->vdso, .len = sizeof(m->vdso) } };
	v->ext = &m->vdso_ext;
}

static void add_specials(struct made *m, size_t page, const uint8_t *code)
{
	uint64_t words[2];

	memcpy(&words[0], code, 8);
	memcpy(&words[1], code + 4096, 8);
	m->vma[m->entry.vmas.nr++] = (img_vma_entry){
		.start = SIM_AT(page),
		.end = SIM_AT(page + 6),
		.prot = PROT_READ,
		.flags = MAP_PRIVATE | MAP_ANONYMOUS,
		.fd = -1,
		.status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE | MM_ST_VVAR,
	};
	m->vma[m->entry.vmas.nr++] = (img_vma_entry){
		.start = SIM_AT(page + 6),
		.end = SIM_AT(page + 8),
		.prot = PROT_READ | PROT_EXEC,
		.flags = MAP_PRIVATE | MAP_ANONYMOUS,
		.fd = -1,
		.status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE | MM_ST_VDSO,
	};
	store(m, SIM_AT(page + 6), 2, words);
	keep_vdso(m, &m->vma[m->entry.vmas.nr - 1], words);
}

static void begin_space(struct made *m)
{
	memset(m, 0, sizeof(*m));
	*page_files_add(&m->space.files) = (struct page_file){
		.fd = memfd_create("pages", MFD_CLOEXEC), .sums = rnd(2) ? memfd_create("sums", MFD_CLOEXEC) : -1, .sums_at = 120, .piped = rnd(3) == 0,
	};
	assert_true(m->space.files.items[0].fd >= 0);
	m->entry.vmas.items = m->vma;
	m->entry.mm_start_brk = m->entry.mm_brk = SIM_AT(0);
	m->entry.exe_file_id = 1;
	m->space.entry = &m->entry;
}

static void end_space(struct made *m)
{
	struct cr_error err = { 0 };

	if (space_check(&m->space, &err) < 0)
		fail_msg("the test made a bad image: %s", err.text);
}

static void random_space(struct made *m, size_t specials_at, const uint8_t *code)
{
	begin_space(m);
	for (size_t page = rnd(8); page < REGION_PAGE - 16 && m->entry.vmas.nr < MAX_VMAS;) {
		size_t len = 1 + rnd(12);
		img_vma_entry *v;

		if (page + len > specials_at && m->entry.vmas.nr && page < specials_at + 8) {
			add_specials(m, specials_at, code);
			page = specials_at + 8;
			continue;
		}
		v = &m->vma[m->entry.vmas.nr++];
		random_vma(v, SIM_AT(page), SIM_AT(page + len));
		random_pages(m, v);
		page += len + (rnd(3) ? 0 : rnd(20));
	}
	end_space(m);
}

/* A child that has most of its parent's mappings, and most of its pages. */
static void random_child(struct made *m, const struct made *parent)
{
	begin_space(m);
	for (size_t i = 0; i < parent->space.nr_vmas; i++) {
		const img_vma_entry *p = &parent->vma[i];
		img_vma_entry *v;

		if (!(p->status & (MM_ST_VDSO | MM_ST_VVAR)) && !rnd(6))
			continue;
		v = &m->vma[m->entry.vmas.nr++];
		*v = *p;
		v->ext = NULL;
		if (!(p->status & (MM_ST_VDSO | MM_ST_VVAR)) && !rnd(8))
			v->prot = PROT_READ | PROT_WRITE;
		for (size_t k = 0; k < parent->space.pages.nr; k++) {
			const struct stored_run *run = &parent->space.pages.items[k];
			uint64_t words[64] = { 0 };

			if (run->start < v->start || run->end > v->end || (!(v->status & MM_ST_VDSO) && !rnd(5)))
				continue;
			for (uint64_t n = 0; n < (run->end - run->start) / 4096; n++)
				if (rnd(4) == 0 && !(v->status & MM_ST_VDSO))
					words[n] = 5000 + rnd(1000);
				else
					assert_int_equal(pread(parent->space.files.items[0].fd, &words[n], 8,
							       (off_t)(run->off + n * 4096)),
							 8);
			store(m, run->start, (run->end - run->start) / 4096, words);
			if (v->status & MM_ST_VDSO)
				keep_vdso(m, v, words);
		}
	}
	end_space(m);
}

static void free_space(struct made *m)
{
	stored_runs_done(&m->space.pages);
	if (m->space.files.items[0].sums >= 0)
		close(m->space.files.items[0].sums);
	page_files_close(&m->space.files);
}

/* What a task begins with: the coordinator's own mappings, the region, the kernel's. */
static void begin_sim(struct sim *s, const struct mm_segments *g)
{
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < SIM_PAGES; i++)
		if (!rnd(3) || i >= REGION_PAGE)
			s->page[i] = (struct sim_page){
				.mapped = true, .prot = PROT_READ, .flags = MAP_PRIVATE, .fd = 77, .content = 99
			};
	for (size_t k = 0; k < g->running.specials.nr; k++) {
		struct mm_range a = g->running.specials.area[k];

		for (uint64_t at = a.start; at < a.end; at += 4096)
			s->page[(at - SIM_BASE) / 4096] = (struct sim_page){
				.mapped = true,
				.special = k == 2 ? SIM_VDSO : SIM_VVAR,
				.nth = (uint8_t)((at - g->running.specials.area[0].start) / 4096),
			};
	}
}

static void run_plan(struct sim *s, struct made *m, const struct made *parent, struct mm_segments *g, uint64_t seed,
		     bool late)
{
	static struct cr_context ctx;
	const struct file_opener opener = { .open = open_file };
	size_t size = mm_plan_size(&m->space) + 4096;
	struct arena arena = { .local = calloc(1, size), .remote = UINT64_C(0x70000000), .size = size };
	struct program p;
	struct routine r;
	struct cr_error err = { 0 };
	struct mm_plan plan = {
		.ctx = &ctx,
		.program = &p,
		.routine = &r,
		.space = &m->space,
		.parent = parent ? &parent->space : NULL,
		.region = { SIM_AT(REGION_PAGE), SIM_AT(REGION_PAGE + REGION_PAGES) },
		.spare = { SIM_AT(REGION_PAGE + REGION_PAGES - SPARE_PAGES), SIM_AT(REGION_PAGE + REGION_PAGES) },
		.scratch = { SIM_AT(REGION_PAGE), SIM_AT(REGION_PAGE + 1) },
		.opener = &opener,
		.segments = g,
	};
	int error;

	assert_int_equal(program_init(&p, &arena, 1, &err), 0);
	assert_int_equal(routine_begin(&p, &r, &err), 0);
	error = mm_plan(&plan, &err);
	if (error == 0 && late)
		error = mm_plan_late(&plan, &err);
	if (error < 0 || routine_finish(&p, &r, &err) < 0)
		fail_msg("seed %lu: plan: %s", (unsigned long)seed, err.text);
	s->read = s->checked = s->piped = 0;
	if (sim_run(s, &p, 0) < 0)
		fail_msg("seed %lu: %s", (unsigned long)seed, s->why);
	if (m->space.files.items[0].piped && m->space.pages.nr) {
		const struct stored_run *last = &m->space.pages.items[m->space.pages.nr - 1];

		if (s->piped != last->off + (last->end - last->start))
			fail_msg("seed %lu: %lu bytes were taken out of the pipe", (unsigned long)seed, (unsigned long)s->piped);
	}
	if (s->checked != (m->space.files.items[0].sums < 0 ? 0 : s->read))
		fail_msg("seed %lu: of %lu pages that were read %lu were checked", (unsigned long)seed, (unsigned long)s->read,
			 (unsigned long)s->checked);
	program_done(&p);
	free(arena.local);
}

static uint64_t stored_word(const struct made *m, uint64_t at)
{
	uint64_t word = 0;

	for (size_t k = 0; k < m->space.pages.nr; k++) {
		const struct stored_run *run = &m->space.pages.items[k];

		if (run->start <= at && at < run->end)
			assert_int_equal(pread(m->space.files.items[0].fd, &word, 8, (off_t)(run->off + at - run->start)), 8);
	}
	return word;
}

static bool page_is_right(const struct sim_page *p, const struct made *m, const img_vma_entry *v, uint64_t at)
{
	const uint32_t kept = MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE;
	bool file = v->status & (MM_ST_FILE_PRIVATE | MM_ST_FILE_SHARED);

	if (v->status & (MM_ST_VDSO | MM_ST_VVAR))
		return p->special == (v->status & MM_ST_VDSO ? SIM_VDSO : SIM_VVAR);
	return p->mapped && !p->special && p->prot == v->prot && (p->flags & kept) == (v->flags & kept) &&
	       p->fd == (file ? FD_OF(v->shmid) : -1) && (!file || p->pgoff == v->pgoff + (at - v->start)) &&
	       p->content == stored_word(m, at) && p->advice == v->madv && p->locked == ((v->flags & MAP_LOCKED) != 0);
}

static void check(const struct sim *s, const struct made *m, uint64_t seed, const char *who)
{
	assert_true(s->laid_out);
	for (size_t i = 0, k = 0; i < REGION_PAGE; i++) {
		uint64_t at = SIM_AT(i);

		while (k < m->space.nr_vmas && m->vma[k].end <= at)
			k++;
		if (k < m->space.nr_vmas && m->vma[k].start <= at) {
			if (!page_is_right(&s->page[i], m, &m->vma[k], at))
				fail_msg("seed %lu: %s: page %zu of mapping %zu is not as it was", (unsigned long)seed,
					 who, i, k);
		} else if (s->page[i].mapped) {
			fail_msg("seed %lu: %s: page %zu is left over", (unsigned long)seed, who, i);
		}
	}
	for (size_t i = REGION_PAGE; i < REGION_PAGE + REGION_PAGES - SPARE_PAGES; i++)
		assert_int_equal(s->page[i].content, 99);
}

/* Like the pages of the test: the first word counts, the rest are zeroes. */
static void fill_code(uint8_t *code)
{
	for (size_t i = 0; i < 8; i++)
		code[i] = code[4096 + i] = (uint8_t)(i * 7 + 1);
}

static void test_fresh(void **state)
{
	static uint8_t code[8192];
	static struct sim s;

	(void)state;
	fill_code(code);
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct mm_segments g;
		struct made m;

		rnd_state = seed;
		set_running(&g, 400 + rnd(40), code, sizeof(code));
		random_space(&m, 400 + rnd(40), code);
		begin_sim(&s, &g);
		run_plan(&s, &m, NULL, &g, seed, true);
		check(&s, &m, seed, "task");
		free_space(&m);
	}
}

static void test_inherited(void **state)
{
	static uint8_t code[8192];
	static struct sim s, before;
	uint64_t shared = 0;

	(void)state;
	fill_code(code);
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct mm_segments g;
		struct made parent, child;

		rnd_state = seed * 77;
		set_running(&g, 400 + rnd(40), code, sizeof(code));
		random_space(&parent, 400 + rnd(40), code);
		random_child(&child, &parent);
		begin_sim(&s, &g);
		run_plan(&s, &parent, NULL, &g, seed, false);
		for (size_t i = 0; i < SIM_PAGES; i++) /* what fork() does */
			if (s.page[i].advice >> MADV_DONTFORK & 1)
				s.page[i] = (struct sim_page){ 0 };
		s.laid_out = false;
		before = s;
		run_plan(&s, &child, &parent, &g, seed, true);
		check(&s, &child, seed, "child");
		for (size_t i = 0; i < REGION_PAGE; i++)
			shared += s.page[i].content && s.page[i].copied == before.page[i].copied;
		free_space(&parent);
		free_space(&child);
	}
	assert_true(shared > 10000);
}

/* Many small mappings side by side are made by few calls. */
static void test_batches(void **state)
{
	static struct sim s;
	struct mm_segments g = { 0 };
	struct made m;

	(void)state;
	begin_space(&m);
	for (size_t i = 0; i < MAX_VMAS; i++)
		m.vma[m.entry.vmas.nr++] = (img_vma_entry){
			.start = SIM_AT(i * 2),
			.end = SIM_AT(i * 2 + 2),
			.prot = i & 1 ? PROT_READ : PROT_READ | PROT_WRITE,
			.fd = -1,
			.flags = MAP_PRIVATE | MAP_ANONYMOUS,
			.status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE,
		};
	end_space(&m);
	begin_sim(&s, &g);
	run_plan(&s, &m, NULL, &g, 0, true);
	check(&s, &m, 0, "task");
	assert_true(mm_plan_size(&m.space) < MAX_VMAS * 8 * sizeof(struct abi_op) + 100 * 1024);
	free_space(&m);
}

static void spoil(struct made *m)
{
	static const uint64_t odd[] = {
		0, 1, 4095, 4096, UINT64_MAX, UINT64_MAX & ~UINT64_C(4095), UINT64_C(1) << 47, UINT64_C(1) << 56
	};
	img_vma_entry *v = &m->vma[rnd((uint32_t)m->entry.vmas.nr)];
	uint64_t value = rnd(2) ? odd[rnd(8)] : SIM_AT(rnd(SIM_PAGES));

	switch (rnd(9)) {
	case 0:
		v->start = value;
		break;
	case 1:
		v->end = value;
		break;
	case 2:
		v->pgoff = value;
		break;
	case 3:
		v->shmid = value;
		break;
	case 4:
		v->status ^= 1u << rnd(32);
		break;
	case 5:
		v->flags ^= 1u << rnd(32);
		break;
	case 6:
		v->prot ^= 1u << rnd(32);
		break;
	case 7:
		v->status = MM_ST_GUARD;
		break;
	default:
		v->status = MM_ST_REGULAR | MM_ST_ANON_SHARED | MM_ST_SYSV;
		break;
	}
}

/* An image with odd values is refused, or planned without harm; the sanitizers see the rest. */
static void test_hostile(void **state)
{
	static struct cr_context ctx;
	const struct file_opener opener = { .open = open_file };
	uint8_t code[8192] = { 0 };
	size_t passed = 0;

	(void)state;
	fill_code(code);
	for (uint64_t seed = 1; seed <= 3000; seed++) {
		struct mm_segments g;
		struct arena arena = { .remote = UINT64_C(0x70000000) };
		struct cr_error err = { 0 };
		struct program p;
		struct routine r;
		struct made m;

		rnd_state = seed * 3;
		set_running(&g, 400 + rnd(40), code, sizeof(code));
		random_space(&m, 400 + rnd(40), code);
		for (uint32_t n = 1 + rnd(3); n; n--)
			spoil(&m);
		if (space_check(&m.space, &err) == 0) {
			struct mm_plan plan = {
				.ctx = &ctx,
				.program = &p,
				.routine = &r,
				.space = &m.space,
				.region = { SIM_AT(REGION_PAGE), SIM_AT(REGION_PAGE + REGION_PAGES) },
				.scratch = { SIM_AT(REGION_PAGE), SIM_AT(REGION_PAGE + 1) },
				.spare = { SIM_AT(REGION_PAGE), SIM_AT(REGION_PAGE + REGION_PAGES) },
				.opener = &opener,
				.segments = &g,
			};

			arena.size = mm_plan_size(&m.space) + 4096;
			arena.local = calloc(1, arena.size);
			assert_int_equal(program_init(&p, &arena, 1, &err), 0);
			assert_int_equal(routine_begin(&p, &r, &err), 0);
			if (mm_plan(&plan, &err) == 0 && mm_plan_late(&plan, &err) == 0) {
				if (routine_finish(&p, &r, &err) < 0)
					fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
				passed++;
			} else {
				routine_drop(&r);
			}
			program_done(&p);
			free(arena.local);
		}
		free_space(&m);
	}
	assert_in_range(passed, 100, 2900);
}

/* Long runs are populated before they are read, through a mapping that ends in the midst of one, and one of huge pages. */
static void test_populated(void **state)
{
	static struct sim s;
	struct mm_segments g = { 0 };
	struct made m;
	uint64_t words[64];

	(void)state;
	begin_space(&m);
	for (size_t i = 0; i < 2; i++)
		m.vma[m.entry.vmas.nr++] = (img_vma_entry){
			.start = SIM_AT(i ? 700 : 3),
			.end = SIM_AT(i ? 1800 : 700),
			.prot = i ? PROT_READ : PROT_READ | PROT_WRITE,
			.fd = -1,
			.flags = MAP_PRIVATE | MAP_ANONYMOUS,
			.status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE,
			.has_madv = i,
			.madv = i ? UINT64_C(1) << MADV_HUGEPAGE : 0,
		};
	end_space(&m);
	for (size_t i = 0; i < 64; i++)
		words[i] = i + 1;
	for (size_t page = 3; page + 64 <= 1800; page += 64)
		store(&m, SIM_AT(page), 64, words);
	m.space.pages.items[0].end = m.space.pages.items[m.space.pages.nr - 1].end;
	m.space.pages.nr = 1;
	begin_sim(&s, &g);
	run_plan(&s, &m, NULL, &g, 0, true);
	check(&s, &m, 0, "task");
	assert_int_equal(s.populated, (m.space.pages.items[0].end - m.space.pages.items[0].start) / 4096);
	free_space(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fresh),     cmocka_unit_test(test_inherited), cmocka_unit_test(test_batches),
		cmocka_unit_test(test_populated), cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
