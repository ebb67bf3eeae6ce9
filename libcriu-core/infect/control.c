#include "infect/control.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

void control_release(struct abi_control *c, uint32_t stage)
{
	__atomic_store_n(&c->stage, stage, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &c->stage, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The order matters: who sees the changed stage sees abort. */
void control_abort(struct abi_control *c)
{
	__atomic_store_n(&c->abort, 1, __ATOMIC_SEQ_CST);
	control_release(c, UINT32_MAX);
}

int control_wait(struct abi_control *c, uint32_t stage, int timeout_ms)
{
	int64_t end = monotonic_ms() + timeout_ms;

	for (;;) {
		uint32_t seen = load(&c->events);
		int64_t left = end - monotonic_ms();
		struct timespec t = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000 };

		if (load(&c->failed))
			return -ECANCELED;
		if (load(&c->arrived[stage]) >= c->expected[stage])
			return 0;
		if (timeout_ms >= 0 && left <= 0)
			return -ETIMEDOUT;
		if (syscall(SYS_futex, &c->events, FUTEX_WAIT, seen, timeout_ms < 0 ? NULL : &t, NULL, 0) < 0 && errno == EINTR)
			return -EINTR;
	}
}
