/* maps and smaps: any text gives an error or a sane list. */
#include "base/error.h"
#include "procfs/maps.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *text, size_t len,
		int (*parse)(const char *, size_t, struct proc_vma_list *, struct cr_error *))
{
	autovmas struct proc_vma_list l = { 0 };
	struct cr_error err = { 0 };
	int r = parse(text, len, &l, &err);

	if ((r < 0) != (err.code < 0))
		__builtin_trap();
	for (size_t i = 0; i < l.nr; i++) {
		const struct proc_vma *v = &l.items[i];

		if (v->start >= v->end || (i && v->start < l.items[i - 1].end))
			__builtin_trap();
		if (strlen(proc_vma_path(&l, v)) != v->path_len || proc_vma_find(&l, v->start) != v)
			__builtin_trap();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run((const char *)data, size, proc_maps_parse);
	run((const char *)data, size, proc_smaps_parse);
	return 0;
}
