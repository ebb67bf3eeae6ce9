/* Between front ends and the engine; see engine.h. */
#include "options/engine.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/obstacle.h"
#include "base/own.h"
#include "proto/images.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define STATS_MAX 4096

void engine_options(const struct settings *s, int images_dirfd, int work_dirfd, struct cr_options *ret)
{
	*ret = (struct cr_options){
		.rpc = &s->rpc,
		.images_dirfd = images_dirfd,
		.work_dirfd = work_dirfd,
		.pid = s->rpc.has_pid ? s->rpc.pid : 0,
		.pidfile = s->pidfile,
		.detached = s->detached || s->rpc.exec_cmd.nr,
		.foreground_sibling = s->rpc.has_rst_sibling && s->rpc.rst_sibling,
		.file_validation = s->file_validation,
		.stream = s->stream,
		.no_checksums = s->has_checksums && !s->checksums,
		.inject_stage = s->inject_stage,
		.log_fd = -1,
		.client_uid = getuid(),
		.client_gid = getgid(),
	};
}

int engine_open_dir(const char *path, bool by_name, const char *what, struct cr_error *err)
{
	int fd = by_name ? open_by_name(AT_FDCWD, path, O_RDONLY | O_DIRECTORY)
			 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return cr_fail(err, by_name ? fd : -errno, "%s %s", what, path);
	return fd;
}

void engine_log_obstacles(const struct cr_log *log, const struct obstacles *list)
{
	for (size_t i = 0; list && i < list->nr; i++) {
		const struct obstacle *o = &list->items[i];

		log_error(log, "pid %d (%s): %s%s%s%s%s%s", (int)o->pid, o->comm, o->where, o->where[0] ? ": " : "",
			  o->what, o->advice[0] ? " (" : "", o->advice, o->advice[0] ? ")" : "");
	}
}

static int dump_text(const img_dump_stats_entry *d, struct buf *ret)
{
	int r = buf_printf(ret,
			   "Displaying dump stats:\nFreezing time: %u us\nFrozen time: %u us\nMemory dump time: %u us\n"
			   "Memory write time: %u us\n",
			   d->freezing_time, d->frozen_time, d->memdump_time, d->memwrite_time);

	if (r == 0 && d->has_irmap_resolve)
		r = buf_printf(ret, "IRMAP resolve time: %u us\n", d->irmap_resolve);
	if (r == 0)
		r = buf_printf(ret,
			       "Memory pages scanned: %" PRIu64 " (0x%" PRIx64 ")\n"
			       "Memory pages skipped from parent: %" PRIu64 " (0x%" PRIx64 ")\n"
			       "Memory pages written: %" PRIu64 " (0x%" PRIx64 ")\nLazy memory pages: %" PRIu64
			       " (0x%" PRIx64 ")\n",
			       d->pages_scanned, d->pages_scanned, d->pages_skipped_parent, d->pages_skipped_parent,
			       d->pages_written, d->pages_written, d->pages_lazy, d->pages_lazy);
	return r;
}

static int restore_text(const img_restore_stats_entry *e, struct buf *ret)
{
	int r = buf_printf(ret,
			   "Displaying restore stats:\nPages compared: %" PRIu64 " (0x%" PRIx64 ")\n"
			   "Pages skipped COW: %" PRIu64 " (0x%" PRIx64 ")\n",
			   e->pages_compared, e->pages_compared, e->pages_skipped_cow, e->pages_skipped_cow);

	if (r == 0 && e->has_pages_restored)
		r = buf_printf(ret, "Pages restored: %" PRIu64 " (0x%" PRIx64 ")\n", e->pages_restored,
			       e->pages_restored);
	if (r == 0)
		r = buf_printf(ret, "Restore time: %u us\nForking time: %u us\n", e->restore_time, e->forking_time);
	return r;
}

/* The message stands behind two magics and a size of 32 bits. */
static int stats_decode(enum img_type type, const struct buf *file, img_stats_entry **ret, struct cr_error *err)
{
	struct proto_error why = { 0 };
	size_t header;
	uint32_t size;
	int r = img_header_check(type, file->data, file->len, &header, &why);

	if (r == 0 && file->len - header < sizeof(size))
		return cr_refuse(err, -EBADMSG, "statistics: file too short");
	if (r == 0) {
		memcpy(&size, file->data + header, sizeof(size));
		header += sizeof(size);
		if (size > file->len - header)
			return cr_refuse(err, -EBADMSG, "statistics: file too short");
		r = img_stats_entry_decode(file->data + header, size, ret, &why);
	}
	return r < 0 ? cr_refuse(err, r, "statistics: %s", why.text) : 0;
}

int engine_stats_text(int work_dirfd, bool restore, struct buf *ret, struct cr_error *err)
{
	enum img_type type = restore ? IMG_STATS_RESTORE : IMG_STATS_DUMP;
	autobuf struct buf file = BUF_INIT(STATS_MAX);
	img_stats_entry *e = NULL;
	char name[IMG_NAME_MAX];
	int r = img_name(type, 0, name, sizeof(name));

	if (r == 0)
		r = file_read_buf(work_dirfd, name, &file);
	if (r < 0)
		return cr_fail(err, r, "statistics file %s", name);
	r = stats_decode(type, &file, &e, err);
	if (r == 0 && e && restore && e->restore)
		r = restore_text(e->restore, ret);
	else if (r == 0 && e && !restore && e->dump)
		r = dump_text(e->dump, ret);
	img_entry_free(e);
	return r;
}
