/* Maps made by bpf(2): what they are made with, and what is in them. */
#ifndef CR_FILES_BPF_MAP_H
#define CR_FILES_BPF_MAP_H

#include "base/error.h"
#include "image/image-set.h"
#include "proto/images.h"

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** bpf_call() - the system call, which has no wrapper. Return: what it returns, negative errno. */
int bpf_call(int cmd, union bpf_attr *attr);

/** bpf_map_by_id() - a new description of a map. @flags: of open(2), for its access mode. Return: descriptor, close-on-exec; negative errno. */
int bpf_map_by_id(uint32_t id, uint32_t flags);

/** bpf_map_type_name() - NULL: one that is not dumped */
const char *bpf_map_type_name(uint32_t type);

/** bpf_possible_cpus() - how many processors there may ever be; 0 that is not to be known */
size_t bpf_possible_cpus(void);

/** bpf_value_room() - bytes of an element's value as the system call has them: of all processors, where each has its own. Return: 0 that is not to be known. */
size_t bpf_value_room(const img_bpfmap_file_entry *e);

/** bpf_content_write() - all elements of map @fd, an entry with its payload */
int bpf_content_write(int fd, const img_bpfmap_file_entry *e, struct image_writer *w, struct cr_error *err);

/** bpf_content_check() - does what was read fit the map? Pure. Return: 0, -EBADMSG. */
int bpf_content_check(const img_bpfmap_data_entry *d, const img_bpfmap_file_entry *e, struct cr_error *err);
/**
 * bpf_content_fill() - put the elements behind @d, which has been checked, into the map
 * @missing: NULL: all; else those only that are not there, and how many these were is added
 */
int bpf_content_fill(int fd, const img_bpfmap_file_entry *e, const img_bpfmap_data_entry *d,
		     struct image_reader *reader, uint64_t *missing, struct cr_error *err);

#endif
