/* Resources from outside of the tree: their names, and what a dump is told of them. What a restore is given is in inherit-given.c. */
#include "files/inherit.h"

#include "base/own.h"
#include "files/dump-internal.h"
#include "procfs/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int scan_prefixed_hex(struct scan *s, uint64_t *ret)
{
	scan_lit(s, "0x"); /* optional */
	return scan_hex(s, ret);
}

int external_pair_parse(const char *text, const char *type, uint64_t *ret_first, uint64_t *ret_second)
{
	struct scan s = SCAN_INIT(text, strlen(text));
	uint64_t first, second;

	if (scan_lit(&s, type) < 0 || scan_char(&s, '[') < 0 || scan_prefixed_hex(&s, &first) < 0 ||
	    scan_char(&s, ':') < 0 || scan_prefixed_hex(&s, &second) < 0 || scan_char(&s, ']') < 0 || s.p != s.end)
		return -EINVAL;
	*ret_first = first;
	*ret_second = second;
	return 0;
}

bool inherit_key_matches(const char *given, const char *key)
{
	static const char *const types[] = { "file", "tty" };
	uint64_t a[2], b[2];

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (external_pair_parse(given, types[i], &a[0], &a[1]) == 0 &&
		    external_pair_parse(key, types[i], &b[0], &b[1]) == 0)
			return a[0] == b[0] && a[1] == b[1];
	return strcmp(given, key) == 0;
}

/* ------------------------------------------------------------------- dump */

static bool external_has(const struct file_table *t, const char *type, uint64_t first, uint64_t second)
{
	const struct proto_str_vec *v = &t->ctx->opts->rpc->external;
	uint64_t a, b;

	for (size_t i = 0; i < v->nr; i++)
		if (external_pair_parse(v->items[i], type, &a, &b) == 0 && a == first && b == second)
			return true;
	return false;
}

const char *external_file_key(struct file_table *t, const struct open_file *f)
{
	char key[64];
	int len;

	if (!t->ctx->opts->rpc->external.nr || !external_has(t, "file", f->mnt_id, f->facts.st.st_ino))
		return NULL;
	len = snprintf(key, sizeof(key), "file[%x:%llx]", f->mnt_id, (unsigned long long)f->facts.st.st_ino);
	return pool_text(&t->pool, key, (size_t)len);
}

bool external_tty(const struct file_table *t, const struct open_file *f)
{
	return external_has(t, "tty", f->facts.st.st_rdev, f->facts.st.st_dev);
}
