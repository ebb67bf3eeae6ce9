/*
 * TCP connections of a tree: what the orchestrators see of them.
 *
 * Dump: connections_hold() once nothing stands in the way any more, then files_write(); at the end either
 * connections_let_go(), when the tree lives on, or, when it is killed, connections_lock_for_good(), _lock_stays() and _vanish().
 * Restore: connections_go_on() right before the tasks are let go.
 */
#ifndef CR_NET_CONNECTIONS_H
#define CR_NET_CONNECTIONS_H

#include "base/error.h"

#include <stdbool.h>

struct file_table;
struct files;

/**
 * connections_hold() - nobody sees packets of the connections from here on; their state is read
 * @run_id: of this dump, in inventory.img: it names the lock that outlives it
 * Return: 0, also without connections; negative errno: nothing was changed.
 */
int connections_hold(struct file_table *t, const char *run_id, struct cr_error *err);

/** connections_kept() - are there any? */
bool connections_kept(const struct file_table *t);

/** connections_locked() - is there anything that was locked? For inventory.img */
bool connections_locked(const struct file_table *t);

/** connections_let_go() - they go on as if nothing had been; may be called at any time, also without need */
void connections_let_go(struct file_table *t);

/** connections_lock_for_good() - the lock outlives us from here on, until a restore, or connections_let_go(). Return: 0 or negative errno. */
int connections_lock_for_good(struct file_table *t, struct cr_error *err);

/**
 * connections_lock_stays() - should we be killed: does that lock stay, or does the process in front of us remove it?
 * At first it does that. It is one store in memory, which decides whether the tree ends or goes on then.
 */
void connections_lock_stays(struct file_table *t, bool stays);

/** connections_lock_may_go() - would the process in front of us remove the lock? Then the tree must go on. */
bool connections_lock_may_go(const struct file_table *t);

/**
 * connections_vanish() - when the last descriptors are closed now, no packet tells the other side
 * The tasks must not run any more, whatever becomes of us: with their sockets they could do nothing. Allocates nothing.
 * Return: 0; the first failure, connections_let_go() is to follow.
 */
int connections_vanish(struct file_table *t, struct cr_error *err);

/** connections_go_on() - restore: unlock them, and let them send what they have. Return: 0 or negative errno. */
int connections_go_on(struct files *fs, struct cr_error *err);

#endif
