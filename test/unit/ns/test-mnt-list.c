/* Lists of mounts as images may have them, hostile ones included: trees, where each mount comes from, groups. */
#include "ns/mnt-parts.h"

#include <errno.h>
#include <linux/mount.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define END       \
	{         \
		0 \
	}

struct row {
	uint32_t id, parent, dev, fstype;
	const char *root, *at, *key;
	uint32_t shared, master;
	enum mnt_how how; /* expected */
	int origin;       /* index + 1; 0: not looked at */
};

static struct mnt_mounts list;
static img_mnt_entry entries[32];

static int arrange(const struct row *rows, struct cr_error *err)
{
	mnt_mounts_done(&list);
	memset(entries, 0, sizeof(entries));
	for (size_t i = 0; rows[i].id || rows[i].at; i++) {
		entries[i] = (img_mnt_entry){
			.fstype = rows[i].fstype,
			.mnt_id = rows[i].id,
			.root_dev = rows[i].dev,
			.parent_mnt_id = rows[i].parent,
			.root = (char *)rows[i].root,
			.mountpoint = (char *)rows[i].at,
			.source = (char *)"x",
			.options = (char *)"",
			.ext_key = (char *)rows[i].key,
			.has_shared_id = true,
			.has_master_id = true,
			.shared_id = rows[i].shared,
			.master_id = rows[i].master,
		};
		assert_int_equal(mnt_list_add(&list, &entries[i], err), 0);
	}
	return mnt_list_arrange(&list, err);
}

static void test_how(void **state)
{
	const struct row rows[] = {
		{ 10, 1, 5, 0, "/a/root", "/", NULL, 0, 0, MNT_ROOT, 0 },
		{ 11, 10, 20, img_fstype_PROC, "/", "/proc", NULL, 0, 0, MNT_NEW, 2 },
		{ 12, 11, 20, img_fstype_PROC, "/sys", "/proc/sys", NULL, 0, 0, MNT_NEW, 2 },
		{ 13, 10, 5, 0, "/a/root/data", "/mnt", NULL, 0, 0, MNT_BIND, 1 },
		{ 14, 10, 5, 0, "/elsewhere", "/out", MNT_KEY_AUTO, 0, 0, MNT_AUTO, 0 },
		{ 15, 10, 5, 0, "/elsewhere/x", "/out2", NULL, 0, 0, MNT_BIND, 5 },
		{ 16, 10, 5, 0, "/nothing", "/out3", NULL, 0, 0, MNT_UNKNOWN, 0 },
		{ 17, 10, 5, 0, "/a/rootless", "/out4", NULL, 0, 0, MNT_UNKNOWN, 0 },
		{ 18, 10, 7, img_fstype_AUTO, "/sub", "/disk", MNT_KEY_DEVICE, 0, 0, MNT_DEVICE, 9 },
		{ 19, 10, 7, 0, "/", "/disk2", NULL, 0, 0, MNT_BIND, 9 },
		{ 20, 10, 30, img_fstype_TMPFS, "/null", "/masked", "/dev/null", 0, 0, MNT_EXTERNAL, 0 },
		{ 21, 10, 30, img_fstype_TMPFS, "/", "/dev", NULL, 0, 0, MNT_NEW, 12 },
		{ 22, 10, 4, 0, "net:[402]", "/net", MNT_KEY_AUTO, 0, 0, MNT_AUTO, 0 },
		{ 23, 10, 4, 0, "net:[403]", "/net2", NULL, 0, 0, MNT_UNKNOWN, 0 },
		END,
	};
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(arrange(rows, &err), 0);
	for (size_t i = 0; i < list.nr; i++) {
		if (list.items[i].how != rows[i].how || (rows[i].origin && list.items[i].origin != rows[i].origin - 1))
			fail_msg("%s: how %d origin %d", rows[i].at, (int)list.items[i].how, list.items[i].origin);
	}
}

static void test_hostile(void **state)
{
#define ROOT                                                   \
	{                                                      \
		10, 1, 5, 0, "/", "/", NULL, 0, 0, MNT_ROOT, 0 \
	}
	static const struct {
		const char *what;
		struct row rows[5];
	} cases[] = {
		{ "no mount", { END } },
		{ "two roots", { ROOT, { 11, 2, 5, 0, "/", "/", NULL, 0, 0, 0, 0 }, END } },
		{ "missing parent", { ROOT, { 11, 99, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 }, END } },
		{ "same number",
		  { ROOT,
		    { 11, 10, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 },
		    { 11, 10, 5, 0, "/", "/b", NULL, 0, 0, 0, 0 },
		    END } },
		{ "cycle",
		  { ROOT,
		    { 11, 12, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 },
		    { 12, 11, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 },
		    END } },
		{ "no root",
		  { { 11, 12, 5, 0, "/", "/", NULL, 0, 0, 0, 0 }, { 12, 11, 5, 0, "/", "/", NULL, 0, 0, 0, 0 }, END } },
		{ "not below",
		  { ROOT,
		    { 11, 10, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 },
		    { 12, 11, 5, 0, "/", "/ab", NULL, 0, 0, 0, 0 },
		    END } },
		{ "dots", { ROOT, { 11, 10, 5, 0, "/", "/../etc", NULL, 0, 0, 0, 0 }, END } },
		{ "dots in the root", { ROOT, { 11, 10, 5, 0, "/a/..", "/x", NULL, 0, 0, 0, 0 }, END } },
		{ "relative", { ROOT, { 11, 10, 5, 0, "/", "x", NULL, 0, 0, 0, 0 }, END } },
		{ "empty name", { ROOT, { 11, 10, 5, 0, "/", "/a//b", NULL, 0, 0, 0, 0 }, END } },
		{ "slash at the end", { ROOT, { 11, 10, 5, 0, "/", "/a/", NULL, 0, 0, 0, 0 }, END } },
		{ "empty", { ROOT, { 11, 10, 5, 0, "", "/a", NULL, 0, 0, 0, 0 }, END } },
		{ "number 0", { ROOT, { 0, 10, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 }, END } },
		{ "object of a new file system",
		  { ROOT, { 11, 10, 6, img_fstype_TMPFS, "net:[1]", "/a", NULL, 0, 0, 0, 0 }, END } },
		{ "object of a device", { ROOT, { 11, 10, 6, 0, "net:[1]", "/a", MNT_KEY_DEVICE, 0, 0, 0, 0 }, END } },
		{ "object with a slash",
		  { ROOT, { 11, 10, 6, 0, "net:/../..", "/a", MNT_KEY_AUTO, 0, 0, 0, 0 }, END } },
		{ "root elsewhere", { { 10, 1, 5, 0, "/", "/a", NULL, 0, 0, 0, 0 }, END } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		if (arrange(cases[i].rows, &err) != -EBADMSG || !err.text[0])
			fail_msg("%s: not refused", cases[i].what);
	}
}

static void test_refused(void **state)
{
	const struct row rows[] = { ROOT, { 11, 10, 5, 0, "/a", "/a", NULL, 0, 0, 0, 0 }, END };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(arrange(rows, &err), 0);
	entries[1].with_plugin = true;
	assert_int_equal(mnt_list_arrange(&list, &err), -EOPNOTSUPP);
	entries[1].with_plugin = false;
	entries[1].deleted = true;
	assert_int_equal(mnt_list_arrange(&list, &err), -EOPNOTSUPP);
	entries[1].deleted = false;
	entries[1].ext_mount = true;
	assert_int_equal(mnt_list_arrange(&list, &err), -EOPNOTSUPP);
}

static void test_groups(void **state)
{
	static const struct {
		const char *what;
		int r;
		struct row rows[5];
	} cases[] = {
		{ "peers",
		  0,
		  { ROOT,
		    { 11, 10, 5, 0, "/a", "/a", NULL, 3, 0, 0, 0 },
		    { 12, 10, 5, 0, "/a/b", "/b", NULL, 3, 0, 0, 0 },
		    END } },
		{ "none is wide",
		  -EBADMSG,
		  { ROOT,
		    { 11, 10, 5, 0, "/a", "/a", NULL, 3, 0, 0, 0 },
		    { 12, 10, 5, 0, "/c", "/b", NULL, 3, 0, 0, 0 },
		    END } },
		{ "another file system",
		  -EBADMSG,
		  { ROOT,
		    { 11, 10, 5, 0, "/a", "/a", NULL, 3, 0, 0, 0 },
		    { 12, 10, 6, 0, "/a", "/b", "x", 3, 0, 0, 0 },
		    END } },
		{ "slave",
		  0,
		  { ROOT,
		    { 11, 10, 5, 0, "/a", "/a", NULL, 3, 0, 0, 0 },
		    { 12, 10, 5, 0, "/a", "/b", NULL, 0, 3, 0, 0 },
		    END } },
		{ "slave of nobody", -EBADMSG, { ROOT, { 12, 10, 5, 0, "/a", "/b", NULL, 0, 3, 0, 0 }, END } },
		{ "slave of outside", 0, { ROOT, { 12, 10, 5, 0, "/a", "/b", "name", 0, 3, 0, 0 }, END } },
		{ "its own slave", -EBADMSG, { ROOT, { 12, 10, 5, 0, "/a", "/b", NULL, 3, 3, 0, 0 }, END } },
		{ "slaves of each other",
		  -EBADMSG,
		  { ROOT,
		    { 11, 10, 5, 0, "/a", "/a", NULL, 3, 4, 0, 0 },
		    { 12, 10, 5, 0, "/a", "/b", NULL, 4, 3, 0, 0 },
		    END } },
		{ "peers of two masters",
		  -EBADMSG,
		  { ROOT,
		    { 11, 10, 5, 0, "/", "/a", NULL, 3, 0, 0, 0 },
		    { 12, 10, 5, 0, "/", "/b", NULL, 4, 3, 0, 0 },
		    { 13, 10, 5, 0, "/", "/c", NULL, 4, 0, 0, 0 },
		    END } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };
		size_t which;

		assert_int_equal(arrange(cases[i].rows, &err), 0);
		if (mnt_sharing_check(&list, &which, &err) != cases[i].r)
			fail_msg("%s: %s", cases[i].what, err.text);
	}
	mnt_mounts_done(&list);
}

static void test_texts(void **state)
{
	struct pool pool = { 0 };
	const char *word = NULL;
	char *options, name[8];
	uint32_t flags;

	(void)state;
	assert_int_equal(mnt_flags_parse("ro,nosuid,relatime", &flags, &word), 0);
	assert_int_equal(flags, MS_RDONLY | MS_NOSUID | MS_RELATIME);
	assert_int_equal(mnt_flags_parse("rw", &flags, &word), 0);
	assert_int_equal(flags, MS_STRICTATIME);
	assert_int_equal(mnt_flags_parse("rw,idmapped", &flags, &word), -EOPNOTSUPP);
	assert_string_equal(word, "idmapped");
	assert_int_equal(mnt_sb_flags_parse("rw,sync,size=4k,mode=755", &pool, &flags, &options), 0);
	assert_int_equal(flags, MS_SYNCHRONOUS);
	assert_string_equal(options, "size=4k,mode=755");
	assert_int_equal(mnt_sb_flags_parse("ro", &pool, &flags, &options), 0);
	assert_string_equal(options, "");
	pool_done(&pool);
	assert_int_equal(mnt_device_name("dev[disk]", name, sizeof(name)), 0);
	assert_string_equal(name, "disk");
	assert_int_equal(mnt_device_name("dev[]", name, sizeof(name)), -EBADMSG);
	assert_int_equal(mnt_device_name("dev[toolong8]", name, sizeof(name)), -EBADMSG);
	assert_int_equal(mnt_device_name("/dev/sda", name, sizeof(name)), -EBADMSG);
	assert_string_equal(mnt_below("/a/b", "/a"), "b");
	assert_string_equal(mnt_below("/a", "/"), "a");
	assert_string_equal(mnt_below("/a", "/a"), "");
	assert_null(mnt_below("/ab", "/a"));
	assert_null(mnt_below("/", "/a"));
	assert_null(mnt_below("net:[1]", "/"));
	assert_null(mnt_below("net:[1]", "net:[12]"));
	assert_string_equal(mnt_below("net:[1]", "net:[1]"), "");
}

static void test_options(void **state)
{
	char *texts[] = { (char *)"mnt[/a]:name", (char *)"dev[8/1]:disk", (char *)"mnt[]:ms", (char *)"mnt[]:q",
			  (char *)"mnt[]x" };
	rpc_criu_opts rpc = { 0 };
	struct mnt_options o;

	(void)state;
	rpc.external.items = texts;
	rpc.external.nr = 2;
	assert_int_equal(mnt_options_read(&rpc, &o, NULL), 0);
	assert_false(o.find || o.sharing || o.masters);
	assert_string_equal(mnt_option(&o, "mnt", "/a"), "name");
	assert_null(mnt_option(&o, "mnt", "/"));
	assert_null(mnt_option(&o, "mnt", ""));
	assert_string_equal(mnt_option_dev(&o, 8, 1), "disk");
	assert_null(mnt_option_dev(&o, 8, 11));
	rpc.external.nr = 3;
	assert_int_equal(mnt_options_read(&rpc, &o, NULL), 0);
	assert_true(o.find && o.sharing && o.masters);
	rpc.external.nr = 4;
	assert_int_equal(mnt_options_read(&rpc, &o, NULL), -EINVAL);
	texts[3] = texts[4];
	assert_int_equal(mnt_options_read(&rpc, &o, NULL), -EINVAL);
}

/* As many as the kernel lets a namespace have, backwards, two in each: in time that grows with their number. */
static void test_many(void **state)
{
	const size_t nr = MNT_MOUNTS_MAX;
	img_mnt_entry *many = calloc(nr, sizeof(*many));
	size_t *order = calloc(nr, sizeof(*order));
	bool *seen = calloc(nr, sizeof(*seen));
	struct cr_error err = { 0 };

	(void)state;
	mnt_mounts_done(&list);
	for (size_t i = 0; i < nr; i++) {
		uint32_t id = (uint32_t)(nr - i);

		many[i] = (img_mnt_entry){
			.fstype = img_fstype_PROC,
			.mnt_id = id,
			.root_dev = id,
			.parent_mnt_id = id / 2,
			.root = (char *)"/",
			.mountpoint = (char *)"/",
			.source = (char *)"x",
			.options = (char *)"",
		};
		assert_int_equal(mnt_list_add(&list, &many[i], &err), 0);
	}
	assert_int_equal(mnt_list_arrange(&list, &err), 0);
	mnt_list_order(&list, order);
	assert_int_equal(order[0], nr - 1);
	for (size_t i = 0; i < nr; i++) {
		int parent = list.items[order[i]].parent;

		assert_true(order[i] < nr && !seen[order[i]] && (i == 0 || (parent >= 0 && seen[parent])));
		seen[order[i]] = true;
	}
	free(many);
	free(order);
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_how),    cmocka_unit_test(test_hostile), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_groups), cmocka_unit_test(test_texts),   cmocka_unit_test(test_options),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
