/* Common lines of fdinfo, and the iterator over the others */
#include "procfs/fdinfo.h"

#include "base/buf.h"
#include "procfs/sample.h"

#include <fcntl.h>
#include <unistd.h>

static int parse(const char *text, size_t len, struct cr_error *err)
{
	autofdinfo struct proc_fdinfo f = { 0 };
	int r = proc_fdinfo_parse(text, len, &f, err);
	struct scan rest = f.rest, line;

	while (r == 0 && proc_fdinfo_next(&rest, &line))
		assert_true(line.p >= text && line.end < text + len);
	return r;
}

struct row {
	const char *name;
	uint32_t flags;
	int64_t pos;
	int mnt_id;
	uint64_t ino;
	size_t locks;
	enum proc_lock_kind kind;
	const char *rest; /* first line of the kind */
};

static const struct row rows[] = {
	{ "linux-6.18-threads/fdinfo-3", O_RDWR | 0100000, 0, 27, 10953438, 1, PROC_LOCK_FLOCK, NULL },
	{ "linux-6.18-threads/fdinfo-4", O_RDWR | 0100000, 0, 27, 10953439, 1, PROC_LOCK_POSIX, NULL },
	{ "linux-6.18-threads/fdinfo-5", O_RDWR | 0100000, 0, 27, 10953440, 1, PROC_LOCK_OFD, NULL },
	{ "linux-6.18-threads/fdinfo-6", 0120000, 0, 27, 10953441, 1, PROC_LOCK_LEASE, NULL },
	{ "linux-5.10/fdinfo", 02100002, 1234, 27, 0, 0, 0, NULL },
	{ "linux-6.1/fdinfo-50", O_RDWR | 0100000, 0, 23, 2, 1, PROC_LOCK_FLOCK, NULL },
	{ "linux-6.1/fdinfo-51", 02, 0, 15, 1043, 0, 0, "eventfd-count:                3" },
	{ "linux-6.12/fdinfo-51", 02, 0, 17, 1046, 0, 0, "eventfd-count:                3" },
	{ "hand/fdinfo-epoll", 02, 0, 14, 1057, 0, 0,
	  "tfd:        5 events:       19 data: 7fff00000005  pos:0 ino:38 sdev:15" },
};

static void recorded(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct proc_fdinfo f = { 0 };
		struct cr_error err = { 0 };
		struct scan rest, line;
		size_t len;
		char *text = sample_read(row->name, &len);

		if (proc_fdinfo_parse(text, len, &f, &err) < 0)
			fail_msg("%s: %s", row->name, err.text);
		if (f.flags != row->flags || f.pos != row->pos || f.mnt_id != row->mnt_id || f.ino != row->ino ||
		    f.has_ino != (row->ino != 0) || f.locks.nr != row->locks)
			fail_msg("%s: flags %o pos %lld mnt_id %d ino %llu locks %zu", row->name, f.flags,
				 (long long)f.pos, f.mnt_id, (unsigned long long)f.ino, f.locks.nr);
		if (row->locks && f.locks.items[0].kind != row->kind)
			fail_msg("%s: lock of kind %d", row->name, f.locks.items[0].kind);
		rest = f.rest;
		if (proc_fdinfo_next(&rest, &line) != (row->rest != NULL))
			fail_msg("%s: lines of the kind", row->name);
		if (row->rest && !scan_is(&line, row->rest))
			fail_msg("%s: %.*s", row->name, (int)scan_left(&line), line.p);
		proc_fdinfo_done(&f);
		free(text);
	}
}

static void refused(void **state)
{
	static const struct bad_text bad[] = {
		{ "empty", "", -EINVAL, "cut off" },
		{ "not ended", "pos:\t0\nflags:\t02", -EINVAL, "cut off" },
		{ "no flags", "pos:\t0\nmnt_id:\t1\n", -EINVAL, "no line flags" },
		{ "no pos", "flags:\t02\n", -EINVAL, "no line pos" },
		{ "flags not octal", "pos:\t0\nflags:\t09\n", -EINVAL, "line flags" },
		{ "flags too large", "pos:\t0\nflags:\t040000000000\n", -ERANGE, "line flags" },
		{ "pos too large", "pos:\t9223372036854775808\n", -ERANGE, "line pos" },
		{ "mount too large", "pos:\t0\nflags:\t0\nmnt_id:\t2147483648\n", -ERANGE, "line mnt_id" },
		{ "inode with a tail", "pos:\t0\nflags:\t0\nino:\t1 2\n", -EINVAL, "line ino" },
		{ "lock", "pos:\t0\nflags:\t0\nlock:\t1: FLOCK\n", -EINVAL, "fdinfo: lock: field mode" },
		{ "common lines too late", "eventfd-count: 1\npos:\t0\nflags:\t0\n", -EINVAL, "no line pos" },
	};

	(void)state;
	bad_texts_check(bad, sizeof(bad) / sizeof(bad[0]), parse);
}

static void damage(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		sample_hurt(rows[i].name, parse);
}

static void own_descriptor(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autobuf struct buf text = BUF_INIT(PROC_FDINFO_MAX);
	autofdinfo struct proc_fdinfo f = { 0 };
	struct cr_error err = { 0 };
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC | O_APPEND);

	(void)state;
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &d, &err), 0);
	if (proc_fdinfo_read(&d, fd, &text, &f, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(f.flags & O_CLOEXEC);
	assert_true(f.flags & O_APPEND);
	assert_int_equal(f.flags & O_ACCMODE, O_WRONLY);
	close(fd);
	assert_int_equal(proc_fdinfo_read(&d, fd, &text, &f, &err), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded),
		cmocka_unit_test(refused),
		cmocka_unit_test(damage),
		cmocka_unit_test(own_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
