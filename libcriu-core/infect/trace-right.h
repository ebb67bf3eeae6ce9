/*
 * The right to trace. CAP_SYS_PTRACE also opens /proc/PID/root, cwd, maps and more of everybody, so a restore for a client who
 * is not root looks up what images name without it, and has it in effect only from the moment when tasks are seized.
 */
#ifndef CR_INFECT_TRACE_RIGHT_H
#define CR_INFECT_TRACE_RIGHT_H

struct cr_error;

/** trace_right_raise() - of the calling thread, if it is permitted. Return: 0; negative errno with @err filled. */
int trace_right_raise(struct cr_error *err);

#endif
