/* Files that stand in the way of a dump, on the list of the request. */
#include "files/dump-internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static int refuse(struct file_table *t, struct open_file *f, bool passing, const char *advice, const char *fmt,
		  va_list ap)
{
	struct obstacles *list = &t->ctx->obstacles;
	char what[160], where[48];

	vsnprintf(what, sizeof(what), fmt, ap);
	if (f->fd_there >= 0)
		snprintf(where, sizeof(where), "fd %d", f->fd_there);
	else
		snprintf(where, sizeof(where), "%s", f->where ? f->where : "");
	f->entry = NULL;
	if (obstacle_add(list, f->task->host_pid, f->task->comm, where, advice ? advice : "", "%s", what) < 0)
		return -ENOMEM;
	list->items[list->nr - 1].passing = passing;
	return 1;
}

int file_refuse(struct file_table *t, struct open_file *f, const char *advice, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = refuse(t, f, false, advice, fmt, ap);
	va_end(ap);
	return r;
}

int file_refuse_passing(struct file_table *t, struct open_file *f, const char *advice, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = refuse(t, f, true, advice, fmt, ap);
	va_end(ap);
	return r;
}
