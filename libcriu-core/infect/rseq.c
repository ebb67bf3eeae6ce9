#include "infect/rseq.h"

#include "base/error.h"
#include "infect/remote-mem.h"
#include "infect/tracee.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>

/* struct rseq and struct rseq_cs of linux/rseq.h, the parts that are used here */
#define RSEQ_OFF_CS 8
struct rseq_section {
	uint32_t version, flags;
	uint64_t start_ip, post_commit_offset, abort_ip;
};

/*
 * As rseq_get_rseq_cs() and rseq_ip_fixup() in kernel/rseq.c: a section is left through abort_ip if the thread was
 * interrupted inside. The NO_RESTART flags of old kernels, which forbade that, are refused by Linux 6.1 and later and
 * were never used; they are honoured for the older ones.
 */
int rseq_read(pid_t tid, uint64_t ip, struct tracee_rseq *ret, struct cr_error *err)
{
	struct uapi_ptrace_rseq_configuration c;
	struct rseq_section s;

	memset(ret, 0, sizeof(*ret));
	memset(&c, 0, sizeof(c));
	if (ptrace(UAPI_PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(c), &c) < 0) {
		/* EIO: a kernel before 5.13 or without CONFIG_RSEQ */
		return errno == EIO || errno == EINVAL ? 0 : cr_fail(err, -errno, "read the rseq registration of thread %d", tid);
	}
	ret->abi_pointer = c.rseq_abi_pointer;
	ret->abi_size = c.rseq_abi_size;
	ret->signature = c.signature;
	if (!ret->abi_pointer || !ip)
		return 0;
	if (remote_read(tid, ret->abi_pointer + RSEQ_OFF_CS, &ret->cs_pointer, sizeof(ret->cs_pointer)) < 0)
		ret->cs_pointer = 0;
	if (!ret->cs_pointer || remote_read(tid, ret->cs_pointer, &s, sizeof(s)) < 0)
		return 0;
	if (s.version == 0 && s.flags == 0 && ip - s.start_ip < s.post_commit_offset)
		ret->abort_ip = s.abort_ip;
	return 0;
}

int rseq_write_cs(pid_t tid, const struct tracee_rseq *r)
{
	return remote_write(tid, r->abi_pointer + RSEQ_OFF_CS, &r->cs_pointer, sizeof(r->cs_pointer));
}
