/* maps and smaps: recorded text of several kernels, all codes of VmFlags, bounds, damage. */
#include "procfs/maps.h"

#include "base/buf.h"
#include "procfs/sample.h"

#include <sys/mman.h>
#include <unistd.h>

#include <fcntl.h>

static void list_sane(const struct proc_vma_list *l)
{
	for (size_t i = 0; i < l->nr; i++) {
		const struct proc_vma *v = &l->items[i];

		assert_true(v->start < v->end);
		assert_true(i == 0 || l->items[i - 1].end <= v->start);
		assert_int_equal(strlen(proc_vma_path(l, v)), v->path_len);
	}
}

static int parse_maps(const char *text, size_t len, struct cr_error *err)
{
	autovmas struct proc_vma_list l = { 0 };
	int r = proc_maps_parse(text, len, &l, err);

	list_sane(&l);
	return r;
}

static int parse_smaps(const char *text, size_t len, struct cr_error *err)
{
	autovmas struct proc_vma_list l = { 0 };
	int r = proc_smaps_parse(text, len, &l, err);

	list_sane(&l);
	return r;
}

static void load(const char *name, int (*parse)(const char *, size_t, struct proc_vma_list *, struct cr_error *),
		 struct proc_vma_list *l)
{
	struct cr_error err = { 0 };
	size_t len;
	char *text = sample_read(name, &len);

	if (parse(text, len, l, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	free(text);
	list_sane(l);
}

static void plain(void **state)
{
	autovmas struct proc_vma_list m = { 0 }, s = { 0 };

	(void)state;
	load("linux-6.18-plain/maps", proc_maps_parse, &m);
	load("linux-6.18-plain/smaps", proc_smaps_parse, &s);
	assert_true(m.nr > 10);
	assert_int_equal(m.nr, s.nr);
	for (size_t i = 0; i < m.nr; i++) {
		assert_int_equal(m.items[i].start, s.items[i].start);
		assert_int_equal(m.items[i].prot, s.items[i].prot);
		assert_string_equal(proc_vma_path(&m, &m.items[i]), proc_vma_path(&s, &s.items[i]));
		assert_int_equal(m.items[i].vm_flags, 0);
		assert_int_not_equal(s.items[i].vm_flags, 0);
		assert_int_equal(!!(s.items[i].vm_flags & PROC_VM_RD), !!(s.items[i].prot & PROT_READ));
		assert_int_equal(!!(s.items[i].vm_flags & PROC_VM_WR), !!(s.items[i].prot & PROT_WRITE));
		assert_int_equal(!!(s.items[i].vm_flags & PROC_VM_EX), !!(s.items[i].prot & PROT_EXEC));
		assert_int_equal(s.items[i].pkey, PROC_PKEY_NONE);
	}
	assert_string_equal(proc_vma_path(&m, &m.items[m.nr - 1]), "[vsyscall]");
	assert_int_equal(m.items[m.nr - 1].end, 0xffffffffff601000);
	assert_int_equal(s.unknown[0].count, 0);
}

static void odd_name(void **state)
{
	autovmas struct proc_vma_list l = { 0 };
	const struct proc_vma *v;

	(void)state;
	load("linux-6.18-threads/maps", proc_maps_parse, &l);
	v = proc_vma_find(&l, 0x7f1c04829fff);
	assert_non_null(v);
	assert_string_equal(proc_vma_path(&l, v), "/srv/app/we ird\\012na\\me (deleted)");
	assert_int_equal(v->start, 0x7f1c04828000);
	assert_int_equal(v->end, 0x7f1c0482a000);
	assert_int_equal(v->pgoff, 0x1000);
	assert_int_equal(v->dev_major, 0xfe);
	assert_int_equal(v->dev_minor, 0);
	assert_int_equal(v->ino, 10953442);
	assert_true(v->shared);
	assert_int_equal(v->prot, PROT_READ);
	assert_null(proc_vma_find(&l, 0));
	assert_null(proc_vma_find(&l, UINT64_MAX));
	assert_null(proc_vma_find(&l, 0xffffffffff601000));
	assert_ptr_equal(proc_vma_find(&l, 0xffffffffff600000), &l.items[l.nr - 1]);
	for (size_t i = 0; i < l.nr; i++) {
		assert_ptr_equal(proc_vma_find(&l, l.items[i].start), &l.items[i]);
		assert_ptr_equal(proc_vma_find(&l, l.items[i].end - 1), &l.items[i]);
	}
}

/* What madvise(), mlock(), mseal() and others were called on, see the lines of the sample */
static void flags(void **state)
{
	static const uint64_t expected[] = {
		PROC_VM_DC,
		PROC_VM_WF,
		PROC_VM_DD,
		PROC_VM_SR,
		PROC_VM_RR,
		PROC_VM_HG,
		PROC_VM_NH,
		PROC_VM_MG,
		PROC_VM_GU,
		PROC_VM_LO | PROC_VM_LF,
		PROC_VM_SL,
		PROC_VM_NR,
		PROC_VM_DP,
		PROC_VM_GD,
		PROC_VM_UM | PROC_VM_UW,
		PROC_VM_SH | PROC_VM_MS,
		PROC_VM_PF | PROC_VM_IO,
	};
	autovmas struct proc_vma_list l = { 0 };

	(void)state;
	load("linux-6.18-flags/smaps", proc_smaps_parse, &l);
	assert_int_equal(l.unknown[0].count, 0);
	for (size_t k = 0; k < sizeof(expected) / sizeof(expected[0]); k++) {
		bool found = false;

		for (size_t i = 0; i < l.nr; i++)
			found |= (l.items[i].vm_flags & expected[k]) == expected[k];
		if (!found)
			fail_msg("flags %#llx of row %zu on no mapping", (unsigned long long)expected[k], k);
	}
}

static void older_kernels(void **state)
{
	autovmas struct proc_vma_list now = { 0 }, old = { 0 };

	(void)state;
	load("linux-6.18-plain/smaps", proc_smaps_parse, &now);
	load("linux-5.10/smaps", proc_smaps_parse, &old);
	assert_int_equal(now.nr, old.nr);
	for (size_t i = 0; i < now.nr; i++) {
		assert_int_equal(now.items[i].vm_flags, old.items[i].vm_flags);
		assert_int_equal(now.items[i].rss_kb, old.items[i].rss_kb);
		assert_int_equal(old.items[i].pkey, PROC_PKEY_NONE);
	}
}

/* Kernels with soft-dirty and protection keys; the older one has no name for MLOCK_ONFAULT */
static void soft_dirty_and_keys(void **state)
{
	static const char *const names[] = { "linux-6.1/smaps", "linux-6.12/smaps" };

	(void)state;
	for (int k = 0; k < 2; k++) {
		const uint64_t onfault = PROC_VM_LO | (k == 0 ? PROC_VM_UNNAMED : PROC_VM_LF);
		autovmas struct proc_vma_list l = { 0 };
		size_t dirty = 0, locked = 0;

		load(names[k], proc_smaps_parse, &l);
		for (size_t i = 0; i < l.nr; i++) {
			const char *name = proc_vma_path(&l, &l.items[i]);

			dirty += !!(l.items[i].vm_flags & PROC_VM_SD);
			locked += (l.items[i].vm_flags & onfault) == onfault;
			if (strcmp(name, "[vsyscall]") != 0)
				assert_int_equal(l.items[i].pkey, 0);
		}
		assert_true(dirty > 20);
		assert_int_equal(locked, 1);
		assert_int_equal(l.unknown[0].count, k == 0);
		assert_string_equal(l.unknown[0].code, k == 0 ? "??" : "");
	}
}

#define HEAD "1000-2000 rw-p 00000000 00:00 0 \n"

static void values(void **state)
{
	const char *text =
		"1000-3000 ---p 00000000 00:00 0 \n"
		"Rss:                  12 kB\nShared_Clean:          1 kB\nShared_Dirty:          2 kB\n"
		"Shared_Hugetlb:        7 kB\nAnonymous:             8 kB\nAnonHugePages:        99 kB\n"
		"KernelPageSize:     2048 kB\nSwap:                  4 kB\nSwapPss:               3 kB\n"
		"Locked:               16 kB\nNewLine: anything\nProtectionKey:         5\nVmFlags: rd zz ?? zz \n"
		"3000-4000 r-xs fffffffffffff000 103:fffff 18446744073709551615 /a b  \nVmFlags: \n"
		"4000-5000 r-xs 00000000 00:00 7 /a b  \nVmFlags: ex sh\n";
	autovmas struct proc_vma_list l = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	if (proc_smaps_parse(text, strlen(text), &l, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(l.nr, 3);
	assert_int_equal(l.items[0].rss_kb, 12);
	assert_int_equal(l.items[0].shared_kb, 3);
	assert_int_equal(l.items[0].anonymous_kb, 8);
	assert_int_equal(l.items[0].swap_kb, 4);
	assert_int_equal(l.items[0].locked_kb, 16);
	assert_int_equal(l.items[0].kernel_page_kb, 2048);
	assert_int_equal(l.items[0].pkey, 5);
	assert_int_equal(l.items[0].vm_flags, PROC_VM_RD | PROC_VM_UNNAMED);
	assert_int_equal(l.items[0].nr_unknown_flags, 3);
	assert_string_equal(l.unknown[0].code, "zz");
	assert_int_equal(l.unknown[0].count, 2);
	assert_string_equal(l.unknown[1].code, "??");
	assert_int_equal(l.items[1].ino, UINT64_MAX);
	assert_int_equal(l.items[1].dev_major, 0x103);
	assert_int_equal(l.items[1].dev_minor, 0xfffff);
	assert_int_equal(l.items[1].pgoff, 0xfffffffffffff000);
	assert_string_equal(proc_vma_path(&l, &l.items[1]), "/a b  ");
	assert_int_equal(l.items[1].path, l.items[2].path);
	assert_int_equal(l.items[2].vm_flags, PROC_VM_EX | PROC_VM_SH);
}

static void refused_maps(void **state)
{
	static const struct bad_text rows[] = {
		{ "not hexadecimal", "zzz\n", -EINVAL, "line 1: field start" },
		{ "empty line", "\n", -EINVAL, "line 1: field start" },
		{ "start too wide", "10000000000000000-2 rw-p 0 0:0 0\n", -ERANGE, "field start" },
		{ "no end", "1000 rw-p\n", -EINVAL, "field start" },
		{ "end too wide", "1000-10000000000000000 rw-p 0 0:0 0\n", -ERANGE, "field end" },
		{ "empty mapping", "1000-1000 rw-p 0 0:0 0\n", -EINVAL, "out of order" },
		{ "backwards", HEAD "1800-3000 rw-p 0 0:0 0\n", -EINVAL, "line 2: field start (out of order)" },
		{ "permissions", "1000-2000 rwqp 0 0:0 0\n", -EINVAL, "field permissions" },
		{ "short permissions", "1000-2000 rw\n", -EINVAL, "field permissions" },
		{ "offset", "1000-2000 rw-p 11111111111111111 0:0 0\n", -ERANGE, "field offset" },
		{ "device", "1000-2000 rw-p 0 100000000:0 0\n", -ERANGE, "field device" },
		{ "inode", "1000-2000 rw-p 0 0:0 18446744073709551616\n", -ERANGE, "field device and inode" },
		{ "inode with a tail", "1000-2000 rw-p 0 0:0 12x\n", -EINVAL, "field device and inode" },
		{ "cut off", HEAD "2000-3000 rw-p", -EINVAL, "cut off in line 2" },
		{ "lines of smaps", HEAD "Size: 4 kB\n", -EINVAL, "line 2: field start" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse_maps);
}

static void refused_smaps(void **state)
{
	static const struct bad_text rows[] = {
		{ "no flags", HEAD, -EINVAL, "no VmFlags for the last mapping" },
		{ "no flags between", HEAD "2000-3000 rw-p 0 0:0 0\n", -EINVAL,
		  "line 2: no VmFlags for the mapping before" },
		{ "code of three", HEAD "VmFlags: rdx wr \n", -EINVAL, "line 2: field VmFlags" },
		{ "code of one", HEAD "VmFlags: rd w\n", -EINVAL, "field VmFlags" },
		{ "size without unit", HEAD "Rss:  4\n", -EINVAL, "field Rss" },
		{ "size too large", HEAD "Swap: 18446744073709551616 kB\n", -ERANGE, "field Swap" },
		{ "page size too large", HEAD "KernelPageSize: 4294967296 kB\n", -ERANGE, "field KernelPageSize" },
		{ "key too large", HEAD "ProtectionKey: 128\n", -ERANGE, "field ProtectionKey" },
		{ "no mapping yet", "Rss: 4 kB\n", -EINVAL, "line 1: field start" },
	};

	(void)state;
	bad_texts_check(rows, sizeof(rows) / sizeof(rows[0]), parse_smaps);
}

static void many_unknown_codes(void **state)
{
	autobuf struct buf text = BUF_INIT(1u << 20);
	autovmas struct proc_vma_list l = { 0 };
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(buf_printf(&text, HEAD "VmFlags:"), 0);
	for (int i = 0; i < 400; i++)
		assert_int_equal(buf_printf(&text, " %c%c", 'A' + i % 26, 'A' + i / 26 % 26), 0);
	assert_int_equal(buf_printf(&text, " \n"), 0);
	if (proc_smaps_parse(text.data, text.len, &l, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(l.items[0].nr_unknown_flags, UINT8_MAX);
	assert_int_equal(l.unknown[PROC_UNKNOWN_FLAGS_MAX - 1].count, 1);
	assert_string_equal(l.unknown[PROC_UNKNOWN_FLAGS_MAX - 1].code, "HA");
}

static void damage(void **state)
{
	(void)state;
	sample_hurt("linux-6.18-threads/maps", parse_maps);
	sample_hurt("linux-6.18-flags/smaps", parse_smaps);
	sample_hurt("linux-6.1/smaps", parse_smaps);
}

/* The stream in its pieces, as the kernel hands them out, against one's own mappings */
static void own_mappings(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE;
	autovmas struct proc_vma_list l = { 0 };
	struct cr_error err = { 0 };
	size_t page = (size_t)sysconf(_SC_PAGESIZE), nr = 2000, found = 0;
	char *at = mmap(NULL, nr * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	assert_true(at != MAP_FAILED);
	for (size_t i = 0; i < nr; i += 2)
		assert_int_equal(mprotect(at + i * page, page, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &d, &err), 0);
	if (proc_smaps_read(&d, &l, &err) < 0)
		fail_msg("%s", err.text);
	list_sane(&l);
	for (size_t i = 0; i < l.nr; i++)
		found += l.items[i].start >= (uintptr_t)at && l.items[i].end <= (uintptr_t)at + nr * page;
	assert_int_equal(found, nr);
	munmap(at, nr * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(odd_name),
		cmocka_unit_test(flags),
		cmocka_unit_test(older_kernels),
		cmocka_unit_test(soft_dirty_and_keys),
		cmocka_unit_test(values),
		cmocka_unit_test(refused_maps),
		cmocka_unit_test(refused_smaps),
		cmocka_unit_test(many_unknown_codes),
		cmocka_unit_test(damage),
		cmocka_unit_test(own_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
