#include "mm/early-sums.h"

#include "mm/page-copy.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUM_BYTES sizeof(uint32_t)

int early_sums_begin(struct early_sums *e, struct copy_job *jobs, size_t nr, struct cr_error *err)
{
	uint64_t at = 0;
	int fd;

	e->files = calloc(nr, sizeof(*e->files));
	if (!e->files)
		return cr_fail(err, -ENOMEM, "prepare checksums");
	e->fd = (int)syscall(SYS_memfd_create, "checksums", MFD_CLOEXEC);
	if (e->fd < 0) {
		free(e->files);
		return cr_fail(err, -errno, "prepare checksums");
	}
	e->nr = nr;
	fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return cr_fail(err, -errno, "prepare checksums");
	for (size_t i = 0; i < nr; i++) {
		e->files[i] = (struct sums_of){ jobs[i].pages_id, page_runs_bytes(jobs[i].runs) / MM_PAGE, at };
		jobs[i].sums_at = at;
		at += e->files[i].nr_pages * SUM_BYTES;
	}
	return fd;
}

static int move_one(int from, uint64_t at, int to, uint64_t to_at, uint64_t len, struct cr_error *err)
{
	char buf[16384];

	while (len) {
		size_t n = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		ssize_t got = fd_pread_all(from, buf, n, (off_t)at);
		int r = got < 0 ? (int)got : (size_t)got < n ? -EIO : fd_pwrite_all(to, buf, n, (off_t)to_at);

		if (r < 0)
			return cr_fail(err, r, "write pages.sum");
		at += n;
		to_at += n;
		len -= n;
	}
	return 0;
}

int early_sums_move(const struct early_sums *e, int fd, const struct sums_of *files, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->nr; i++)
		r = move_one(e->fd, e->files[i].at, fd, files[i].at, e->files[i].nr_pages * SUM_BYTES, err);
	return r;
}

void early_sums_done(struct early_sums *e)
{
	if (!e->nr)
		return;
	close(e->fd);
	free(e->files);
	*e = (struct early_sums){ 0 };
}
