/*
 * Mappings of a process: /proc/PID/maps and /proc/PID/smaps, read by one streaming reader. smaps costs the kernel a
 * walk of the page tables, and is the only place that shows the flags of a mapping: VmFlags.
 */
#ifndef CR_PROCFS_MAPS_H
#define CR_PROCFS_MAPS_H

#include "procfs/proc-dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_error;

/* VmFlags. Two-letter codes of show_smap_vma_flags() in fs/proc/task_mmu.c; the bits are ours, not the kernel's. */
#define PROC_VM_RD (UINT64_C(1) << 0)  /* readable */
#define PROC_VM_WR (UINT64_C(1) << 1)  /* writable */
#define PROC_VM_EX (UINT64_C(1) << 2)  /* executable */
#define PROC_VM_SH (UINT64_C(1) << 3)  /* shared */
#define PROC_VM_MR (UINT64_C(1) << 4)  /* may be made readable */
#define PROC_VM_MW (UINT64_C(1) << 5)  /* may be made writable */
#define PROC_VM_ME (UINT64_C(1) << 6)  /* may be made executable */
#define PROC_VM_MS (UINT64_C(1) << 7)  /* may be shared */
#define PROC_VM_GD (UINT64_C(1) << 8)  /* stack that grows down */
#define PROC_VM_PF (UINT64_C(1) << 9)  /* bare page frames, no struct page */
#define PROC_VM_LO (UINT64_C(1) << 10) /* locked */
#define PROC_VM_IO (UINT64_C(1) << 11) /* device memory */
#define PROC_VM_SR (UINT64_C(1) << 12) /* MADV_SEQUENTIAL */
#define PROC_VM_RR (UINT64_C(1) << 13) /* MADV_RANDOM */
#define PROC_VM_DC (UINT64_C(1) << 14) /* MADV_DONTFORK */
#define PROC_VM_DE (UINT64_C(1) << 15) /* mremap() may not grow it */
#define PROC_VM_AC (UINT64_C(1) << 16) /* counted against the commit limit */
#define PROC_VM_NR (UINT64_C(1) << 17) /* MAP_NORESERVE */
#define PROC_VM_HT (UINT64_C(1) << 18) /* hugetlb */
#define PROC_VM_SF (UINT64_C(1) << 19) /* MAP_SYNC */
#define PROC_VM_AR (UINT64_C(1) << 20) /* architecture specific */
#define PROC_VM_WF (UINT64_C(1) << 21) /* MADV_WIPEONFORK, 4.14 */
#define PROC_VM_DD (UINT64_C(1) << 22) /* MADV_DONTDUMP */
#define PROC_VM_SD (UINT64_C(1) << 23) /* soft-dirty */
#define PROC_VM_MM (UINT64_C(1) << 24) /* page frames and struct pages mixed */
#define PROC_VM_HG (UINT64_C(1) << 25) /* MADV_HUGEPAGE */
#define PROC_VM_NH (UINT64_C(1) << 26) /* MADV_NOHUGEPAGE */
#define PROC_VM_MG (UINT64_C(1) << 27) /* MADV_MERGEABLE */
#define PROC_VM_BT (UINT64_C(1) << 28) /* arm64 branch target identification */
#define PROC_VM_MT (UINT64_C(1) << 29) /* arm64 memory tagging */
#define PROC_VM_UM (UINT64_C(1) << 30) /* userfaultfd: missing */
#define PROC_VM_UW (UINT64_C(1) << 31) /* userfaultfd: write-protect */
#define PROC_VM_UI (UINT64_C(1) << 32) /* userfaultfd: minor */
#define PROC_VM_SS (UINT64_C(1) << 33) /* shadow stack, 6.6 */
#define PROC_VM_SL (UINT64_C(1) << 34) /* sealed, 6.10 */
#define PROC_VM_LF (UINT64_C(1) << 35) /* MLOCK_ONFAULT */
#define PROC_VM_DP (UINT64_C(1) << 36) /* MAP_DROPPABLE, 6.11 */
#define PROC_VM_GU (UINT64_C(1) << 37) /* may hold guard regions, 6.18 */
#define PROC_VM_DW (UINT64_C(1) << 38) /* writing to the file is denied, before 5.16 */
#define PROC_VM_NL (UINT64_C(1) << 39) /* non-linear, before 4.0 */
#define PROC_VM_MP (UINT64_C(1) << 40) /* MPX bounds table, 3.19 to 5.5 */
/*
 * "??": a flag the kernel itself has no name for. Counted as unknown too. MLOCK_ONFAULT is shown so by Linux 6.1, next to
 * "lo"; 6.12 calls it "lf".
 */
#define PROC_VM_UNNAMED (UINT64_C(1) << 41)

#define PROC_PKEY_NONE (-1)

struct proc_vma {
	uint64_t start, end; /* bytes, end exclusive */
	uint64_t pgoff;      /* bytes into the file */
	uint64_t ino;        /* 0: no file */
	uint32_t dev_major, dev_minor;
	uint32_t path; /* offset into the strings of the list, see proc_vma_path() */
	uint32_t path_len;
	uint8_t prot; /* PROT_READ, PROT_WRITE, PROT_EXEC */
	bool shared;
	uint8_t nr_unknown_flags; /* codes of VmFlags that have no PROC_VM_* */
	int8_t pkey;              /* protection key or PROC_PKEY_NONE */
	/* smaps only, else 0 */
	uint32_t kernel_page_kb;
	uint64_t vm_flags; /* PROC_VM_* */
	uint64_t rss_kb, anonymous_kb, swap_kb, locked_kb;
	uint64_t shared_kb; /* of rss_kb: also mapped elsewhere */
};

#define PROC_VMAS_MAX          ((size_t)1 << 22)
#define PROC_UNKNOWN_FLAGS_MAX 8

/* A code of VmFlags that this program does not know, and on how many mappings it was seen */
struct proc_unknown_flag {
	char code[3];
	size_t count;
};

/* In ascending order of addresses, not overlapping. All zero is a valid empty list. */
struct proc_vma_list {
	struct proc_vma *items;
	size_t nr, cap;
	char *strings; /* NUL terminated one after the other; the first is "" */
	size_t strings_len, strings_cap;
	struct proc_unknown_flag unknown[PROC_UNKNOWN_FLAGS_MAX]; /* the first few kinds, filled from the front */
};

/**
 * proc_vma_path() - the name column: "", a path, or a name in brackets
 *
 * Raw as the kernel prints it: a newline is \012 while a backslash is itself, and " (deleted)" follows the path of an
 * unlinked file but can equally be part of a name. Valid until the list grows or is given back.
 */
static inline const char *proc_vma_path(const struct proc_vma_list *l, const struct proc_vma *v)
{
	return v->path_len ? l->strings + v->path : "";
}

/** proc_vma_find() - the mapping that covers @at, or NULL */
const struct proc_vma *proc_vma_find(const struct proc_vma_list *l, uint64_t at);

/**
 * proc_maps_parse() - the whole text of maps or smaps; pure but for memory
 * @ret: empty list; after an error, still to be given back
 *
 * Return: 0; -EINVAL or -ERANGE, @err names line and field; -E2BIG past PROC_VMAS_MAX; -ENOMEM.
 */
int proc_maps_parse(const char *text, size_t len, struct proc_vma_list *ret, struct cr_error *err);
int proc_smaps_parse(const char *text, size_t len, struct proc_vma_list *ret, struct cr_error *err);

/**
 * proc_maps_read(), proc_smaps_read() - of a process that is stopped
 *
 * A task without memory (kernel thread, zombie) has no mappings, and one that exits meanwhile has only those seen so
 * far: neither is a failure. Text beats PROCMAP_QUERY for whole address spaces: a call costs more than a line. smaps
 * costs the kernel ten times as much as maps, and about 10 ms per GiB of present 4-KiB pages on top; neither larger
 * reads nor a second reader help, since any offset is reached by printing all that comes before it.
 *
 * Return: as the parsers and proc_open().
 */
int proc_maps_read(const struct proc_dir *d, struct proc_vma_list *ret, struct cr_error *err);
int proc_smaps_read(const struct proc_dir *d, struct proc_vma_list *ret, struct cr_error *err);

/** proc_vma_list_done() - give back memory; an empty list and a second call are fine */
void proc_vma_list_done(struct proc_vma_list *l);

static inline void proc_vma_list_done_slot(struct proc_vma_list *l)
{
	proc_vma_list_done(l);
}

#define autovmas __attribute__((cleanup(proc_vma_list_done_slot)))

#endif
