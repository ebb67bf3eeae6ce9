/* Plans for placing descriptors, run on a model of a descriptor table that behaves as the kernel's does. */
#include "files/placement.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL_MAX 20000
#define FREE      UINT32_MAX
#define SERVICE   (UINT32_MAX - 1)

struct model {
	uint32_t at[MODEL_MAX]; /* file at each number */
	const struct place_want *want;
	int service;
	size_t nr_steps;
	int top; /* highest number ever used */
	const char *wrong;
};

static int lowest_free(const struct model *m)
{
	int n = 0;

	while (n < MODEL_MAX - 1 && m->at[n] != FREE)
		n++;
	return n;
}

static void put(struct model *m, int fd, uint32_t file)
{
	if (fd < 0 || fd >= MODEL_MAX) {
		m->wrong = "number out of range";
		return;
	}
	m->at[fd] = file;
	m->top = fd > m->top ? fd : m->top;
}

static void run_step(void *arg, const struct place_step *s)
{
	struct model *m = arg;

	m->nr_steps++;
	switch (s->kind) {
	case PLACE_TAKE:
		if (lowest_free(m) != s->fd)
			m->wrong = "what is taken arrives at another number";
		if (s->final != (s->fd == m->want[s->want].fd))
			m->wrong = "final is not";
		put(m, s->fd, m->want[s->want].file);
		break;
	case PLACE_DUP:
		if (s->from == s->fd || m->at[s->from] == FREE || m->at[s->fd] != FREE)
			m->wrong = "a duplicate of nothing, or over something";
		put(m, s->fd, m->at[s->from]);
		break;
	case PLACE_PLUG:
		if (lowest_free(m) != s->fd)
			m->wrong = "a plug that is not at the lowest number";
		put(m, s->fd, SERVICE);
		break;
	case PLACE_CLOSE:
		for (int fd = s->fd; fd <= s->last; fd++) {
			if (fd == m->service)
				m->wrong = "the service descriptor is closed";
			m->at[fd] = FREE;
		}
		break;
	}
}

static size_t check(const char *name, const struct place_want *want, size_t nr, int *ret_top)
{
	static struct model m;
	size_t next = 0;

	memset(m.at, 0xff, sizeof(m.at));
	m.want = want;
	m.service = place_service(want, nr);
	m.nr_steps = 0;
	m.top = m.service;
	m.wrong = NULL;
	m.at[m.service] = SERVICE;
	if (place_plan(want, nr, m.service, run_step, &m) != 0 || m.wrong)
		fail_msg("%s: %s", name, m.wrong ? m.wrong : "no plan");
	for (int fd = 0; fd < MODEL_MAX; fd++) {
		bool wanted = next < nr && want[next].fd == fd;
		uint32_t is = wanted ? want[next].file : fd == m.service ? SERVICE : FREE;

		if (m.at[fd] != is)
			fail_msg("%s: %d holds %u, not %u", name, fd, m.at[fd], is);
		next += wanted;
	}
	if (ret_top)
		*ret_top = m.top;
	return m.nr_steps;
}

static void test_cases(void **state)
{
	static const struct {
		const char *name;
		struct place_want want[8];
		size_t nr;
		int service;
		size_t max_steps;
	} cases[] = {
		{ "nothing", { { 0 } }, 0, 0, 0 },
		{ "three in a row", { { 0, 1 }, { 1, 2 }, { 2, 3 } }, 3, 3, 3 },
		{ "one description, three numbers", { { 0, 1 }, { 1, 1 }, { 2, 1 } }, 3, 3, 3 },
		{ "the service takes the gap", { { 0, 1 }, { 2, 2 }, { 3, 3 } }, 3, 1, 3 },
		{ "zero is free", { { 1, 1 }, { 2, 2 } }, 2, 0, 2 },
		{ "a small gap", { { 0, 1 }, { 3, 2 }, { 4, 3 }, { 5, 4 } }, 4, 1, 6 },
		{ "far away", { { 0, 1 }, { 10000, 2 } }, 2, 1, 4 },
		{ "far away and twice", { { 0, 1 }, { 10000, 2 }, { 10001, 2 }, { 19999, 1 } }, 4, 1, 6 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t steps = check(cases[i].name, cases[i].want, cases[i].nr, NULL);

		if (place_service(cases[i].want, cases[i].nr) != cases[i].service)
			fail_msg("%s: service at %d", cases[i].name, place_service(cases[i].want, cases[i].nr));
		if (steps > cases[i].max_steps)
			fail_msg("%s: %zu steps", cases[i].name, steps);
	}
}

static void test_full_table(void **state)
{
	static struct place_want want[10000];
	int top;

	(void)state;
	for (int i = 0; i < 10000; i++)
		want[i] = (struct place_want){ i, (uint32_t)i };
	assert_int_equal(check("10,000 in a row", want, 10000, &top), 10000);
	/* one number more than the highest, for the service: a limit that the task filled must be raised by one only */
	assert_int_equal(top, 10000);
}

static void test_random(void **state)
{
	static struct place_want want[MODEL_MAX];
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 400; round++) {
		unsigned int density = 1 + (unsigned int)rand_r(&seed) % 100,
			     files = 1 + (unsigned int)rand_r(&seed) % 50;
		size_t nr = 0, steps;
		int top;

		for (int fd = 0; fd < 600; fd++)
			if ((unsigned int)rand_r(&seed) % 100 < density)
				want[nr++] = (struct place_want){ fd, (unsigned int)rand_r(&seed) % files };
		steps = check("random", want, nr, &top);
		assert_true(steps <= 3 * nr + 1);
		assert_true(nr == 0 || top <= want[nr - 1].fd + 1);
	}
}

static void ignore_step(void *arg, const struct place_step *s)
{
	(void)arg;
	(void)s;
}

static void test_not_ascending(void **state)
{
	static const struct place_want twice[] = { { 3, 1 }, { 3, 2 } }, down[] = { { 3, 1 }, { 2, 2 } },
				       service[] = { { 3, 1 } };

	(void)state;
	assert_int_equal(place_plan(twice, 2, 0, ignore_step, NULL), -EINVAL);
	assert_int_equal(place_plan(down, 2, 0, ignore_step, NULL), -EINVAL);
	assert_int_equal(place_plan(service, 1, 3, ignore_step, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_not_ascending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
