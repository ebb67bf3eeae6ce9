/*
 * Restore: registers are loaded last, when the whole tree is there (takeover_load()). What this machine cannot load has to be
 * known before anything is.
 */
#include "restore/restore-internal.h"

#include "regs.h"
#include "xstate.h"

#include <errno.h>

int restore_check_registers(const struct xstate_layout *layout, const img_core_entry *core, struct cr_error *err)
{
	const img_thread_info_x86 *info = core->thread_info;
	const img_thread_ext *ext = core->thread_core->ext;
	struct regs regs;
	int r;

	if (!info)
		return 0; /* a main thread that has exited; tasks_check() lets nobody else be without */
	if (!info->gpregs || !info->fpregs)
		return cr_refuse(err, -EBADMSG, "the image has no registers");
	r = regs_from_image(info->gpregs, ext && ext->has_restart ? ext->restart : 0, &regs, err);
	if (r == 0)
		r = xstate_check(layout, info->fpregs, ext ? ext->xsave_raw.data : NULL, ext ? ext->xsave_raw.len : 0,
				 ext && ext->has_xsave_xfeatures ? ext->xsave_xfeatures : 0, err);
	for (size_t i = 0; r >= 0 && i < info->tls.nr; i++) {
		struct regs_tls tls;

		r = regs_tls_from_image(&info->tls.items[i], &tls, err);
	}
	return r < 0 ? r : 0;
}
