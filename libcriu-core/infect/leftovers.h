/*
 * What a dump has in processes of others at the moment, noted where it survives the dumper: in memory that the process in
 * front of it shares. The notes are made by one thread, and read once that is gone.
 */
#ifndef CR_INFECT_LEFTOVERS_H
#define CR_INFECT_LEFTOVERS_H

#include "criu-core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* In the order in which the members are set; 0 is nothing. Those that were left behind are looked at in any state. */
struct leftover {
	pid_t pid;
	uint64_t limit_soft, limit_hard; /* RLIMIT_AS as it was, while it is raised; soft first */
	uint64_t base, size;             /* our mappings */
};

struct leftover_twin {
	pid_t twin;
	pid_t parent; /* 0: none; set last */
};

/** leftover_begin() - a note about @pid. Return: NULL if @l is NULL or has no room: then there is none. */
struct leftover *leftover_begin(struct cr_leftovers *l, pid_t pid);

/** leftover_mapped(), leftover_raised() - what is there now; @o NULL is fine. Size 0, soft 0: no more */
void leftover_mapped(struct leftover *o, uint64_t base, uint64_t size);
void leftover_raised(struct leftover *o, uint64_t soft, uint64_t hard);

/**
 * leftover_socket() - a TCP socket is in repair mode, in which a program gets errors only
 * @pid, @fd: a descriptor of it; pid 0: none is any more. @reuse: SO_REUSEADDR, which repair mode forgets. @l NULL is fine.
 */
void leftover_socket(struct cr_leftovers *l, pid_t pid, int fd, bool reuse);

/** leftover_lock() - name of a table of nf_tables that outlives the dump (kernel/net-lock.h), while it may have to go; "": none */
void leftover_lock(struct cr_leftovers *l, const char *name);

/**
 * leftover_twin() - @twin is a child of @parent that is ours (infect/twin.h): dead with us, it has to be reaped there
 * Return: NULL if @l is NULL or has no room.
 */
struct leftover_twin *leftover_twin(struct cr_leftovers *l, pid_t parent, pid_t twin);
void leftover_twin_end(struct leftover_twin *o);

/** leftover_end() - nothing of ours is in there any more */
void leftover_end(struct leftover *o);

#endif
