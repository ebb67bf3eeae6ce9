/*
 * What stands in the way of a dump. Collected as a list, so that one run names everything: each with the process,
 * the object and the option that would allow it.
 */
#ifndef CR_BASE_OBSTACLE_H
#define CR_BASE_OBSTACLE_H

#include "base/array.h"

#include <stdbool.h>
#include <sys/types.h>

struct obstacle {
	pid_t pid; /* as the dumper sees it */
	char comm[16];
	char where[48];   /* "fd 7", "mapping 7f00-7f10", "" for the process itself */
	char what[160];   /* kind and path: "TCP socket 127.0.0.1:80", "character device /dev/fuse" */
	char advice[160]; /* option or action that would allow it, may be empty */
	bool passing;     /* the tree would be rid of it soon if it ran on: a connection that it is about to accept */
	bool waits;       /* who touches it waits for somebody else, who may never answer: the process cannot be asked anything */
};

DEFINE_VEC(obstacles, struct obstacle)

/**
 * obstacle_add() - note one
 * @list: to grow; when memory is short the list only counts (list->items unchanged) and -ENOMEM is returned
 * @advice: "" if there is none
 * Return: 0 or -ENOMEM.
 */
int obstacle_add(struct obstacles *list, pid_t pid, const char *comm, const char *where, const char *advice,
		 const char *what_fmt, ...) __attribute__((format(printf, 6, 7)));

/** obstacles_pass() - is there nothing but passing ones? false if there are none at all */
bool obstacles_pass(const struct obstacles *list);

/** obstacles_wait() - is there one with which nothing can be asked? */
bool obstacles_wait(const struct obstacles *list);

#endif
