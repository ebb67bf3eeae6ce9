/* Which objects processes share: children made with clone() flags, looked at while they live. */
#include "base/array.h"
#include "tasks/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define NR    6
#define STACK 65536

/* A test that fails does not come to its end, where they are killed: they go with the program. */
static int wait_for_end(void *arg)
{
	(void)arg;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (pause() < 0)
		;
	return 0;
}

struct world {
	struct cr_context ctx;
	struct cr_options opts;
	struct cr_observer obs;
	struct task tasks[NR];
	struct thread threads[NR];
	struct task *list[NR];
	struct tree tree;
	char *stacks[NR];
	img_task_kobj_ids_entry root;
};

/* The first has the flags of none; the tree is flat: all are children of the first, which is no real parent of theirs. */
static void world_init(struct world *w, const int flags[NR])
{
	memset(w, 0, sizeof(*w));
	w->ctx.opts = &w->opts;
	w->ctx.obs = &w->obs;
	for (int i = 0; i < NR; i++) {
		struct task *t = &w->tasks[i];

		w->stacks[i] = malloc(STACK);
		assert_non_null(w->stacks[i]);
		t->host_pid = t->ns_pid = clone(wait_for_end, w->stacks[i] + STACK, flags[i] | SIGCHLD, NULL);
		assert_true(t->host_pid > 0);
		t->state = TASK_ALIVE;
		t->parent = i ? &w->tasks[0] : NULL;
		t->lead = &w->threads[i];
		w->threads[i].host_tid = w->threads[i].ns_tid = t->host_pid;
		assert_int_equal(proc_dir_open(AT_FDCWD, t->host_pid, &t->dir, NULL), 0);
		w->list[i] = t;
	}
	w->tree.tasks.items = w->list;
	w->tree.tasks.nr = NR;
	w->tree.root = &w->tasks[0];
}

static void world_done(struct world *w)
{
	for (int i = 0; i < NR; i++) {
		kill(w->tasks[i].host_pid, SIGKILL);
		waitpid(w->tasks[i].host_pid, NULL, 0);
		proc_dir_close(&w->tasks[i].dir);
		free(w->stacks[i]);
	}
	obstacles_done(&w->ctx.obstacles);
}

static void test_nothing_shared(void **state)
{
	const int flags[NR] = { 0 };
	struct world w;

	(void)state;
	world_init(&w, flags);
	w.tasks[3].state = TASK_DEAD;
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 0);
	assert_int_equal(w.root.vm_id, 1);
	for (uint32_t i = 0; i < NR; i++) {
		uint32_t want = i < 3 ? i + 2 : i == 3 ? 0 : i + 1;

		/* in the order of the tree, without a gap for the dead */
		assert_int_equal(w.tasks[i].ids.vm_id, want);
		assert_int_equal(w.tasks[i].ids.files_id, want);
		assert_int_equal(w.tasks[i].ids.sighand_id, want);
		if (i != 3)
			assert_int_equal(w.tasks[i].ids.net_ns_id, w.root.net_ns_id);
	}
	assert_int_equal(ids_check(&w.tasks[0].ids, &w.root, (struct ids_own){ 0 }, NULL), 0);
	world_done(&w);
}

/* Those made with a flag share with the test program, and so with each other. */
static void test_shared(void **state)
{
	const int flags[NR] = { 0, CLONE_FILES, CLONE_FILES | CLONE_FS, CLONE_FS, 0, CLONE_FILES };
	struct world w;

	(void)state;
	world_init(&w, flags);
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);

	const uint32_t files[NR] = { 2, 3, 3, 4, 5, 3 }, fs[NR] = { 2, 3, 4, 4, 5, 6 };

	for (int i = 0; i < NR; i++) {
		assert_int_equal(w.tasks[i].ids.files_id, files[i]);
		assert_int_equal(w.tasks[i].ids.fs_id, fs[i]);
	}
	/* a descriptor table may be shared, a working directory not */
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_int_equal(w.ctx.obstacles.items[0].pid, w.tasks[3].host_pid);
	assert_non_null(strstr(w.ctx.obstacles.items[0].what, "CLONE_FS"));
	world_done(&w);
}

static void test_memory(void **state)
{
	const int flags[NR] = { CLONE_VM, CLONE_VM, 0, 0, 0, 0 };
	struct world w;

	(void)state;
	world_init(&w, flags);
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_non_null(strstr(w.ctx.obstacles.items[0].what, "vfork()"));
	world_done(&w);
}

static void test_namespace(void **state)
{
	const int flags[NR] = { 0, CLONE_NEWUTS, 0, 0, 0, 0 };
	struct world w;
	struct cr_error err = { 0 };

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w, flags);
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_string_equal(w.ctx.obstacles.items[0].what, "own UTS namespace");
	assert_int_equal(ids_check(&w.tasks[1].ids, &w.root, (struct ids_own){ 0 }, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "UTS"));
	world_done(&w);
}

/* An IPC namespace is restored if all are in that of the root, and no other. */
static void test_ipc_namespace(void **state)
{
	const int root_alone[NR] = { CLONE_NEWIPC, 0, 0, 0, 0, 0 }, child_alone[NR] = { 0, 0, CLONE_NEWIPC, 0, 0, 0 };
	struct cr_error err = { 0 };
	struct world w;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w, child_alone);
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_int_equal(w.ctx.obstacles.items[0].pid, w.tasks[2].host_pid);
	assert_int_equal(ids_own_of(&w.tasks[0].ids, &w.root).ipc, 0);
	assert_int_equal(ids_check(&w.tasks[2].ids, &w.root, (struct ids_own){ 0 }, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "IPC"));
	world_done(&w);

	world_init(&w, root_alone);
	for (int i = 1; i < NR; i++)
		w.tasks[i].state = TASK_DEAD;
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 0);

	struct ids_own own = ids_own_of(&w.tasks[0].ids, &w.root);

	assert_int_not_equal(own.ipc, 0);
	assert_int_not_equal(own.ipc, w.root.ipc_ns_id);
	assert_int_equal(own.mnt, 0);
	assert_int_equal(ids_check(&w.tasks[0].ids, &w.root, own, NULL), 0);
	assert_int_equal(ids_check(&w.tasks[0].ids, &w.root, (struct ids_own){ 0 }, NULL), -EOPNOTSUPP);
	w.tasks[1].state = TASK_ALIVE; /* in that of the test, outside of its root's */
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_int_equal(w.ctx.obstacles.items[0].pid, w.tasks[1].host_pid);
	world_done(&w);
}

/* So is a mount namespace. */
static void test_mount_namespace(void **state)
{
	const int root_alone[NR] = { CLONE_NEWNS, 0, 0, 0, 0, 0 }, child_alone[NR] = { 0, 0, CLONE_NEWNS, 0, 0, 0 };
	struct cr_error err = { 0 };
	struct world w;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w, child_alone);
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_int_equal(w.ctx.obstacles.items[0].pid, w.tasks[2].host_pid);
	assert_int_equal(ids_own_of(&w.tasks[0].ids, &w.root).mnt, 0);
	assert_int_equal(ids_check(&w.tasks[2].ids, &w.root, (struct ids_own){ 0 }, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "mount"));
	world_done(&w);

	world_init(&w, root_alone);
	for (int i = 1; i < NR; i++)
		w.tasks[i].state = TASK_DEAD;
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 0);

	struct ids_own own = ids_own_of(&w.tasks[0].ids, &w.root);

	assert_int_not_equal(own.mnt, 0);
	assert_int_not_equal(own.mnt, w.root.mnt_ns_id);
	assert_int_equal(own.ipc, 0);
	assert_int_equal(ids_check(&w.tasks[0].ids, &w.root, own, NULL), 0);
	assert_int_equal(ids_check(&w.tasks[0].ids, &w.root, (struct ids_own){ 0 }, NULL), -EOPNOTSUPP);
	w.tasks[1].state = TASK_ALIVE; /* in that of the test, outside of its root's */
	assert_int_equal(ids_collect(&w.ctx, &w.tree, &w.root, NULL), 0);
	assert_int_equal(w.ctx.obstacles.nr, 1);
	assert_int_equal(w.ctx.obstacles.items[0].pid, w.tasks[1].host_pid);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_shared), cmocka_unit_test(test_shared),     cmocka_unit_test(test_memory),
		cmocka_unit_test(test_namespace), cmocka_unit_test(test_ipc_namespace),
		cmocka_unit_test(test_mount_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
