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

/* Limits of memory that are raised for the moment in which ours is mapped. */
enum room_limit {
	ROOM_SPACE, /* RLIMIT_AS */
	ROOM_DATA,  /* RLIMIT_DATA */
	ROOM_LIMITS,
};

/* As it was; raised is set last. */
struct leftover_limit {
	uint64_t soft, hard, raised;
};

/* In the order in which the members are set; 0 is nothing. Those that were left behind are looked at in any state. */
struct leftover {
	pid_t pid;
	struct leftover_limit limits[ROOM_LIMITS];
	uint64_t base, size; /* our mappings */
	uint64_t fd;         /* 1 more than the number that a userfaultfd of ours has, or is about to have */
};

struct leftover_twin {
	pid_t twin;
	pid_t parent; /* 0: none; set last */
};

/** leftover_begin() - a note about @pid. Return: NULL if @l is NULL or has no room: then there is none. */
struct leftover *leftover_begin(struct cr_leftovers *l, pid_t pid);

/** leftover_mapped(), leftover_raised(), leftover_lowered() - what is there now; @o NULL is fine. Size 0: no more */
void leftover_mapped(struct leftover *o, uint64_t base, uint64_t size);
void leftover_raised(struct leftover *o, enum room_limit which, uint64_t soft, uint64_t hard);
void leftover_lowered(struct leftover *o, enum room_limit which);
/** leftover_descriptor() - a userfaultfd that is made and closed by our code at @fd; -1: no more */
void leftover_descriptor(struct leftover *o, int fd);
/** room_resource() - RLIMIT_* */
int room_resource(enum room_limit which);

/**
 * leftover_socket() - a TCP socket is in repair mode, in which a program gets errors only
 * @pid, @fd: a descriptor of it; pid 0: none is any more. @reuse: SO_REUSEADDR, which repair mode forgets. @l NULL is fine.
 */
void leftover_socket(struct cr_leftovers *l, pid_t pid, int fd, bool reuse);

/** leftover_lock() - name of a table of nf_tables that outlives the dump (kernel/net-lock.h), while it may have to go; "": none */
void leftover_lock(struct cr_leftovers *l, const char *name);
bool leftover_locked(const struct cr_leftovers *l);

/**
 * leftover_twin() - @twin is a child of @parent that is ours (infect/twin.h): dead with us, it has to be reaped there
 * Return: NULL if @l is NULL or has no room.
 */
struct leftover_twin *leftover_twin(struct cr_leftovers *l, pid_t parent, pid_t twin);
void leftover_twin_end(struct leftover_twin *o);

/** leftover_end() - nothing of ours is in there any more */
void leftover_end(struct leftover *o);

#endif
