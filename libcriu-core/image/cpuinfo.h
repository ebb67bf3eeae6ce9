/* cpuinfo.img: which processor a dump was made on, and whether another one can go on where it stopped. */
#ifndef CR_IMAGE_CPUINFO_H
#define CR_IMAGE_CPUINFO_H

#include "base/error.h"
#include "cpu-facts.h"

#include <stdbool.h>

struct image_set;
struct _rpc_criu_opts;

/* What is compared; the bits of cpu_cap on the wire. */
enum {
	CPUINFO_FPU = 1,
	CPUINFO_CPU = 2,
	CPUINFO_INS = 4,
	CPUINFO_IMAGE = 8,
	CPUINFO_DEFAULT = CPUINFO_FPU | CPUINFO_INS
};

/** cpuinfo_caps() - what the options ask for */
uint32_t cpuinfo_caps(const struct _rpc_criu_opts *opts);

/** cpuinfo_write() - the image of this processor, alone or as part of a dump, into @dirfd. Return: 0; negative errno. */
int cpuinfo_write(int dirfd, struct cr_error *err);
/** cpuinfo_add() - the same as part of a set that is being written */
int cpuinfo_add(struct image_set *set, struct cr_error *err);

/**
 * cpuinfo_check() - compare the image in @dirfd with this processor
 * @caps: what is compared
 * Return: 0; -ENOENT no image; -ENODEV this processor lacks something, named; -EBADMSG; negative errno.
 */
int cpuinfo_check(int dirfd, uint32_t caps, struct cr_error *err);

/** cpuinfo_check_set() - the same of an image set that is read */
int cpuinfo_check_set(struct image_set *set, uint32_t caps, struct cr_error *err);

/** cpuinfo_compare() - the comparison alone: can what ran on @was go on here? Return: as cpuinfo_check() */
int cpuinfo_compare(const img_cpuinfo_x86_entry *was, const struct cpuid_facts *here, uint32_t caps,
		    struct cr_error *err);

#endif
