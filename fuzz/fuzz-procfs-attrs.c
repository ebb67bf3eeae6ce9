/* The files of one line, each parser on every input. */
#include "base/error.h"
#include "procfs/attrs.h"
#include "procfs/ns-links.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char comm[PROC_COMM_MAX + 1], label[PROC_LABEL_MAX + 1];
	struct proc_auxv_vec auxv = { 0 };
	struct cr_error err = { 0 };
	struct proc_syscall call;
	uint64_t u64;
	uint32_t u32;
	int n;

	if (proc_comm_parse(text, size, comm, &err) == 0 && strlen(comm) + 1 != size)
		__builtin_trap();
	n = proc_label_parse(text, size, label, &err);
	if (n >= 0 && strlen(label) != (size_t)n)
		__builtin_trap();
	proc_personality_parse(text, size, &u32, &err);
	proc_loginuid_parse(text, size, &u32, &err);
	proc_coredump_filter_parse(text, size, &u32, &err);
	if (proc_oom_score_adj_parse(text, size, &n, &err) == 0 && (n < -1000 || n > 1000))
		__builtin_trap();
	proc_timerslack_parse(text, size, &u64, &err);
	proc_uptime_parse(text, size, &u64, &err);
	proc_syscall_parse(text, size, &call, &err);
	proc_auxv_parse(text, size, &auxv, &err);
	proc_auxv_vec_done(&auxv);
	for (int i = 0; i < PROC_NR_NS; i++)
		if (proc_ns_link_parse(text, size, (enum proc_ns)i, &u32, &err) == 0 && u32 == 0)
			__builtin_trap();
	return 0;
}
