/*
 * A dump runs in a child of the process that people see. Whoever kills that one (a time limit, an impatient client, ^C)
 * kills nobody who holds tasks of the tree with borrowed registers: the child sees that it is alone and undoes what
 * it has done. Whoever kills the child alone leaves it to this process to take away what the child had in others. What
 * killing both at once can harm is in docs/ARCHITECTURE.md.
 */
#ifndef CR_OPTIONS_SHIELD_H
#define CR_OPTIONS_SHIELD_H

#include <sys/types.h>

struct cr_leftovers;

/**
 * shield_raise() - go on in a child process; the caller's process waits for it and ends with its exit code
 * The child is in a process group of its own, with the signals blocked that people end programs with.
 * @ret: for the child's cr_options.leftovers; NULL if there is no such memory
 * Return: in the child, the pid to be watched (cr_options.guard); 0 no child could be made, go on without.
 */
pid_t shield_raise(struct cr_leftovers **ret);

#endif
