/* fdinfo and /proc/locks: any text gives an error, or locks with sane ranges and lines inside the text. */
#include "base/error.h"
#include "procfs/fdinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void locks_check(const struct proc_lock_vec *v)
{
	for (size_t i = 0; i < v->nr; i++)
		if (v->items[i].start < 0 || v->items[i].end < v->items[i].start)
			__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	autofdinfo struct proc_fdinfo f = { 0 };
	struct proc_lock_vec v = { 0 };
	struct cr_error err = { 0 };
	int r = proc_fdinfo_parse(text, size, &f, &err);
	struct scan rest = f.rest, line;

	if ((r < 0) != (err.code < 0))
		__builtin_trap();
	while (r == 0 && proc_fdinfo_next(&rest, &line))
		if (line.p < text || line.end >= text + size)
			__builtin_trap();
	locks_check(&f.locks);
	proc_locks_parse(text, size, &v, &err);
	locks_check(&v);
	proc_lock_vec_done(&v);
	return 0;
}
