/* cpuinfo.img: what one processor can go on with of what another one began. */
#include "image/cpuinfo.h"

#include "base/array.h"
#include "proto/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ALL (CPUINFO_FPU | CPUINFO_CPU | CPUINFO_INS)

/* A processor of the dump and one of the restore that start out equal. */
struct pair {
	struct cpuid_facts here;
	uint32_t words[CPUID_WORDS];
	img_cpuinfo_x86_entry was;
};

static void pair_init(struct pair *p)
{
	memset(p, 0, sizeof(*p));
	p->here = (struct cpuid_facts){ .vendor = img_cpuinfo_x86_entry_vendor_INTEL,
					.family = 6,
					.model = 85,
					.stepping = 7,
					.xfeatures = 0x7,
					.xsave_size = 832,
					.xsave_size_max = 2696 };
	p->here.words[CPUID_1_EDX] = 0x178bfbff;
	p->here.words[CPUID_1_ECX] = 0x7ed8320b;
	p->here.words[CPUID_7_EBX] = 1u << 5 | 1u << 3; /* avx2, bmi1 */
	memcpy(p->words, p->here.words, sizeof(p->words));
	p->was = (img_cpuinfo_x86_entry){
		.vendor_id = img_cpuinfo_x86_entry_vendor_INTEL,
		.cpu_family = 6,
		.model = 85,
		.stepping = 7,
		.capability_ver = 2,
		.capability = { p->words, CPUID_WORDS },
		.has_xfeatures_mask = true,
		.xfeatures_mask = 0x7,
		.has_xsave_size = true,
		.xsave_size = 832,
		.has_xsave_size_max = true,
		.xsave_size_max = 2696,
	};
}

static void expect(const struct pair *p, const char *name, uint32_t caps, int code, const char *part)
{
	struct cr_error err = { 0 };
	int r = cpuinfo_compare(&p->was, &p->here, caps, &err);

	if (r != code)
		fail_msg("%s with %#x: %d, not %d: %s", name, caps, r, code, err.text);
	if (part && !strstr(err.text, part))
		fail_msg("%s: \"%s\" does not hold \"%s\"", name, err.text, part);
}

static void comparison(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	expect(&p, "equal", ALL, 0, NULL);
	expect(&p, "nothing asked", 0, 0, NULL);

	p.words[CPUID_7_EBX] |= 1u << 16;
	expect(&p, "an instruction less", CPUINFO_INS, -ENODEV, "lacks avx512f");
	expect(&p, "an instruction less", CPUINFO_CPU, -ENODEV, "word 9");
	expect(&p, "an instruction less", CPUINFO_FPU, 0, NULL);

	pair_init(&p);
	p.here.words[CPUID_7_EBX] |= 1u << 16;
	expect(&p, "an instruction more", CPUINFO_DEFAULT, 0, NULL);
	expect(&p, "an instruction more", CPUINFO_CPU, -ENODEV, "word 9");

	/* what no program executes: hypervisor bit, thermal monitor */
	pair_init(&p);
	p.words[CPUID_1_ECX] |= 1u << 31;
	p.words[CPUID_1_EDX] |= 1u << 29;
	expect(&p, "no instructions", CPUINFO_INS, 0, NULL);
	/* words that the kernel makes up, in images of others */
	pair_init(&p);
	p.words[3] = p.words[7] = p.words[8] = 0x123;
	expect(&p, "words of the kernel", ALL, 0, NULL);

	pair_init(&p);
	p.was.xfeatures_mask = 0xe7;
	expect(&p, "state less", CPUINFO_FPU, -ENODEV, "0xe0");
	expect(&p, "state less", CPUINFO_INS, 0, NULL);
	pair_init(&p);
	p.was.xsave_size = 2696;
	expect(&p, "smaller state", CPUINFO_FPU, -ENODEV, "832");
	pair_init(&p);
	p.was.has_xsave_size = p.was.has_xfeatures_mask = false;
	expect(&p, "old image without state", CPUINFO_FPU, 0, NULL);

	pair_init(&p);
	p.was.model = 79;
	expect(&p, "another model", CPUINFO_DEFAULT, 0, NULL);
	expect(&p, "another model", CPUINFO_CPU, -ENODEV, "model 85");
}

static void layouts(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.was.capability_ver = 3;
	expect(&p, "layout of the future", ALL, -EBADMSG, "capability_ver 3");

	/* 12 words, of which the last two mean something else */
	pair_init(&p);
	p.was.capability_ver = 1;
	p.was.capability.nr = 12;
	p.words[10] = p.words[11] = 0xffffffff;
	expect(&p, "old layout", ALL, 0, NULL);
	p.words[CPUID_7_EBX] |= 1u << 29;
	expect(&p, "old layout", CPUINFO_INS, -ENODEV, "sha_ni");

	pair_init(&p);
	p.was.capability.nr = 0;
	p.was.capability.items = NULL;
	expect(&p, "no words", CPUINFO_INS, 0, NULL);
	expect(&p, "no words", CPUINFO_CPU, -ENODEV, "word 0");
}

static void file(void **state)
{
	char dir[] = "/tmp/test-cpuinfo-XXXXXX";
	static const uint8_t noise[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	struct cr_error err = { 0 };
	int dirfd, fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), -ENOENT);
	assert_int_equal(cpuinfo_write(dirfd, &err), 0);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), 0);
	/* an older one is replaced, whatever it was */
	fd = openat(dirfd, "cpuinfo.img", O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
	close(fd);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), -EBADMSG);
	assert_int_equal(cpuinfo_write(dirfd, &err), 0);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), 0);
	/* cut short at every byte: refused, never taken for another processor's */
	for (off_t len = lseek(fd = openat(dirfd, "cpuinfo.img", O_RDWR), 0, SEEK_END); len-- > 0;) {
		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(cpuinfo_check(dirfd, ALL, &err), -EBADMSG);
	}
	close(fd);
	assert_int_equal(unlinkat(dirfd, "cpuinfo.img", 0), 0);
	assert_int_equal(symlinkat("elsewhere", dirfd, "cpuinfo.img"), 0);
	assert_int_equal(cpuinfo_write(dirfd, &err), -ELOOP);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), -ELOOP);
	assert_int_equal(unlinkat(dirfd, "cpuinfo.img", 0), 0);
	/* nobody is waited for who might open the other end */
	assert_int_equal(mkfifoat(dirfd, "cpuinfo.img", 0600), 0);
	assert_int_equal(cpuinfo_check(dirfd, ALL, &err), -EBADMSG);
	fd = openat(dirfd, "cpuinfo.img", O_RDONLY | O_NONBLOCK);
	assert_int_equal(cpuinfo_write(dirfd, &err), -EEXIST);
	close(fd);
	assert_int_equal(unlinkat(dirfd, "cpuinfo.img", 0), 0);
	close(dirfd);
	assert_int_equal(rmdir(dir), 0);
}

static void what_is_asked(void **state)
{
	rpc_criu_opts opts = { 0 };

	(void)state;
	assert_int_equal(cpuinfo_caps(&opts), CPUINFO_DEFAULT);
	opts.has_cpu_cap = true;
	assert_int_equal(cpuinfo_caps(&opts), 0);
	opts.cpu_cap = CPUINFO_CPU | CPUINFO_IMAGE;
	assert_int_equal(cpuinfo_caps(&opts), CPUINFO_CPU | CPUINFO_IMAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparison),
		cmocka_unit_test(layouts),
		cmocka_unit_test(file),
		cmocka_unit_test(what_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
