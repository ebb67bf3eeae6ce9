/* Contents of memory: read into place, compared with what is there, checked against their sums. No C library, see blob.c. */
#include "pie/blob-pages.h"

#include "page-sum.h"
#include "syscall.h"

#define BLOB_IOV_MAX 1024
#define BLOB_PAGE    4096

/* Reads exactly @len bytes. @how: ABI_FROM_PIPE or not. Return: 0, -EIO at the end of the file, negative errno. */
static long read_exactly(uint64_t fd, uint64_t base, uint64_t len, uint64_t off, uint64_t how)
{
	while (len) {
		long n = blob_sys(how & ABI_FROM_PIPE ? NR_READ : NR_PREAD64, fd, base, len, off, 0, 0);

		if (n == -E_INTR)
			continue;
		if (n <= 0)
			return n ? n : -E_IO;
		base += (uint64_t)n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/*
 * The array of the program is not changed: an area that was read in part is finished by itself, then the rest
 * of the array goes on with preadv().
 */
long op_read(const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	const long nr = a[5] & ABI_FROM_PIPE ? NR_READV : NR_PREADV;
	uint64_t off = a[1], left = a[3];

	while (left) {
		long n = blob_sys(nr, a[0], addr(iov), left < BLOB_IOV_MAX ? left : BLOB_IOV_MAX, off, 0, 0);

		if (n == -E_INTR)
			continue;
		if (n < 0)
			return n;

		uint64_t got = (uint64_t)n;

		off += got;
		while (left && got >= iov->len) {
			got -= iov->len;
			iov++;
			left--;
		}
		if (n && !got)
			continue;
		if (!left)
			break;

		/* cut short: inside iov (got bytes are there) or, with n 0, at the end of the file or of empty areas */
		long r = read_exactly(a[0], iov->base + got, iov->len - got, off, a[5]);

		if (r < 0)
			return r;
		off += iov->len - got;
		iov++;
		left--;
	}
	return 0;
}

static int page_differs(const uint64_t *x, const uint64_t *y, uint64_t len)
{
	for (uint64_t i = 0; i < len / 8; i += 4)
		if ((x[i] ^ y[i]) | (x[i + 1] ^ y[i + 1]) | (x[i + 2] ^ y[i + 2]) | (x[i + 3] ^ y[i + 3]))
			return 1;
	return 0;
}

/* One read fills the scratch memory for as many areas as fit: their bytes lie one after the other in the file. Return: pages that were equal. */
long op_compare(const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	uint64_t left = a[3], off = a[1], done = 0, equal = 0, size = a[5] & ~(uint64_t)ABI_FROM_PIPE;

	size = size ? size & ~(uint64_t)(BLOB_PAGE - 1) : BLOB_PAGE;
	if (!size)
		return -E_INVAL;
	while (left) {
		uint64_t want = 0, skip = done;

		for (uint64_t i = 0; i < left && want < size; i++, skip = 0) {
			if (iov[i].len % BLOB_PAGE)
				return -E_INVAL;
			want += iov[i].len - skip;
		}
		want = want < size ? want : size;

		long r = read_exactly(a[0], a[4], want, off, a[5]);

		if (r < 0)
			return r;
		off += want;
		for (uint64_t at = 0; left;) {
			if (done == iov->len) {
				iov++;
				left--;
				done = 0;
				continue;
			}
			if (at == want)
				break;
			if (page_differs(ptr(a[4] + at), ptr(iov->base + done), BLOB_PAGE))
				__builtin_memcpy(ptr(iov->base + done), ptr(a[4] + at), BLOB_PAGE);
			else
				equal++;
			at += BLOB_PAGE;
			done += BLOB_PAGE;
		}
	}
	return (long)equal;
}

struct blob_sums {
	uint64_t fd, off, left; /* in the file: where the next is, how many are wanted */
	const uint32_t *buf;
	uint64_t room, have, at; /* in the buffer */
};

static long next_sum(struct blob_sums *s, uint32_t *ret)
{
	if (s->at == s->have) {
		s->have = s->left < s->room ? s->left : s->room;

		long r = read_exactly(s->fd, addr(s->buf), s->have * sizeof(*s->buf), s->off, 0);

		if (r < 0)
			return r;
		s->off += s->have * sizeof(*s->buf);
		s->left -= s->have;
		s->at = 0;
	}
	*ret = s->buf[s->at++];
	return 0;
}

long op_check(struct abi_op *op, const uint64_t *a)
{
	const struct abi_iov *iov = ptr(a[2]);
	struct blob_sums s = { .fd = a[0], .off = a[1], .buf = ptr(a[4]) };

	s.room = (a[5] & ~(uint64_t)(BLOB_PAGE - 1)) / sizeof(*s.buf);
	for (uint64_t i = 0; i < a[3]; i++) {
		if (iov[i].len % BLOB_PAGE || !s.room)
			return -E_INVAL;
		s.left += iov[i].len / BLOB_PAGE;
	}
	for (uint64_t i = 0; i < a[3]; i++)
		for (uint64_t page = iov[i].base; page < iov[i].base + iov[i].len; page += BLOB_PAGE) {
			uint32_t want;
			long r = next_sum(&s, &want);

			if (r < 0)
				return r;
			if (page_sum(ptr(page), a[5] & ABI_CHECK_HARDWARE) != want) {
				op->arg[0] = page;
				return -E_BADMSG;
			}
		}
	return 0;
}
