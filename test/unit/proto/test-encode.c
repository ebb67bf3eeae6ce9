/*
 * The encoder: what it writes, what it refuses, and counts that 16 bits do not hold.
 */
#include "proto-test.h"

#include <errno.h>

#include "proto/images.h"

static void a_message_has_its_size_in_front(void **state)
{
	static const uint8_t wanted[] = { 6, 0, 0, 0, 0x08, 0xac, 0x02, 0x10, 0x01, 0x18 };
	struct proto_buf buf = proto_buf_of(1000);
	img_fs_entry fs = { .cwd_id = 300, .root_id = 1, .has_umask = true, .umask = 022 };

	(void)state;
	assert_int_equal(img_fs_entry_encode(&fs, &buf, NULL), 0);
	assert_int_equal(buf.len, 4 + 7);
	assert_int_equal(buf.data[0], 7);
	assert_memory_equal(buf.data + 4, wanted + 4, 6);
	assert_int_equal(buf.data[10], 022);

	/* What stands in the buffer stays. */
	assert_int_equal(img_fs_entry_encode(&fs, &buf, NULL), 0);
	assert_int_equal(buf.len, 2 * (4 + 7));
	assert_memory_equal(buf.data, buf.data + 11, 11);
	proto_buf_done(&buf);
}

static void an_empty_message_has_size_0(void **state)
{
	static const uint8_t wanted[] = { 0, 0, 0, 0 };
	struct proto_buf buf = proto_buf_of(1000);
	img_seccomp_entry seccomp = { 0 };

	(void)state;
	assert_int_equal(img_seccomp_entry_encode(&seccomp, &buf, NULL), 0);
	assert_int_equal(buf.len, 4);
	assert_memory_equal(buf.data, wanted, 4);
	proto_buf_done(&buf);
}

static void incomplete_structs_are_refused(void **state)
{
	img_fown_entry fown = { 0 };
	img_pipe_entry no_fown = { 0 };
	img_reg_file_entry no_name = { .fown = &fown };
	img_file_entry file = { .reg = &no_name };
	char *names[] = { (char *)"a", NULL };
	img_plugins_entry no_element = { .plugins = { names, 2 } };
	img_plugins_entry no_items = { .plugins = { NULL, 2 } };
	img_unix_sk_entry no_data = { .fown = &fown, .opts = &(img_sk_opts_entry){ 0 }, .name = { NULL, 5 } };
	const struct {
		enum img_msg msg;
		const void *entry;
		const char *text;
	} cases[] = {
		{ IMG_MSG_pipe_entry, &no_fown, "pipe_entry.fown: required member is not set" },
		{ IMG_MSG_file_entry, &file, "file_entry.reg.name: required member is not set" },
		{ IMG_MSG_plugins_entry, &no_element, "plugins_entry.plugins[1]: required member is not set" },
		{ IMG_MSG_plugins_entry, &no_items, "plugins_entry.plugins[0]: count without elements" },
		{ IMG_MSG_unix_sk_entry, &no_data, "unix_sk_entry.name: length without data" },
		{ IMG_MSG_NONE, &file, "no such message: 0" },
		{ IMG_MSG_NR, &file, NULL },
		{ (enum img_msg) - 1, &file, NULL },
	};

	(void)state;
	for (size_t i = 0; i < TEST_NR(cases); i++) {
		struct proto_buf buf = proto_buf_of(1000);
		struct proto_error err = { 0 };

		assert_int_equal(proto_buf_append(&buf, "abc", 3), 0);
		assert_int_equal(img_entry_encode(cases[i].msg, cases[i].entry, &buf, &err), -EINVAL);
		if (cases[i].text != NULL)
			assert_string_equal(err.text, cases[i].text);
		assert_int_equal(buf.len, 3);
		proto_buf_done(&buf);
	}
}

/* An unnamed Unix socket has a name of no bytes; it takes no data pointer to say so. */
static void empty_bytes(void **state)
{
	img_siginfo_entry none = { 0 };
	img_creds_entry absent = { 0 }, present = { .apparmor_data = { (const uint8_t *)"", 0 } };
	struct proto_buf buf = proto_buf_of(1000);
	img_creds_entry *creds = NULL;

	(void)state;
	assert_int_equal(img_siginfo_entry_encode(&none, &buf, NULL), 0);
	assert_int_equal(buf.len, 4 + 2);
	buf.len = 0;

	assert_int_equal(img_creds_entry_encode(&absent, &buf, NULL), 0);
	assert_int_equal(img_creds_entry_decode(buf.data + 4, buf.len - 4, &creds, NULL), 0);
	assert_null(creds->apparmor_data.data);
	img_entry_free(creds);
	buf.len = 0;

	assert_int_equal(img_creds_entry_encode(&present, &buf, NULL), 0);
	assert_int_equal(img_creds_entry_decode(buf.data + 4, buf.len - 4, &creds, NULL), 0);
	assert_non_null(creds->apparmor_data.data);
	assert_int_equal(creds->apparmor_data.len, 0);
	img_entry_free(creds);
	proto_buf_done(&buf);
}

static void a_cycle_is_refused(void **state)
{
	img_cgroup_dir_entry dir = { .dir_name = (char *)"d" };
	struct proto_buf buf = proto_buf_of(1 << 20);
	struct proto_error err = { 0 };

	(void)state;
	dir.children.items = &dir;
	dir.children.nr = 1;
	assert_int_equal(img_cgroup_dir_entry_encode(&dir, &buf, &err), -EINVAL);
	assert_non_null(strstr(err.text, "nested deeper than 100 messages"));
	assert_int_equal(buf.len, 0);
	proto_buf_done(&buf);
}

/* Every ceiling below what the entry takes is refused, whatever is being written when it is met. */
static void a_full_buffer_is_refused(void **state)
{
	char text[200] = "";
	img_fown_entry fown = { 0 };
	uint32_t build_id[] = { 1, 2, 3 };
	img_reg_file_entry reg = { .name = text, .fown = &fown, .build_id = { build_id, 3 } };
	img_file_entry file = { .type = img_fd_types_REG, .id = 1, .reg = &reg };
	struct proto_buf whole = proto_buf_of(1000);

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(img_file_entry_encode(&file, &whole, NULL), 0);
	for (size_t max = 0; max < whole.len; max++) {
		struct proto_buf buf = proto_buf_of(max);
		struct proto_error err = { 0 };

		assert_int_equal(img_file_entry_encode(&file, &buf, &err), -E2BIG);
		assert_int_equal(buf.len, 0);
		assert_true(buf.cap <= max);
		assert_true(err.text[0] != '\0');
		proto_buf_done(&buf);
	}
	/* The encoder wants a little room to work in. */
	struct proto_buf buf = proto_buf_of(whole.len + PROTO_BUF_SLACK);

	assert_int_equal(img_file_entry_encode(&file, &buf, NULL), 0);
	assert_int_equal(buf.len, whole.len);
	proto_buf_done(&buf);
	proto_buf_done(&whole);
}

/* vm.max_map_count is 65530 unless raised; ids of groups may be 65536. */
static void counts_above_16_bits(void **state)
{
	enum { NR = 70000 };
	img_vma_entry *vmas = calloc(NR, sizeof(*vmas));
	uint32_t *groups = calloc(NR, sizeof(*groups));
	img_mm_entry mm = { .vmas = { vmas, NR } }, *mm_back = NULL;
	img_creds_entry creds = { .groups = { groups, NR } }, *creds_back = NULL;
	struct proto_buf buf = proto_buf_of(1 << 24);

	(void)state;
	for (size_t i = 0; i < NR; i++) {
		vmas[i] = (img_vma_entry){ .start = i << 12, .end = (i + 1) << 12, .fd = -1 };
		groups[i] = (uint32_t)i;
	}
	assert_int_equal(img_mm_entry_encode(&mm, &buf, NULL), 0);
	assert_int_equal(img_mm_entry_decode(buf.data + 4, buf.len - 4, &mm_back, NULL), 0);
	assert_int_equal(mm_back->vmas.nr, NR);
	assert_memory_equal(mm_back->vmas.items, vmas, NR * sizeof(*vmas));
	img_entry_free(mm_back);
	buf.len = 0;

	assert_int_equal(img_creds_entry_encode(&creds, &buf, NULL), 0);
	assert_int_equal(img_creds_entry_decode(buf.data + 4, buf.len - 4, &creds_back, NULL), 0);
	assert_int_equal(creds_back->groups.nr, NR);
	assert_memory_equal(creds_back->groups.items, groups, NR * sizeof(*groups));
	img_entry_free(creds_back);

	proto_buf_done(&buf);
	free(groups);
	free(vmas);
}

static void our_extensions_come_back(void **state)
{
	enum { AREA = 200000 };
	uint8_t *area = calloc(1, AREA);
	uint8_t cpus[] = { 0x0f, 0x80 };
	img_sud_ext sud = { .mode = 1, .offset = 0x7f0000000000, .len = 4096, .selector = 8 };
	img_thread_ext ext = {
		.has_timer_slack_ns = true,
		.timer_slack_ns = 1,
		.cpu_affinity = { cpus, sizeof(cpus) },
		.sud = &sud,
		.xsave_raw = { area, AREA },
		.has_xsave_xfeatures = true,
		.xsave_xfeatures = 0x60000,
	};
	img_thread_core_entry thread = { .ext = &ext };
	img_core_entry core = { .mtype = img_core_entry_march_X86_64, .thread_core = &thread }, *back = NULL;
	struct proto_buf buf = proto_buf_of(1 << 20);

	(void)state;
	memset(area, 0xa5, AREA);
	assert_int_equal(img_core_entry_encode(&core, &buf, NULL), 0);
	assert_int_equal(img_core_entry_decode(buf.data + 4, buf.len - 4, &back, NULL), 0);
	const img_thread_ext *got = back->thread_core->ext;

	assert_int_equal(got->timer_slack_ns, 1);
	assert_int_equal(got->cpu_affinity.len, sizeof(cpus));
	assert_memory_equal(got->cpu_affinity.data, cpus, sizeof(cpus));
	assert_int_equal(got->sud->offset, 0x7f0000000000);
	assert_int_equal(got->xsave_raw.len, AREA);
	assert_memory_equal(got->xsave_raw.data, area, AREA);
	assert_false(got->has_ioprio);
	img_entry_free(back);
	proto_buf_done(&buf);
	free(area);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_has_its_size_in_front),
		cmocka_unit_test(an_empty_message_has_size_0),
		cmocka_unit_test(incomplete_structs_are_refused),
		cmocka_unit_test(empty_bytes),
		cmocka_unit_test(a_cycle_is_refused),
		cmocka_unit_test(a_full_buffer_is_refused),
		cmocka_unit_test(counts_above_16_bits),
		cmocka_unit_test(our_extensions_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
