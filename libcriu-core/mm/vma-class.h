/* What kind of memory a mapping is, judged from what procfs says of it. Pure. */
#ifndef CR_MM_VMA_CLASS_H
#define CR_MM_VMA_CLASS_H

#include "mm/mm-internal.h"
#include "procfs/maps.h"

enum vma_kind {
	VMA_ANON,  /* private anonymous, hugetlb included */
	VMA_FILE,  /* a file with a path, perhaps unlinked */
	VMA_MEMFD, /* memfd, or shared anonymous memory */
	VMA_SYSV,
	VMA_RING, /* of a packet socket */
	VMA_VDSO,
	VMA_VVAR,
	VMA_VSYSCALL,
	VMA_REFUSED, /* cannot be dumped */
};

/* What of the content goes into the images of the task. */
enum vma_content { VMA_CONTENT_NONE, VMA_CONTENT_PRIVATE /* pages that are not the file's */, VMA_CONTENT_ALL };

struct vma_class {
	enum vma_kind kind;
	enum vma_content content;
	uint32_t status, flags;    /* as in vma_entry */
	uint64_t madv;             /* bit n: madvise(n) */
	const char *what, *advice; /* of VMA_REFUSED; string literals */
};

/** vma_classify() - @path: the name column of @v, "" if there is none */
void vma_classify(const struct mm_devices *devices, const struct proc_vma *v, const char *path, struct vma_class *ret);

#endif
