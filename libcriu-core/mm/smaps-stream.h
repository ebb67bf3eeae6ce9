/* /proc/PID/smaps in pieces: the kernel writes the next piece while the last is looked at. */
#ifndef CR_MM_SMAPS_STREAM_H
#define CR_MM_SMAPS_STREAM_H

#include "procfs/maps.h"

struct cr_error;

/* A few mappings, in ascending order over all calls. Return: 0 to go on, negative errno ends the reading. */
typedef int (*smaps_fn)(void *arg, const struct proc_vma_list *list, struct cr_error *err);

/**
 * smaps_each() - all mappings of a process
 * @many: called once if there are so many that reading them takes milliseconds, before they are all read; may be NULL
 * Return: 0; what @fn returned; as proc_smaps_read().
 */
int smaps_each(const struct proc_dir *dir, smaps_fn fn, void (*many)(void *arg), void *arg, struct cr_error *err);

/** smaps_cut() - length of the part of @text that ends where a record begins; 0: no record begins after the first byte. Pure. */
size_t smaps_cut(const char *text, size_t len);

#endif
