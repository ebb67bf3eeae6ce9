/* Reading pages of a file, and comparing them with their checksums; see page-chain.h. Tasks check what they read themselves: ABI_OP_CHECK. */
#include "mm/page-chain.h"

#include "base/io.h"
#include "page-sum.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#define AT_ONCE    256 /* sums that are read by one call */
#define PATH_SHOWN 200

ssize_t page_file_read(const struct page_file *f, void *buf, size_t len, uint64_t off)
{
	int r;

	if (!f->unpack)
		return fd_pread_all(f->fd, buf, len, (off_t)off);
	r = unpack_read(f->unpack, buf, len, off);
	return r < 0 ? r : (ssize_t)len;
}

int page_file_check(const struct page_file *f, uint64_t off, const void *buf, size_t len, struct cr_error *err)
{
	const bool hardware = crc32c_in_hardware();
	uint64_t at = f->sums_at + off / MM_PAGE * sizeof(uint32_t);
	const char *page = buf;
	uint32_t sums[AT_ONCE];

	for (size_t left = f->sums < 0 ? 0 : len / MM_PAGE, n; left; left -= n) {
		n = left < AT_ONCE ? left : AT_ONCE;

		ssize_t got = fd_pread_all(f->sums, sums, n * sizeof(*sums), (off_t)at);

		if (got != (ssize_t)(n * sizeof(*sums)))
			return cr_fail(err, got < 0 ? (int)got : -EBADMSG, "read pages.sum");
		for (size_t i = 0; i < n; i++, page += MM_PAGE)
			if (page_sum(page, hardware) != sums[i]) {
				cr_refuse(err, -EBADMSG, "the page at offset %" PRIx64 " does not match its checksum",
					  off + (uint64_t)(page - (const char *)buf));
				cr_advise(err, "the images were damaged after the dump; --no-checksums restores them all the same");
				return page_file_within(f, -EBADMSG, err);
			}
		at += n * sizeof(*sums);
	}
	return 0;
}

int page_file_within(const struct page_file *f, int code, struct cr_error *err)
{
	char path[PATH_MAX];
	ssize_t len = fd_path(f->fd, path, sizeof(path));

	/* the end of it says most, and the error must have room for the rest */
	return len < 0 ? code : cr_within(err, code, "%s", path + (len > PATH_SHOWN ? len - PATH_SHOWN : 0));
}
