/*
 * The mappings of a task from maps instead of smaps. smaps walks the page tables to count pages: more than 10 ms per GiB,
 * for flags of which a pre-dump needs few. Those it gets in other ways: the page size from PROCMAP_QUERY (6.11), whether a
 * mapping is registered for write protection from PAGEMAP_SCAN. Where others would matter, smaps it must be.
 */
#ifndef CR_MM_QUICK_MAPS_H
#define CR_MM_QUICK_MAPS_H

#include "mm/mm-internal.h"
#include "procfs/maps.h"

/** quick_maps_fit() - is maps enough for this dump of this task, as far as can be told before it is read? */
bool quick_maps_fit(const struct mm_dump *d, const struct task *task);

/**
 * quick_maps_read() - of a stopped task
 * @ret: empty list; in vm_flags is PROC_VM_UW for mappings that are registered
 * Return: 0; 1 there is something of which smaps knows more; negative errno.
 */
int quick_maps_read(const struct task *task, struct proc_vma_list *ret, struct cr_error *err);

#endif
