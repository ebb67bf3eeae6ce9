/*
 * Which pages were written to since the round before: one interface, two engines, chosen by what the kernel has.
 *
 * userfaultfd (6.7): mappings are registered for asynchronous write protection with a descriptor made in the task. The
 * kernel clears a page's protection when it is written to, and forgets the registration of what is unmapped, moved,
 * forked or exec'ed. So a page is unchanged if its mapping is still registered with our descriptor, and the page is there
 * and still protected. Ownership is proven by registering anew, which fails with EBUSY for another's.
 *
 * soft-dirty (3.11): a bit per page, set when it is written to, and a flag of mappings that are new.
 *
 * Whatever cannot be said for sure is said to have changed.
 */
#ifndef CR_MM_TRACK_H
#define CR_MM_TRACK_H

#include "mm/keeper.h"
#include "mm/mm-internal.h"
#include "procfs/maps.h"

struct infect_aid;

enum track_engine { TRACK_NONE, TRACK_UFFD, TRACK_SOFT_DIRTY };

/** track_engine() - what this kernel can */
enum track_engine track_engine(struct cr_context *ctx);

struct tracker {
	struct cr_context *ctx;
	enum track_engine engine;
	pid_t root;
	uint64_t root_start;
	char round[TRACK_ROUND]; /* what the state of the pages refers to; "" nothing is known */
	bool taken;              /* from a keeper: it can be given back */
	bool spoiled;            /* protections were renewed: the round before is gone */
	struct track_items items;
};

/**
 * tracker_begin() - take over what was kept for the tree of @root, whose tasks are stopped
 * Return: 0, also if nothing was kept, or it is lost; -ENOMEM.
 */
int tracker_begin(struct cr_context *ctx, const struct task *root, struct tracker **ret, struct cr_error *err);
/** tracker_free() - the tracking ends, unless a keeper has it */
void tracker_free(struct tracker *t);
DEFINE_SLOT(struct tracker, tracker_free)

/** tracker_owns() - is this mapping under our watch since an earlier round? */
bool tracker_owns(struct tracker *t, const struct task *task, const struct proc_vma *v);

/*
 * A new round for a stopped task: tracker_watch(), then a look at its pages that protects what is in mt->watched
 * (page_select(), page_protect()), if that leaves something in mt->stale, tracker_clear_marks() and a second look, then
 * tracker_begin_round(). If any of it fails, tracker_drop().
 */

/**
 * tracker_watch() - have all private memory of a task watched
 * @mt: its mappings; ranges that are watched already are in mt->tracked; fills mt->watched
 * @aid: for the calls that it has to make itself
 * Return: 0, also if parts of it cannot be watched; negative errno.
 */
int tracker_watch(struct tracker *t, struct mm_task *mt, struct infect_aid *aid, struct cr_error *err);
/** tracker_clear_marks() - the pages in mt->stale, which is empty then, look as if they were written to. Return: 0, negative errno */
int tracker_clear_marks(struct tracker *t, struct mm_task *mt, struct cr_error *err);
/** tracker_begin_round() - what is written to from now on belongs to the next round. Return: 0, negative errno */
int tracker_begin_round(struct tracker *t, struct mm_task *mt, struct cr_error *err);
/** tracker_drop() - the task is not watched, nothing that was known of its pages counts any more */
void tracker_drop(struct tracker *t, struct mm_task *mt);

/** tracker_unread() - what the round before has not stored of a task, however unchanged it is; NULL: nothing is known of it */
const struct track_ranges *tracker_unread(struct tracker *t, const struct task *task);
/** tracker_note_unread() - the same of this round. Return: 0, -ENOMEM */
int tracker_note_unread(struct tracker *t, pid_t host_pid, const struct page_runs *runs);

/** tracker_keep() - leave it to a keeper. @round: what it refers to now. Return: 0, negative errno */
int tracker_keep(struct tracker *t, const char *round, struct cr_error *err);

#endif
