/* Parsing of /proc/PID/status; see status.h. */
#include "procfs/status.h"

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "procfs/scan.h"

#include <assert.h>
#include <limits.h>
#include <linux/prctl.h>
#include <stdlib.h>

/* CONFIG_NR_CPUS ends at 8192 and nodes at 1024; room for kernels to grow */
#define BITS_WORDS_MAX 2048

enum status_kind {
	LINE_DEC32,
	LINE_INT,
	LINE_OCT32,
	LINE_HEX64,
	LINE_KB,
	LINE_IDS4,
	LINE_NS_IDS,
	LINE_STATE,
	LINE_SIGQ,
	LINE_GROUPS,
	LINE_BITS,
	LINE_SPEC,
	LINE_FEATURES,
	LINE_NAME,
};

struct status_row {
	const char *name;
	uint8_t len; /* of the name */
	enum status_kind kind;
	uint32_t bit; /* PROC_STATUS_*, 0: the line must be there or its absence shows in the value */
	uint8_t must; /* its absence is a failure */
	size_t at;
};

#define ROW(name, kind, bit, must, field)                                                    \
	{                                                                                    \
		name, sizeof(name) - 1, kind, bit, must, offsetof(struct proc_status, field) \
	}

/* In the order of proc_pid_status() in fs/proc/array.c: the search below begins where the last one ended. */
static const struct status_row status_rows[] = {
	ROW("Name", LINE_NAME, 0, 0, comm),
	ROW("Umask", LINE_OCT32, PROC_STATUS_UMASK, 0, umask),
	ROW("State", LINE_STATE, 0, 1, state),
	ROW("Tgid", LINE_INT, 0, 1, tgid),
	ROW("Ngid", LINE_INT, PROC_STATUS_NGID, 0, ngid),
	ROW("Pid", LINE_INT, 0, 1, pid),
	ROW("PPid", LINE_INT, 0, 1, ppid),
	ROW("TracerPid", LINE_INT, 0, 1, tracer_pid),
	ROW("Uid", LINE_IDS4, 0, 1, uid),
	ROW("Gid", LINE_IDS4, 0, 1, gid),
	ROW("FDSize", LINE_DEC32, PROC_STATUS_FDSIZE, 0, fd_size),
	ROW("Groups", LINE_GROUPS, PROC_STATUS_GROUPS, 0, groups),
	ROW("NStgid", LINE_NS_IDS, 0, 0, ns_tgid),
	ROW("NSpid", LINE_NS_IDS, 0, 0, ns_pid),
	ROW("NSpgid", LINE_NS_IDS, 0, 0, ns_pgid),
	ROW("NSsid", LINE_NS_IDS, 0, 0, ns_sid),
	ROW("Kthread", LINE_DEC32, PROC_STATUS_KTHREAD, 0, kthread),
	ROW("VmLck", LINE_KB, PROC_STATUS_VMLCK, 0, vm_lck_kb),
	ROW("VmRSS", LINE_KB, PROC_STATUS_VMRSS, 0, vm_rss_kb),
	ROW("VmSwap", LINE_KB, PROC_STATUS_VMSWAP, 0, vm_swap_kb),
	ROW("CoreDumping", LINE_DEC32, PROC_STATUS_CORE_DUMPING, 0, core_dumping),
	ROW("THP_enabled", LINE_DEC32, PROC_STATUS_THP_ENABLED, 0, thp_enabled),
	ROW("Threads", LINE_DEC32, 0, 1, threads),
	ROW("SigQ", LINE_SIGQ, PROC_STATUS_SIGQ, 0, sigq_used),
	ROW("SigPnd", LINE_HEX64, 0, 1, sig_pnd),
	ROW("ShdPnd", LINE_HEX64, 0, 1, shd_pnd),
	ROW("SigBlk", LINE_HEX64, 0, 1, sig_blk),
	ROW("SigIgn", LINE_HEX64, 0, 1, sig_ign),
	ROW("SigCgt", LINE_HEX64, 0, 1, sig_cgt),
	ROW("CapInh", LINE_HEX64, 0, 1, cap_inh),
	ROW("CapPrm", LINE_HEX64, 0, 1, cap_prm),
	ROW("CapEff", LINE_HEX64, 0, 1, cap_eff),
	ROW("CapBnd", LINE_HEX64, 0, 1, cap_bnd),
	ROW("CapAmb", LINE_HEX64, PROC_STATUS_CAP_AMB, 0, cap_amb),
	ROW("NoNewPrivs", LINE_DEC32, PROC_STATUS_NO_NEW_PRIVS, 0, no_new_privs),
	ROW("Seccomp", LINE_DEC32, PROC_STATUS_SECCOMP, 0, seccomp),
	ROW("Seccomp_filters", LINE_DEC32, PROC_STATUS_SECCOMP_FILTERS, 0, seccomp_filters),
	ROW("Speculation_Store_Bypass", LINE_SPEC, PROC_STATUS_SPEC_SSB, 0, spec_ssb),
	ROW("SpeculationIndirectBranch", LINE_SPEC, PROC_STATUS_SPEC_IB, 0, spec_ib),
	ROW("Cpus_allowed", LINE_BITS, PROC_STATUS_CPUS, 0, cpus_allowed),
	ROW("Mems_allowed", LINE_BITS, PROC_STATUS_MEMS, 0, mems_allowed),
	ROW("x86_Thread_features", LINE_FEATURES, PROC_STATUS_SHADOW_STACK, 0, shadow_stack),
};

static_assert(ARRAY_LEN(status_rows) <= 64, "one bit each while parsing");

/* Words of the two Speculation lines and what prctl(PR_GET_SPECULATION_CTRL) answers when they are shown */
static const struct {
	const char *word;
	int value;
} speculation_words[] = {
	{ "unknown", -1 },
	{ "unsupported", -1 },
	{ "not vulnerable", PR_SPEC_NOT_AFFECTED },
	{ "thread force mitigated", PR_SPEC_PRCTL | PR_SPEC_FORCE_DISABLE },
	{ "thread mitigated", PR_SPEC_PRCTL | PR_SPEC_DISABLE },
	{ "thread vulnerable", PR_SPEC_PRCTL | PR_SPEC_ENABLE },
	{ "globally mitigated", PR_SPEC_DISABLE },
	{ "vulnerable", PR_SPEC_ENABLE },
	{ "not affected", PR_SPEC_NOT_AFFECTED },
	{ "conditional force disabled", PR_SPEC_PRCTL | PR_SPEC_FORCE_DISABLE },
	{ "conditional disabled", PR_SPEC_PRCTL | PR_SPEC_DISABLE },
	{ "conditional enabled", PR_SPEC_PRCTL | PR_SPEC_ENABLE },
	{ "always enabled", PR_SPEC_ENABLE },
	{ "always disabled", PR_SPEC_DISABLE },
};

/* Texts whose values go to the heap: taken down on the way, parsed when all sizes are known. */
struct status_lists {
	struct scan groups, cpus, mems;
};

static int speculation_parse(const struct scan *s, int *ret)
{
	*ret = -1;
	for (size_t i = 0; i < ARRAY_LEN(speculation_words); i++)
		if (scan_is(s, speculation_words[i].word))
			*ret = speculation_words[i].value;
	return 0;
}

/* "shstk wrss " of arch_proc_pid_thread_features(), Linux 6.6 */
static int features_parse(struct scan *s, uint32_t *ret)
{
	struct scan word;

	for (scan_blanks(s); scan_word(s, &word) == 0; scan_blanks(s)) {
		if (scan_is(&word, "shstk"))
			*ret |= 1u << 0;
		else if (scan_is(&word, "wrss"))
			*ret |= 1u << 1;
	}
	return 0;
}

static int ids4_scan(struct scan *s, uint32_t ids[4])
{
	int r = 0;

	for (int i = 0; i < 4 && r == 0; i++) {
		scan_blanks(s);
		r = scan_dec32(s, &ids[i]);
	}
	return r;
}

static int ns_ids_scan(struct scan *s, struct proc_ns_ids *ids)
{
	ids->nr = 0;
	for (scan_blanks(s); s->p < s->end; scan_blanks(s)) {
		int r;

		if (ids->nr == PROC_NS_LEVELS)
			return -ERANGE;
		r = scan_int(s, &ids->ids[ids->nr]);
		if (r < 0)
			return r;
		ids->nr++;
	}
	return ids->nr ? 0 : -EINVAL;
}

static int sigq_scan(struct scan *s, struct proc_status *st)
{
	int r = scan_dec(s, &st->sigq_used);

	if (r == 0)
		r = scan_char(s, '/');
	return r < 0 ? r : scan_dec(s, &st->sigq_limit);
}

static int oct32_scan(struct scan *s, uint32_t *ret)
{
	uint64_t v;
	int r = scan_oct(s, &v);

	if (r < 0)
		return r;
	if (v > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)v;
	return 0;
}

static int state_scan(struct scan *s, char *ret)
{
	struct scan word;

	/* "S (sleeping)": the letter, then its meaning */
	if (scan_word(s, &word) < 0 || scan_left(&word) != 1)
		return -EINVAL;
	*ret = *word.p;
	s->p = s->end;
	return 0;
}

/* A line feed is shown as \n, a backslash as two; proc_task_name() in fs/proc/array.c */
static int name_scan(struct scan *s, char ret[static PROC_COMM_MAX + 1])
{
	size_t len = 0;

	while (s->p < s->end) {
		char c = *s->p++;

		if (c == '\\' && s->p < s->end) {
			c = *s->p++;
			c = c == 'n' ? '\n' : c;
		}
		if (len == PROC_COMM_MAX)
			return -ERANGE;
		ret[len++] = c;
	}
	ret[len] = 0;
	return 0;
}

static int status_value_scan(struct scan *s, const struct status_row *row, struct proc_status *st,
			     struct status_lists *lists)
{
	char *at = (char *)st + row->at;
	int r;

	switch (row->kind) {
	case LINE_DEC32:
		return scan_dec32(s, (uint32_t *)at);
	case LINE_INT:
		return scan_int(s, (int *)at);
	case LINE_OCT32:
		return oct32_scan(s, (uint32_t *)at);
	case LINE_HEX64:
		return scan_hex(s, (uint64_t *)at);
	case LINE_KB:
		r = scan_dec(s, (uint64_t *)at);
		return r < 0 ? r : scan_lit(s, " kB");
	case LINE_IDS4:
		return ids4_scan(s, (uint32_t *)at);
	case LINE_NS_IDS:
		return ns_ids_scan(s, (struct proc_ns_ids *)at);
	case LINE_STATE:
		return state_scan(s, at);
	case LINE_SIGQ:
		return sigq_scan(s, st);
	case LINE_SPEC:
		r = speculation_parse(s, (int *)at);
		break;
	case LINE_FEATURES:
		r = features_parse(s, (uint32_t *)at);
		break;
	case LINE_NAME:
		return name_scan(s, at);
	case LINE_GROUPS:
		lists->groups = *s;
		r = 0;
		break;
	case LINE_BITS:
		*(row->bit == PROC_STATUS_CPUS ? &lists->cpus : &lists->mems) = *s;
		r = 0;
		break;
	default:
		return -EINVAL;
	}
	s->p = s->end;
	return r;
}

static const struct status_row *status_row_find(const struct scan *key, size_t *hint)
{
	size_t len = scan_left(key);

	for (size_t i = 0; i < ARRAY_LEN(status_rows); i++) {
		size_t at = *hint + i < ARRAY_LEN(status_rows) ? *hint + i : *hint + i - ARRAY_LEN(status_rows);

		if (status_rows[at].len == len && memcmp(status_rows[at].name, key->p, len) == 0) {
			*hint = at + 1 == ARRAY_LEN(status_rows) ? 0 : at + 1;
			return &status_rows[at];
		}
	}
	return NULL;
}

static size_t count_char(const struct scan *s, char c)
{
	size_t nr = 0;

	for (const char *p = s->p; p < s->end; p++)
		nr += *p == c;
	return nr;
}

/* "4 24 27 ": ids, each followed by a blank */
static int groups_scan(struct scan s, uint32_t *ids, size_t max, uint32_t *ret_nr)
{
	uint32_t nr = 0;

	for (scan_blanks(&s); s.p < s.end; scan_blanks(&s)) {
		int r;

		if (nr == max)
			return -ERANGE;
		r = scan_dec32(&s, &ids[nr]);
		if (r < 0)
			return r;
		if (s.p < s.end && !scan_blank(*s.p))
			return -EINVAL;
		nr++;
	}
	*ret_nr = nr;
	return 0;
}

/* "3,ffffffff": words of 32 bits, the highest first */
static int bits_scan(struct scan s, uint32_t *words, size_t nr, struct proc_bits *ret)
{
	for (size_t i = nr; i-- > 0;) {
		int r = scan_hex32(&s, &words[i]);

		if (r == 0 && i > 0)
			r = scan_char(&s, ',');
		if (r < 0)
			return r;
	}
	if (s.p != s.end)
		return -EINVAL;
	*ret = (struct proc_bits){ .nr_words = (uint32_t)nr, .words = words };
	return 0;
}

static int status_lists_parse(const struct status_lists *lists, struct proc_status *st, struct cr_error *err)
{
	size_t groups = count_char(&lists->groups, ' ') + 1;
	size_t cpus = lists->cpus.p ? count_char(&lists->cpus, ',') + 1 : 0;
	size_t mems = lists->mems.p ? count_char(&lists->mems, ',') + 1 : 0;
	int r = 0;

	if (groups > NGROUPS_MAX + 1)
		return cr_fail(err, -ERANGE, "status: line Groups");
	if (cpus > BITS_WORDS_MAX || mems > BITS_WORDS_MAX)
		return cr_fail(err, -ERANGE, "status: line %s",
			       cpus > BITS_WORDS_MAX ? "Cpus_allowed" : "Mems_allowed");
	st->heap = malloc((groups + cpus + mems) * sizeof(*st->heap));
	if (!st->heap)
		return cr_fail(err, -ENOMEM, "status");
	st->groups = st->heap;
	r = groups_scan(lists->groups, st->heap, groups, &st->nr_groups);
	if (r < 0)
		return cr_fail(err, r, "status: line Groups");
	if (cpus)
		r = bits_scan(lists->cpus, st->heap + groups, cpus, &st->cpus_allowed);
	if (r < 0)
		return cr_fail(err, r, "status: line Cpus_allowed");
	if (mems)
		r = bits_scan(lists->mems, st->heap + groups + cpus, mems, &st->mems_allowed);
	if (r < 0)
		return cr_fail(err, r, "status: line Mems_allowed");
	return 0;
}

static int status_line_parse(struct scan line, size_t *hint, uint64_t *seen, struct proc_status *st,
			     struct status_lists *lists, struct cr_error *err)
{
	const struct status_row *row;
	struct scan key;
	int r;

	if (scan_until(&line, ':', &key) < 0)
		return 0;
	row = status_row_find(&key, hint);
	if (!row)
		return 0;
	if (row->kind != LINE_NAME)
		scan_blanks(&line);
	else if (line.p < line.end && *line.p == '\t')
		line.p++; /* a name may begin with blanks */
	r = status_value_scan(&line, row, st, lists);
	if (r == 0 && line.p != line.end)
		r = -EINVAL;
	if (r < 0)
		return cr_fail(err, r, "status: line %s", row->name);
	*seen |= UINT64_C(1) << (row - status_rows);
	st->lines |= row->bit;
	return 0;
}

static int status_lines_parse(const char *text, size_t len, struct proc_status *st, struct status_lists *lists,
			      struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len), line;
	uint64_t seen = 0;
	size_t hint = 0;
	int r;

	while ((r = scan_line(&s, &line)) > 0) {
		r = status_line_parse(line, &hint, &seen, st, lists, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return cr_fail(err, r, "status: cut off");
	for (size_t i = 0; i < ARRAY_LEN(status_rows); i++)
		if (status_rows[i].must && !(seen & UINT64_C(1) << i))
			return cr_fail(err, -EINVAL, "status: no line %s", status_rows[i].name);
	return 0;
}

int proc_status_parse(const char *text, size_t len, struct proc_status *ret, struct cr_error *err)
{
	struct proc_status st = { .spec_ssb = -1, .spec_ib = -1 };
	struct status_lists lists = { 0 };
	int r = status_lines_parse(text, len, &st, &lists, err);

	if (r == 0)
		r = status_lists_parse(&lists, &st, err);
	if (r < 0) {
		proc_status_done(&st);
		return r;
	}
	*ret = st;
	return 0;
}

int proc_status_read(const struct proc_dir *d, struct proc_status *ret, struct cr_error *err)
{
	/* almost always a page is enough, but 65536 groups fill far more */
	char page[4096];
	autobuf struct buf text = BUF_INIT(4u << 20);
	ssize_t n = proc_read_small(d, "status", page, sizeof(page), NULL);
	int r;

	if (n >= 0) {
		r = proc_status_parse(page, (size_t)n, ret, err);
	} else {
		r = proc_read_buf(d, "status", &text, err);
		if (r < 0)
			return r;
		r = proc_status_parse(text.data, text.len, ret, err);
	}
	return cr_within(err, r, "task %d", d->pid);
}

void proc_status_done(struct proc_status *s)
{
	free(s->heap);
	s->heap = NULL;
	s->groups = NULL;
	s->nr_groups = 0;
	s->cpus_allowed = s->mems_allowed = (struct proc_bits){ 0 };
}
