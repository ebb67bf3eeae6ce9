/* /proc/PID/stat: any text gives an error or a sane struct. */
#include "base/error.h"
#include "procfs/stat.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cr_error err = { 0 };
	struct proc_stat st;
	int r = proc_stat_parse((const char *)data, size, &st, &err);

	if ((r < 0) != (err.code < 0) || (r == 0 && strlen(st.comm) > PROC_COMM_MAX))
		__builtin_trap();
	return 0;
}
