/* Policies in /proc/PID/numa_maps */
#include "procfs/numa-maps.h"

#include "kernel/uapi.h"
#include "procfs/sample.h"

#include <linux/mempolicy.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	struct proc_numa_vec v = { 0 };
	int r = proc_numa_maps_parse(text, len, &v, err);

	for (size_t i = 0; i < v.nr; i++)
		assert_int_not_equal(v.items[i].mode, MPOL_DEFAULT);
	proc_numa_vec_done(&v);
	return r;
}

struct row {
	uint64_t addr;
	uint16_t mode, flags;
	uint64_t nodes0;
};

static void compare(const char *name, const struct row *rows, size_t nr)
{
	struct proc_numa_vec v = { 0 };
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_numa_maps_parse(text, len, &v, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	assert_int_equal(v.nr, nr);
	for (size_t i = 0; i < nr; i++) {
		const struct proc_numa_policy *p = &v.items[i];

		if (p->addr != rows[i].addr || p->mode != rows[i].mode || p->flags != rows[i].flags ||
		    p->nodes[0] != rows[i].nodes0)
			fail_msg("%s: row %zu: addr %llx mode %u flags %x nodes %llx", name, i,
				 (unsigned long long)p->addr, p->mode, p->flags, (unsigned long long)p->nodes[0]);
	}
	proc_numa_vec_done(&v);
	free(text);
}

static void recorded(void **state)
{
	static const struct row rows[] = {
		{ 0x7fd90d0f6000, MPOL_INTERLEAVE, MPOL_F_RELATIVE_NODES, 1 },
		{ 0x7fd90d0f9000, MPOL_BIND, MPOL_F_NUMA_BALANCING, 1 },
		{ 0x7fd90d0fc000, UAPI_MPOL_WEIGHTED_INTERLEAVE, 0, 1 },
		{ 0x7fd90d0ff000, UAPI_MPOL_LOCAL, 0, 0 },
		{ 0x7fd90d102000, UAPI_MPOL_PREFERRED_MANY, 0, 1 },
		{ 0x7fd90d105000, MPOL_INTERLEAVE, 0, 1 },
		{ 0x7fd90d108000, MPOL_PREFERRED, 0, 1 },
		{ 0x7fd90d10b000, MPOL_BIND, MPOL_F_STATIC_NODES, 1 },
	};

	(void)state;
	compare("linux-6.18-flags/numa_maps", rows, sizeof(rows) / sizeof(rows[0]));
}

/* 6.1 knows no weighted interleave */
static void other_kernels(void **state)
{
	static const struct row rows[] = {
		{ 0x7f20f80a5000, MPOL_INTERLEAVE, MPOL_F_RELATIVE_NODES, 1 },
		{ 0x7f20f80a8000, MPOL_BIND, MPOL_F_NUMA_BALANCING, 1 },
		{ 0x7f20f80ae000, UAPI_MPOL_LOCAL, 0, 0 },
		{ 0x7f20f80b1000, UAPI_MPOL_PREFERRED_MANY, 0, 1 },
		{ 0x7f20f80b4000, MPOL_INTERLEAVE, 0, 1 },
		{ 0x7f20f80b7000, MPOL_PREFERRED, 0, 1 },
		{ 0x7f20f80ba000, MPOL_BIND, MPOL_F_STATIC_NODES, 1 },
	};

	(void)state;
	compare("linux-6.1/numa_maps", rows, sizeof(rows) / sizeof(rows[0]));
}

static void other_nodes(void **state)
{
	static const struct row rows[] = {
		{ 0x7f0000000000, MPOL_BIND, MPOL_F_STATIC_NODES | MPOL_F_NUMA_BALANCING, 0x8000000000000007 },
		{ 0x7f0000100000, UAPI_MPOL_PREFERRED_MANY, MPOL_F_RELATIVE_NODES, 2 },
		{ 0x7f0000200000, UAPI_MPOL_WEIGHTED_INTERLEAVE, 0, 9 },
		{ 0x7f0000300000, MPOL_INTERLEAVE, 0, 15 },
		{ 0x7f0000400000, UAPI_MPOL_LOCAL, 0, 0 },
		{ 0x7f0000500000, MPOL_PREFERRED, 0, 128 },
		{ 0x7f0000600000, PROC_MPOL_UNKNOWN, 0, 0 },
	};

	(void)state;
	compare("hand/numa_maps", rows, sizeof(rows) / sizeof(rows[0]));
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "no address", "default\n0 x\n", -EINVAL, "line 1" },
		{ "no policy", "7f00 \n", -EINVAL, "line 1" },
		{ "address too wide", "10000000000000000 default\n", -ERANGE, "line 1" },
		{ "no node", "7f00 bind:\n", -EINVAL, "line 1" },
		{ "node too large", "7f00 bind:1024\n", -ERANGE, "line 1" },
		{ "range backwards", "7f00 bind:3-2\n", -ERANGE, "line 1" },
		{ "unknown flag", "7f00 default\n7f00 bind=sticky:1\n", -EINVAL, "line 2" },
		{ "tail", "7f00 bind:1x\n", -EINVAL, "line 1" },
		{ "cut off", "7f00 bind:1", -EINVAL, "cut off" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("hand/numa_maps", parse);
	sample_hurt("linux-6.18-flags/numa_maps", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded), cmocka_unit_test(other_kernels), cmocka_unit_test(other_nodes),
		cmocka_unit_test(refused),  cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
