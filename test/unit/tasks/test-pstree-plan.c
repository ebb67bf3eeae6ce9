/* Plans of process trees are carried out on a model of the kernel; trees come from cases and from random histories. */
#include "tasks/pstree-plan.h"
#include "tree-sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define OWN_PID  900001u
#define OWN_SID  900002u
#define OWN_PGID 900003u
#define ANY_PID  2000000u

static const struct pstree_options plain = { .own_pid = OWN_PID, .own_sid = OWN_SID, .own_pgid = OWN_PGID };
static const struct pstree_options shell = {
	.own_pid = OWN_PID, .own_sid = OWN_SID, .own_pgid = OWN_PGID, .shell_job = true
};

struct run {
	struct sim sim;
	const struct pstree_plan *plan;
	int proc[SIM_MAX]; /* node -> process of the model, -1: not there yet */
	size_t pc[SIM_MAX];
	uint32_t arrived[PSTREE_MAX_STAGES];
	bool waits[SIM_MAX];
	uint32_t any;
	char why[200];
};

static int say(struct run *x, size_t n, const char *what, int r)
{
	snprintf(x->why, sizeof(x->why), "node %zu (pid %u), step %zu: %s: %s", n, x->plan->nodes.items[n].pid,
		 x->pc[n], what, strerror(-r));
	return r;
}

/* Return: 1 went on, 0 must wait, negative errno. */
static int do_step(struct run *x, size_t n)
{
	const struct pstree_node *node = &x->plan->nodes.items[n];
	const struct pstree_step *st = &node->steps.items[x->pc[n]];
	int me = x->proc[n], r;

	switch (st->kind) {
	case PSTREE_FORK:
	case PSTREE_FORK_SIBLING: {
		const struct pstree_node *c = &x->plan->nodes.items[st->arg];

		r = sim_fork(&x->sim, me, c->pid ? c->pid : x->any++, st->kind == PSTREE_FORK_SIBLING);
		if (r < 0)
			return say(x, n, "fork", r);
		x->proc[st->arg] = r;
		return 1;
	}
	case PSTREE_SETSID:
		r = sim_setsid(&x->sim, me);
		return r < 0 ? say(x, n, "setsid", r) : 1;
	case PSTREE_SETPGID:
		r = sim_setpgid(&x->sim, me, me, st->arg);
		return r < 0 ? say(x, n, "setpgid", r) : 1;
	case PSTREE_SUBREAPER:
		x->sim.p[me].subreaper = st->arg;
		return 1;
	case PSTREE_STAGE:
		if (!x->waits[n]) {
			x->waits[n] = true;
			x->arrived[st->arg]++;
		}
		if (x->arrived[st->arg] > x->plan->expected[st->arg])
			return say(x, n, "too many at a stage", -ERANGE);
		if (x->arrived[st->arg] < x->plan->expected[st->arg])
			return 0;
		x->waits[n] = false;
		return 1;
	case PSTREE_REAP:
		if (x->proc[st->arg] < 0)
			return say(x, n, "reap", -ECHILD);
		r = sim_reap(&x->sim, me, x->proc[st->arg]);
		return r == -EAGAIN ? 0 : r < 0 ? say(x, n, "reap", r) : 1;
	case PSTREE_AWAIT:
		if (x->proc[st->arg] < 0 || x->sim.p[x->proc[st->arg]].parent != me)
			return say(x, n, "await", -ECHILD);
		return x->sim.p[x->proc[st->arg]].zombie;
	case PSTREE_EXIT:
		sim_exit(&x->sim, me);
		return 1;
	}
	return say(x, n, "step", -EINVAL);
}

static int execute(struct run *x, unsigned int *seed)
{
	size_t nr = x->plan->nodes.nr, left = nr;

	while (left) {
		size_t start = (size_t)rand_r(seed) % nr, moved = 0;

		left = 0;
		for (size_t k = 0; k < nr; k++) {
			size_t n = (start + k) % nr, steps = 1 + (size_t)rand_r(seed) % 4;
			int r = 1;

			if (x->proc[n] < 0) {
				left++;
				continue;
			}
			while (steps-- && r == 1 && x->pc[n] < x->plan->nodes.items[n].steps.nr) {
				r = do_step(x, n);
				if (r < 0)
					return r;
				x->pc[n] += r == 1;
				moved += r == 1;
			}
			left += x->pc[n] < x->plan->nodes.items[n].steps.nr;
		}
		if (left && !moved) {
			/* one more look at everybody: the last arrival may have been after the others were asked */
			for (size_t n = 0; n < nr && !moved; n++)
				if (x->proc[n] >= 0 && x->pc[n] < x->plan->nodes.items[n].steps.nr) {
					int r = do_step(x, n);

					if (r < 0)
						return r;
					x->pc[n] += r == 1;
					moved += r == 1;
				}
			if (!moved) {
				snprintf(x->why, sizeof(x->why), "%zu nodes wait for ever", left);
				return -EDEADLK;
			}
		}
	}
	return 0;
}

static int verify(struct run *x, const struct pstree_input *in, size_t nr)
{
	size_t alive = 0;

	for (size_t i = 0; i < nr; i++) {
		const struct sim_proc *p = &x->sim.p[x->proc[i]];
		const struct pstree_node *node = &x->plan->nodes.items[i];
		uint32_t ppid = p->parent < 0 ? 0 : x->sim.p[p->parent].pid;

		if (p->pid != in[i].pid || !p->used || p->zombie != in[i].zombie || p->sid != node->sid ||
		    p->pgid != node->pgid || (i && ppid != in[i].ppid)) {
			snprintf(x->why, sizeof(x->why),
				 "pid %u: ppid %u sid %u pgid %u zombie %d instead of %u %u %u %d", p->pid, ppid,
				 p->sid, p->pgid, p->zombie, in[i].ppid, in[i].sid, in[i].pgid, in[i].zombie);
			return -EINVAL;
		}
	}
	for (int i = 0; i < x->sim.nr; i++)
		alive += x->sim.p[i].used;
	if (alive != nr) {
		snprintf(x->why, sizeof(x->why), "%zu processes instead of %zu", alive, nr);
		return -EINVAL;
	}
	for (uint32_t s = 0; s < x->plan->nr_stages; s++)
		if (!x->plan->expected[s]) {
			snprintf(x->why, sizeof(x->why), "nobody comes to stage %u", s);
			return -EINVAL;
		}
	return 0;
}

/* Plans, carries out, compares. Return: 0, or the planner's refusal; anything else fails the test. */
static int check_tree(const char *name, const struct pstree_input *in, size_t nr, const struct pstree_options *opts,
		      unsigned int seed, bool init)
{
	struct pstree_plan plan;
	struct cr_error err = { 0 };
	struct run *x;
	int r = pstree_plan_make(in, nr, opts, &plan, &err);

	if (r < 0)
		return r;
	x = calloc(1, sizeof(*x));
	assert_non_null(x);
	x->plan = &plan;
	x->any = ANY_PID;
	x->sim.root_is_init = init;
	for (size_t i = 0; i < SIM_MAX; i++)
		x->proc[i] = -1;
	x->sim.p[0] =
		(struct sim_proc){ .pid = in[0].pid, .sid = OWN_SID, .pgid = OWN_PGID, .parent = -1, .used = true };
	x->sim.nr = 1;
	x->proc[0] = 0;
	r = execute(x, &seed);
	if (r == 0)
		r = verify(x, in, nr);
	if (r < 0) {
		for (size_t i = 0; i < nr && nr < 40; i++)
			print_error("  pid %u ppid %u pgid %u sid %u%s forked by node %d\n", in[i].pid, in[i].ppid,
				    in[i].pgid, in[i].sid, in[i].zombie ? " zombie" : "",
				    plan.nodes.items[i].forked_by);
		fail_msg("%s: %s", name, x->why);
	}
	free(x);
	pstree_plan_done(&plan);
	return 0;
}

#define T(pid_, ppid_, pgid_, sid_)                                    \
	{                                                              \
		.pid = pid_, .ppid = ppid_, .pgid = pgid_, .sid = sid_ \
	}
#define Z(pid_, ppid_, pgid_, sid_)                                                    \
	{                                                                              \
		.pid = pid_, .ppid = ppid_, .pgid = pgid_, .sid = sid_, .zombie = true \
	}

static const struct tree_case {
	const char *name;
	const struct pstree_options *opts;
	int result;
	size_t nr;
	struct pstree_input in[10];
} cases[] = {
	{ "one process", &plain, 0, 1, { T(10, 0, 10, 10) } },
	{ "sample tree",
	  &plain,
	  0,
	  6,
	  { T(92, 0, 92, 92), T(94, 92, 94, 94), T(97, 94, 97, 94), Z(95, 92, 92, 92), T(96, 92, 92, 92),
	    Z(99, 92, 92, 92) } },
	{ "child older than its parent's session",
	  &plain,
	  0,
	  3,
	  { T(10, 0, 10, 10), T(11, 10, 11, 11), T(12, 11, 10, 10) } },
	{ "three sessions deep",
	  &plain,
	  0,
	  4,
	  { T(10, 0, 10, 10), T(11, 10, 11, 11), T(12, 11, 12, 12), T(13, 12, 10, 10) } },
	{ "daemon by double fork", &plain, 0, 2, { T(10, 0, 10, 10), T(12, 10, 11, 11) } },
	{ "two orphans of a dead session", &plain, 0, 3, { T(10, 0, 10, 10), T(12, 10, 11, 11), T(13, 10, 11, 11) } },
	{ "orphan of a living session", &plain, 0, 3, { T(10, 0, 10, 10), T(11, 10, 11, 11), T(12, 10, 12, 11) } },
	{ "orphan of a session two levels down",
	  &plain,
	  0,
	  4,
	  { T(10, 0, 10, 10), T(11, 10, 10, 10), T(12, 11, 12, 12), T(13, 10, 13, 12) } },
	{ "adopters one above the other",
	  &plain,
	  0,
	  4,
	  { T(10, 0, 10, 10), T(11, 10, 10, 10), T(13, 11, 12, 12), T(14, 10, 12, 12) } },
	{ "session of a zombie", &plain, 0, 3, { T(10, 0, 10, 10), Z(11, 10, 11, 11), T(12, 10, 11, 11) } },
	{ "zombie orphan", &plain, 0, 2, { T(10, 0, 10, 10), Z(12, 10, 11, 11) } },
	{ "dead group leader", &plain, 0, 2, { T(10, 0, 10, 10), T(12, 10, 11, 10) } },
	{ "dead group in a dead session", &plain, 0, 2, { T(10, 0, 10, 10), T(13, 10, 12, 11) } },
	{ "leader of a group that is in another",
	  &plain,
	  0,
	  4,
	  { T(10, 0, 10, 10), T(11, 10, 12, 10), T(12, 10, 12, 10), T(13, 10, 11, 10) } },
	{ "two leaders changed places",
	  &plain,
	  -EOPNOTSUPP,
	  3,
	  { T(10, 0, 10, 10), T(11, 10, 12, 10), T(12, 10, 11, 10) } },
	{ "shell job", &shell, 0, 3, { T(10, 0, 10, 5), T(11, 10, 10, 5), T(12, 10, 12, 12) } },
	{ "shell job in the shell's group", &shell, 0, 3, { T(10, 0, 5, 5), T(11, 10, 5, 5), T(12, 11, 12, 5) } },
	{ "shell job with a dead group", &shell, 0, 2, { T(10, 0, 5, 5), T(11, 10, 7, 5) } },
	{ "shell job without the option", &plain, -EOPNOTSUPP, 1, { T(10, 0, 10, 5) } },
	{ "shell job that collides", &shell, -EEXIST, 2, { T(10, 0, 10, 5), T(OWN_SID, 10, 10, 5) } },
	{ "same pid twice", &plain, -EBADMSG, 3, { T(10, 0, 10, 10), T(11, 10, 10, 10), T(11, 10, 10, 10) } },
	{ "child before its parent", &plain, -EBADMSG, 3, { T(10, 0, 10, 10), T(12, 11, 10, 10), T(11, 10, 10, 10) } },
	{ "own parent", &plain, -EBADMSG, 2, { T(10, 0, 10, 10), T(11, 11, 10, 10) } },
	{ "two roots", &plain, -EBADMSG, 2, { T(10, 0, 10, 10), T(11, 0, 11, 11) } },
	{ "child of a zombie", &plain, -EBADMSG, 3, { T(10, 0, 10, 10), Z(11, 10, 10, 10), T(12, 11, 10, 10) } },
	{ "session leader in another group", &plain, -EBADMSG, 2, { T(10, 0, 10, 10), T(11, 10, 10, 11) } },
	{ "group in two sessions",
	  &plain,
	  -EBADMSG,
	  4,
	  { T(10, 0, 10, 10), T(11, 10, 11, 11), T(12, 10, 7, 10), T(13, 11, 7, 11) } },
	{ "session of someone who leads none",
	  &plain,
	  -EBADMSG,
	  3,
	  { T(10, 0, 10, 10), T(11, 10, 10, 10), T(12, 11, 11, 11) } },
	{ "pid 0", &plain, -EBADMSG, 1, { T(0, 0, 0, 0) } },
	{ "number of the restorer", &plain, -EEXIST, 2, { T(10, 0, 10, 10), T(11, 10, OWN_SID, OWN_SID) } },
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct tree_case *c = &cases[i];

		for (unsigned int seed = 0; seed < 20; seed++) {
			int r = check_tree(c->name, c->in, c->nr, c->opts, seed, false);

			if (r != c->result)
				fail_msg("%s: result %d instead of %d", c->name, r, c->result);
		}
	}
}

/* A random life of a tree, then what is left of it, parents first. */
static size_t random_tree(unsigned int *seed, struct pstree_input *in, size_t max, bool *ret_init)
{
	struct sim *s = calloc(1, sizeof(*s));
	int todo[SIM_MAX], top = 0;
	size_t nr = 0, events = 5 + (size_t)rand_r(seed) % 200;
	uint32_t pid = 100;
	unsigned int reapers = (unsigned int)rand_r(seed) % 3; /* none below the root, few, many */

	assert_non_null(s);
	*ret_init = rand_r(seed) % 2;
	s->root_is_init = *ret_init;
	s->p[0] = (struct sim_proc){
		.pid = 99, .sid = 99, .pgid = 99, .parent = -1, .used = true, .subreaper = rand_r(seed) % 2
	};
	s->nr = 1;
	while (events--) {
		int n = (int)((unsigned int)rand_r(seed) % (unsigned int)s->nr);
		int m = (int)((unsigned int)rand_r(seed) % (unsigned int)s->nr);
		bool lives = s->p[n].used && !s->p[n].zombie;

		switch (rand_r(seed) % 10) {
		case 0:
		case 1:
		case 2:
		case 3:
			if (lives)
				sim_fork(s, n, pid++, false);
			break;
		case 4:
		case 5:
			if (lives && n)
				sim_setsid(s, n);
			break;
		case 6:
			if (lives)
				sim_setpgid(s, n, rand_r(seed) % 3 ? n : m, rand_r(seed) % 2 ? 0 : s->p[m].pgid);
			break;
		case 7:
		case 8:
			if (lives && n) {
				sim_exit(s, n);
				if (rand_r(seed) % 4)
					sim_reap(s, s->p[n].parent, n);
			}
			break;
		default:
			if (lives && n && reapers && (rand_r(seed) % 4 < (int)reapers))
				s->p[n].subreaper = !s->p[n].subreaper;
		}
	}
	todo[top++] = 0;
	while (top && nr < max) {
		int n = todo[--top];

		in[nr++] = (struct pstree_input){ .pid = s->p[n].pid,
						  .ppid = n ? s->p[s->p[n].parent].pid : 0,
						  .pgid = s->p[n].pgid,
						  .sid = s->p[n].sid,
						  .zombie = s->p[n].zombie };
		for (int i = s->nr - 1; i > 0; i--)
			if (s->p[i].used && s->p[i].parent == n)
				todo[top++] = i;
	}
	free(s);
	return nr;
}

static void test_random(void **state)
{
	const unsigned int rounds = getenv("TREES") ? (unsigned int)atoi(getenv("TREES")) : 20000;
	unsigned int refused = 0, orphans = 0;

	(void)state;
	for (unsigned int i = 0; i < rounds; i++) {
		struct pstree_input in[256];
		unsigned int seed = i;
		bool init;
		size_t nr = random_tree(&seed, in, 256, &init);
		char name[32];

		snprintf(name, sizeof(name), "random tree %u", i);
		int r = check_tree(name, in, nr, &plain, seed, init);

		if (r == -EBADMSG || (r < 0 && r != -EOPNOTSUPP))
			fail_msg("%s: a tree that lived is called impossible (%d)", name, r);
		if (r < 0 && getenv("VERBOSE")) {
			struct pstree_plan plan;
			struct cr_error err = { 0 };

			pstree_plan_make(in, nr, &plain, &plan, &err);
			print_message("%s: %s\n", name, err.text);
		}
		refused += r < 0;
		orphans += init;
	}
	print_message("%u random trees, %u refused\n", rounds, refused);
	/* trees in which a session leader was itself adopted by someone else than its orphans */
	assert_true(refused * 50 <= rounds);
	assert_true(orphans > 0);
}

/* Bytes from outside: whatever the numbers are, the planner answers and what it plans can be carried out. */
static void test_hostile(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 20000; i++) {
		struct pstree_input in[12];
		unsigned int seed = i;
		size_t nr = 1 + (size_t)rand_r(&seed) % 12;

		for (size_t k = 0; k < nr; k++)
			in[k] = (struct pstree_input){ .pid = k || i % 7 == 0 ? 99 + (uint32_t)rand_r(&seed) % 16 : 99,
						       .ppid = k ? 99 + (uint32_t)rand_r(&seed) % (k + 1) : 0,
						       .pgid = k ? 99 + (uint32_t)rand_r(&seed) % 16 : 99,
						       .sid = k ? 99 + (uint32_t)rand_r(&seed) % 16 : 99,
						       .zombie = k && rand_r(&seed) % 5 == 0 };
		for (size_t k = 0; k < nr && i % 3; k++)
			in[k].pid = 99 + (uint32_t)k;
		check_tree("hostile tree", in, nr, &plain, seed, false);
	}
}

static void test_large(void **state)
{
	size_t nr = 3000;
	struct pstree_input *in = calloc(nr, sizeof(*in));
	struct pstree_plan plan;
	struct cr_error err = { 0 };

	(void)state;
	assert_non_null(in);
	for (size_t i = 0; i < nr; i++)
		in[i] = (struct pstree_input){ .pid = 100000 + (uint32_t)i,
					       .ppid = i ? 100000 : 0,
					       .pgid = i ? 1000 + (uint32_t)i : 100000,
					       .sid = i ? 1000 + (uint32_t)i : 100000 };
	assert_int_equal(pstree_plan_make(in, nr, &plain, &plan, &err), 0);
	assert_int_equal(plan.nodes.nr, 2 * nr - 1);
	pstree_plan_done(&plan);
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
