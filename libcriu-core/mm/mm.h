/*
 * Memory: the mappings of a process and what is in them, dump and restore.
 *
 * A dump goes: mm_begin() and mm_collect() for every task, mm_ask() and mm_answer() around the one program that runs inside it,
 * mm_write() for mm-PID.img, mm_dump_pages() once for the tree. A restore goes: mm_read() for every task, mm_hole() for
 * the region, mm_segments_open() once, mm_plan() and mm_plan_late() into each task's routine, parents first.
 */
#ifndef CR_MM_MM_H
#define CR_MM_MM_H

#include "base/error.h"
#include "base/own.h"
#include "image/file-source.h"
#include "image/image-set.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_context;
struct page_client;
struct parasite;
struct program;
struct routine;
struct smaps_before;
struct task;
struct tree;
struct xstate_layout;

/* Half-open, page aligned. */
struct mm_range {
	uint64_t start, end;
};

/* ---------------------------------------------------------------- dump */

/* What mm/ remembers of one dump: mapped files and their ids, shared segments, questions under way. */
struct mm_dump;

/* Which pages a previous set has. */
struct mm_parent;

/** mm_parent_read() - of all its processes, through the chain; before any is stopped. Return: 0, negative errno */
int mm_parent_read(struct cr_context *ctx, struct image_set *set, struct mm_parent **ret, struct cr_error *err);
void mm_parent_free(struct mm_parent *p);
DEFINE_SLOT(struct mm_parent, mm_parent_free)

/* What was seen of large idle processes before the tree was stopped. */
struct mm_early;

/**
 * mm_early_look() - read the mappings of processes that just wait, where the kernel can tell afterwards that they still do
 * Return: 0, with NULL in @ret if there is nothing; -ENOMEM.
 */
int mm_early_look(struct cr_context *ctx, pid_t root, struct mm_early **ret, struct cr_error *err);
/** mm_early_end() - begin to give back what is slow to be given back; nothing that was read is asked for any more. NULL is fine */
void mm_early_end(struct mm_early *e);
void mm_early_free(struct mm_early *e);

struct mm_dump_config {
	const struct file_sink *sink; /* outlives the dump */
	bool own_ipc_ns;              /* the tree has an IPC namespace of its own: its segments belong to ns/ */
	uint32_t ipc_ns_id;           /* number of the IPC namespace in image names */
	bool memory_only;             /* pre-dump: contents of private memory alone; files are not looked at */
	struct image_set *parent;     /* what it has and what is unchanged is left out; NULL: all is stored */
	const struct mm_early *early; /* NULL: nothing was seen. Outlives the dump */
	const struct mm_parent *parent_pages; /* what is in it; NULL: not to be known. Outlives the dump */
	const char *parent_round;     /* id of the dump that made it, "" if it says none */
	const char *run_id;           /* id of this dump */
	bool sums;                    /* there are to be checksums of its pages */
	const struct smaps_before *before; /* of a snapshot: what was read of the tree before, NULL: nothing; outlives the dump */
	int (*watch)(void *arg, struct cr_error *err); /* called again and again while pages are stored, from any thread; */
	void *watch_arg;              /* a failure ends that; NULL: nobody */
	bool snapshot;                /* private memory is read from copies of the tasks, which run on meanwhile: snapshot.c */
	bool unsparing;               /* of a snapshot: there are to be copies of all of them */
	bool leaves;                  /* what may come later stays with the tasks: mm_give_left() */
	struct page_client *server;   /* where page maps and pages go; NULL: among the images; outlives the dump */
};

/** mm_dump_new() - Return: 0, -ENOMEM. */
int mm_dump_new(struct cr_context *ctx, const struct mm_dump_config *config, struct mm_dump **ret,
		struct cr_error *err);
/** mm_dump_free() - also takes back task->mm of every task it collected; before tree_free(), which must not free task->mm */
void mm_dump_free(struct mm_dump *d);
DEFINE_SLOT(struct mm_dump, mm_dump_free)

/**
 * mm_read_ahead() - have the mappings of several large tasks read on all processors
 * Optional, before the first mm_begin(); the tree stays stopped until mm_read_ahead_end(), which comes after the last.
 */
void mm_read_ahead(struct mm_dump *d, const struct tree *tree);
void mm_read_ahead_end(struct mm_dump *d);

/**
 * mm_begin() - begin to read the mappings of a stopped task, before anything of ours is mapped there
 * With many mappings, or much memory, threads of ours read on until mm_collect() comes for it.
 * Return: 0; negative errno: procfs cannot be read, memory is short.
 */
int mm_begin(struct mm_dump *d, struct task *task, struct cr_error *err);

/**
 * mm_collect() - the mappings of a task after mm_begin()
 * Sets task->mm (owned by @d) and registers mapped files and the executable with the sink. What cannot be dumped
 * is noted in ctx->obstacles; the caller looks there.
 * Return: 0; negative errno: procfs cannot be read, memory is short.
 */
int mm_collect(struct mm_dump *d, struct task *task, struct cr_error *err);

/**
 * mm_note_segment() - have the content of a memory object saved that may not be mapped anywhere
 * @shmid: number of its pagemap-shmem image (files/: what add_memfd() gave; ns/: id of the System V segment)
 * @fd:    any descriptor of the object; opened again for reading. Noting one twice is fine.
 * @size:  bytes
 */
int mm_note_segment(struct mm_dump *d, uint32_t shmid, int fd, uint64_t size, struct cr_error *err);

/** mm_ask() - what only the task itself can tell, the end of its heap, into the program of its leading thread; the rest of the
 * mm entry (dumpable, thp_disabled, ext) is asked for and filled in by tasks/ */
int mm_ask(struct mm_dump *d, struct task *task, struct program *p, struct routine *r, struct cr_error *err);
/** mm_answer() - after the program ran and its arena was read back: complete task->mm */
int mm_answer(struct mm_dump *d, struct task *task, const struct program *p, struct cr_error *err);

/** mm_ask_size() - arena bytes that mm_ask() takes */
size_t mm_ask_size(const struct mm_dump *d, const struct task *task);

/** mm_write() - mm-PID.img. Of a snapshot, after mm_select_copied() */
int mm_write(struct mm_dump *d, const struct task *task, struct image_set *set, struct cr_error *err);

struct mm_dump_stats {
	uint64_t pages_scanned;   /* pages of mappings whose content was considered */
	uint64_t pages_written;   /* of tasks */
	uint64_t pages_skipped;   /* of tasks, left to the parent */
	uint64_t shpages_written; /* of shared segments */
	uint64_t shpages_scanned;
	uint64_t bytes_written;
	uint64_t pages_left;      /* of tasks, to be fetched from them */
	uint64_t write_us;        /* how long pages were written or sent, as part of the time that all of it took */
};

/**
 * mm_dump_pages() - pagemap-*.img and pages-*.img of all tasks and shared segments; descriptions of System V segments
 * All tasks are stopped, nothing of ours is mapped in them; or they have been copied. Progress goes to the observer.
 * @ret: is added to
 */
int mm_dump_pages(struct mm_dump *d, const struct tree *tree, struct image_set *set, struct mm_dump_stats *ret,
		  struct cr_error *err);

/**
 * mm_take_copy() - of a snapshot, once the program has run: get hold of the copy of the task's memory
 * Return: 0, also if no copy is to be made; negative errno.
 */
int mm_take_copy(struct mm_dump *d, struct task *task, struct parasite *host, const struct xstate_layout *layout,
		 struct cr_error *err);

/**
 * mm_dump_shared() - of a snapshot, what copies do not have, while the tasks are stopped: shared segments go to their images,
 * private memory that is not copied by fork(2) is put aside
 */
int mm_dump_shared(struct mm_dump *d, struct image_set *set, struct mm_dump_stats *ret, struct cr_error *err);

/**
 * mm_select_copied() - of a snapshot, the tasks may run: find the pages of the copies, before mm_write() and mm_dump_pages()
 * Return: 0; -ESTALE what was read before the tasks were stopped cannot be relied on: it has to be done again without that
 */
int mm_select_copied(struct mm_dump *d, struct cr_error *err);

/**
 * mm_watch_copies() - while pages are read: give back the memory of those that were killed
 * Return: 0; -ENOMEM there is one, as mm_drop_copies() says. In any thread.
 */
int mm_watch_copies(const struct mm_dump *d, struct cr_error *err);

/** mm_drop_copies() - end them. Return: 0; -ENOMEM one had been killed before: what was read is not to be trusted. */
int mm_drop_copies(struct mm_dump *d, struct cr_error *err);

/**
 * mm_track() - watch the memory of all tasks from now on, so that the next round can leave out what stays as it is
 * All tasks are stopped, nothing of ours is in them; each is asked for a descriptor if it was not watched before.
 * Return: 0; -EOPNOTSUPP the kernel cannot. Tasks that cannot be watched are named in the log, and stored whole next time.
 */
int mm_track(struct mm_dump *d, const struct tree *tree, struct cr_error *err);

/**
 * mm_give_left() - give what was left with the tasks, which are stopped, to whoever restores them
 * @runs: called when the tree may be running there
 * Return: 0 nothing is needed any more; -ECONNRESET the other side has gone before; negative errno
 */
struct lazy_source;
int mm_give_left(struct mm_dump *d, struct lazy_source *source, void (*runs)(void *arg), void *arg, struct cr_error *err);

/** mm_tracks_by_pages() - is watching pages cheap for who watches, and exact for pages that relatives share? */
bool mm_tracks_by_pages(struct cr_context *ctx);

/** mm_can_track() - Return: 0; -EOPNOTSUPP as above */
int mm_can_track(struct cr_context *ctx, struct cr_error *err);

/** mm_track_keep() - the round is complete, its id is @round: leave the tracking to a process that outlives this one */
int mm_track_keep(struct mm_dump *d, const char *round, struct cr_error *err);

/** mm_track_return() - nothing came of this round: if the pages still refer to the one before, it goes on from there */
void mm_track_return(struct mm_dump *d);

/** mm_track_end() - nobody will go on from the last round of this tree: its keeper ends, if there is one */
void mm_track_end(pid_t root);

/** mm_prepare_running() - get hold of memory that is to be read while its owner runs on, or execs */
int mm_prepare_running(struct mm_dump *d, struct cr_error *err);

/** mm_dedup() - free what older sets of the chain of @set need no longer have. Return: 0; -ENOENT no parent; negative errno */
int mm_dedup(struct cr_context *ctx, struct image_set *set, struct cr_error *err);

/* ---------------------------------------------------------------- restore */

/* One address space as the images describe it, checked. */
struct mm_space;

/**
 * mm_read() - read and check mm-PID.img, and pagemap-PID.img and the size of its pages file through all parents
 * Return: 0; -ENOENT no such process in the set; -EBADMSG something is out of range or missing, named; -EOPNOTSUPP cannot be
 * restored here, named; negative errno.
 */
int mm_read(struct cr_context *ctx, struct image_set *set, pid_t ns_pid, struct mm_space **ret, struct cr_error *err);
void mm_space_free(struct mm_space *s);
DEFINE_SLOT(struct mm_space, mm_space_free)

/* What mm_plan() has planned for a space, in pages. */
struct mm_planned {
	uint64_t read, compared; /* compared: with what is kept from the parent, and read only where they differ */
};
struct mm_planned mm_space_planned(const struct mm_space *s);

/* The mm entry as read; belongs to @s. For dumpable (tasks/) and references to files. */
const img_mm_entry *mm_space_entry(const struct mm_space *s);
/** mm_space_uses_file() - is @id mapped or the executable of this space? */
bool mm_space_uses_file(const struct mm_space *s, uint32_t id);

/** mm_space_blame() - put the pages file that the page at @at came from in front of an error. Return: @code. */
int mm_space_blame(const struct mm_space *s, uint64_t at, int code, struct cr_error *err);

/**
 * mm_inherits() - shall the child be forked with its parent's memory in place, so that pages can stay shared?
 * Pure. true: fork after mm_plan() of the parent; false: fork before it.
 */
bool mm_inherits(const struct mm_space *child, const struct mm_space *parent);

/** mm_plan_routines() - upper bound of those that mm_plan() adds to a program, with threads that help */
size_t mm_plan_routines(const struct mm_space *s);

/** mm_plan_size() - upper bound of the arena bytes that mm_plan() and mm_plan_late() take for @s */
size_t mm_plan_size(const struct mm_space *s);

/** mm_spare_size() - bytes of spare room that the region needs for moving vDSO and vvar; the same for all tasks */
uint64_t mm_spare_size(void);

/**
 * mm_hole_find() - lowest address from @floor of a hole of @size bytes outside all of @busy. Pure; sorts @busy.
 * Return: 0 if there is none.
 */
uint64_t mm_hole_find(struct mm_range *busy, size_t nr, uint64_t floor, uint64_t ceiling, uint64_t size);

/**
 * mm_hole() - a place for the region: free in all spaces, in the coordinator now, and outside the room that stacks grow into
 * Return: 0; -ENOSPC no such hole.
 */
int mm_hole(const struct mm_space *const *spaces, size_t nr, uint64_t size, struct mm_range *ret, struct cr_error *err);

/* Shared memory that is made before any task: content read from the images. */
struct mm_segments;

/**
 * mm_segments_open() - create and fill the shared anonymous and System V segments that @spaces map
 * @ipc_ns_id: number of the images of the IPC namespace; segments of an own IPC namespace exist already (ns/ made them): @own_ipc_ns
 */
int mm_segments_open(struct cr_context *ctx, struct image_set *set, const struct mm_space *const *spaces, size_t nr,
		     bool own_ipc_ns, uint32_t ipc_ns_id, struct mm_segments **ret, struct cr_error *err);
/** mm_segments_keep() - the restore succeeded: System V segments that were made stay */
void mm_segments_keep(struct mm_segments *g);
/** mm_segments_free() - close descriptors; without mm_segments_keep() removes the System V segments that were made */
void mm_segments_free(struct mm_segments *g);
DEFINE_SLOT(struct mm_segments, mm_segments_free)

/**
 * mm_shared_memory() - true shared anonymous memory ("/dev/zero (deleted)" in maps), as a descriptor; files/ makes memfds of
 * that name with it. Return: descriptor (O_RDWR); -EOPNOTSUPP map_files cannot be opened here: use a memfd.
 */
int mm_shared_memory(struct cr_context *ctx, uint64_t size, struct cr_error *err);

/** mm_fill() - read the content of pagemap-shmem-@shmid.img into a fresh object. No such image: nothing to do. */
int mm_fill(struct cr_context *ctx, struct image_set *set, uint32_t shmid, int fd, uint64_t size, struct cr_error *err);

/*
 * Threads that help to read pages, for as long as that takes. Their numbers are any: so there are none where processes are forked
 * meanwhile, which might want the same.
 */
#define MM_HELPERS        3
#define MM_HELPER_SCRATCH ((uint64_t)64 << 10)
#define MM_HELPER_ROOM    (MM_HELPER_SCRATCH + ((uint64_t)16 << 10)) /* with its stack */

/* What the planner needs to know of one task. */
struct mm_plan {
	struct cr_context *ctx;
	struct program *program;
	struct routine *routine;
	struct mm_space *space; /* remembers where its vDSO ends up, for children that inherit */
	const struct mm_space *
		parent; /* planned already, and in place when the task was forked; NULL: the task is a copy of the coordinator */
	struct mm_range region;  /* never touched */
	struct mm_range spare;   /* inside the region: mm_spare_size() bytes that may be mapped over */
	struct mm_range scratch; /* inside the region: private memory of the task, for comparing pages */
	size_t nr_helpers;       /* 0: none */
	uint64_t helpers;        /* inside the region, as scratch: MM_HELPER_ROOM for each */
	const struct file_opener *opener;
	const struct mm_segments *segments;
};

/**
 * mm_plan() - emit everything from "unmap all" to the final layout and PR_SET_MM_MAP
 * Slots used: SLOT_PIDFD (read), SLOT_TMP, SLOT_TMP2, SLOT_PAGES, SLOT_SUMS, SLOT_SCRATCH, SLOT_FILE. Descriptors taken are closed again.
 */
int mm_plan(const struct mm_plan *plan, struct cr_error *err);

/**
 * mm_plan_late() - what must follow all other work in the task and all forks, still with full rights: locks, seals, guards,
 * process-wide memory switches. The last of all resource folders.
 */
int mm_plan_late(const struct mm_plan *plan, struct cr_error *err);

#endif
