/* mountinfo and cgroup: any text gives an error or strings that end. */
#include "base/error.h"
#include "procfs/cgroup.h"
#include "procfs/mountinfo.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	automounts struct proc_mount_list mounts = { 0 };
	autocgroups struct proc_cgroup_list cgroups = { 0 };
	struct cr_error err = { 0 };
	int r = proc_mountinfo_parse((const char *)data, size, &mounts, &err);

	if ((r < 0) != (err.code < 0))
		__builtin_trap();
	for (size_t i = 0; i < mounts.nr; i++) {
		const struct proc_mount *m = &mounts.items[i];

		if (strlen(m->root) + strlen(m->mountpoint) + strlen(m->options) + strlen(m->fstype) +
			    strlen(m->source) + strlen(m->sb_options) >
		    size)
			__builtin_trap();
	}
	proc_cgroup_parse((const char *)data, size, &cgroups, &err);
	for (size_t i = 0; i < cgroups.nr; i++)
		if (cgroups.items[i].path[0] != '/' ||
		    strlen(cgroups.items[i].path) + strlen(cgroups.items[i].controllers) > size)
			__builtin_trap();
	return 0;
}
