/* A model of what Linux does with process trees: forks, sessions, groups, exits and adoption. Numbers are never used again. */
#ifndef TEST_TREE_SIM_H
#define TEST_TREE_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MAX 4096

struct sim_proc {
	uint32_t pid, sid, pgid;
	int parent; /* index, -1: outside */
	bool used, zombie, subreaper;
};

struct sim {
	struct sim_proc p[SIM_MAX];
	int nr;
	bool root_is_init; /* orphans that nobody adopts go to process 0; otherwise they are lost */
};

/* Each returns 0 or more, or a negative errno as the kernel would. */
int sim_fork(struct sim *s, int n, uint32_t pid, bool sibling);
int sim_setsid(struct sim *s, int n);
int sim_setpgid(struct sim *s, int n, int target, uint32_t pgid);
int sim_exit(struct sim *s, int n);
int sim_reap(struct sim *s, int parent, int child);

#endif
