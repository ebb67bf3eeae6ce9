/* A copy of a process's memory: it stays as it was, has nothing else of its parent, and leaves nothing behind. */
#include "infect/live.h"

#include "infect/remote-mem.h"
#include "infect/remote-reap.h"
#include "infect/twin.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 0x4000ul

/* Private memory that never stands still, shared memory, and an open pipe; also a subreaper, which must not adopt anything. */
struct place {
	volatile uint64_t *count;
	char *shared;
	int pipe;
};

static volatile uint64_t count;

static void subject(struct live *l)
{
	struct place *where = (struct place *)(l + 1);
	int ends[2];

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(ends) < 0)
		_exit(1);
	where->pipe = ends[1];
	where->count = &count;
	where->shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	l->ready = 1;
	for (;; l->rounds++) {
		count++;
		/* as a program does that has no children */
		if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
			l->wrong = 1;
	}
}

static size_t nr_of(pid_t pid, const char *what)
{
	char path[64];
	size_t nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr - 2;
}

static bool has_children(pid_t pid)
{
	char path[64], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	assert_non_null(f);
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return text[0] != '\0';
}

/* Pages, 0 also if it has no memory at all any more */
static unsigned long resident(pid_t pid)
{
	unsigned long pages = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	if (fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages;
}

static struct twin *copy(struct task *t, const struct place *where)
{
	autofree_by(parasite_free) struct parasite *p = NULL;
	struct cr_error err = { 0 };
	struct twin_plan plan;
	struct twin *twin = NULL;
	struct routine r;
	uint32_t index;

	if (parasite_infect(t, live_layout(), NULL, twin_room(1) + 4096, 1 + TWIN_ROUTINES, &p, &err) < 0)
		fail_msg("infect: %s", err.text);
	assert_int_equal(routine_begin(parasite_program(p), &r, &err), 0);
	assert_int_equal(twin_plan_begin(&plan, parasite_program(p), &err), 0);
	twin_plan_drop(&plan, parasite_program(p), (uintptr_t)where->shared, (uintptr_t)where->shared + SIZE);
	assert_int_equal(twin_plan_end(&plan, parasite_program(p), &r, &err), 0);
	emit(parasite_program(p), &r, ABI_OP_TRAP, "end", 0, 0, 0, 0, 0, 0, 0);
	index = r.index;
	assert_int_equal(routine_finish(parasite_program(p), &r, &err), 0);
	if (parasite_run(p, &t->lead, &index, 1, &err) < 0)
		fail_msg("run: %s", err.text);
	if (twin_take(&plan, parasite_program(p), t, live_layout(), NULL, &twin, &err) < 0)
		fail_msg("take: %s", err.text);
	assert_int_equal(parasite_mend(p, twin_pid(twin), &err), 0);
	assert_int_equal(parasite_cure(p, &err), 0);
	return twin;
}

static void test_copy(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(subject, l);
	struct place *where = (struct place *)(l + 1);
	struct cr_error err = { 0 };
	struct live_ctx c;
	struct tree *tree;
	struct twin *twin;
	uint64_t then = 0, now = 0, later = 0;
	char byte;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	twin = copy(tree->root, where);
	assert_int_equal(remote_read(pid, (uintptr_t)where->count, &then, sizeof(then)), 0);
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, &err), 0);
	tree_free(tree);
	live_works(l);
	assert_int_equal(remote_read(twin_pid(twin), (uintptr_t)where->count, &now, sizeof(now)), 0);
	assert_int_equal(remote_read(pid, (uintptr_t)where->count, &later, sizeof(later)), 0);
	assert_int_equal(now, then);
	assert_true(later > then);
	assert_int_equal(remote_read(twin_pid(twin), (uintptr_t)where->shared, &byte, 1), -EFAULT);
	assert_int_equal(nr_of(twin_pid(twin), "fd"), 0);
	assert_true(nr_of(pid, "fd") > 1);
	assert_int_equal(getsid(twin_pid(twin)), twin_pid(twin));
	assert_true(has_children(pid));
	assert_false(twin_is_lost(twin));
	assert_int_equal(twin_end(twin), 0);
	assert_false(has_children(pid));
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* It is noticed if one is killed, and it is reaped all the same. */
static void test_lost(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(subject, l);
	struct cr_error err = { 0 };
	struct live_ctx c;
	struct tree *tree;
	struct twin *twin;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	twin = copy(tree->root, (struct place *)(l + 1));
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, &err), 0);
	tree_free(tree);
	assert_false(twin_give_back(twin));
	assert_true(resident(twin_pid(twin)) > 0);
	kill(twin_pid(twin), SIGKILL);
	/* at once: what is read of it from now on may be nothing */
	assert_true(twin_is_lost(twin));
	/* before it ends: the kernel has nobody to wait for then */
	assert_true(twin_give_back(twin));
	assert_int_equal(resident(twin_pid(twin)), 0);
	usleep(10000);
	assert_true(twin_is_lost(twin));
	assert_int_equal(twin_end(twin), 0);
	assert_false(has_children(pid));
	live_works(l);
	live_kill(pid);
	live_free(l);
}

/* A parent that has ended has nothing to reap. */
static void test_orphan(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(subject, l);
	struct cr_error err = { 0 };
	struct live_ctx c;
	struct tree *tree;
	struct twin *twin;

	(void)state;
	live_ready(l, 1);
	tree = live_freeze(live_ctx(&c), pid);
	twin = copy(tree->root, (struct place *)(l + 1));
	assert_int_equal(thaw_tree(tree, THAW_RUNNING, &err), 0);
	tree_free(tree);
	live_kill(pid);
	assert_false(twin_is_lost(twin));
	assert_int_equal(twin_end(twin), 0);
	live_free(l);
}

/* Only children that are dead are reaped, and only by their parent. */
static void test_reap(void **state)
{
	struct live *l = live_new();
	pid_t pid = live_fork(compute, l), other = fork();

	(void)state;
	if (other == 0)
		_exit(0);
	live_ready(l, 1);
	assert_int_equal(remote_reap(pid, other, NULL), 0);
	assert_int_equal(waitpid(other, NULL, 0), other);
	assert_int_equal(remote_reap(pid, other, NULL), 0);
	live_works(l);
	live_kill(pid);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_orphan),
		cmocka_unit_test(test_reap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
