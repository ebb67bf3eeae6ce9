/* What the files of mm/ share: the encodings of mm-PID.img and pagemap-ID.img, and the dump's own memory. */
#ifndef CR_MM_MM_INTERNAL_H
#define CR_MM_MM_INTERNAL_H

#include "base/array.h"
#include "base/error.h"
#include "mm/early-sums.h"
#include "mm/mm.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>

#define MM_PAGE     UINT64_C(4096)
#define MM_ADDR_MAX (UINT64_C(1) << 57) /* end of the largest address space: five levels of page tables, x86-64 */

/* vma_entry.status */
enum {
	MM_ST_REGULAR = 1 << 0,
	MM_ST_STACK = 1 << 1, /* old images only */
	MM_ST_VSYSCALL = 1 << 2,
	MM_ST_VDSO = 1 << 3,
	MM_ST_HEAP = 1 << 5,
	MM_ST_FILE_PRIVATE = 1 << 6,
	MM_ST_FILE_SHARED = 1 << 7,
	MM_ST_ANON_SHARED = 1 << 8,
	MM_ST_ANON_PRIVATE = 1 << 9,
	MM_ST_SYSV = 1 << 10,
	MM_ST_SOCKET = 1 << 11,
	MM_ST_VVAR = 1 << 12,
	MM_ST_AIO = 1 << 13,
	MM_ST_MEMFD = 1 << 14,
	MM_ST_SHSTK = 1 << 15,
	MM_ST_GUARD = 1 << 16,
	MM_ST_UPROBES = 1 << 17,
	MM_ST_PLUGIN = 1 << 27,
};

/* pagemap_entry.flags */
enum { MM_PE_PARENT = 1, MM_PE_LAZY = 2, MM_PE_PRESENT = 4 };

/* Not written to since the round before; only until it is known whether that round has stored the page. */
#define MM_RUN_CLEAN (UINT32_C(1) << 31)

/* A run of pages that is stored: address in the task, or offset in a segment. */
struct page_run {
	uint64_t start, end;
	uint32_t flags; /* MM_PE_*, MM_RUN_CLEAN */
	uint32_t slow;  /* not to be read with process_vm_readv(): no read access, or shared copy-on-write */
};
DEFINE_VEC(page_runs, struct page_run)
DEFINE_VEC(img_vmas, img_vma_entry)
DEFINE_VEC(mm_ranges, struct mm_range)

/* A segment whose content is stored once, however many tasks map it. */
struct segment {
	uint32_t shmid;
	int fd; /* readable, of the object */
	uint64_t size;
	bool sysv;
};
DEFINE_VEC(segments, struct segment)

struct proc_vma_list;

/* Mappings and pages of one task; task->mm points at entry. */
struct mm_task {
	struct task *task;
	img_mm_entry entry;
	struct img_vmas vmas; /* entry.vmas borrows from it */
	struct page_runs pages;
	struct page_runs to_copy;     /* those of pages that no earlier set has; used only if there is one */
	struct mm_ranges tracked;     /* mappings that are watched since the round before, ascending */
	struct mm_ranges watched;     /* mappings that are to be watched from this look at their pages on, ascending */
	struct mm_ranges stale;       /* of these, pages that this look has not protected, since they have a mark already */
	struct mm_ranges guarded;     /* shared mappings that may hold guard pages, ascending */
	struct mm_ranges alone;       /* mappings with pages of which none is mapped elsewhere, ascending */
	struct mm_ranges stays;       /* what is stored here even if it is unchanged */
	int mem;                      /* /proc/PID/mem, opened before the task runs on; -1: not needed */
	struct page_runs unread;      /* gone, or not to be had, when they were to be read from a running task */
	uint64_t nr_scanned;
	bool many;                    /* mappings: a few hundred or more */
	const struct proc_vma_list *early; /* mappings as they were read before; NULL: they are yet to be read */
	struct smaps_stream *smaps;   /* both under way between mm_begin() and mm_collect() */
	struct look_ahead *ahead;
	uint32_t ask_routine, ask_op;
	bool asked;
	struct snapshot_task *copy;   /* of a snapshot, else NULL */
};
DEFINE_VEC(mm_tasks, struct mm_task *)

struct file_cache;
struct smaps_ahead;

/* Devices that the kernel's own memory file systems have: how memfds are told from files that are merely called so. */
struct mm_devices {
	uint32_t shm_major, shm_minor;
	bool shm_known;
};

struct mm_dump {
	struct cr_context *ctx;
	struct mm_dump_config config;
	struct mm_devices devices;
	struct file_cache *files;
	struct smaps_ahead *ahead; /* between mm_read_ahead() and mm_read_ahead_end() */
	struct mm_tasks tasks;
	struct segments segments;
	uint32_t next_pages_id;
	bool many_nodes; /* more than one memory node: policies matter */
	bool warned_flags;
	struct tracker *tracker; /* NULL: nobody has asked for it yet */
	bool knows_parent;       /* what it knows refers to the parent */
	bool tracks;             /* it was renewed in this round */
	bool running;            /* tasks run while their pages are read */
	bool segments_stored;    /* by mm_dump_shared() */
	uint64_t write_us;       /* spent writing or sending pages, by the clock: several workers do it at the same time */
	bool more_follows;       /* pages of others will be stored by another call: sums have to wait */
	struct early_sums early_sums;
};

/* Of a snapshot: a task, its copy, and what the copy does not have */
struct twin;
struct twin_plan;
struct snapshot_task {
	struct twin *twin;            /* NULL: not made yet, or gone again */
	struct twin_plan *plan;       /* how it is made */
	struct mm_ranges drops;       /* what it is not to have: shared memory, huge pages of a pool */
	struct mm_ranges apart;       /* mappings whose content is read from the task itself while that is stopped */
	int apart_fd;                 /* memory file that holds it, each byte at its address; -1: there is none */
	struct page_runs apart_pages; /* pages of these mappings */
	const char *before;           /* smaps, if it was read before; NULL: it was read of the stopped task */
	size_t before_len;
	bool spared;                  /* it is not copied: what the parent lacks is little, and saved in apart_fd */
};

/* snapshot_begin() - makes mt->copy, before the mappings are read. Return: 0, -ENOMEM. snapshot_free(): NULL is fine */
int snapshot_begin(const struct mm_dump *d, struct mm_task *mt);
void snapshot_free(struct snapshot_task *s);
/* snapshot_note() - a mapping of the task. Return: 0, -ENOMEM */
struct proc_vma;
struct vma_class;
int snapshot_note(struct snapshot_task *s, const struct proc_vma *v, const struct vma_class *c);
/* snapshot_selects_late() - are pages looked for in the copies, when the tasks run again? */
bool snapshot_selects_late(const struct mm_dump *d);
/* snapshot_ask(), snapshot_ask_size() - its part of mm_ask() */
int snapshot_ask(struct mm_task *mt, struct program *p, struct routine *r, struct cr_error *err);
size_t snapshot_ask_size(const struct mm_task *mt);

/* snapshot_source() - where its pages are read from */
struct copy_job;
void snapshot_source(const struct snapshot_task *s, struct copy_job *job);

/* snapshot_put_aside() - save pages of a stopped task in apart_fd, which is made. Return: 0, negative errno */
int snapshot_put_aside(struct mm_task *mt, const struct page_runs *runs, struct cr_error *err);
/* snapshot_choose_spared() - is a copy needed? Sets mt->copy->spared; when its pages have been found; snapshot-spare.c */
void snapshot_choose_spared(const struct mm_dump *d, struct mm_task *mt);
/* snapshot_save_spared() - the pages of one that is not copied, while it is stopped. Return: 0, negative errno */
int snapshot_save_spared(struct mm_dump *d, struct mm_task *mt, struct cr_error *err);

/* pages_leave_to_parent() - fill mt->to_copy: what of mt->pages no earlier set has; once. Return: 0, negative errno */
int pages_leave_to_parent(struct mm_dump *d, struct mm_task *mt, struct cr_error *err);

/* pages_dump() - as mm_dump_pages(), of tasks (@tree NULL: of none) and, if @segments, of shared memory */
int pages_dump(struct mm_dump *d, const struct tree *tree, bool segments, struct image_set *set, struct mm_dump_stats *ret,
	       struct cr_error *err);

/* mm_rounds_begin() - find out what is known since the parent was made; before the mappings of the first task */
int mm_rounds_begin(struct mm_dump *d, const struct task *task, struct cr_error *err);
/* mm_rounds_distrust() - note what the parent lacks of a task */
int mm_rounds_distrust(struct mm_dump *d, struct mm_task *mt, struct cr_error *err);
/* mm_rounds_look() - note a mapping that we watch, and take the sign of it off @v */
struct proc_vma;
int mm_rounds_look(struct mm_dump *d, struct mm_task *mt, struct proc_vma *v, struct cr_error *err);

#endif
