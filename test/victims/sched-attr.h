/* What sched_setattr(2) sets, compared as a whole afterwards. */
#ifndef VICTIM_SCHED_ATTR_H
#define VICTIM_SCHED_ATTR_H

#include "victim.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct sched_attr in its first size, and clamps behind it */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
static struct attr attr_was;

static void set_attr(struct attr a)
{
	a.size = 48;
	if (syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		victim_skip("sched_setattr: %s", strerror(errno));
	need(syscall(SYS_sched_getattr, 0, &attr_was, sizeof(attr_was), 0) == 0);
}

static void check_attr(void)
{
	struct attr now = { 0 };

	expect(syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) == 0, "sched_getattr");
	expect(memcmp(&now, &attr_was, sizeof(now)) == 0,
	       "policy %u flags %lx nice %d priority %u runtime %lu; was %u %lx %d %u %lu", now.policy, now.flags,
	       now.nice, now.priority, now.runtime, attr_was.policy, attr_was.flags, attr_was.nice, attr_was.priority,
	       attr_was.runtime);
}

#endif
