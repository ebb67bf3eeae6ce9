/*
 * TCP sockets of a tree that listen, while it is dumped. What waits to be accepted has no descriptor and cannot be saved: so
 * nothing new is let in, from before the last look until the tree has ended or goes on. Who tries meanwhile tries again a second
 * later. All this may outlive one attempt to dump the tree: see dump/attempts.c.
 */
#ifndef CR_NET_LISTENERS_H
#define CR_NET_LISTENERS_H

#include "base/error.h"
#include "base/own.h"

#include <stdbool.h>

struct file_table;
struct listeners;

/** listeners_new() - of no tree yet. Return: NULL memory is short. */
struct listeners *listeners_new(void);

/** listeners_free() - takes milliseconds: not while anybody waits for the tree. NULL is fine. */
void listeners_free(struct listeners *l);
DEFINE_SLOT(struct listeners, listeners_free)

/**
 * listeners_hold() - nothing begins a new connection to those of @t any more
 * @run_id: of this attempt; it names the lock
 * Return: 0, also where they cannot be locked, which is a warning, or are not to be; -ENOMEM.
 */
int listeners_hold(struct listeners *l, struct file_table *t, const char *run_id, struct cr_error *err);

/**
 * listeners_look() - does anything wait to be accepted, or is it being made? Then it is noted as a passing obstacle.
 * @last: there is no other attempt. What is being made by a client that has not answered yet may never be: that is a warning then.
 * Return: 0 or -ENOMEM.
 */
int listeners_look(const struct listeners *l, struct file_table *t, bool last, struct cr_error *err);

/** listeners_let_go() - new connections come in again; may be called at any time, also without need */
void listeners_let_go(struct listeners *l);

/** listeners_await() - until the running tree has accepted what waits, or @limit_ms are over; without any, @least_ms */
void listeners_await(const struct listeners *l, unsigned int least_ms, unsigned int limit_ms);

#endif
