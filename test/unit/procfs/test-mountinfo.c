/* /proc/PID/mountinfo */
#include "procfs/mountinfo.h"

#include "base/buf.h"
#include "procfs/sample.h"

static int parse(const char *text, size_t len, struct cr_error *err)
{
	automounts struct proc_mount_list l = { 0 };
	int r = proc_mountinfo_parse(text, len, &l, err);

	for (size_t i = 0; i < l.nr; i++) {
		const struct proc_mount *m = &l.items[i];

		assert_true(strlen(m->root) && strlen(m->mountpoint) && strlen(m->fstype));
		assert_true(strlen(m->options) + strlen(m->source) + strlen(m->sb_options) < len);
	}
	return r;
}

static void load(const char *name, struct proc_mount_list *l)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (proc_mountinfo_parse(text, len, l, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
}

static void recorded(void **state)
{
	automounts struct proc_mount_list l = { 0 };

	(void)state;
	load("linux-6.18-plain/mountinfo", &l);
	assert_int_equal(l.nr, 19);
	assert_int_equal(l.items[0].id, 22);
	assert_int_equal(l.items[0].parent_id, 27);
	assert_int_equal(l.items[0].dev_major, 0);
	assert_int_equal(l.items[0].dev_minor, 21);
	assert_string_equal(l.items[0].mountpoint, "/proc");
	assert_string_equal(l.items[5].source, "/dev/vda");
	assert_string_equal(l.items[5].options, "rw,relatime");
	assert_string_equal(l.items[5].sb_options, "rw,discard,resv_strict,resuid=65534,resgid=65534");
}

static void other_kernels(void **state)
{
	static const char *const names[] = { "linux-6.1/mountinfo", "linux-6.12/mountinfo" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		automounts struct proc_mount_list l = { 0 };

		load(names[i], &l);
		assert_int_equal(l.nr, 3);
		assert_string_equal(l.items[0].fstype, "rootfs");
		assert_int_equal(l.items[0].parent_id, l.items[0].id);
	}
}

static void all_fields(void **state)
{
	automounts struct proc_mount_list l = { 0 };

	(void)state;
	load("hand/mountinfo", &l);
	assert_int_equal(l.nr, 5);
	assert_int_equal(l.items[0].master, 1);
	assert_int_equal(l.items[0].shared, 0);
	assert_string_equal(l.items[0].root, "/mnt1");
	assert_string_equal(l.items[1].mountpoint, "/with blank\ttab\\back#hash");
	assert_int_equal(l.items[1].shared, 7);
	assert_int_equal(l.items[1].master, 3);
	assert_int_equal(l.items[1].propagate_from, 2);
	assert_string_equal(l.items[1].fstype, "fuse.sshfs");
	assert_string_equal(l.items[1].source, "user@host:/a b");
	assert_string_equal(l.items[2].root, "net:[4026532008]");
	assert_true(l.items[3].unbindable);
	assert_string_equal(l.items[3].source, "");
	assert_string_equal(l.items[3].sb_options, "rw,size=4k");
	assert_string_equal(l.items[4].root, "/gone//deleted");
}

static void long_line(void **state)
{
	autobuf struct buf text = BUF_INIT(1u << 20);
	automounts struct proc_mount_list l = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(buf_printf(&text, "1 1 0:1 / / rw - overlay overlay rw,lowerdir="), 0);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(buf_printf(&text, "/layer\\040%d:", i), 0);
	assert_int_equal(buf_printf(&text, "\n"), 0);
	assert_int_equal(proc_mountinfo_parse(text.data, text.len, &l, &err), 0);
	assert_true(strlen(l.items[0].sb_options) > 50000);
	assert_non_null(strstr(l.items[0].sb_options, "/layer 4999:"));
}

static void refused(void **state)
{
	static const struct bad_text rows[] = {
		{ "not a number", "x 1 0:1 / / rw - a b rw\n", -EINVAL, "line 1: field ids" },
		{ "id too large", "2147483648 1 0:1 / / rw - a b rw\n", -ERANGE, "line 1: field ids" },
		{ "device", "1 1 0-1 / / rw - a b rw\n", -EINVAL, "field ids and device" },
		{ "no separator", "1 1 0:1 / / rw shared:1 a b rw\n", -EINVAL, "field separator" },
		{ "group", "1 1 0:1 / / rw shared:x - a b rw\n", -EINVAL, "field peer group" },
		{ "group too large", "1 1 0:1 / / rw master:2147483648 - a b rw\n", -ERANGE, "field peer group" },
		{ "empty root", "1 1 0:1  / rw - a b rw\n", -EINVAL, "field root" },
		{ "empty type", "1 1 0:1 / / rw -  b rw\n", -EINVAL, "field file system type" },
		{ "no options", "1 1 0:1 / / rw - a b\n", -EINVAL, "field file system options" },
		{ "NUL escaped", "1 1 0:1 /\\000 / rw - a b rw\n", -EINVAL, "field root" },
		{ "too large a byte", "1 1 0:1 / /\\777 rw - a b rw\n", -EINVAL, "field mount point" },
		{ "second line", "1 1 0:1 / / rw - a b rw\n2 1 \n", -EINVAL, "line 2: field ids" },
		{ "cut off", "1 1 0:1 / / rw - a b rw", -EINVAL, "cut off in line 1" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-plain/mountinfo", parse);
	sample_hurt("hand/mountinfo", parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded),  cmocka_unit_test(other_kernels), cmocka_unit_test(all_fields),
		cmocka_unit_test(long_line), cmocka_unit_test(refused),       cmocka_unit_test(damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
