/* Entries of images that are not what they claim to be, and build ids. */
#include "base/array.h"
#include "files/build-id.h"
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static img_fown_entry no_owner;

static void test_sub_messages(void **state)
{
	img_pipe_entry pipe = { .id = 7, .fown = &no_owner };
	img_reg_file_entry reg = { .id = 7, .fown = &no_owner, .name = "/x" };
	struct {
		const char *name;
		img_file_entry e;
		int r;
	} cases[] = {
		{ "good", { .type = img_fd_types_PIPE, .id = 7, .pipe = &pipe }, 0 },
		{ "another id", { .type = img_fd_types_PIPE, .id = 8, .pipe = &pipe }, -EBADMSG },
		{ "empty", { .type = img_fd_types_PIPE, .id = 7 }, -EBADMSG },
		{ "two parts", { .type = img_fd_types_PIPE, .id = 7, .pipe = &pipe, .reg = &reg }, -EBADMSG },
		{ "the wrong part", { .type = img_fd_types_REG, .id = 7, .pipe = &pipe }, -EBADMSG },
		{ "unknown type", { .type = (img_fd_types)77, .id = 7 }, -EBADMSG },
		{ "no type", { .type = img_fd_types_UND, .id = 7, .pipe = &pipe }, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		if (entry_check(&cases[i].e, &err) != cases[i].r || !!err.text[0] != !!cases[i].r)
			fail_msg("%s: %s", cases[i].name, err.text);
	}
}

/* Flags and owner are found in whichever part holds them. */
static void test_owners(void **state)
{
	img_fown_entry owner = { .pid = 5 };
	img_timerfd_entry timer = { .id = 7, .flags = O_NONBLOCK, .fown = &owner };
	img_fifo_entry fifo = { .id = 7 };
	img_ext_file_entry ext = { .id = 7, .fown = &owner };
	img_file_entry e = { .type = img_fd_types_TIMERFD, .id = 7, .tfd = &timer };

	(void)state;
	assert_ptr_equal(entry_fown(&e), &owner);
	assert_int_equal(entry_flags(&e), O_NONBLOCK);
	e = (img_file_entry){ .type = img_fd_types_FIFO, .id = 7, .fifo = &fifo };
	assert_null(entry_fown(&e));
	assert_int_equal(entry_flags(&e), 0);
	e = (img_file_entry){ .type = img_fd_types_EXT, .id = 7, .ext = &ext };
	assert_int_equal(entry_flags(&e), 0);
	e = (img_file_entry){ .type = (img_fd_types)77, .id = 7 };
	assert_null(entry_fown(&e));
}

static void test_regular(void **state)
{
	static char long_name[5000];
	img_fown_entry owner = { .pid = 5, .pid_type = 9 }, signal = { .signum = 65 };
	struct {
		const char *name;
		img_reg_file_entry e;
		int r;
	} cases[] = {
		{ "good", { .fown = &no_owner, .name = "/x" }, 0 },
		{ "no position", { .fown = &no_owner, .name = "/x", .pos = UINT64_MAX }, 0 },
		{ "negative position", { .fown = &no_owner, .name = "/x", .pos = UINT64_MAX - 1 }, -EBADMSG },
		{ "relative", { .fown = &no_owner, .name = "x" }, -EBADMSG },
		{ "external", { .fown = &no_owner, .name = "file[1:2]", .has_ext = true, .ext = true }, 0 },
		{ "empty name", { .fown = &no_owner, .name = "" }, -EBADMSG },
		{ "long name", { .fown = &no_owner, .name = long_name }, -EBADMSG },
		{ "build id", { .fown = &no_owner, .name = "/x", .build_id = { .nr = 17 } }, -EBADMSG },
		{ "owner", { .fown = &owner, .name = "/x" }, -EBADMSG },
		{ "signal", { .fown = &signal, .name = "/x" }, -EBADMSG },
	};

	(void)state;
	memset(long_name, '/', sizeof(long_name) - 1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (reg_check(&cases[i].e, NULL) != cases[i].r)
			fail_msg("%s", cases[i].name);
}

static void test_descriptors(void **state)
{
	img_fdinfo_entry good = { .fd = 1048575, .flags = FD_CLOEXEC }, number = { .fd = UINT32_MAX },
			 flags = { .flags = 2 };

	(void)state;
	assert_int_equal(fdinfo_check(&good, NULL), 0);
	assert_int_equal(fdinfo_check(&number, NULL), -EBADMSG);
	assert_int_equal(fdinfo_check(&flags, NULL), -EBADMSG);
}

static void test_open_flags(void **state)
{
	(void)state;
	assert_int_equal(open_flags(O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_APPEND),
			 O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY);
	assert_int_equal(open_flags(O_PATH) & O_PATH, O_PATH);
	assert_int_equal(open_flags(O_ASYNC), O_CLOEXEC | O_NOCTTY);
}

struct note {
	Elf64_Nhdr h;
	char name[4], desc[8];
};

static void test_build_id(void **state)
{
	struct note notes[2] = {
		{ { 4, 8, NT_GNU_ABI_TAG }, "GNU", "version" },
		{ { 4, 6, NT_GNU_BUILD_ID }, "GNU", "abcdef" },
	};
	uint8_t id[BUILD_ID_MAX];

	(void)state;
	assert_int_equal(build_id_find(notes, sizeof(notes), id), 6);
	assert_memory_equal(id, "abcdef", 6);
	/* cut anywhere there is none, and nothing past the end is read: run under the address sanitizer too */
	for (size_t len = 0; len < sizeof(notes); len++) {
		void *cut = malloc(len ? len : 1);

		memcpy(cut, notes, len);
		assert_int_equal(build_id_find(cut, len, id), 0);
		free(cut);
	}
	notes[1].h.n_descsz = UINT32_MAX;
	assert_int_equal(build_id_find(notes, sizeof(notes), id), 0);
	notes[0].h.n_namesz = UINT32_MAX;
	assert_int_equal(build_id_find(notes, sizeof(notes), id), 0);
}

static void test_own_build_id(void **state)
{
	uint8_t id[BUILD_ID_MAX];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), text = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(build_id_read(fd, id) >= 0);
	assert_int_equal(build_id_read(text, id), 0);
	close(fd);
	close(text);
}

/* They only grow, one with each watch that a daemon has made in all its life. */
static void test_watch_numbers(void **state)
{
	img_fh_entry handle = { .path = "/x" };
	img_inotify_wd_entry watch = { .f_handle = &handle };
	img_inotify_file_entry inotify = { .id = 7, .fown = &no_owner, .wd = { .items = &watch, .nr = 1 } };
	img_file_entry e = { .type = img_fd_types_INOTIFY, .id = 7, .ify = &inotify };
	static const struct {
		uint32_t number;
		int r;
	} cases[] = { { 0, -EBADMSG }, { 1, 0 }, { 3000000, 0 }, { 5000000, -EBADMSG }, { UINT32_MAX, -EBADMSG } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cr_error err = { 0 };

		watch.wd = cases[i].number;
		if (file_ops_of_type(img_fd_types_INOTIFY)->check(&e, &err) != cases[i].r)
			fail_msg("watch %u: %s", watch.wd, err.text);
	}
}

static void test_stand_ins(void **state)
{
	static const struct {
		uint32_t fs_type;
		const char *name;
		bool is;
	} cases[] = {
		{ NFS_SUPER_MAGIC, "/mnt/.nfs00000000019a00d500000001", true },
		{ NFS_SUPER_MAGIC, "/mnt/.nfsrc", false },
		{ NFS_SUPER_MAGIC, "/mnt/.nfs00000000019a00d500000001.bak", false },
		{ NFS_SUPER_MAGIC, "/.nfs00000000019a00d500000001/x", false },
		{ EXT4_SUPER_MAGIC, "/mnt/.nfs00000000019a00d500000001", false },
		{ 0x65735546, "/mnt/.fuse_hidden0000000200000001", true },
		{ 0x65735546, "/mnt/fuse_hidden", false },
		{ NFS_SUPER_MAGIC, "/mnt/.fuse_hidden0000000200000001", false },
		{ NFS_SUPER_MAGIC, "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (path_is_stand_in(cases[i].fs_type, cases[i].name) != cases[i].is)
			fail_msg("%s", cases[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sub_messages), cmocka_unit_test(test_owners),     cmocka_unit_test(test_regular),
		cmocka_unit_test(test_descriptors),  cmocka_unit_test(test_open_flags), cmocka_unit_test(test_build_id),
		cmocka_unit_test(test_own_build_id),  cmocka_unit_test(test_watch_numbers), cmocka_unit_test(test_stand_ins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
