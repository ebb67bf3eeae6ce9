/*
 * Our own files in procfs. The kernel asks no rights of a process that looks at itself (__ptrace_may_access(), kernel/ptrace.c):
 * /proc/self/mem of a process with capabilities is open to it whatever identity it has for files. So a path that somebody else
 * has given must not lead there.
 */
#ifndef CR_BASE_OWN_PROC_H
#define CR_BASE_OWN_PROC_H

#include <stdbool.h>

/** proc_is_own() - does @fd lead to files of this process or of one of its threads, in any instance of procfs? Unknown is yes. */
bool proc_is_own(int fd);

#endif
