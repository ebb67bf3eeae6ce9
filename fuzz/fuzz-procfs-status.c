/* /proc/PID/status: any text gives an error or lists that can be read to their ends. */
#include "base/error.h"
#include "procfs/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t sum(const uint32_t *words, uint32_t nr)
{
	uint32_t s = 0;

	for (uint32_t i = 0; i < nr; i++)
		s += words[i];
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autostatus struct proc_status st = { 0 };
	struct cr_error err = { 0 };
	int r = proc_status_parse((const char *)data, size, &st, &err);
	volatile uint32_t sink;

	if ((r < 0) != (err.code < 0) || st.ns_pid.nr > PROC_NS_LEVELS)
		__builtin_trap();
	sink = sum(st.groups, st.nr_groups) + sum(st.cpus_allowed.words, st.cpus_allowed.nr_words) +
	       sum(st.mems_allowed.words, st.mems_allowed.nr_words);
	(void)sink;
	return 0;
}
