/* Having a process reap a child that it does not know of: a twin (infect/twin.h). */
#ifndef CR_INFECT_REMOTE_REAP_H
#define CR_INFECT_REMOTE_REAP_H

#include <sys/types.h>

struct xstate_layout;

/**
 * remote_reap() - stop a thread of @parent for a moment, and have it wait for @child, which has been killed
 * Nothing if @child is not (any more) its child: whoever has it now got it as an orphan, and is told by the kernel.
 * @layout: for a way back, should we be killed meanwhile; NULL: without one
 * Return: 0, also if there was nothing to do; negative errno: it stays a zombie until @parent ends.
 */
int remote_reap(pid_t parent, pid_t child, const struct xstate_layout *layout);

#endif
