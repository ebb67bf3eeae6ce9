/*
 * Which kind of memory a mapping is. Names in maps are not proof of anything, since a file may be called "memfd:x
 * (deleted)" as well: memory objects of the kernel are known by the device of its internal tmpfs.
 */
#include "mm/vma-class.h"

#include "kernel/uapi.h"

#include <string.h>
#include <sys/mman.h>

#define DELETED " (deleted)"

/* Flags of mappings whose pages belong to somebody else, or whose faults somebody else answers. */
static const struct {
	uint64_t flag;
	const char *what, *advice;
} refused_flags[] = {
	{ PROC_VM_SS, "shadow stack", "run the program with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off" },
	{ PROC_VM_UM | PROC_VM_UW | PROC_VM_UI, "memory registered with userfaultfd",
	  "the process must unregister it first; after a lazy restore, try again when all of its memory is in" },
	{ PROC_VM_IO | PROC_VM_PF | PROC_VM_MM, "device memory", "the process must close the device first" },
	{ PROC_VM_SF, "persistent memory mapped with MAP_SYNC", "map it without MAP_SYNC" },
	{ PROC_VM_MT, "memory with tags (MTE)", "" },
};

/* Objects of the kernel that have no path. */
static const struct {
	const char *prefix, *what, *advice;
} refused_names[] = {
	{ "anon_inode:[io_uring]", "io_uring rings",
	  "the process must close its rings first, or run with kernel.io_uring_disabled=2" },
	{ "anon_inode:[perf_event]", "buffer of perf events", "stop profiling the process" },
	{ "anon_inode:", "memory of a kernel object", "the process must unmap it first" },
	{ "socket:", "private mapping of a socket", "the process must close the socket first" },
	{ "/[aio]", "ring of native AIO (io_setup)", "the process must call io_destroy() first" },
	{ "/secretmem" DELETED, "secret memory (memfd_secret)", "its content cannot be read from outside" },
	{ "[uprobes]", "breakpoints of uprobes", "remove the probes first" },
	{ "[sigpage]", "signal page", "" },
};

static const struct {
	uint64_t flag;
	int advice;
} madvise_flags[] = {
	{ PROC_VM_DD, MADV_DONTDUMP },   { PROC_VM_DC, MADV_DONTFORK },   { PROC_VM_HG, MADV_HUGEPAGE },
	{ PROC_VM_NH, MADV_NOHUGEPAGE }, { PROC_VM_MG, MADV_MERGEABLE },  { PROC_VM_WF, MADV_WIPEONFORK },
	{ PROC_VM_RR, MADV_RANDOM },     { PROC_VM_SR, MADV_SEQUENTIAL },
};

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static void refuse(struct vma_class *c, const char *what, const char *advice)
{
	c->kind = VMA_REFUSED;
	c->content = VMA_CONTENT_NONE;
	c->what = what;
	c->advice = advice;
}

static void special(struct vma_class *c, enum vma_kind kind, enum vma_content content, uint32_t status)
{
	c->kind = kind;
	c->content = content;
	c->status = status | MM_ST_ANON_PRIVATE;
	c->flags = MAP_PRIVATE | MAP_ANONYMOUS;
}

static void anonymous(struct vma_class *c, const struct proc_vma *v)
{
	c->kind = VMA_ANON;
	c->content = VMA_CONTENT_PRIVATE;
	c->status = MM_ST_REGULAR | MM_ST_ANON_PRIVATE;
	c->flags |= MAP_ANONYMOUS;
	if (v->vm_flags & PROC_VM_HT)
		c->flags |= MAP_HUGETLB | (uint32_t)__builtin_ctzll((uint64_t)v->kernel_page_kb * 1024)
						  << MAP_HUGE_SHIFT;
	if (v->vm_flags & PROC_VM_DP) {
		/* MAP_DROPPABLE stands in place of MAP_PRIVATE, and brings these with it; mmap(2), 6.11 */
		c->flags = (c->flags & ~(uint32_t)(MAP_PRIVATE | MAP_NORESERVE)) | MAP_DROPPABLE;
		c->madv &= ~((UINT64_C(1) << MADV_WIPEONFORK) | (UINT64_C(1) << MADV_DONTDUMP));
	}
}

/* An object of the kernel's internal tmpfs, or of an internal hugetlbfs. */
static void memory_object(struct vma_class *c, const struct proc_vma *v, const char *path)
{
	bool huge = v->vm_flags & PROC_VM_HT;

	if (!huge && starts(path, "/SYSV")) {
		if (!v->shared)
			return refuse(c, "private mapping of a System V segment", "");
		c->kind = VMA_SYSV;
		c->content = VMA_CONTENT_NONE;
		c->status = MM_ST_REGULAR | MM_ST_ANON_SHARED | MM_ST_SYSV;
		c->flags |= MAP_ANONYMOUS;
		return;
	}
	if (!starts(path, "/memfd:") && strcmp(path, "/dev/zero" DELETED) != 0 && !starts(path, "[anon_shmem:") &&
	    !huge)
		return refuse(c, "memory of a kernel driver", "the process must close the device first");
	c->kind = VMA_MEMFD;
	c->content = v->shared ? VMA_CONTENT_NONE : VMA_CONTENT_PRIVATE;
	c->status = MM_ST_REGULAR | MM_ST_MEMFD | (v->shared ? MM_ST_FILE_SHARED : MM_ST_FILE_PRIVATE);
}

static void by_object(struct vma_class *c, const struct mm_devices *devices, const struct proc_vma *v, const char *path)
{
	bool internal = devices->shm_known && v->dev_major == devices->shm_major && v->dev_minor == devices->shm_minor;

	if (v->vm_flags & PROC_VM_HT && strcmp(path, "/anon_hugepage" DELETED) == 0) {
		if (v->shared)
			return memory_object(c, v, path);
		return anonymous(c, v);
	}
	if (v->vm_flags & PROC_VM_HT && starts(path, "/SYSV") && strstr(path, DELETED))
		return refuse(c, "System V segment of huge pages", "");
	if (internal || (v->vm_flags & PROC_VM_HT && starts(path, "/memfd:")))
		return memory_object(c, v, path);
	if (path[0] != '/')
		return refuse(c, "memory of a kernel object", "the process must unmap it first");
	if (strcmp(path, "/dev/zero") == 0 && !v->shared)
		return anonymous(c, v); /* mmap_zero() in drivers/char/mem.c: private memory in all but name */
	c->kind = VMA_FILE;
	c->content = v->shared ? VMA_CONTENT_NONE : VMA_CONTENT_PRIVATE;
	c->status = MM_ST_REGULAR | (v->shared ? MM_ST_FILE_SHARED : MM_ST_FILE_PRIVATE);
}

static void flags_of(struct vma_class *c, const struct proc_vma *v)
{
	c->flags = v->shared ? MAP_SHARED : MAP_PRIVATE;
	if (v->vm_flags & PROC_VM_GD)
		c->flags |= MAP_GROWSDOWN;
	if (v->vm_flags & PROC_VM_LO)
		c->flags |= MAP_LOCKED;
	if (v->vm_flags & PROC_VM_NR)
		c->flags |= MAP_NORESERVE;
	for (size_t i = 0; i < ARRAY_LEN(madvise_flags); i++)
		if (v->vm_flags & madvise_flags[i].flag)
			c->madv |= UINT64_C(1) << madvise_flags[i].advice;
}

void vma_classify(const struct mm_devices *devices, const struct proc_vma *v, const char *path, struct vma_class *ret)
{
	memset(ret, 0, sizeof(*ret));
	flags_of(ret, v);
	if (v->ino == 0 && path[0] == '[') {
		if (strcmp(path, "[vsyscall]") == 0)
			return special(ret, VMA_VSYSCALL, VMA_CONTENT_NONE, MM_ST_VSYSCALL);
		if (strcmp(path, "[vdso]") == 0)
			return special(ret, VMA_VDSO, VMA_CONTENT_ALL, MM_ST_REGULAR | MM_ST_VDSO);
		if (starts(path, "[vvar"))
			return special(ret, VMA_VVAR, VMA_CONTENT_NONE, MM_ST_REGULAR | MM_ST_VVAR);
	}
	if (v->ino != 0 && v->shared && starts(path, "socket:[")) {
		/* its pages are put in one by one, which the flags of a mapping show as those of a device; packet_mmap() */
		ret->kind = VMA_RING;
		ret->content = VMA_CONTENT_NONE;
		ret->status = MM_ST_REGULAR | MM_ST_SOCKET;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(refused_names); i++)
		if (starts(path, refused_names[i].prefix))
			return refuse(ret, refused_names[i].what, refused_names[i].advice);
	for (size_t i = 0; i < ARRAY_LEN(refused_flags); i++)
		if (v->vm_flags & refused_flags[i].flag)
			return refuse(ret, refused_flags[i].what, refused_flags[i].advice);
	/* the first System V segment has number 0, and so has its inode */
	if (v->ino != 0 || path[0] == '/')
		return by_object(ret, devices, v, path);
	if (v->shared)
		return refuse(ret, "shared memory without an object", "");
	if (path[0] == '[' && strcmp(path, "[heap]") != 0 && !starts(path, "[stack") && !starts(path, "[anon:"))
		return refuse(ret, "special mapping of the kernel", "");
	anonymous(ret, v);
	if (strcmp(path, "[heap]") == 0)
		ret->status |= MM_ST_HEAP;
}
