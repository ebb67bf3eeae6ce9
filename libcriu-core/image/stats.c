/* Writing of statistics; see stats.h. */
#include "image/stats.h"
#include "base/io.h"
#include "base/own.h"
#include "image/image-set.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define STATS_MAX 4096

static int stats_encode(enum img_type type, const img_stats_entry *stats, struct proto_buf *buf, struct cr_error *err)
{
	struct proto_error perr = { 0 };
	int r = img_header_encode(type, buf, &perr);

	if (r == 0)
		r = img_entry_encode(IMG_MSG_stats_entry, stats, buf, &perr);
	return r < 0 ? cr_refuse(err, r, "encode statistics: %s", perr.text) : 0;
}

int stats_write(int work_dirfd, enum img_type type, const img_stats_entry *stats, struct cr_error *err)
{
	struct proto_buf buf = proto_buf_of(STATS_MAX);
	autofd int fd = -1;
	char name[IMG_NAME_MAX];
	int r = stats_encode(type, stats, &buf, err);

	if (r == 0)
		r = img_name(type, 0, name, sizeof(name));
	if (r == 0)
		r = fd = image_create(work_dirfd, name, O_WRONLY, err);
	if (r >= 0) {
		r = fd_write_all(fd, buf.data, buf.len);
		if (r < 0)
			cr_fail(err, r, "write %s", name);
	}
	proto_buf_done(&buf);
	return r;
}
