/* Kinds without a restore half; see refused.c. */
#ifndef CR_FILES_REFUSED_H
#define CR_FILES_REFUSED_H

#include "files/file-ops.h"

extern const struct file_ops io_uring_ops, perf_ops, bpf_ops, userfaultfd_ops, namespace_file_ops,
	secretmem_ops, anon_other_ops, device_ops;

#endif
