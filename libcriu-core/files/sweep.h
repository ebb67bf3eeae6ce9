/*
 * Looking at the descriptors of a large table from several threads. Everything here is system calls on our own
 * copies; what they mean is decided afterwards, by one thread.
 */
#ifndef CR_FILES_SWEEP_H
#define CR_FILES_SWEEP_H

#include "base/array.h"
#include "files/dump-internal.h"

#include <stdbool.h>
#include <stdint.h>

/* One descriptor. */
struct probe {
	int fd;                  /* its number there */
	int copy;                /* ours; -1 once somebody else owns it */
	struct file_facts facts; /* link in the sweep's pools; NULL: not read, the kind does not need it yet */
	uint32_t mnt_id;
	struct path_look look;
	const char *fdinfo;     /* text of our copy's fdinfo, NULL: not read */
	uint64_t key;           /* descriptors of one description have equal keys */
	struct open_file *file; /* found by sharing_group() */
	struct probe *twin;     /* scratch of it: another one of the same description */
};

struct sweep {
	struct probe *probes; /* ascending by fd */
	size_t nr;
	struct pool *pools;
	size_t nr_pools;
};

/**
 * sweep_run() - look at descriptors 0 to @room - 1 of a task, those that exist
 * @root_fd: where names begin, -1: our own root
 * Return: 0; -EMFILE we may not have so many descriptors at once; negative errno. @ret is to be given back in any case but failure.
 */
int sweep_run(int root_fd, int pidfd, uint32_t room, struct sweep *ret, struct cr_error *err);
void sweep_done(struct sweep *s);

#endif
