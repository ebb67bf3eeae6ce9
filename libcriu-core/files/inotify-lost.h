/*
 * Events of inotify that were not read before the dump cannot be put back: the kernel makes them, and nobody else. But it has a
 * word for events that are lost, and programs know what to do then: IN_Q_OVERFLOW, inotify(7). So that is what they find.
 */
#ifndef CR_FILES_INOTIFY_LOST_H
#define CR_FILES_INOTIFY_LOST_H

#include "base/error.h"

/**
 * inotify_tell_lost() - leave one IN_Q_OVERFLOW in the queue of an inotify descriptor, and nothing else
 * @fd: with O_NONBLOCK; its queue is empty. The number of one watch is used up.
 * Return: 0; -EOPNOTSUPP the queue is too long to be filled for this (fs.inotify.max_queued_events), nothing is in it; negative errno.
 */
int inotify_tell_lost(int fd, struct cr_error *err);

#endif
