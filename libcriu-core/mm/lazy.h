/*
 * Lazy restore: which memory may come later, and handing it to a pager. Order: mm_lazy_choose() for every space,
 * mm_lazy_share() for those that share memory, mm_plan() (which leaves out what comes later), mm_lazy_plan() when a task has
 * made all of its children and has touched nothing yet, mm_lazy_take() while it waits there, mm_lazy_start() for all of them.
 */
#ifndef CR_MM_LAZY_H
#define CR_MM_LAZY_H

#include "mm/mm.h"

struct lazy_load;

/** mm_lazy_check() - can this kernel, and may this process? Return: 0; -EOPNOTSUPP, -EPERM, with advice */
int mm_lazy_check(struct cr_context *ctx, struct cr_error *err);

/** mm_may_come_later() - is it memory of a kind that can be filled behind a task that runs? Pure. */
bool mm_may_come_later(const img_vma_entry *v);

/** mm_lazy_choose() - decide which mappings of @s are filled later
 * Return: 0; -ENOMEM; -EOPNOTSUPP something is neither here nor can it come later */
int mm_lazy_choose(struct mm_space *s, struct cr_error *err);

/** mm_lazy_share() - what a child keeps of its parent's memory comes at once, so that it can be shared. Pure. */
void mm_lazy_share(struct mm_space *child, struct mm_space *parent);

/** mm_space_is_lazy() - does anything of it come later? */
bool mm_space_is_lazy(const struct mm_space *s);

/** mm_lazy_size() - upper bound of the arena bytes of mm_lazy_plan() */
size_t mm_lazy_size(void);

/**
 * mm_lazy_plan() - make a userfaultfd, tell its number, wait for @stage to pass, close it
 * Slots used: SLOT_TMP. Return: address of the number in the arena, 8 bytes
 */
uint64_t mm_lazy_plan(const struct mm_plan *plan, uint32_t stage);

/**
 * mm_lazy_take() - take a task's userfaultfd over and have the kernel ask it for what is to come
 * @fd:  its number in the task
 * @ret: gets one more
 */
int mm_lazy_take(const struct mm_space *s, pid_t pid, int fd, struct lazy_load *ret, struct cr_error *err);

/** mm_lazy_drop() - close and free all that mm_lazy_take() has made; files stay those of the spaces */
void mm_lazy_drop(struct lazy_load *load);

/**
 * mm_lazy_start() - leave them to a pager, a process of its own that runs when this returns
 * @load:   stays the caller's as well
 * @ret_go: descriptor; until it is closed, for whatever reason, nothing is brought in without being asked for
 * Return: 0, negative errno: there is no pager, and tasks must not be let go
 */
int mm_lazy_start(struct cr_context *ctx, const struct lazy_load *load, int *ret_go, struct cr_error *err);

/** mm_lazy_connect() - in place of a pager of our own: to the daemon in the work directory. Return: connection; negative errno */
int mm_lazy_connect(struct cr_context *ctx, struct cr_error *err);
/** mm_lazy_send() - as mm_lazy_start(), to the daemon of the same @set; the connection takes the place of ret_go */
int mm_lazy_send(int sock, const struct lazy_load *load, struct image_set *set, struct cr_error *err);
/** mm_lazy_say_start() - the tasks are about to run, after which nothing may fail any more. Return: 0; negative errno: they must not */
int mm_lazy_say_start(int sock, struct cr_error *err);
/** mm_lazy_say_runs() - they do */
void mm_lazy_say_runs(int sock);

/**
 * mm_lazy_serve() - be that daemon, for one restore
 * @listening: called once, when a restore can connect; what it returns below 0 ends the daemon
 * Return: 0 all is in; -EINTR nobody came; negative errno: the process must end at once, its guard then ends the tasks
 */
int mm_lazy_serve(struct cr_context *ctx, struct image_set *set, int (*listening)(void *arg, struct cr_error *err),
		  void *arg, struct cr_error *err);

#endif
