/* Kinds of mappings, told from what procfs says of them. */
#include "mm/vma-class.h"

#include "kernel/uapi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#define RW     (PROT_READ | PROT_WRITE)
#define BIT(n) (UINT64_C(1) << (n))

static const struct mm_devices devices = { .shm_major = 0, .shm_minor = 1, .shm_known = true };

static const struct {
	const char *path;
	struct proc_vma v;
	enum vma_kind kind;
	uint32_t status, flags;
	uint64_t madv;
} cases[] = {
	{ "", { .prot = RW }, VMA_ANON, 0x201, 0x22, 0 },
	{ "[heap]", { .prot = RW }, VMA_ANON, 0x221, 0x22, 0 },
	{ "[stack]", { .prot = RW, .vm_flags = PROC_VM_GD }, VMA_ANON, 0x201, 0x122, 0 },
	{ "[anon:arena]", { .prot = RW }, VMA_ANON, 0x201, 0x22, 0 },
	{ "",
	  { .prot = RW, .vm_flags = PROC_VM_LO | PROC_VM_NR | PROC_VM_DD | PROC_VM_NH },
	  VMA_ANON,
	  0x201,
	  0x6022,
	  BIT(16) | BIT(15) },
	{ "", { .prot = RW, .vm_flags = PROC_VM_DP | PROC_VM_NR | PROC_VM_DD | PROC_VM_WF }, VMA_ANON, 0x201, 0x28, 0 },
	{ "[vdso]", { .prot = 5, .vm_flags = PROC_VM_DE }, VMA_VDSO, 0x209, 0x22, 0 },
	{ "[vvar]", { .prot = 1, .vm_flags = PROC_VM_IO | PROC_VM_PF | PROC_VM_DD }, VMA_VVAR, 0x1201, 0x22, BIT(16) },
	{ "[vvar_vclock]", { .prot = 1, .vm_flags = PROC_VM_IO | PROC_VM_PF }, VMA_VVAR, 0x1201, 0x22, 0 },
	{ "[vsyscall]", { .prot = 4 }, VMA_VSYSCALL, 0x204, 0x22, 0 },
	{ "[uprobes]", { .prot = 4 }, VMA_REFUSED, 0, 0, 0 },
	{ "[new thing]", { .prot = 4 }, VMA_REFUSED, 0, 0, 0 },
	{ "", { .prot = RW, .vm_flags = PROC_VM_SS }, VMA_REFUSED, 0, 0, 0 },
	{ "", { .prot = RW, .vm_flags = PROC_VM_UM }, VMA_REFUSED, 0, 0, 0 },
	{ "/usr/lib/libc.so.6", { .prot = 5, .ino = 9, .dev_major = 8 }, VMA_FILE, 0x41, 0x2, 0 },
	{ "/tmp/x (deleted)", { .prot = RW, .ino = 9, .dev_major = 8, .shared = true }, VMA_FILE, 0x81, 0x1, 0 },
	{ "/dev/mem",
	  { .prot = RW, .ino = 9, .shared = true, .vm_flags = PROC_VM_IO | PROC_VM_PF },
	  VMA_REFUSED,
	  0,
	  0,
	  0 },
	{ "/dev/zero", { .prot = RW, .ino = 9, .dev_minor = 6 }, VMA_ANON, 0x201, 0x22, 0 },
	{ "/dev/zero (deleted)", { .prot = RW, .ino = 9, .dev_minor = 1, .shared = true }, VMA_MEMFD, 0x4081, 0x1, 0 },
	{ "/memfd:x (deleted)", { .prot = RW, .ino = 9, .dev_minor = 1, .shared = true }, VMA_MEMFD, 0x4081, 0x1, 0 },
	{ "/memfd:x (deleted)", { .prot = RW, .ino = 9, .dev_minor = 1 }, VMA_MEMFD, 0x4041, 0x2, 0 },
	/* a file of that name somewhere else */
	{ "/memfd:x (deleted)", { .prot = RW, .ino = 9, .dev_minor = 40, .shared = true }, VMA_FILE, 0x81, 0x1, 0 },
	{ "/SYSV00000000 (deleted)", { .prot = RW, .dev_minor = 1, .shared = true }, VMA_SYSV, 0x501, 0x21, 0 },
	{ "/SYSV0000002a (deleted)",
	  { .prot = RW, .ino = 9, .dev_minor = 1, .shared = true },
	  VMA_SYSV,
	  0x501,
	  0x21,
	  0 },
	{ "/i915 (deleted)", { .prot = RW, .ino = 9, .dev_minor = 1, .shared = true }, VMA_REFUSED, 0, 0, 0 },
	{ "/anon_hugepage (deleted)",
	  { .prot = RW, .ino = 9, .dev_minor = 15, .kernel_page_kb = 2048, .vm_flags = PROC_VM_HT },
	  VMA_ANON,
	  0x201,
	  0x22 | 0x40000 | 21 << 26,
	  0 },
	{ "anon_inode:[io_uring]", { .prot = RW, .ino = 9, .shared = true }, VMA_REFUSED, 0, 0, 0 },
	{ "anon_inode:bpf-map", { .prot = RW, .ino = 9, .shared = true }, VMA_REFUSED, 0, 0, 0 },
	{ "socket:[123]", { .prot = RW, .ino = 9, .shared = true, .vm_flags = PROC_VM_MM }, VMA_RING, 0x801, 0x1, 0 },
	{ "socket:[123]", { .prot = RW, .ino = 9 }, VMA_REFUSED, 0, 0, 0 },
	{ "/[aio] (deleted)", { .prot = RW, .ino = 9, .shared = true }, VMA_REFUSED, 0, 0, 0 },
	{ "/secretmem (deleted)", { .prot = RW, .ino = 9, .shared = true }, VMA_REFUSED, 0, 0, 0 },
	{ "", { .prot = RW, .shared = true }, VMA_REFUSED, 0, 0, 0 },
};

static void test_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vma_class c;

		vma_classify(&devices, &cases[i].v, cases[i].path, &c);
		if (c.kind != cases[i].kind)
			fail_msg("case %zu %s: kind %d in place of %d", i, cases[i].path, (int)c.kind,
				 (int)cases[i].kind);
		if (c.kind == VMA_REFUSED) {
			assert_non_null(c.what);
			assert_non_null(c.advice);
			continue;
		}
		if (c.status != cases[i].status || c.flags != cases[i].flags || c.madv != cases[i].madv)
			fail_msg("case %zu %s: status %x flags %x madv %lx", i, cases[i].path, c.status, c.flags,
				 (unsigned long)c.madv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_kinds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
