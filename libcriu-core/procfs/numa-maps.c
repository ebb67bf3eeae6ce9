/* Parsing of the policies in /proc/PID/numa_maps; see numa-maps.h. */
#include "procfs/numa-maps.h"

#include "base/buf.h"
#include "base/error.h"
#include "kernel/uapi.h"
#include "procfs/scan.h"

#include <linux/mempolicy.h>

#define NUMA_TEXT_MAX     ((size_t)512 << 20)
#define NUMA_POLICIES_MAX ((size_t)1 << 22)

/* mm/mempolicy.c, policy_modes[]; two of them hold a blank. A name that another begins with comes after it. */
static const struct {
	const char *name;
	uint16_t mode;
} policy_names[] = {
	{ "prefer (many)", UAPI_MPOL_PREFERRED_MANY },
	{ "prefer", MPOL_PREFERRED },
	{ "bind", MPOL_BIND },
	{ "interleave", MPOL_INTERLEAVE },
	{ "weighted interleave", UAPI_MPOL_WEIGHTED_INTERLEAVE },
	{ "local", UAPI_MPOL_LOCAL },
	{ "default", MPOL_DEFAULT },
};

static uint16_t policy_mode_scan(struct scan *s)
{
	for (size_t i = 0; i < ARRAY_LEN(policy_names); i++) {
		struct scan at = *s;

		if (scan_lit(&at, policy_names[i].name) == 0 &&
		    (at.p == at.end || *at.p == ' ' || *at.p == ':' || *at.p == '=')) {
			*s = at;
			return policy_names[i].mode;
		}
	}
	return PROC_MPOL_UNKNOWN;
}

/* "=static", "=relative|balancing" */
static int policy_flags_scan(struct scan *s, uint16_t *ret)
{
	do {
		s->p++;
		if (scan_lit(s, "static") == 0)
			*ret |= MPOL_F_STATIC_NODES;
		else if (scan_lit(s, "relative") == 0)
			*ret |= MPOL_F_RELATIVE_NODES;
		else if (scan_lit(s, "balancing") == 0)
			*ret |= MPOL_F_NUMA_BALANCING;
		else
			return -EINVAL;
	} while (s->p < s->end && *s->p == '|');
	return 0;
}

/* ":0-3,8" */
static int policy_nodes_scan(struct scan *s, uint64_t *nodes)
{
	do {
		uint32_t first, last;
		int r;

		s->p++;
		r = scan_dec32(s, &first);
		last = first;
		if (r == 0 && scan_char(s, '-') == 0)
			r = scan_dec32(s, &last);
		if (r < 0)
			return r;
		if (last < first || last >= PROC_NUMA_NODES_MAX)
			return -ERANGE;
		for (uint32_t n = first; n <= last; n++)
			nodes[n / 64] |= UINT64_C(1) << n % 64;
	} while (s->p < s->end && *s->p == ',');
	return 0;
}

static int numa_line_parse(struct scan s, struct proc_numa_policy *p)
{
	int r = scan_hex(&s, &p->addr);

	if (r == 0)
		r = scan_char(&s, ' ');
	if (r < 0)
		return r;
	if (s.p == s.end)
		return -EINVAL;
	p->mode = policy_mode_scan(&s);
	if (p->mode == PROC_MPOL_UNKNOWN)
		return 0;
	if (s.p < s.end && *s.p == '=')
		r = policy_flags_scan(&s, &p->flags);
	if (r == 0 && s.p < s.end && *s.p == ':')
		r = policy_nodes_scan(&s, p->nodes);
	if (r == 0 && s.p < s.end && *s.p != ' ')
		r = -EINVAL;
	return r;
}

int proc_numa_maps_parse(const char *text, size_t len, struct proc_numa_vec *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	size_t nr = 0;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		struct proc_numa_policy p = { 0 }, *item;

		nr++;
		r = numa_line_parse(line, &p);
		if (r < 0)
			return cr_fail(err, r, "numa_maps: line %zu", nr);
		if (p.mode == MPOL_DEFAULT)
			continue;
		if (ret->nr >= NUMA_POLICIES_MAX)
			return cr_fail(err, -E2BIG, "numa_maps");
		item = proc_numa_vec_add(ret);
		if (!item)
			return cr_fail(err, -ENOMEM, "numa_maps");
		*item = p;
	}
	return r < 0 ? cr_fail(err, r, "numa_maps: cut off") : 0;
}

int proc_numa_maps_read(const struct proc_dir *d, struct proc_numa_vec *ret, struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(NUMA_TEXT_MAX);
	int r = proc_read_buf(d, "numa_maps", &text, err);

	return r < 0 ? r : cr_within(err, proc_numa_maps_parse(text.data, text.len, ret, err), "task %d", d->pid);
}
