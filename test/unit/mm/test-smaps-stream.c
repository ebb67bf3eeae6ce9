/* Reading smaps in pieces finds what reading it at once finds. */
#include "mm/smaps-stream.h"

#include "base/array.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define NR 3000

static const struct {
	const char *text;
	size_t want;
} cuts[] = {
	{ "", 0 },
	{ "1000-2000 r", 0 },
	{ "1000-2000 r\nRss: 1\n", 0 },
	{ "1000-2000 r\nRss: 1\na000-b000 r", 19 },
	{ "1000-2000 r\nRss: 1\na000-b000 r\nVmFlags: rd\n", 19 },
	{ "Rss: 1\nf", 7 },
};

static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++)
		assert_int_equal(smaps_cut(cuts[i].text, strlen(cuts[i].text)), cuts[i].want);
}

struct seen {
	const char *from;
	size_t nr, ours, limit;
	uint64_t last;
};

static int see(void *arg, const struct proc_vma_list *list, struct cr_error *err)
{
	struct seen *s = arg;

	for (size_t i = 0; i < list->nr; i++) {
		const struct proc_vma *v = &list->items[i];
		uint64_t from = (uint64_t)(uintptr_t)s->from;

		assert_true(v->start >= s->last);
		s->last = v->end;
		s->nr++;
		if (v->start >= from && v->end <= from + NR * 8192) {
			assert_true(v->vm_flags & PROC_VM_RD);
			s->ours++;
		}
	}
	return s->limit && s->nr >= s->limit ? cr_refuse(err, -ECANCELED, "enough") : 0;
}

static void test_many(void **state)
{
	char *map = mmap(NULL, NR * 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	struct seen s = { .from = map };
	struct cr_error err = { 0 };

	(void)state;
	assert_true(map != MAP_FAILED);
	for (size_t i = 0; i < NR; i++)
		assert_int_equal(mprotect(map + i * 8192, 4096, PROT_READ), 0);
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &self, &err), 0);
	assert_int_equal(smaps_each(&self, see, &s, &err), 0);
	/* the last half may have grown together with what is above it */
	assert_in_range(s.ours, 2 * NR - 1, 2 * NR);
	assert_true(s.nr > s.ours);

	/* an end in the midst of it leaves no thread behind */
	s = (struct seen){ .from = map, .limit = NR };
	assert_int_equal(smaps_each(&self, see, &s, &err), -ECANCELED);
	munmap(map, NR * 8192);

	s = (struct seen){ .from = map };
	assert_int_equal(smaps_each(&self, see, &s, &err), 0);
	assert_true(s.nr > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cut), cmocka_unit_test(test_many) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
