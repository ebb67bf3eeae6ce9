/*
 * Work that is finished even if this process is killed: between making a name on a disk and removing it there must be no
 * instant at which SIGKILL leaves the name behind.
 */
#ifndef CR_KERNEL_APART_H
#define CR_KERNEL_APART_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/**
 * apart_possible() - would a child be in our pid namespace? The first process of a new one must not be one that ends at once:
 * then nobody could be created there any more.
 */
bool apart_possible(void);

/**
 * apart_run() - run @fn in a short-lived process that shares our memory and descriptors, and wait for it
 * @fn: touches only what @arg leads to; must not allocate, since whoever holds a lock of the allocator may be dead by then
 * Where no process can be had, @fn runs in this one. It has up to 128 KiB of stack.
 * Return: what @fn returned; -ECHILD that process was killed itself, which is in @err.
 */
int apart_run(int (*fn)(void *arg), void *arg, struct cr_error *err);

/** apart_corpse() - a child of ours that has ended with @status (as wait(2) has it) and waits to be reaped (__WALL). Return: its pid; negative errno. */
pid_t apart_corpse(int status);

/**
 * apart_run_copies() - the same with a copy of our descriptor table, in which @fn may do what it likes
 * Return: as apart_run(); -EAGAIN where no process can be had, and nothing was done.
 */
int apart_run_copies(int (*fn)(void *arg), void *arg, struct cr_error *err);

#endif
