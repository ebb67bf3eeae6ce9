/* The list of what stands in the way of a dump; see obstacle.h. */
#include "base/obstacle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int obstacle_add(struct obstacles *list, pid_t pid, const char *comm, const char *where, const char *advice,
		 const char *what_fmt, ...)
{
	struct obstacle *o = obstacles_add(list);
	va_list ap;

	if (!o)
		return -ENOMEM;
	o->pid = pid;
	snprintf(o->comm, sizeof(o->comm), "%s", comm);
	snprintf(o->where, sizeof(o->where), "%s", where);
	snprintf(o->advice, sizeof(o->advice), "%s", advice);
	va_start(ap, what_fmt);
	vsnprintf(o->what, sizeof(o->what), what_fmt, ap);
	va_end(ap);
	return 0;
}

bool obstacles_pass(const struct obstacles *list)
{
	for (size_t i = 0; i < list->nr; i++)
		if (!list->items[i].passing)
			return false;
	return list->nr;
}

bool obstacles_wait(const struct obstacles *list)
{
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].waits)
			return true;
	return false;
}
