/* Entries of BPF maps and tun descriptors that are not what they claim to be. */
#include "base/array.h"
#include "files/bpf-map.h"
#include "files/file-ops.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static img_fown_entry no_owner;

static img_bpfmap_file_entry map_of(uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
	return (img_bpfmap_file_entry){ .fown = &no_owner,
					.map_type = type,
					.key_size = key,
					.value_size = value,
					.max_entries = entries,
					.map_name = "m" };
}

#define HASH BPF_MAP_TYPE_HASH

static void test_maps(void **state)
{
	const struct {
		const char *what;
		uint32_t type, key, value, entries, flags, ifindex;
		const char *name;
		int r;
	} cases[] = {
		{ "good", HASH, 4, 8, 10, BPF_F_NO_PREALLOC, 0, "m", 0 },
		{ "of programs", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 10, 0, 0, "m", -EOPNOTSUPP },
		{ "of no type", 0, 4, 8, 10, 0, 0, "m", -EOPNOTSUPP },
		{ "of a type to come", UINT32_MAX, 4, 8, 10, 0, 0, "m", -EOPNOTSUPP },
		{ "in a device", HASH, 4, 8, 10, 0, 3, "m", -EOPNOTSUPP },
		{ "unknown flags", HASH, 4, 8, 10, 1u << 31, 0, "m", -EOPNOTSUPP },
		{ "no key", HASH, 0, 8, 10, 0, 0, "m", -EBADMSG },
		{ "large key", HASH, UINT32_MAX, 8, 10, 0, 0, "m", -EBADMSG },
		{ "no value", HASH, 4, 0, 10, 0, 0, "m", -EBADMSG },
		{ "large value", HASH, 4, UINT32_MAX, 10, 0, 0, "m", -EBADMSG },
		{ "no room", HASH, 4, 8, 0, 0, 0, "m", -EBADMSG },
		{ "long name", HASH, 4, 8, 10, 0, 0, "0123456789abcdef", -EBADMSG },
	};
	const struct file_ops *ops = file_ops_of_type(img_fd_types_BPFMAP);

	(void)state;
	assert_non_null(ops);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_bpfmap_file_entry e = map_of(cases[i].type, cases[i].key, cases[i].value, cases[i].entries);
		img_file_entry f = { .type = img_fd_types_BPFMAP, .bpf = &e };

		e.map_flags = cases[i].flags;
		e.ifindex = cases[i].ifindex;
		e.map_name = (char *)cases[i].name;
		if (ops->check(&f, NULL) != cases[i].r)
			fail_msg("%s", cases[i].what);
	}
}

static void test_contents(void **state)
{
	const img_bpfmap_file_entry map = map_of(HASH, 4, 8, 10), each = map_of(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 10);
	const struct {
		const char *name;
		img_bpfmap_data_entry d;
		int r;
	} cases[] = {
		{ "good", { .count = 3, .keys_bytes = 12, .values_bytes = 24 }, 0 },
		{ "empty", { 0 }, 0 },
		{ "too many", { .count = 11, .keys_bytes = 44, .values_bytes = 88 }, -EBADMSG },
		{ "more keys", { .count = 3, .keys_bytes = 16, .values_bytes = 24 }, -EBADMSG },
		{ "fewer values", { .count = 3, .keys_bytes = 12, .values_bytes = 16 }, -EBADMSG },
		{ "count that wraps", { .count = 0x40000001, .keys_bytes = 4, .values_bytes = 8 }, -EBADMSG },
	};
	uint32_t room = (uint32_t)bpf_value_room(&each);
	img_bpfmap_data_entry d = { .count = 2, .keys_bytes = 8, .values_bytes = 2 * room };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (bpf_content_check(&cases[i].d, &map, NULL) != cases[i].r)
			fail_msg("%s", cases[i].name);
	assert_true(room >= 8 && room % 8 == 0);
	assert_int_equal(bpf_content_check(&d, &each, NULL), 0);
	/* of a machine with another number of processors */
	d.values_bytes += 2 * 8;
	assert_int_equal(bpf_content_check(&d, &each, NULL), -EOPNOTSUPP);
}

static void test_tuns(void **state)
{
	img_tunfile_ext tun = { .has_flags = true, .flags = IFF_TUN | IFF_NO_PI },
			both = { .has_flags = true, .flags = IFF_TUN | IFF_TAP },
			neither = { .has_flags = true, .flags = IFF_NO_PI },
			unknown = { .has_flags = true, .flags = IFF_TUN | 0x10000 }, none = { 0 };
	struct {
		const char *name;
		img_tunfile_entry e;
		int r;
	} cases[] = {
		{ "attached to nothing", { 0 }, 0 },
		{ "good", { .netdev = "tun0", .ext = &tun }, 0 },
		{ "no flags", { .netdev = "tun0", .ext = &none }, -EOPNOTSUPP },
		{ "of another program", { .netdev = "tun0" }, -EOPNOTSUPP },
		{ "tun and tap", { .netdev = "tun0", .ext = &both }, -EBADMSG },
		{ "neither", { .netdev = "tun0", .ext = &neither }, -EBADMSG },
		{ "unknown flags", { .netdev = "tun0", .ext = &unknown }, -EBADMSG },
		{ "empty name", { .netdev = "", .ext = &tun }, -EBADMSG },
		{ "a pattern", { .netdev = "tun%d", .ext = &tun }, -EBADMSG },
		{ "a path", { .netdev = "../lo", .ext = &tun }, -EBADMSG },
		{ "long name", { .netdev = "sixteencharacter", .ext = &tun }, -EBADMSG },
	};
	const struct file_ops *ops = file_ops_of_type(img_fd_types_TUNF);

	(void)state;
	assert_non_null(ops);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_file_entry f = { .type = img_fd_types_TUNF, .tunf = &cases[i].e };

		if (ops->check(&f, NULL) != cases[i].r)
			fail_msg("%s", cases[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_maps), cmocka_unit_test(test_contents),
					    cmocka_unit_test(test_tuns) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
