#include "space-sim.h"

#include "kernel/uapi.h"
#include "mm/planner.h"
#include "page-sum.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int no(struct sim *s, const char *what, uint64_t at)
{
	snprintf(s->why, sizeof(s->why), "%s at %" PRIx64, what, at);
	return -1;
}

/* Pages of a range; those outside of the window do not exist. */
static bool range(uint64_t start, uint64_t len, size_t *ret_first, size_t *ret_end)
{
	uint64_t end = start + len, top = SIM_AT(SIM_PAGES);

	if (start % 4096 || len % 4096 || !len)
		return false;
	start = start < SIM_BASE ? SIM_BASE : start > top ? top : start;
	end = end < SIM_BASE ? SIM_BASE : end > top ? top : end;
	*ret_first = (start - SIM_BASE) / 4096;
	*ret_end = (end - SIM_BASE) / 4096;
	return true;
}

static int sim_map(struct sim *s, const uint64_t *a)
{
	size_t i, end;

	if (!range(a[0], a[1], &i, &end) || a[0] < SIM_BASE || a[0] + a[1] > SIM_AT(SIM_PAGES) || !(a[3] & MAP_FIXED))
		return no(s, "bad mmap", a[0]);
	for (uint64_t off = a[5]; i < end; i++, off += 4096)
		s->page[i] = (struct sim_page){
			.mapped = true,
			.prot = (uint32_t)a[2],
			.flags = (uint32_t)a[3] & ~(uint32_t)MAP_FIXED,
			.fd = a[3] & MAP_ANONYMOUS ? -1 : (int64_t)a[4],
			.pgoff = a[3] & MAP_ANONYMOUS ? 0 : off,
		};
	return 0;
}

static int sim_each(struct sim *s, uint64_t start, uint64_t len, long nr, uint64_t arg)
{
	size_t i, end;

	if (!range(start, len, &i, &end))
		return no(s, "bad range", start);
	for (; i < end; i++) {
		struct sim_page *p = &s->page[i];

		if (nr == SYS_munmap) {
			*p = (struct sim_page){ 0 };
			continue;
		}
		if (!p->mapped || p->sealed)
			return no(s, p->mapped ? "sealed memory" : "no memory", SIM_AT(i));
		switch (nr) {
		case SYS_mprotect:
			p->prot = (uint32_t)arg;
			break;
		case SYS_mlock2:
			p->locked = true;
			break;
		case __NR_mseal:
			p->sealed = true;
			break;
		case SYS_madvise:
			if (arg == MADV_DONTNEED)
				p->content = p->copied = 0;
			else if (arg == MADV_GUARD_INSTALL && p->locked)
				return no(s, "guard in locked memory", SIM_AT(i));
			else if (arg == MADV_GUARD_INSTALL)
				p->guarded = true;
			else if (arg == MADV_POPULATE_WRITE && !(p->prot & PROT_WRITE))
				return no(s, "populate what cannot be written", SIM_AT(i));
			else if (arg == MADV_POPULATE_WRITE && SIM_AT(i) > start && SIM_AT(i) % MM_POPULATE == 0)
				return no(s, "populate beyond the end of a huge page", SIM_AT(i));
			else if (arg == MADV_POPULATE_WRITE)
				s->populated++;
			else
				p->advice |= UINT64_C(1) << arg;
			break;
		default:
			return no(s, "unknown call", (uint64_t)nr);
		}
	}
	return 0;
}

static int sim_remap(struct sim *s, const uint64_t *a)
{
	struct sim_page moved[64];
	size_t from, from_end, to, to_end;

	if (!range(a[0], a[1], &from, &from_end) || !range(a[4], a[1], &to, &to_end) || from_end - from > 64 ||
	    a[1] != a[2])
		return no(s, "bad mremap", a[0]);
	if (from < to_end && to < from_end)
		return no(s, "mremap onto itself", a[0]);
	memcpy(moved, &s->page[from], (from_end - from) * sizeof(*moved));
	for (size_t i = 0; i < from_end - from; i++) {
		if (!moved[i].special || moved[i].special != moved[0].special)
			return no(s, "mremap of other memory", a[0]);
		s->page[from + i] = (struct sim_page){ 0 };
		s->page[to + i] = moved[i];
	}
	return 0;
}

static int sim_read(struct sim *s, const struct program *p, const uint64_t *a, bool compare)
{
	const struct abi_iov *iov = arena_at(&p->arena, a[2], a[3] * sizeof(*iov));
	bool pipe = a[5] & ABI_FROM_PIPE;
	uint64_t off = pipe ? s->piped : a[1];

	if (!iov)
		return no(s, "areas outside of the arena", a[2]);
	for (uint64_t n = 0; n < a[3]; n++) {
		size_t i, end;

		s->piped += pipe ? iov[n].len : 0;
		if (pipe && iov[n].base == SIM_AT(SIM_SCRATCH)) {
			off += iov[n].len;
			continue;
		}
		if (pipe && n == 0 && off != a[1])
			return no(s, "what comes through the pipe is not what is wanted", iov[n].base);
		if (!range(iov[n].base, iov[n].len, &i, &end))
			return no(s, "bad area", iov[n].base);
		for (; i < end; i++, off += 4096, s->read++) {
			uint64_t word = 0;

			if (pread((int)a[0], &word, sizeof(word), (off_t)off) != sizeof(word))
				return no(s, "read past the end", off);
			if (!s->page[i].mapped || !(s->page[i].prot & PROT_WRITE) || s->page[i].special)
				return no(s, "read into memory that cannot be written", SIM_AT(i));
			if (compare && s->page[i].content == word)
				continue;
			s->page[i].content = word;
			s->page[i].copied = ++s->writes;
		}
	}
	return 0;
}

static int sim_call(struct sim *s, const struct abi_op *op, const uint64_t *a)
{
	switch (op->nr) {
	case SYS_mmap:
		return sim_map(s, a);
	case SYS_munmap:
	case SYS_mlock2:
	case __NR_mseal:
		return sim_each(s, a[0], a[1], op->nr, 0);
	case SYS_mprotect:
	case SYS_madvise:
		return sim_each(s, a[0], a[1], op->nr, a[2]);
	case SYS_mremap:
		return sim_remap(s, a);
	case __NR_pidfd_getfd:
		s->slot[op->slot] = a[1];
		return 0;
	case SYS_close:
		return 0;
	case SYS_prctl:
		s->laid_out = true;
		return 0;
	default:
		return no(s, "unexpected system call", op->nr);
	}
}

/* Pages are a word and zeroes. */
static int sim_check(struct sim *s, const struct program *p, const uint64_t *a)
{
	const struct abi_iov *iov = arena_at(&p->arena, a[2], a[3] * sizeof(*iov));
	uint64_t off = a[1];

	if (!iov || a[4] != SIM_AT(SIM_SCRATCH) || (a[5] & ~(uint64_t)ABI_CHECK_HARDWARE) != 4096)
		return no(s, "areas or scratch memory of a check", a[2]);
	for (uint64_t n = 0; n < a[3]; n++) {
		size_t i, end;

		if (!range(iov[n].base, iov[n].len, &i, &end))
			return no(s, "bad area of a check", iov[n].base);
		for (; i < end; i++, off += sizeof(uint32_t), s->checked++) {
			uint64_t page[512] = { s->page[i].content };
			uint32_t sum;

			if (pread((int)a[0], &sum, sizeof(sum), (off_t)off) != sizeof(sum) || sum != page_sum_plain(page))
				return no(s, "a page does not match its checksum", SIM_AT(i));
		}
	}
	return 0;
}

int sim_run(struct sim *s, const struct program *p, uint32_t routine)
{
	const struct abi_routine *r = program_routine(p, routine);
	const struct abi_op *ops = arena_at(&p->arena, r->ops, r->nr_ops * sizeof(*ops));

	for (uint32_t n = 0; n < r->nr_ops; n++) {
		const struct abi_op *op = &ops[n];
		uint64_t a[6];
		int error;

		for (unsigned int i = 0; i < 6; i++)
			a[i] = op->slot_args & (1u << i) ? s->slot[op->arg[i]] : op->arg[i];
		if (op->flags & ABI_F_EQUAL)
			a[5] = 0;
		switch (op->kind) {
		case ABI_OP_SYSCALL:
			error = sim_call(s, op, a);
			break;
		case ABI_OP_READ:
			error = sim_read(s, p, a, false);
			break;
		case ABI_OP_COMPARE:
			error = sim_read(s, p, a, true);
			break;
		case ABI_OP_CHECK:
			error = sim_check(s, p, a);
			break;
		case ABI_OP_STORE:
			error = 0;
			break;
		default:
			error = no(s, "unexpected operation", op->kind);
		}
		if (error)
			return error;
	}
	return 0;
}
