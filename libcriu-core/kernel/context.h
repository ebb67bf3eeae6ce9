/* What every part of the library may ask about the request at hand: options, observer, probe answers, obstacles. */
#ifndef CR_KERNEL_CONTEXT_H
#define CR_KERNEL_CONTEXT_H

#include "base/error.h"
#include "base/log.h"
#include "base/obstacle.h"
#include "criu-core.h"
#include "kernel/probe.h"

struct cr_context {
	const struct cr_options *opts;
	const struct cr_observer *obs;
	struct cr_log log; /* copy of the observer's, so that hot paths save a load */
	struct kernel_probes probes;
	struct obstacles obstacles;
	struct cr_check_row *check_rows; /* built on demand */
	size_t nr_check_rows;
};

#endif
