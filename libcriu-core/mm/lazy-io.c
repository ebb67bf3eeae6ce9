/* Calls on userfaultfds; see lazy-io.h. */
#include "mm/lazy-io.h"

#include "kernel/uapi.h"
#include "mm/mm-internal.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* vm.mmap_min_addr is not above this anywhere; a range must begin above it (validate_range() in fs/userfaultfd.c) */
#define LOWEST UINT64_C(0x10000)
/* of user space with four levels of page tables; the kernel refuses ranges that go further */
#define HIGHEST UINT64_C(0x7ffffffff000)

int lazy_setup(int uffd, struct cr_error *err)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
			    UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID,
	};

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? cr_fail(err, -errno, "set up a userfaultfd") : 0;
}

int lazy_watch(int uffd, const struct mm_range *range)
{
	struct uffdio_register reg = {
		.range = { range->start, range->end - range->start },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

void lazy_wake(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_range range = { start, len };

	(void)ioctl(uffd, UFFDIO_WAKE, &range);
}

void lazy_wake_all(int uffd)
{
	lazy_wake(uffd, LOWEST, HIGHEST - LOWEST);
}

/* What the kernel says of the first page that it has not settled. */
enum verdict { PAGE_THERE, PAGE_NOWHERE, PAGES_CHANGING, PAGES_OVER, PAGES_FAILED };

static enum verdict judge(int code)
{
	switch (code) {
	case -EEXIST:
		return PAGE_THERE;
	/* the range is not in one mapping, or in none; of a kind that is not ours any more */
	case -ENOENT:
	case -EINVAL:
		return PAGE_NOWHERE;
	case -EAGAIN:
		return PAGES_CHANGING;
	case -ESRCH:
	case -ENOSPC: /* the same before 4.15 */
		return PAGES_OVER;
	default:
		return PAGES_FAILED;
	}
}

static int copy(int uffd, uint64_t at, const char *bytes, uint64_t len, uint64_t *ret_copied)
{
	struct uffdio_copy c = { .dst = at, .src = (uintptr_t)bytes, .len = len };
	int code = ioctl(uffd, UFFDIO_COPY, &c) < 0 ? -errno : 0;

	*ret_copied = c.copy > 0 ? (uint64_t)c.copy : 0;
	/* stopped on the way: what stopped it is told when it is tried again */
	return *ret_copied ? 0 : code;
}

/*
 * A page is nowhere only if the kernel says so twice: when a mapping moves away, the first answer may come of that, before its
 * message could be read; but then the second is that mappings are changing.
 */
int lazy_put(int uffd, uint64_t at, const void *bytes, uint64_t len, uint64_t *ret_done)
{
	uint64_t done = 0, step = len, copied;
	bool doubted = false;
	int answer = LAZY_DONE;

	while (done < len && answer == LAZY_DONE) {
		int code = copy(uffd, at + done, (const char *)bytes + done, step, &copied);
		bool doubt = false;

		switch (code ? judge(code) : PAGE_THERE) {
		case PAGE_THERE:
			if (code)
				lazy_wake(uffd, at + done, MM_PAGE);
			done += code ? MM_PAGE : copied;
			step = len - done;
			break;
		case PAGE_NOWHERE:
			if (step > MM_PAGE) {
				step = (step / 2) & ~(MM_PAGE - 1);
				break;
			}
			doubt = !doubted;
			done += doubt ? 0 : MM_PAGE;
			step = doubt ? MM_PAGE : len - done;
			break;
		case PAGES_CHANGING:
			answer = LAZY_AGAIN;
			break;
		case PAGES_OVER:
			answer = LAZY_OVER;
			break;
		case PAGES_FAILED:
			answer = code;
			break;
		}
		doubted = doubt;
	}
	*ret_done = done;
	return answer;
}

bool lazy_find_guard(int pagemap, uint64_t start, uint64_t end, struct mm_range *ret)
{
	struct uapi_page_region found;
	struct uapi_pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.category_mask = PAGE_IS_GUARD,
		.return_mask = PAGE_IS_GUARD,
	};

	if (ioctl(pagemap, UAPI_PAGEMAP_SCAN, &arg) != 1)
		return false;
	*ret = (struct mm_range){ found.start, found.end };
	return true;
}

static int settle_one(int uffd, uint64_t at, int code)
{
	switch (judge(code)) {
	case PAGE_THERE:
	case PAGE_NOWHERE: /* what happens to who touches it is between him and the kernel */
		lazy_wake(uffd, at, MM_PAGE);
		return LAZY_DONE;
	case PAGES_CHANGING:
		return LAZY_AGAIN;
	case PAGES_OVER:
		return LAZY_OVER;
	default:
		return code;
	}
}

int lazy_zero(int uffd, uint64_t at)
{
	struct uffdio_zeropage z = { .range = { at, MM_PAGE } };

	return ioctl(uffd, UFFDIO_ZEROPAGE, &z) < 0 ? settle_one(uffd, at, -errno) : LAZY_DONE;
}

int lazy_poison(int uffd, uint64_t at)
{
	struct uapi_uffdio_poison p = { .start = at, .len = MM_PAGE };

	if (ioctl(uffd, UAPI_UFFDIO_POISON, &p) == 0)
		return LAZY_DONE;
	/* an unknown number; a range that the kernel does not like would not have faulted */
	return errno == EINVAL || errno == ENOTTY ? -EOPNOTSUPP : settle_one(uffd, at, -errno);
}

/* Private anonymous memory has nothing to continue; before the kernel sees that, it looks for the address space. */
bool lazy_is_over(int uffd)
{
	struct uffdio_continue c = { .range = { LOWEST, MM_PAGE } };

	return ioctl(uffd, UFFDIO_CONTINUE, &c) < 0 && errno == ESRCH;
}

int lazy_read(int uffd, struct uffd_msg *ret, unsigned int max)
{
	ssize_t n = read(uffd, ret, max * sizeof(*ret));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return (int)((size_t)n / sizeof(*ret));
}
