/*
 * Memory runs short: the n-th allocation fails, n = 1, 2, ... until the parser succeeds. Each failure must be -ENOMEM
 * with a message, and nothing may leak, which a build with the address sanitizer sees. Linked with --wrap, see rules.mk.
 */
#include "procfs/attrs.h"
#include "procfs/cgroup.h"
#include "procfs/fdinfo.h"
#include "procfs/lists.h"
#include "procfs/locks.h"
#include "procfs/maps.h"
#include "procfs/mountinfo.h"
#include "procfs/numa-maps.h"
#include "procfs/status.h"
#include "procfs/timers.h"

#include "procfs/sample.h"

void *__real_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *p, size_t size);

/* allocations until one fails; 0: none does */
static int countdown;

static int is_due(void)
{
	return countdown > 0 && --countdown == 0;
}

void *__wrap_malloc(size_t size)
{
	return is_due() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return is_due() ? NULL : __real_realloc(p, size);
}

#define PARSER(fn, type, done)                                                  \
	static int run_##fn(const char *text, size_t len, struct cr_error *err) \
	{                                                                       \
		type v = { 0 };                                                 \
		int r = fn(text, len, &v, err);                                 \
		done(&v);                                                       \
		return r;                                                       \
	}

PARSER(proc_status_parse, struct proc_status, proc_status_done)
PARSER(proc_maps_parse, struct proc_vma_list, proc_vma_list_done)
PARSER(proc_smaps_parse, struct proc_vma_list, proc_vma_list_done)
PARSER(proc_locks_parse, struct proc_lock_vec, proc_lock_vec_done)
PARSER(proc_fdinfo_parse, struct proc_fdinfo, proc_fdinfo_done)
PARSER(proc_children_parse, struct int_vec, int_vec_done)
PARSER(proc_timers_parse, struct proc_timer_vec, proc_timer_vec_done)
PARSER(proc_mountinfo_parse, struct proc_mount_list, proc_mount_list_done)
PARSER(proc_cgroup_parse, struct proc_cgroup_list, proc_cgroup_list_done)
PARSER(proc_numa_maps_parse, struct proc_numa_vec, proc_numa_vec_done)
PARSER(proc_auxv_parse, struct proc_auxv_vec, proc_auxv_vec_done)

static const struct {
	const char *sample;
	sample_parse_fn *parse;
} rows[] = {
	{ "linux-6.18-plain/status", run_proc_status_parse },
	{ "linux-6.18-threads/maps", run_proc_maps_parse },
	{ "linux-6.18-flags/smaps", run_proc_smaps_parse },
	{ "hand/locks", run_proc_locks_parse },
	{ "linux-6.18-threads/fdinfo-3", run_proc_fdinfo_parse },
	{ "linux-6.18-threads/children", run_proc_children_parse },
	{ "hand/timers", run_proc_timers_parse },
	{ "linux-6.18-plain/mountinfo", run_proc_mountinfo_parse },
	{ "linux-6.18-plain/cgroup", run_proc_cgroup_parse },
	{ "hand/numa_maps", run_proc_numa_maps_parse },
	{ "linux-6.18-plain/auxv", run_proc_auxv_parse },
};

static void memory_short(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len;
		char *text = sample_read(rows[i].sample, &len);
		int n = 1, r;

		for (;; n++) {
			struct cr_error err = { 0 };

			countdown = n;
			r = rows[i].parse(text, len, &err);
			countdown = 0;
			if (r == 0)
				break;
			if (r != -ENOMEM || err.code != r || !err.text[0])
				fail_msg("%s: allocation %d: code %d \"%s\"", rows[i].sample, n, r, err.text);
		}
		if (n < 2 || n > 100)
			fail_msg("%s: %d allocations", rows[i].sample, n - 1);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
