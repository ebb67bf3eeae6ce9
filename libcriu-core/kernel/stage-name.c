/* Names of stages, for those who want to make each of them fail. */
#include "criu-core.h"
#include "kernel/stage-tables.h"

const char *cr_stage_name(bool restore, int n)
{
	const struct stage *table = restore ? restore_stages : dump_stages;
	size_t nr = restore ? nr_restore_stages : nr_dump_stages;

	return n >= 1 && (size_t)n <= nr ? table[n - 1].name : NULL;
}
