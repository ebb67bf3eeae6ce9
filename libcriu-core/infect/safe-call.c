#include "infect/safe-call.h"

#include "infect/remote-call.h"
#include "infect/tracee.h"
#include "infect/way-back.h"

#include <errno.h>

static int make_call(struct tracee *t, const struct way_back *way, long nr, const uint64_t arg[6], int64_t *ret)
{
	uint64_t insn = way->call;
	int r = insn ? 0 : remote_find_syscall(t, &insn, NULL);

	if (r == 0)
		r = remote_start(t, insn, way->call ? way->sp : 0, nr, arg, NULL);
	if (r == 0)
		r = remote_finish(t, ret, NULL);
	if (t->state != TRACEE_GONE)
		tracee_recall(t, NULL);
	return r;
}

int safe_call(const struct task *task, const struct thread *th, const struct xstate_layout *layout, bool must, long nr,
	      const uint64_t arg[6], int64_t *ret)
{
	struct way_cache cache = { 0 };
	struct way_back way = { 0 };
	int r = layout ? tracee_read_xstate(th->tracee, NULL) : 0;

	if (r == 0 && layout)
		r = way_back_lay(&way, &cache, task, th, layout, NULL);
	if (r == 0)
		r = must && !way.call ? -ENOEXEC : make_call(th->tracee, &way, nr, arg, ret);
	way_back_clear(&way, th);
	return r;
}
