/* A dump under way: what its stages share. */
#ifndef CR_DUMP_INTERNAL_H
#define CR_DUMP_INTERNAL_H

#include "files/files.h"
#include "image/image-set.h"
#include "infect/cgroup-room.h"
#include "infect/freeze.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "kernel/stage.h"
#include "mm/mm.h"
#include "xstate.h"
#include "ns/ipc.h"
#include "ns/mnt.h"

#include <stdbool.h>

struct listeners;

struct dump {
	struct cr_context       *ctx;
	struct cr_dump_result   *result;
	bool                     look_only;    /* check --tree: stop after collecting */
	bool                     pre;          /* memory only, of a tree that runs on */
	bool                     snapshot;     /* pages are written while the tree runs on: snapshot.c */
	struct page_client      *server;       /* where memory goes, borrowed; NULL: among the images */
	struct lazy_source      *source;       /* whom what is left with the tasks is asked of, borrowed; NULL: all is stored */
	bool                     elsewhere;    /* the tree may be running at its destination */
	struct image_set        *parent;       /* previous images, NULL: none are named */
	struct mm_early         *early;
	struct mm_parent        *parent_pages;
	char                     parent_round[40]; /* id of the dump that made them, "" unknown */
	bool                     sure;         /* of a snapshot: nothing that was read before the tree was stopped is used */
	bool                     unsparing;    /* of a snapshot: all tasks are copied */
	bool                     first_round;  /* of a snapshot: it is there, and the parent */
	struct cgroup_limits     limits;       /* of a snapshot */
	struct smaps_before     *before;       /* of a snapshot: such things; NULL: none */
	bool                     again, last;  /* not the first attempt; no other will be made */
	struct listeners        *listeners;    /* borrowed; NULL but for a dump */
	struct tree             *tree;
	struct xstate_layout     layout;       /* of this processor, from asking on */
	struct thread_share     *share;        /* under way from collecting to asking */
	struct file_table       *files;
	struct file_sink         sink;
	struct mm_dump          *mm;
	struct ipc_ns           *ipc;          /* NULL: the tree is in the dumper's IPC namespace */
	struct mnt_ns           *mnt;          /* NULL: the tree is in the dumper's mount namespace */
	struct image_set        *set;
	img_task_kobj_ids_entry  root_ids;     /* of the dumper */
	struct mm_dump_stats     pages;
	char                     run_id[37];   /* UUID of this dump */
	bool                     thawed;
	bool                     kept;         /* the images stay, whatever follows */
	uint64_t                 begin_us, freezing_us, frozen_since_us, frozen_us, memdump_us;
};

/* What one attempt to dump a tree knows of the others. */
struct dump_attempt {
	bool again, last, sure, unsparing, first_round;
	struct listeners *listeners;
	struct page_client *server; /* one connection for all of them */
	struct lazy_source *source;
};

/** dump_once() - an attempt, with everything undone if it fails, but for the lock of @at->listeners. Return: 0 or negative errno. */
int dump_once(struct cr_context *ctx, const struct dump_attempt *at, struct cr_dump_result *ret, struct cr_error *err);

/** dump_may_pass() - has an attempt failed with @r for nothing but what passes? */
bool dump_may_pass(const struct cr_context *ctx, int r);

int dump_collect(struct dump *d, struct cr_error *err);   /* collect.c */
int dump_ask(struct dump *d, struct cr_error *err);       /* ask.c */
void dump_run_id(struct dump *d);                        /* write.c */
int dump_write(struct dump *d, struct cr_error *err);     /* write.c */
/** dump_begin_set() - in the directory, or with the streamer */
int dump_begin_set(struct dump *d, struct cr_error *err);
/** dump_commit() - and wait until a streamer has taken all, before anything ends that cannot be had again */
int dump_commit(struct dump *d, const img_inventory_entry *inv, struct cr_error *err);
int dump_inventory(struct dump *d, struct cr_error *err);

int dump_open_parent(struct dump *d, struct cr_error *err); /* rounds.c */
/** dump_parent_path() - where previous images are, from those of this dump; NULL: there are none */
const char *dump_parent_path(const struct dump *d);
uint64_t dump_uptime(void); /* microseconds, as inventories have it */
void dump_dedup(struct dump *d);
/** dump_makes_sums() - are there to be checksums of pages? */
bool dump_makes_sums(const struct dump *d);

/** dump_open_server() - the page server that the options name, before the tree is stopped; NULL: none */
int dump_open_server(struct cr_context *ctx, struct page_client **ret, struct cr_error *err);

/** dump_open_source() - of a lazy dump: listen for who comes for the memory, before the tree is stopped; NULL: it is none; leave.c */
int dump_open_source(struct cr_context *ctx, struct lazy_source **ret, struct cr_error *err);
/** dump_stage_give() - serve what was left with the tasks, until nothing more is needed */
int dump_stage_give(void *op, struct cr_error *err);

/* stages that a pre-dump or a snapshot has in common with a dump; dump.c */
int dump_freeze(void *op, struct cr_error *err);
void dump_undo_freeze(void *op);
int dump_check_rights(void *op, struct cr_error *err);
int dump_memory(void *op, struct cr_error *err);
int dump_stage_collect(void *op, struct cr_error *err);
int dump_stage_ask(void *op, struct cr_error *err);
int dump_stage_hold(void *op, struct cr_error *err);
void dump_undo_hold(void *op);
int dump_stage_write(void *op, struct cr_error *err);
int dump_stage_commit(void *op, struct cr_error *err);
void dump_undo_commit(void *op);
int dump_stage_announce(void *op, struct cr_error *err);
int dump_thaw(struct dump *d, enum thaw how, struct cr_error *err);
/** dump_report() - after a success: the result, and stats-dump */
void dump_report(struct dump *d, struct cr_dump_result *ret);
void dump_done(struct dump *d);

extern const struct stage snapshot_stages[]; /* snapshot.c */
extern const size_t nr_snapshot_stages;

/** dump_obstacles() - Return: 0 if nothing stands in the way; -EBUSY with a sentence that counts, and shows the first */
int dump_obstacles(struct dump *d, struct cr_error *err);

#endif
