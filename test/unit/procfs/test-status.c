/* /proc/PID/status: kernels old and new, tasks of all kinds, long lists, and damage. */
#include "procfs/status.h"

#include "base/buf.h"
#include "procfs/sample.h"

#include <linux/prctl.h>
#include <stdio.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	autostatus struct proc_status st = { 0 };
	int r = proc_status_parse(text, len, &st, err);

	if (r == 0) {
		assert_true(st.ns_pid.nr <= PROC_NS_LEVELS);
		for (uint32_t i = 0; i < st.nr_groups; i++)
			assert_true(st.groups[i] <= UINT32_MAX);
		assert_true(st.cpus_allowed.nr_words == 0 || st.cpus_allowed.words[0] <= UINT32_MAX);
	}
	return r;
}

static void load(const char *name, struct proc_status *st)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_status_parse(text, len, st, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void plain(void **state)
{
	autostatus struct proc_status st = { 0 };

	(void)state;
	load("linux-6.18-plain/status", &st);
	assert_int_equal(st.umask, 022);
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.tgid, st.pid);
	assert_int_equal(st.uid[0] | st.uid[1] | st.uid[2] | st.uid[3], 0);
	assert_int_equal(st.nr_groups, 0);
	assert_int_equal(st.ns_pid.nr, 1);
	assert_int_equal(st.ns_pid.ids[0], st.pid);
	assert_int_equal(st.ns_sid.ids[0], 3251);
	assert_int_equal(st.threads, 1);
	assert_int_equal(st.cap_eff, 0x1fffeffffff);
	assert_int_equal(st.sigq_limit, 96365);
	assert_int_equal(st.spec_ssb, PR_SPEC_ENABLE);
	assert_int_equal(st.spec_ib, PR_SPEC_ENABLE);
	assert_int_equal(st.cpus_allowed.nr_words, 1);
	assert_int_equal(st.cpus_allowed.words[0], 3);
	assert_int_equal(st.mems_allowed.nr_words, 32);
	assert_int_equal(st.mems_allowed.words[0], 1);
	assert_int_equal(st.mems_allowed.words[31], 0);
	assert_true(st.lines & PROC_STATUS_KTHREAD);
	assert_true(st.lines & PROC_STATUS_THP_ENABLED);
	assert_true(st.lines & PROC_STATUS_VMSWAP);
	assert_true(st.vm_rss_kb > 0);
	assert_true(st.lines & PROC_STATUS_VMLCK);
	assert_false(st.lines & PROC_STATUS_SHADOW_STACK);
}

static void other_tasks(void **state)
{
	struct proc_status st = { 0 };

	(void)state;
	load("linux-6.18-zombie/status", &st);
	assert_int_equal(st.state, 'Z');
	assert_false(st.lines & (PROC_STATUS_UMASK | PROC_STATUS_VMRSS));
	assert_int_equal(st.sig_ign, 6);
	proc_status_done(&st);
	load("linux-6.18-kthread/status", &st);
	assert_int_equal(st.kthread, 1);
	proc_status_done(&st);
	load("linux-6.18-pidns/status", &st);
	assert_int_equal(st.ns_pid.nr, 2);
	assert_int_equal(st.ns_pid.ids[0], 13242);
	assert_int_equal(st.ns_pid.ids[1], 1);
	assert_int_equal(st.ns_sid.ids[1], 0);
	proc_status_done(&st);
	load("linux-6.18-threads/status", &st);
	assert_int_equal(st.threads, 3);
	proc_status_done(&st);
	proc_status_done(&st);
}

static void older_kernels(void **state)
{
	struct proc_status st = { 0 };

	(void)state;
	load("linux-5.10/status", &st);
	assert_false(st.lines & (PROC_STATUS_KTHREAD | PROC_STATUS_SPEC_IB));
	assert_int_equal(st.spec_ib, -1);
	assert_true(st.lines & PROC_STATUS_SECCOMP_FILTERS);
	proc_status_done(&st);
	load("linux-6.1/status", &st);
	assert_false(st.lines & (PROC_STATUS_KTHREAD | PROC_STATUS_SHADOW_STACK));
	assert_true(st.lines & PROC_STATUS_SPEC_IB);
	assert_int_equal(st.spec_ssb, PR_SPEC_NOT_AFFECTED);
	assert_int_equal(st.threads, 3);
	proc_status_done(&st);
	load("linux-6.12/status", &st);
	assert_true(st.lines & PROC_STATUS_KTHREAD);
	assert_int_equal(st.vm_lck_kb, 12);
	assert_true(st.lines & PROC_STATUS_SHADOW_STACK);
	assert_int_equal(st.shadow_stack, 0);
	proc_status_done(&st);
	load("linux-6.12/kthread-status", &st);
	assert_int_equal(st.kthread, 1);
	proc_status_done(&st);
	load("linux-6.1/zombie-status", &st);
	assert_int_equal(st.state, 'Z');
	proc_status_done(&st);
}

#define BASE                                                                                                          \
	"State:\tR "                                                                                                  \
	"(running)\nTgid:\t1\nPid:\t1\nPPid:\t0\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t4294967295\n"        \
	"Threads:\t1\nSigPnd:\t0\nShdPnd:\t0\nSigBlk:\tffffffffffffffff\nSigIgn:\t0\nSigCgt:\t0\nCapInh:\t0\nCapPrm:" \
	"\t0\n"                                                                                                       \
	"CapEff:\t0\nCapBnd:\t0\n"

static void lists(void **state)
{
	const char *text =
		BASE "Groups:\t4 24 4294967294 \nCpus_allowed:\t1,00000000,ffffffff\nWhat:\tis this\n"
		     "x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk wrss \n"
		     "Speculation_Store_Bypass:\tthread force mitigated\nSpeculationIndirectBranch:\tnew words\n";
	autostatus struct proc_status st = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	if (proc_status_parse(text, strlen(text), &st, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(st.nr_groups, 3);
	assert_int_equal(st.groups[0], 4);
	assert_int_equal(st.groups[2], 4294967294);
	assert_int_equal(st.gid[3], UINT32_MAX);
	assert_int_equal(st.cpus_allowed.nr_words, 3);
	assert_int_equal(st.cpus_allowed.words[0], 0xffffffff);
	assert_int_equal(st.cpus_allowed.words[2], 1);
	assert_int_equal(st.mems_allowed.nr_words, 0);
	assert_int_equal(st.shadow_stack, 3);
	assert_int_equal(st.spec_ssb, PR_SPEC_PRCTL | PR_SPEC_FORCE_DISABLE);
	assert_int_equal(st.spec_ib, -1);
	assert_int_equal(st.sig_blk, UINT64_MAX);
}

static void names(void **state)
{
	static const struct {
		const char *line, *comm;
	} rows[] = {
		{ "", "" },
		{ "Name:\tplain\n", "plain" },
		{ "Name:\t  two blanks \n", "  two blanks " },
		{ "Name:\t\n", "" },
		{ "Name:\ta\\nb\\\\n\n", "a\nb\\n" },
		{ "Name:\t:x\ty\n", ":x\ty" },
		{ "Name:\tcut\\\n", "cut\\" },
	};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		autostatus struct proc_status st = { 0 };
		struct cr_error err = { 0 };
		int len = snprintf(text, sizeof(text), "%s" BASE, rows[i].line);

		assert_int_equal(proc_status_parse(text, (size_t)len, &st, &err), 0);
		assert_string_equal(st.comm, rows[i].comm);
	}
}

static void most_groups(void **state)
{
	autobuf struct buf text = BUF_INIT(4u << 20);
	autostatus struct proc_status st = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(buf_printf(&text, BASE "Groups:\t"), 0);
	for (unsigned int i = 0; i < 65536; i++)
		assert_int_equal(buf_printf(&text, "%u ", i * 3), 0);
	assert_int_equal(buf_printf(&text, "\n"), 0);
	assert_int_equal(proc_status_parse(text.data, text.len, &st, &err), 0);
	assert_int_equal(st.nr_groups, 65536);
	assert_int_equal(st.groups[65535], 65535 * 3);
	text.data[text.len - 1] = ' ';
	assert_int_equal(buf_printf(&text, "1 \n"), 0);
	assert_int_equal(parse(text.data, text.len, &err), -ERANGE);
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "empty", "", -EINVAL, "no line State" },
		{ "line missing", "State:\tR (running)\nTgid:\t1\n", -EINVAL, "no line Pid" },
		{ "not ended", BASE "Seccomp:\t2", -EINVAL, "cut off" },
		{ "pid too large", "Pid:\t2147483648\n", -ERANGE, "line Pid" },
		{ "pid with a tail", "Pid:\t1x\n", -EINVAL, "line Pid" },
		{ "three uids", "Uid:\t1\t2\t3\n", -EINVAL, "line Uid" },
		{ "five uids", "Uid:\t1\t2\t3\t4\t5\n", -EINVAL, "line Uid" },
		{ "uid too large", "Uid:\t1\t2\t3\t4294967296\n", -ERANGE, "line Uid" },
		{ "signals too wide", "SigBlk:\t1ffffffffffffffff\n", -ERANGE, "line SigBlk" },
		{ "umask not octal", "Umask:\t0028\n", -EINVAL, "line Umask" },
		{ "memory without unit", "VmRSS:\t12\n", -EINVAL, "line VmRSS" },
		{ "queue without limit", "SigQ:\t0\n", -EINVAL, "line SigQ" },
		{ "no ids", "NSpid:\t\n", -EINVAL, "line NSpid" },
		{ "too many levels", "NSpid:\t1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n",
		  -ERANGE, "line NSpid" },
		{ "group is a word", BASE "Groups:\t1 x \n", -EINVAL, "line Groups" },
		{ "group too large", BASE "Groups:\t4294967296 \n", -ERANGE, "line Groups" },
		{ "processors too wide", BASE "Cpus_allowed:\t1ffffffff\n", -ERANGE, "line Cpus_allowed" },
		{ "processors with a tail", BASE "Cpus_allowed:\tff,\n", -EINVAL, "line Cpus_allowed" },
		{ "nodes not hexadecimal", BASE "Mems_allowed:\tg\n", -EINVAL, "line Mems_allowed" },
		{ "state of two letters", "State:\tRR\n", -EINVAL, "line State" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-pidns/status", parse);
	sample_hurt("linux-6.18-zombie/status", parse);
	sample_hurt("linux-5.10/status", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),   cmocka_unit_test(other_tasks), cmocka_unit_test(older_kernels),
		cmocka_unit_test(lists),   cmocka_unit_test(names),       cmocka_unit_test(most_groups),
		cmocka_unit_test(refused), cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
