/*
 * What a task has mapped, as mm-PID.img says it. smaps is the only place where the flags of mappings are shown
 * (VmFlags), so it is read once and maps is not.
 */
#include "mm/mapped-files.h"
#include "mm/early-look.h"
#include "mm/keeper-ask.h"
#include "mm/look-ahead.h"
#include "mm/page-select.h"
#include "mm/quick-maps.h"
#include "mm/smaps-ahead.h"
#include "mm/track.h"

#include "infect/program.h"
#include "infect/task.h"
#include "image/stream.h"
#include "kernel/context.h"
#include "mm/vdso.h"
#include "kernel/uapi.h"
#include "procfs/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static void mm_task_free(struct mm_task *mt)
{
	if (!mt)
		return;
	smaps_drop(mt->smaps);
	look_ahead_free(mt->ahead);
	snapshot_free(mt->copy);
	for (size_t i = 0; i < mt->vmas.nr; i++) {
		img_vma_ext *ext = mt->vmas.items[i].ext;

		if (ext) {
			free(ext->anon_name);
			free((void *)ext->mempolicy_nodes.data);
			free((void *)ext->vdso.data);
			free(ext);
		}
	}
	img_vmas_done(&mt->vmas);
	page_runs_done(&mt->pages);
	page_runs_done(&mt->to_copy);
	page_runs_done(&mt->unread);
	mm_ranges_done(&mt->tracked);
	mm_ranges_done(&mt->watched);
	mm_ranges_done(&mt->stale);
	mm_ranges_done(&mt->guarded);
	mm_ranges_done(&mt->alone);
	mm_ranges_done(&mt->stays);
	if (mt->mem >= 0)
		close(mt->mem);
	free(mt->entry.mm_saved_auxv.items);
	if (mt->task->mm == &mt->entry)
		mt->task->mm = NULL;
	free(mt);
}

/* A memfd tells the device of the internal tmpfs; tmpfs of the kernel has no other name. */
static void find_devices(struct mm_devices *ret)
{
	autofd int fd = (int)syscall(SYS_memfd_create, "probe", MFD_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0)
		*ret = (struct mm_devices){ .shm_major = major(st.st_dev),
					    .shm_minor = minor(st.st_dev),
					    .shm_known = true };
}

static bool has_many_nodes(void)
{
	char text[64];
	autofd int fd = open("/sys/devices/system/node/online", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	/* "0\n" is the only list with one node that a running system has */
	return n > 0 && !(n <= 2 && text[0] == '0');
}

int mm_dump_new(struct cr_context *ctx, const struct mm_dump_config *config, struct mm_dump **ret, struct cr_error *err)
{
	struct mm_dump *d = calloc(1, sizeof(*d));

	if (!d)
		return cr_fail(err, -ENOMEM, "begin to dump memory");
	d->ctx = ctx;
	d->config = *config;
	d->next_pages_id = 1;
	d->files = file_cache_new();
	if (!d->files) {
		free(d);
		return cr_fail(err, -ENOMEM, "begin to dump memory");
	}
	find_devices(&d->devices);
	d->many_nodes = has_many_nodes();
	*ret = d;
	return 0;
}

void mm_dump_free(struct mm_dump *d)
{
	if (!d)
		return;
	mm_read_ahead_end(d);
	for (size_t i = 0; i < d->tasks.nr; i++)
		mm_task_free(d->tasks.items[i]);
	mm_tasks_done(&d->tasks);
	for (size_t i = 0; i < d->segments.nr; i++)
		close(d->segments.items[i].fd);
	segments_done(&d->segments);
	file_cache_free(d->files);
	early_sums_done(&d->early_sums);
	tracker_free(d->tracker);
	free(d);
}

static img_vma_ext *ext_of(img_vma_entry *v)
{
	if (!v->ext)
		v->ext = calloc(1, sizeof(*v->ext));
	return v->ext;
}

/* Before it had a code, this was the one flag of locked memory without one: show_smap_vma_flags() of Linux 6.1. */
static bool locked_on_fault(const struct proc_vma *p)
{
	return p->vm_flags & PROC_VM_LF || (p->vm_flags & PROC_VM_LO && p->vm_flags & PROC_VM_UNNAMED);
}

/* What upstream has no field for. Return: 0, -ENOMEM. */
static int fill_ext(img_vma_entry *v, const struct proc_vma *p, const char *path)
{
	bool exec_only = p->prot == PROT_EXEC;
	const char *name = strncmp(path, "[anon:", 6) == 0          ? path + 6
			   : strncmp(path, "[anon_shmem:", 12) == 0 ? path + 12
								    : NULL;
	img_vma_ext *ext;

	/* Memory that may only be executed gets a key from the kernel by itself (execute_only_pkey(), arch/x86/mm/pkeys.c). */
	if (!(p->pkey > 0 && !exec_only) && !(p->vm_flags & PROC_VM_SL) && !locked_on_fault(p) && !name)
		return 0;
	ext = ext_of(v);
	if (!ext)
		return -ENOMEM;
	if (p->pkey > 0 && !exec_only) {
		ext->has_pkey = true;
		ext->pkey = (uint32_t)p->pkey;
	}
	ext->has_sealed = ext->sealed = p->vm_flags & PROC_VM_SL;
	ext->has_lock_on_fault = ext->lock_on_fault = locked_on_fault(p);
	if (name) {
		ext->anon_name = strndup(name, strlen(name) - 1);
		if (!ext->anon_name)
			return -ENOMEM;
	}
	return 0;
}

/* Several areas of vvar (6.13 added [vvar_vclock]) are one mapping to the readers of images. */
static bool joins_vvar(const struct mm_task *mt, const struct vma_class *c, const struct proc_vma *p)
{
	const img_vma_entry *last = mt->vmas.nr ? &mt->vmas.items[mt->vmas.nr - 1] : NULL;

	return c->kind == VMA_VVAR && last && last->status & MM_ST_VVAR && last->end == p->start;
}

/* Mappings come in ascending order; those side by side become one range. */
static int note_range(struct mm_ranges *ranges, const struct proc_vma *p)
{
	struct mm_range *last = ranges->nr ? &ranges->items[ranges->nr - 1] : NULL;

	if (last && last->end == p->start) {
		last->end = p->end;
		return 0;
	}
	last = mm_ranges_add(ranges);
	if (!last)
		return -ENOMEM;
	*last = (struct mm_range){ p->start, p->end };
	return 0;
}

/*
 * Guard pages lie in page tables, which are looked through for private memory anyway. Of shared mappings, nothing else in
 * there is of interest, so the kernel is asked once whether its flags would tell.
 */
#define GUARDS_LOOK ((uint64_t)1 << 20) /* less than this is looked through as quickly */

static int note_guarded(struct mm_dump *d, struct mm_task *mt, const struct proc_vma *p)
{
	bool certain = p->vm_flags & PROC_VM_GU, small = !d->config.snapshot && p->end - p->start <= GUARDS_LOOK;

	if (!p->shared || d->config.memory_only || !kernel_has(&d->ctx->probes, KERNEL_PAGEMAP_GUARD) ||
	    (!certain && !small && kernel_has(&d->ctx->probes, KERNEL_GUARD_FLAG)))
		return 0;
	return note_range(&mt->guarded, p);
}

/* For the dump of a tree: relatives may have pages in common. */
static int note_alone(struct mm_task *mt, const struct proc_vma *p)
{
	if (!p->rss_kb || p->shared_kb)
		return 0;
	return note_range(&mt->alone, p);
}

static int add_vma(struct mm_dump *d, struct mm_task *mt, const struct proc_vma *p, const char *path,
		   struct cr_error *err)
{
	struct obstacles *list = &d->ctx->obstacles;
	struct vma_class c;
	img_vma_entry *v;
	int r;

	vma_classify(&d->devices, p, path, &c);
	if (c.kind == VMA_REFUSED) {
		r = mm_obstacle(d, mt->task, p, path, c.what, c.advice, err);
		if (r < 0)
			return r;
		list->items[list->nr - 1].waits = (p->vm_flags & (PROC_VM_UM | PROC_VM_UW | PROC_VM_UI)) != 0;
		return 0;
	}
	if (note_guarded(d, mt, p) < 0 || note_alone(mt, p) < 0 || (mt->copy && snapshot_note(mt->copy, p, &c) < 0))
		return cr_fail(err, -ENOMEM, "note a mapping");
	if (joins_vvar(mt, &c, p)) {
		mt->vmas.items[mt->vmas.nr - 1].end = p->end;
		return 0;
	}
	v = img_vmas_add(&mt->vmas);
	if (!v)
		return cr_fail(err, -ENOMEM, "note a mapping");
	*v = (img_vma_entry){
		.start = p->start,
		.end = p->end,
		.prot = p->prot,
		.flags = c.flags,
		.status = c.status,
		.fd = -1,
		.has_madv = c.madv != 0,
		.madv = c.madv,
	};
	if (d->config.memory_only)
		return 0;
	if (c.kind == VMA_FILE || c.kind == VMA_MEMFD || c.kind == VMA_SYSV) {
		v->pgoff = p->pgoff;
		v->has_fdflags = c.kind != VMA_SYSV;
		v->fdflags = p->shared && p->vm_flags & PROC_VM_MW ? O_RDWR : O_RDONLY;
		r = file_cache_map(d, mt->task, p, path, c.kind, v->fdflags, &v->shmid, err);
		if (r < 0)
			return r;
	}
	if (c.kind == VMA_RING) {
		r = file_cache_ring(d, mt->task, p, path, &v->shmid, err);
		if (r < 0)
			return r;
	}
	return fill_ext(v, p, path) < 0 ? cr_fail(err, -ENOMEM, "note a mapping") : 0;
}

static void warn_unknown_flags(struct mm_dump *d, const struct task *task, const struct proc_vma_list *l)
{
	for (size_t i = 0; i < ARRAY_LEN(l->unknown) && l->unknown[i].count && !d->warned_flags; i++)
		log_warn(&d->ctx->log,
			 "pid %d: %zu mappings have flag \"%s\", which is not known; continuing without it",
			 task->host_pid, l->unknown[i].count, l->unknown[i].code);
	d->warned_flags |= l->unknown[0].count != 0;
}

struct collector {
	struct mm_dump *d;
	struct mm_task *mt;
	int keeper;     /* of another tree's series: a connection; -1: there is none, or nobody has asked */
	bool asked;
	bool elsewhere; /* some of the memory is watched for that series */
};

/* It may also be watched for another tree: one that this is a part of, or that is a part of this, or whose root has ended. */
static void look_elsewhere(struct collector *c, struct proc_vma *v)
{
	const uint64_t uffd = PROC_VM_UM | PROC_VM_UW | PROC_VM_UI;

	if ((v->vm_flags & uffd) != PROC_VM_UW)
		return;
	if (!c->asked)
		c->keeper = keeper_ask(c->mt->task->host_pid);
	c->asked = true;
	if (c->keeper < 0 || !keeper_watches(c->keeper, v->start, v->end))
		return;
	v->vm_flags &= ~uffd;
	c->elsewhere = true;
}

/* A process is watched for one series at a time: for the last that asked for it. */
static void end_elsewhere(struct collector *c)
{
	const rpc_criu_opts *o = c->d->ctx->opts->rpc;
	bool tracks = c->d->config.memory_only || (o->has_track_mem && o->track_mem);

	if (c->elsewhere && tracks && keeper_let_go(c->keeper))
		log_warn(&c->d->ctx->log, "pid %d: was in a series of another tree, continuing without it there", c->mt->task->host_pid);
	if (c->keeper >= 0)
		close(c->keeper);
}

static int collect_some(void *arg, const struct proc_vma_list *list, struct cr_error *err)
{
	struct collector *c = arg;
	int r = 0;

	for (size_t i = 0; i < list->nr && r == 0; i++) {
		struct proc_vma v = list->items[i];

		r = mm_rounds_look(c->d, c->mt, &v, err);
		if (r == 0)
			look_elsewhere(c, &v);
		if (r == 0)
			r = add_vma(c->d, c->mt, &v, proc_vma_path(list, &v), err);
	}
	warn_unknown_flags(c->d, c->mt->task, list);
	return r;
}

/*
 * numa_maps walks the page tables again. With one node no policy changes anything here, it only shows, and would matter on
 * another machine: so it is read there where that costs microseconds, in tasks with little memory and few mappings.
 */
#define POLICY_RSS_KB (32u << 10)

static bool wants_policies(const struct mm_dump *d, const struct mm_task *mt)
{
	return d->many_nodes || (mt->task->status.vm_rss_kb <= POLICY_RSS_KB && !mt->many);
}

static int set_policy(img_vma_entry *v, const struct proc_numa_policy *p)
{
	img_vma_ext *ext = ext_of(v);
	uint8_t *nodes;

	if (!ext)
		return -ENOMEM;
	nodes = malloc(sizeof(p->nodes));
	if (!nodes)
		return -ENOMEM;
	memcpy(nodes, p->nodes, sizeof(p->nodes));
	ext->mempolicy_nodes = (struct proto_bytes){ .data = nodes, .len = sizeof(p->nodes) };
	ext->has_mempolicy_mode = ext->has_mempolicy_flags = true;
	ext->mempolicy_mode = p->mode;
	ext->mempolicy_flags = p->flags;
	return 0;
}

static int collect_policies(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	const struct proc_numa_vec *list = &mt->ahead->policies;
	int r = wants_policies(d, mt) ? look_ahead_policies(mt->ahead, mt->task, err) : 0;

	for (size_t i = 0, at = 0; i < list->nr && r == 0; i++) {
		const struct proc_numa_policy *p = &list->items[i];

		while (at < mt->vmas.nr && mt->vmas.items[at].start < p->addr)
			at++;
		if (at == mt->vmas.nr || mt->vmas.items[at].start != p->addr)
			continue;
		if (p->mode == PROC_MPOL_UNKNOWN) {
			log_warn(&d->ctx->log,
				 "pid %d: memory policy of %" PRIx64 " is not known; continuing without it",
				 mt->task->host_pid, p->addr);
			continue;
		}
		if (set_policy(&mt->vmas.items[at], p) < 0)
			r = cr_fail(err, -ENOMEM, "note a memory policy");
	}
	return r;
}

static int collect_auxv(struct mm_task *mt, struct cr_error *err)
{
	struct proc_auxv_vec auxv = { 0 };
	int r = proc_auxv_read(&mt->task->dir, &auxv, err);

	if (r < 0) {
		proc_auxv_vec_done(&auxv);
		return r;
	}
	/* images end before AT_NULL, which the kernel adds by itself */
	while (auxv.nr >= 2 && auxv.items[auxv.nr - 2] == 0 && auxv.items[auxv.nr - 1] == 0)
		auxv.nr -= 2;
	mt->entry.mm_saved_auxv = (struct proto_u64_vec){ .items = auxv.items, .nr = auxv.nr };
	return 0;
}

static int collect_exe(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	autofd int fd = proc_open(&mt->task->dir, "exe", O_PATH, err);
	char path[4096];
	ssize_t n;
	int r;

	if (fd < 0)
		return cr_within(err, fd, "executable");
	n = readlinkat(mt->task->dir.fd, "exe", path, sizeof(path) - 1);
	if (n < 0)
		return cr_fail(err, -errno, "path of the executable");
	path[n] = '\0';
	r = d->config.sink->add(d->config.sink->arg, mt->task, fd, path, O_RDONLY, &mt->entry.exe_file_id, err);
	return r < 0 ? cr_within(err, r, "executable") : 0;
}

static void fill_layout(struct mm_task *mt)
{
	const struct proc_stat *s = &mt->task->lead->stat; /* that of a leader that has exited shows no memory */
	img_mm_entry *e = &mt->entry;

	e->mm_start_code = s->start_code;
	e->mm_end_code = s->end_code;
	e->mm_start_data = s->start_data;
	e->mm_end_data = s->end_data;
	e->mm_start_stack = s->start_stack;
	e->mm_start_brk = s->start_brk;
	e->mm_arg_start = s->arg_start;
	e->mm_arg_end = s->arg_end;
	e->mm_env_start = s->env_start;
	e->mm_env_end = s->env_end;
	/* exact from mm_answer(); the heap ends on a page */
	e->mm_brk = s->start_brk;
	for (size_t i = 0; i < mt->vmas.nr; i++)
		if (mt->vmas.items[i].status & MM_ST_HEAP)
			e->mm_brk = mt->vmas.items[i].end;
}

static int collect_quickly(struct collector *c, struct cr_error *err)
{
	autovmas struct proc_vma_list list = { 0 };
	int r = quick_maps_read(c->mt->task, &list, err);

	if (r == 1)
		return smaps_each(&c->mt->task->dir, collect_some, c, err);
	return r < 0 || !list.nr ? r : collect_some(c, &list, err);
}

/* The pages of a pre-dump are found when they are to be watched (mm_track()). */
static int collect(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	struct collector c = { .d = d, .mt = mt, .keeper = -1 };
	bool all = !d->config.memory_only;
	int r = mm_rounds_begin(d, mt->task, err);

	if (r == 0)
		r = mm_rounds_distrust(d, mt, err);
	if (r == 0)
		r = mt->smaps   ? smaps_end(take_ptr(&mt->smaps), collect_some, &c, err)
		    : mt->early ? collect_some(&c, mt->early, err)
				: collect_quickly(&c, err);
	end_elsewhere(&c);
	if (r < 0 || !all)
		return r;
	r = collect_auxv(mt, err);
	if (r == 0)
		r = collect_exe(d, mt, err);
	if (r == 0)
		r = collect_policies(d, mt, err);
	look_ahead_wait(mt->ahead);
	if (r == 0 && !snapshot_selects_late(d))
		r = page_select(d, mt, &mt->ahead->scan, err);
	look_ahead_free(take_ptr(&mt->ahead));
	if (r < 0)
		return r;
	if (mt->copy)
		snapshot_choose_spared(d, mt);
	fill_layout(mt);
	mt->entry.vmas = (struct img_vma_entry_vec){ .items = mt->vmas.items, .nr = mt->vmas.nr };
	mt->task->mm = &mt->entry;
	return 0;
}

/* Tasks with so much memory have it scanned in a thread, as those with many mappings have. */
#define AHEAD_RSS_KB ((uint64_t)64 << 10)

static int begin(struct mm_dump *d, struct mm_task *mt, struct cr_error *err)
{
	int r;

	if (d->config.memory_only)
		return quick_maps_fit(d, mt->task) ? 0 : smaps_begin(&mt->task->dir, &mt->smaps, &mt->many, err);
	mt->ahead = calloc(1, sizeof(*mt->ahead));
	if (!mt->ahead)
		return cr_fail(err, -ENOMEM, "read mappings");
	if (mt->task->status.vm_rss_kb >= AHEAD_RSS_KB && !snapshot_selects_late(d))
		look_ahead_begin(mt->ahead, d, mt->task, true, wants_policies(d, mt));
	mt->early = mm_early_find(d->config.early, mt->task);
	if (mt->early && mt->copy)
		mt->copy->before = NULL; /* what holds for sure needs no comparison */
	if (mt->early)
		return 0;
	r = mt->copy && mt->copy->before ?
		    smaps_begin_text(mt->copy->before, mt->copy->before_len, &mt->smaps, &mt->many, err) :
		    smaps_ahead_take(d->ahead, mt->task, &mt->smaps, &mt->many, err);
	if (mt->many && !snapshot_selects_late(d))
		look_ahead_begin(mt->ahead, d, mt->task, false, wants_policies(d, mt));
	return r;
}

void mm_read_ahead(struct mm_dump *d, const struct tree *tree)
{
	if (!d->config.early && !d->config.before)
		d->ahead = smaps_ahead_new(tree);
}

void mm_read_ahead_end(struct mm_dump *d)
{
	smaps_ahead_free(d->ahead);
	d->ahead = NULL;
}

int mm_begin(struct mm_dump *d, struct task *task, struct cr_error *err)
{
	struct mm_task *mt = calloc(1, sizeof(*mt)), **slot;

	if (!mt)
		return cr_fail(err, -ENOMEM, "note the mappings of pid %d", task->host_pid);
	mt->task = task;
	mt->mem = -1;
	slot = mm_tasks_add(&d->tasks);
	if (!slot) {
		free(mt);
		return cr_fail(err, -ENOMEM, "note the mappings of pid %d", task->host_pid);
	}
	*slot = mt;
	task->mm_priv = mt;
	if (d->config.snapshot && snapshot_begin(d, mt) < 0)
		return cr_fail(err, -ENOMEM, "note the mappings of pid %d", task->host_pid);
	return cr_within(err, begin(d, mt, err), "pid %d", task->host_pid);
}

int mm_collect(struct mm_dump *d, struct task *task, struct cr_error *err)
{
	return cr_within(err, collect(d, task->mm_priv, err), "pid %d", task->host_pid);
}

int mm_ask(struct mm_dump *d, struct task *task, struct program *p, struct routine *r, struct cr_error *err)
{
	struct mm_task *mt = task->mm_priv;

	(void)d;
	mt->ask_routine = r->index;
	mt->ask_op = (uint32_t)r->ops.nr;
	mt->asked = true;
	op_result(emit_call(p, r, "ask for the end of the heap", SYS_brk, 0));
	return mt->copy ? snapshot_ask(mt, p, r, err) : 0;
}

/* of the questions about memory, which are few */
#define ASK_ROOM (16u << 10)

size_t mm_ask_size(const struct mm_dump *d, const struct task *task)
{
	const struct mm_task *mt = task->mm_priv;

	(void)d;
	return ASK_ROOM + (mt->copy ? snapshot_ask_size(mt) : 0);
}

int mm_answer(struct mm_dump *d, struct task *task, const struct program *p, struct cr_error *err)
{
	struct mm_task *mt = task->mm_priv;
	const struct abi_routine *routine = program_routine(p, mt->ask_routine);
	const struct abi_op *op = NULL;

	(void)d;
	if (routine && mt->ask_op < routine->nr_ops)
		op = arena_at(&p->arena, routine->ops + (uint64_t)mt->ask_op * sizeof(*op), sizeof(*op));
	if (!mt->asked || !op)
		return cr_refuse(err, -EPROTO, "pid %d: no answer about its heap", task->host_pid);
	if (op->arg[0] < mt->entry.mm_start_brk || op->arg[0] > UINT64_C(1) << 57)
		return cr_refuse(err, -EPROTO, "pid %d: its heap ends at %" PRIx64, task->host_pid, op->arg[0]);
	mt->entry.mm_brk = op->arg[0];
	return 0;
}

int mm_write(struct mm_dump *d, const struct task *task, struct image_set *set, struct cr_error *err)
{
	int r = image_set_streams(set) ? vdso_keep(task->mm_priv, err) : 0;

	(void)d;
	if (r == 0)
		r = image_write_single(set, IMG_MM, (uint64_t)task->ns_pid, task->mm, err);
	return cr_within(err, r, "pid %d: mappings", task->host_pid);
}
