/*
 * Memory policies of every mode: of threads, and of ranges of private and shared memory. On a machine with one node they
 * change nothing but what get_mempolicy(2) says.
 */
#include "victim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY, WEIGHTED_INTERLEAVE };
#define STATIC_NODES   (1 << 15)
#define RELATIVE_NODES (1 << 14)
#define NUMA_BALANCING (1 << 13)
#define PAGE           4096ul

static const struct {
	int mode;
	unsigned long nodes;
} policies[] = {
	{ DEFAULT, 0 },
	{ PREFERRED, 1 },
	{ BIND, 1 },
	{ INTERLEAVE, 1 },
	{ LOCAL, 0 },
	{ PREFERRED_MANY, 1 },
	{ WEIGHTED_INTERLEAVE, 1 },
	{ BIND | STATIC_NODES, 1 },
	{ INTERLEAVE | RELATIVE_NODES, 1 },
	{ BIND | NUMA_BALANCING, 1 },
	{ PREFERRED | STATIC_NODES, 1 },
};
#define NR (int)(sizeof(policies) / sizeof(policies[0]))

struct policy {
	int mode;
	unsigned long nodes;
};

static unsigned long threads[NR];

static struct policy policy_of(void *at)
{
	struct policy p = { -1, 0 };

	need(syscall(SYS_get_mempolicy, &p.mode, &p.nodes, 64, at, at ? 2 : 0) == 0);
	return p;
}

static void expect_policy(const char *what, int i, struct policy was, struct policy now)
{
	expect(was.mode == now.mode && was.nodes == now.nodes, "%s %d was %x of %lx, is %x of %lx", what, i,
	       (unsigned)was.mode, was.nodes, (unsigned)now.mode, now.nodes);
}

static void *with_policy(void *arg)
{
	int i = (int)(long)arg;
	unsigned long nodes = policies[i].nodes;
	struct policy was;

	/* a mode that this kernel lacks leaves the default */
	(void)syscall(SYS_set_mempolicy, policies[i].mode, nodes ? &nodes : NULL, nodes ? 64 : 0);
	was = policy_of(NULL);
	victim_thread_ready();
	victim_wait();
	expect_policy("policy of thread", i, was, policy_of(NULL));
	return NULL;
}

static void set_up_threads(void)
{
	unsigned long node = 1;

	if (syscall(SYS_set_mempolicy, BIND, &node, 64) < 0)
		victim_skip("set_mempolicy: %s", strerror(errno));
	need(syscall(SYS_set_mempolicy, DEFAULT, NULL, 0) == 0);
	for (long i = 0; i < NR; i++)
		threads[i] = victim_thread(with_policy, (void *)i);
}

static void check_threads(void)
{
	for (int i = 0; i < NR; i++)
		victim_join(threads[i]);
}

static char *areas[2][NR];
static struct policy were[2][NR];

static void set_up_ranges(void)
{
	for (int shared = 0; shared < 2; shared++)
		for (int i = 0; i < NR; i++) {
			unsigned long nodes = policies[i].nodes;
			char *p = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE,
				       (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

			need(p != MAP_FAILED);
			/* of a part only */
			(void)syscall(SYS_mbind, p + 2 * PAGE, 2 * PAGE, policies[i].mode, nodes ? &nodes : NULL,
				      nodes ? 64 : 0, 0);
			p[2 * PAGE] = (char)i;
			areas[shared][i] = p;
			were[shared][i] = policy_of(p + 2 * PAGE);
		}
	if (were[0][BIND].mode != BIND)
		victim_skip("no policies of ranges");
}

static void check_ranges(void)
{
	for (int shared = 0; shared < 2; shared++)
		for (int i = 0; i < NR; i++) {
			char *p = areas[shared][i];

			expect_policy(shared ? "policy of shared memory" : "policy of memory", i, were[shared][i],
				      policy_of(p + 2 * PAGE));
			expect_policy("what lies beside", i, (struct policy){ DEFAULT, 0 }, policy_of(p));
			expect(p[2 * PAGE] == (char)i, "content %d", i);
		}
}

const struct victim_case victim_cases[] = {
	{ "threads", set_up_threads, check_threads },
	{ "ranges", set_up_ranges, check_ranges },
	{ 0 },
};
