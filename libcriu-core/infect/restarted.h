/*
 * What a thread waits for in restart_syscall(2): when it was stopped before, by an earlier dump, a freezer or SIGSTOP, the
 * kernel put that number in the place of the call's own. A C library leaves the number in the code beside the call, or it is
 * passed through general functions (syscall(3), the cancellable calls of musl), which keep it nowhere.
 */
#ifndef CR_INFECT_RESTARTED_H
#define CR_INFECT_RESTARTED_H

#include "infect/task.h"

/**
 * restarted_find() - if the number of the thread's call is lost, have it begin to wait once more, see where in the kernel, and
 * stop it again; none of its own code runs, but for the handler of a signal that comes in that moment
 * @th: stopped and settled
 * Return: 0 nothing is lost (any more); 1 it cannot be told; negative errno: it is gone, or cannot be stopped again.
 */
int restarted_find(const struct task *task, struct thread *th, struct cr_error *err);

#endif
