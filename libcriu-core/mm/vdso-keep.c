/*
 * The vDSO's content beside its mapping, in sets that are streamed: a restore decides about the vDSO before any process exists,
 * and pages come by once, when the process reads them.
 */
#include "mm/vdso.h"

#include "infect/remote-mem.h"
#include "infect/task.h"
#include "mm/mm-internal.h"

#include <errno.h>
#include <stdlib.h>

int vdso_keep(struct mm_task *mt, struct cr_error *err)
{
	for (size_t i = 0; i < mt->vmas.nr; i++) {
		img_vma_entry *v = &mt->vmas.items[i];
		uint64_t len = v->end - v->start;
		void *code;
		int r;

		if (!(v->status & MM_ST_VDSO) || len > VDSO_MAX_SIZE || (v->ext && v->ext->vdso.data))
			continue;
		if (!v->ext)
			v->ext = calloc(1, sizeof(*v->ext));
		code = malloc(len);
		if (!v->ext || !code) {
			free(code);
			return cr_fail(err, -ENOMEM, "keep the vDSO");
		}
		v->ext->vdso = (struct proto_bytes){ .data = code, .len = len };
		r = remote_read(mt->task->lead->host_tid, v->start, code, len);
		if (r < 0)
			return cr_fail(err, r, "read the vDSO");
	}
	return 0;
}
