/* Mappings read before their turn: everybody gets those of the task asked for, whoever has read them. */
#include "mm/smaps-ahead.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define NR   20
#define PAGE 4096ul

struct family {
	struct task tasks[NR], *list[NR];
	struct tree tree;
	char *place; /* room for a mapping, and a page without access on each side of it */
};

/* Each child has one mapping at the same place, whose length says which one it is. */
static void child(const struct family *f, size_t i)
{
	raise(mprotect(f->place + PAGE, (i + 1) * PAGE, PROT_READ) == 0 ? SIGSTOP : SIGKILL);
	_exit(1);
}

static int make(void **state)
{
	struct family *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->place = mmap(NULL, (NR + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->place != MAP_FAILED);
	for (size_t i = 0; i < NR; i++) {
		struct task *t = &f->tasks[i];
		int status;

		t->host_pid = fork();
		assert_true(t->host_pid >= 0);
		if (t->host_pid == 0)
			child(f, i);
		assert_int_equal(waitpid(t->host_pid, &status, WUNTRACED), t->host_pid);
		assert_true(WIFSTOPPED(status));
		assert_int_equal(proc_dir_open(AT_FDCWD, t->host_pid, &t->dir, NULL), 0);
		t->state = TASK_ALIVE;
		t->status.vm_rss_kb = 1u << 20;
		f->list[i] = t;
	}
	f->tree.tasks = (struct task_vec){ .items = f->list, .nr = NR };
	*state = f;
	return 0;
}

static int unmake(void **state)
{
	struct family *f = *state;

	for (size_t i = 0; i < NR; i++) {
		kill(f->tasks[i].host_pid, SIGKILL);
		waitpid(f->tasks[i].host_pid, NULL, 0);
		proc_dir_close(&f->tasks[i].dir);
	}
	munmap(f->place, (NR + 2) * PAGE);
	free(f);
	return 0;
}

struct search {
	uint64_t start, pages;
};

static int find(void *arg, const struct proc_vma_list *list, struct cr_error *err)
{
	struct search *s = arg;

	(void)err;
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].start == s->start)
			s->pages = (list->items[i].end - s->start) / PAGE;
	return 0;
}

static void assert_own(const struct family *f, struct smaps_ahead *a, size_t i)
{
	struct search search = { .start = (uintptr_t)f->place + PAGE };
	struct smaps_stream *s = NULL;
	struct cr_error err = { 0 };
	bool many;

	assert_int_equal(smaps_ahead_take(a, &f->tasks[i], &s, &many, &err), 0);
	assert_int_equal(smaps_end(s, find, &search, &err), 0);
	assert_int_equal(search.pages, i + 1);
}

static void test_all(void **state)
{
	struct family *f = *state;
	struct smaps_ahead *a = smaps_ahead_new(&f->tree);

	for (size_t i = 0; i < NR; i++)
		assert_own(f, a, i);
	smaps_ahead_free(a);
}

/* Small ones among them, and large ones that nobody asks for */
static void test_some(void **state)
{
	struct family *f = *state;
	struct smaps_ahead *a;

	for (size_t i = 0; i < NR; i += 3)
		f->tasks[i].status.vm_rss_kb = 100;
	a = smaps_ahead_new(&f->tree);
	for (size_t i = 0; i < NR; i++)
		if (i % 5 != 1)
			assert_own(f, a, i);
	smaps_ahead_free(a);
}

static void test_dropped(void **state)
{
	struct family *f = *state;

	for (size_t nr = 0; nr < 4; nr++) {
		struct smaps_ahead *a = smaps_ahead_new(&f->tree);

		for (size_t i = 0; i < nr; i++)
			assert_own(f, a, i);
		smaps_ahead_free(a);
	}
	smaps_ahead_free(NULL);
}

/* A task that is gone is the failure of its own turn. */
static void test_failure(void **state)
{
	struct family *f = *state;
	struct smaps_stream *s = NULL;
	struct cr_error err = { 0 };
	struct smaps_ahead *a;
	bool many;

	kill(f->tasks[2].host_pid, SIGKILL);
	assert_int_equal(waitpid(f->tasks[2].host_pid, NULL, 0), f->tasks[2].host_pid);
	a = smaps_ahead_new(&f->tree);
	assert_own(f, a, 0);
	assert_own(f, a, 1);
	assert_int_equal(smaps_ahead_take(a, &f->tasks[2], &s, &many, &err), -ESRCH);
	assert_null(s);
	assert_int_equal(err.code, -ESRCH);
	assert_own(f, a, 3);
	smaps_ahead_free(a);
}

/* One large task, or one processor: read when it is asked for. */
static void test_nothing_to_gain(void **state)
{
	struct family *f = *state;
	cpu_set_t old, one;

	f->tree.tasks.nr = 1;
	assert_null(smaps_ahead_new(&f->tree));
	assert_own(f, NULL, 0);
	f->tree.tasks.nr = NR;
	assert_int_equal(sched_getaffinity(0, sizeof(old), &old), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_null(smaps_ahead_new(&f->tree));
	assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all, make, unmake),
		cmocka_unit_test_setup_teardown(test_some, make, unmake),
		cmocka_unit_test_setup_teardown(test_dropped, make, unmake),
		cmocka_unit_test_setup_teardown(test_failure, make, unmake),
		cmocka_unit_test_setup_teardown(test_nothing_to_gain, make, unmake),
	};

	return cmocka_run_group_tests_name("smaps-ahead", tests, NULL, NULL);
}
