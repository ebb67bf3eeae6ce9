/* The stage runner; see stage.h. */
#include "kernel/stage.h"
#include "kernel/context.h"

#include "base/clock.h"

#include <errno.h>
#include <unistd.h>

/* Nobody waits for the result any more: whoever asked was ended, and meant us. */
int stage_called_off(const struct cr_context *ctx, struct cr_error *err)
{
	if (!ctx->opts->guard || getppid() == ctx->opts->guard)
		return 0;
	return cr_refuse(err, -ECANCELED, "called off: the process that waited for it has ended");
}

int stages_run(struct cr_context *ctx, const struct stage *table, size_t nr, void *op, int fail_at, uint64_t *ret_us,
	       struct cr_error *err)
{
	for (size_t i = 0; i < nr; i++) {
		uint64_t begin = monotonic_us();
		bool fail = fail_at == (int)i + 1;
		int r = stage_called_off(ctx, err);

		if (r == 0 && !(fail && table[i].final))
			r = table[i].run(op, err);

		if (r >= 0 && fail)
			r = cr_refuse(err, -ECANCELED, "failed on purpose");
		if (ret_us)
			ret_us[i] = monotonic_us() - begin;
		if (r < 0) {
			log_debug(&ctx->log, "stage %s: failed after %llu us, undoing", table[i].name,
				  (unsigned long long)(monotonic_us() - begin));
			for (size_t k = i + 1; k-- > 0;)
				if (table[k].undo)
					table[k].undo(op);
			return cr_within(err, r, "%s", table[i].name);
		}
		log_debug(&ctx->log, "stage %s: %llu us", table[i].name, (unsigned long long)(monotonic_us() - begin));
	}
	return 0;
}
