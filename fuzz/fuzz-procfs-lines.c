/* The smaller files of several lines: timers, numa_maps, limits, uid_map, timens_offsets, children. */
#include "base/error.h"
#include "procfs/attrs.h"
#include "procfs/id-map.h"
#include "procfs/limits.h"
#include "procfs/lists.h"
#include "procfs/numa-maps.h"
#include "procfs/timers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct proc_timer_vec timers = { 0 };
	struct proc_numa_vec policies = { 0 };
	autointvec struct int_vec pids = { 0 };
	struct proc_limits limits;
	struct proc_id_map map;
	struct proc_timens offsets;
	struct cr_error err = { 0 };

	proc_timers_parse(text, size, &timers, &err);
	proc_timer_vec_done(&timers);
	proc_numa_maps_parse(text, size, &policies, &err);
	proc_numa_vec_done(&policies);
	proc_limits_parse(text, size, &limits, &err);
	if (proc_id_map_parse(text, size, &map, &err) == 0)
		for (uint32_t i = 0; i < map.nr; i++)
			if (map.extents[i].count == 0 ||
			    map.extents[i].inside + (map.extents[i].count - 1) < map.extents[i].inside)
				__builtin_trap();
	if (proc_timens_parse(text, size, &offsets, &err) == 0 && offsets.monotonic_nsec >= 1000000000)
		__builtin_trap();
	proc_children_parse(text, size, &pids, &err);
	for (size_t i = 0; i < pids.nr; i++)
		if (pids.items[i] <= 0)
			__builtin_trap();
	return 0;
}
