/* Shared memory of a restore that the coordinator makes itself. */
#ifndef CR_MM_SEGMENTS_MADE_H
#define CR_MM_SEGMENTS_MADE_H

#include "mm/vdso.h"

struct made_segment {
	uint64_t shmid; /* as vma_entry.shmid says */
	uint64_t size;  /* bytes */
	bool sysv;
	int fd;       /* shared anonymous memory; -1: System V */
	int id;       /* System V id here */
	bool made;    /* by us: removed if the restore fails */
	bool lock;    /* was locked in memory, and is not yet: done once nothing can fail, since it may be another's */
	bool destroy; /* was removed already when it was dumped: goes with the last process */
};
DEFINE_VEC(made_segments, struct made_segment)

struct mm_segments {
	struct cr_context *ctx;
	struct made_segments made;
	struct vdso_running running;
	bool own_ipc_ns;
};

/** segments_find() - NULL if there is no such segment */
const struct made_segment *segments_find(const struct mm_segments *g, uint64_t shmid, bool sysv);

#endif
