/*
 * What must outlive the tool between two rounds of an incremental series: descriptors that keep the kernel's tracking of
 * written pages alive, and which images the tracking goes with. A process of its own holds them, until the next round
 * takes them over or all of the tasks have ended. If it is killed, the kernel ends the tracking with it: nothing is
 * known then, and the next round stores everything.
 *
 * It is found by an abstract socket that is named after the root task's number and start time; that each descriptor
 * belongs to the very task is proven by a pidfd that comes with it.
 */
#ifndef CR_MM_KEEPER_H
#define CR_MM_KEEPER_H

#include "base/array.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TRACK_ROUND 40 /* room for the id of a round: dump_criu_run_id of its inventory */

/* Addresses, page aligned. */
struct track_range {
	uint64_t start, end;
};
DEFINE_VEC(track_ranges, struct track_range)

/* One process that is tracked. The list owns descriptors and memory. */
struct track_item {
	pid_t pid; /* host pid; after taking over: not to be trusted before track_item_is() */
	int pidfd;
	int uffd;                   /* -1: soft-dirty bits, for which nothing has to be held */
	struct track_ranges unread; /* what the round has not stored, however unchanged it is */
};
DEFINE_VEC(track_items, struct track_item)

void track_items_close(struct track_items *items);

/** track_items_drop() - close one; the last takes its place */
void track_items_drop(struct track_items *items, size_t i);

/** track_item_is() - does the item belong to the process that has @host_pid now, and is still there? */
bool track_item_is(const struct track_item *item, pid_t host_pid);

/**
 * keeper_start() - leave all items to a new process
 * @items: stay the caller's as well
 * Return: 0; negative errno: nobody keeps them.
 */
int keeper_start(pid_t root, uint64_t start_time, const char *round, const struct track_items *items,
		 struct cr_error *err);

/**
 * keeper_take() - take everything over from the process that keeps it for this root task; that process ends
 * Return: 0; 1 there is none; negative errno: what it kept is lost.
 */
int keeper_take(pid_t root, uint64_t start_time, char ret_round[static TRACK_ROUND], struct track_items *ret,
		struct cr_error *err);

#endif
