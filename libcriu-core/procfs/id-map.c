/* Parsing of uid_map and gid_map; see id-map.h. */
#include "procfs/id-map.h"

#include "base/error.h"
#include "procfs/scan.h"

static int extent_scan(struct scan *s, struct proc_id_extent *e)
{
	uint32_t *const numbers[] = { &e->inside, &e->outside, &e->count };

	for (int i = 0; i < 3; i++) {
		int r;

		scan_blanks(s);
		r = scan_dec32(s, numbers[i]);
		if (r < 0)
			return r;
		if (s->p < s->end && !scan_blank(*s->p))
			return -EINVAL;
	}
	scan_blanks(s);
	if (s->p != s->end || e->count == 0)
		return -EINVAL;
	/* all ids: "0 0 4294967295" ends at the last valid one */
	if (e->count - 1 > UINT32_MAX - e->inside)
		return -ERANGE;
	if (e->outside != UINT32_MAX && e->count - 1 > UINT32_MAX - e->outside)
		return -ERANGE;
	return 0;
}

int proc_id_map_parse(const char *text, size_t len, struct proc_id_map *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	int r;

	ret->nr = 0;
	while ((r = scan_line(&s, &line)) > 0) {
		if (ret->nr == PROC_ID_EXTENTS_MAX)
			return cr_fail(err, -E2BIG, "id map");
		r = extent_scan(&line, &ret->extents[ret->nr]);
		if (r < 0)
			return cr_fail(err, r, "id map: line %u", ret->nr + 1);
		ret->nr++;
	}
	return r < 0 ? cr_fail(err, r, "id map: cut off") : 0;
}

static int id_map_read(const struct proc_dir *d, const char *name, struct proc_id_map *ret, struct cr_error *err)
{
	/* three columns of at least ten and the blanks between them make 33 bytes a line */
	char text[PROC_ID_EXTENTS_MAX * 40];
	ssize_t n = proc_read_small(d, name, text, sizeof(text), err);

	if (n < 0)
		return (int)n;
	return cr_within(err, proc_id_map_parse(text, (size_t)n, ret, err), "task %d: %s", d->pid, name);
}

int proc_uid_map_read(const struct proc_dir *d, struct proc_id_map *ret, struct cr_error *err)
{
	return id_map_read(d, "uid_map", ret, err);
}

int proc_gid_map_read(const struct proc_dir *d, struct proc_id_map *ret, struct cr_error *err)
{
	return id_map_read(d, "gid_map", ret, err);
}
