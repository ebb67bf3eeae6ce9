/*
 * Signals that ends of processes send to their parents. Those of zombies are sent once more when the restore makes them,
 * and are not among what the images have waiting.
 */
#include "restore/restore-internal.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define BIT_OF(signo) (UINT64_C(1) << ((signo)-1))

uint64_t restore_exit_signal(const struct rtask *t)
{
	const img_task_core_entry *tc = t->cores[0]->tc;
	uint32_t signo = tc->ext && tc->ext->has_exit_signal ? tc->ext->exit_signal : SIGCHLD;

	/* that of a zombie would end or stop its parent, which has been through that */
	return t->zombie && (signo == SIGKILL || signo == SIGSTOP) ? SIGCHLD : signo;
}

/* The zombie that step @i of the node's waits for, if its end sends another signal than usual; or NULL. */
static const struct rtask *unusual_zombie(const struct restore *rs, const struct pstree_node *n, size_t i)
{
	int input = n->steps.items[i].kind == PSTREE_AWAIT ? rs->tree.nodes.items[n->steps.items[i].arg].input : -1;
	const struct rtask *t = input >= 0 ? &rs->tasks[input] : NULL;
	uint64_t signo = t && t->zombie ? restore_exit_signal(t) : 0;

	return signo && signo != SIGCHLD ? t : NULL;
}

void restore_drop_signals(struct restore *rs, struct rnode *rn)
{
	const struct pstree_node *n = &rs->tree.nodes.items[rn - rs->nodes];
	struct program *p = &rs->program;
	struct routine *r = &rn->routine;
	const struct timespec none = { 0, 0 };
	uint64_t set = BIT_OF(SIGCHLD), mask, zero;
	size_t nr = 1;

	for (size_t i = 0; i < n->steps.nr; i++) {
		const struct rtask *t = unusual_zombie(rs, n, i);

		if (t) {
			set |= BIT_OF(restore_exit_signal(t));
			nr++;
		}
	}
	mask = emit_data(p, r, &set, sizeof(set), 8);
	zero = emit_data(p, r, &none, sizeof(none), 8);
	for (size_t i = 0; i < nr; i++)
		op_may_fail(
			emit_call(p, r, "drop signals of helpers", SYS_rt_sigtimedwait, mask, 0, zero, sizeof(set)));
}
