/* /proc/PID/smaps in pieces: the kernel writes the next piece while the last is looked at. */
#ifndef CR_MM_SMAPS_STREAM_H
#define CR_MM_SMAPS_STREAM_H

#include "base/own.h"
#include "procfs/maps.h"

#include <stdbool.h>

struct cr_error;

/* A few mappings, in ascending order over all calls. Return: 0 to go on, negative errno ends the reading. */
typedef int (*smaps_fn)(void *arg, const struct proc_vma_list *list, struct cr_error *err);

struct smaps_stream;

/**
 * smaps_begin() - begin to read the mappings of a process; of many, a thread of our own reads on meanwhile
 * @ret_many: there are so many that reading them takes milliseconds
 * Return: 0; negative errno.
 */
int smaps_begin(const struct proc_dir *dir, struct smaps_stream **ret, bool *ret_many, struct cr_error *err);
/** smaps_begin_text() - the same for a text that is there already, and stays until smaps_end() */
int smaps_begin_text(const char *text, size_t len, struct smaps_stream **ret, bool *ret_many, struct cr_error *err);
/** smaps_end() - hand all of them to @fn. Frees @s in any case. Return: 0; what @fn returned; as proc_smaps_read(). */
int smaps_end(struct smaps_stream *s, smaps_fn fn, void *arg, struct cr_error *err);
/** smaps_drop() - call off; NULL is fine */
void smaps_drop(struct smaps_stream *s);
DEFINE_SLOT(struct smaps_stream, smaps_drop)

/** smaps_each() - both in one */
int smaps_each(const struct proc_dir *dir, smaps_fn fn, void *arg, struct cr_error *err);

/** smaps_cut() - length of the part of @text that ends where a record begins; 0: no record begins after the first byte. Pure. */
size_t smaps_cut(const char *text, size_t len);

#endif
