/* What a dumper that was killed had in others: taken away from where it is, and from nowhere else. */
#include "infect/live.h"

#include "infect/leftovers.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 0x8000ul

static bool is_mapped(pid_t pid, uint64_t base)
{
	char path[32], line[512], start[32];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	snprintf(start, sizeof(start), "%08lx-", base);

	FILE *f = fopen(path, "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strncmp(line, start, strlen(start)) == 0;
	fclose(f);
	return found;
}

/* Maps one range that could be ours and one that could not, and says where. */
static void subject(struct live *l)
{
	char *ours = mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy((void *)(l + 1), (void *[]){ ours, own }, 2 * sizeof(void *));
	l->ready = 1;
	compute(l);
}

static void note(struct cr_leftovers *left, pid_t pid, uint64_t base, bool ended)
{
	struct leftover *o = leftover_begin(left, pid);

	assert_non_null(o);
	leftover_mapped(o, base, SIZE);
	if (ended)
		leftover_end(o);
}

static void test_mappings(void **state)
{
	struct cr_leftovers *left = cr_leftovers_new();
	struct live *l = live_new();
	pid_t pid = live_fork(subject, l);
	uint64_t at[2];

	(void)state;
	live_ready(l, 1);
	memcpy(at, l + 1, sizeof(at));
	note(left, pid, at[0], true);
	assert_int_equal(cr_leftovers_clear(left), 0);
	assert_true(is_mapped(pid, at[0]));

	note(left, pid, at[0], false);
	note(left, pid, at[1], false);
	note(left, pid, at[0] + SIZE / 2, false);
	assert_int_equal(cr_leftovers_clear(left), 0);
	assert_false(is_mapped(pid, at[0]));
	assert_true(is_mapped(pid, at[1]));
	live_works(l);
	/* all places are free again */
	for (int i = 0; i < 16; i++)
		note(left, pid, 0, false);
	assert_null(leftover_begin(left, pid));
	assert_int_equal(cr_leftovers_clear(left), 0);
	live_works(l);
	live_kill(pid);
	live_free(l);
	cr_leftovers_free(left);
}

static void test_limit(void **state)
{
	struct cr_leftovers *left = cr_leftovers_new();
	struct live *l = live_new();
	pid_t pid = live_fork(subject, l);
	struct rlimit was = { 0 }, now, raised;
	struct leftover *o;

	(void)state;
	live_ready(l, 1);
	o = leftover_begin(left, pid);
	assert_int_equal(prlimit(pid, RLIMIT_AS, NULL, &was), 0);
	raised = (struct rlimit){ 1ul << 40, was.rlim_max };
	leftover_raised(o, ROOM_SPACE, was.rlim_cur, was.rlim_max);
	assert_int_equal(prlimit(pid, RLIMIT_AS, &raised, NULL), 0);
	/* 0 is a limit as well */
	leftover_raised(o, ROOM_DATA, 0, was.rlim_max);
	assert_int_equal(prlimit(pid, RLIMIT_DATA, &raised, NULL), 0);
	assert_int_equal(cr_leftovers_clear(left), 0);
	assert_int_equal(prlimit(pid, RLIMIT_AS, NULL, &now), 0);
	assert_true(now.rlim_cur == was.rlim_cur && now.rlim_max == was.rlim_max);
	assert_int_equal(prlimit(pid, RLIMIT_DATA, NULL, &now), 0);
	assert_true(now.rlim_cur == 0 && now.rlim_max == was.rlim_max);
	live_kill(pid);
	live_free(l);
	cr_leftovers_free(left);
}

static void test_nobody(void **state)
{
	struct cr_leftovers *left = cr_leftovers_new();
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	note(left, pid, 0x400000, false);
	cr_leftovers_clear(left);
	assert_int_equal(cr_leftovers_clear(left), 0);
	assert_int_equal(cr_leftovers_clear(NULL), 0);
	assert_null(leftover_begin(NULL, 1));
	leftover_mapped(NULL, 1, 1);
	leftover_raised(NULL, ROOM_SPACE, 1, 1);
	leftover_lowered(NULL, ROOM_SPACE);
	leftover_end(NULL);
	cr_leftovers_free(left);
	cr_leftovers_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mappings),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
