/*
 * The coordinator's hand on the control block that all tasks of a restore share (pie/abi/program.h). Both sides use
 * futexes that are not private to a process: the block must be in shared memory.
 */
#ifndef CR_INFECT_CONTROL_H
#define CR_INFECT_CONTROL_H

#include "pie/abi/program.h"

#include <stdint.h>

/** control_release() - let everybody pass stages below @stage; it only ever grows */
void control_release(struct abi_control *c, uint32_t stage);

/** control_abort() - end everybody; also those who are about to wait */
void control_abort(struct abi_control *c);

/**
 * control_wait() - until @stage is complete (arrived == expected) or a routine failed
 * @timeout_ms: of this call; < 0 no limit
 * Return: 0 complete; -ECANCELED a routine failed (see control.first_failed); -ETIMEDOUT; -EINTR a signal handler ran.
 *
 * It does not see tasks that die without saying so: callers wait in slices and look after their children in between.
 */
int control_wait(struct abi_control *c, uint32_t stage, int timeout_ms);

#endif
