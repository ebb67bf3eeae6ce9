/* Restore, first stage: the whole image set is read and checked before anything is created. */
#include "restore/restore-internal.h"
#include "image/cpuinfo.h"
#include "image/page-sums.h"
#include "image/stream.h"
#include "tasks/ids.h"
#include "xstate.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_TASKS (1u << 22) /* PID_MAX_LIMIT on 64 bit */

static int read_inventory(struct restore *rs, struct cr_error *err)
{
	img_inventory_entry *inv;
	void *entry;
	const struct cr_options *opts = rs->ctx->opts;
	int r = opts->stream ? image_set_stream_in(opts->images_dirfd, &rs->set, err)
			     : image_set_open(opts->images_dirfd, &rs->set, err);

	if (r < 0)
		return r;
	if (opts->no_checksums)
		image_set_ignore_sums(rs->set);
	r = image_read_single(rs->set, IMG_INVENTORY, 0, &entry, err);
	if (r)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no inventory.img");
	rs->inventory = inv = entry;
	if (inv->img_version == 0) {
		cr_refuse(err, -EINVAL, "this is a pre-dump: it holds memory only and cannot be restored");
		cr_advise(err, "restore the directory of the final dump");
		return -EINVAL;
	}
	if (inv->img_version > 2)
		return cr_refuse(err, -EOPNOTSUPP, "inventory.img: image version %u is not known", inv->img_version);
	if (!inv->has_fdinfo_per_id || !inv->fdinfo_per_id)
		return cr_refuse(
			err, -EOPNOTSUPP,
			"inventory.img: descriptor images by process (a layout of before 2013) cannot be read");
	if (inv->has_root_cg_set && inv->root_cg_set == 0)
		return cr_refuse(err, -EBADMSG, "inventory.img: root_cg_set is 0");
	if (!inv->root_ids)
		return cr_refuse(err, -EBADMSG, "inventory.img: root_ids are missing");
	if (inv->plugins_entry && inv->plugins_entry->plugins.nr)
		return cr_refuse(err, -EOPNOTSUPP, "the set needs plugin %s, and plugins cannot be loaded",
				 inv->plugins_entry->plugins.items[0]);
	return 0;
}

static int read_pstree(struct restore *rs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *reader = NULL;
	size_t cap = 0;
	void *entry;
	int r = image_reader_open(rs->set, IMG_PSTREE, 0, &reader, err);

	if (r)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no pstree.img");
	while ((r = image_read(reader, &entry, err)) > 0) {
		if (rs->nr_tasks == cap) {
			size_t more = cap ? cap * 2 : 16;
			struct rtask *tasks = more > MAX_TASKS ? NULL : realloc(rs->tasks, more * sizeof(*tasks));

			if (!tasks) {
				img_entry_free(entry);
				return cr_fail(err, -ENOMEM, "read pstree.img");
			}
			rs->tasks = tasks;
			cap = more;
		}
		rs->tasks[rs->nr_tasks++] = (struct rtask){ .entry = entry };
	}
	if (r < 0)
		return r;
	return rs->nr_tasks ? 0 : cr_refuse(err, -EBADMSG, "pstree.img: no process");
}

static int read_core(struct restore *rs, uint32_t tid, img_core_entry **ret, struct cr_error *err)
{
	void *entry;
	int r = image_read_single(rs->set, IMG_CORE, tid, &entry, err);

	if (r)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no core-%u.img", tid);
	*ret = entry;
	return 0;
}

static int read_ids(struct restore *rs, struct rtask *t, struct cr_error *err)
{
	void *entry;
	int r = image_read_single(rs->set, IMG_IDS, t->entry->pid, &entry, err);

	if (r)
		return r < 0 ? r : cr_refuse(err, -ENOENT, "no ids-%u.img", t->entry->pid);
	t->ids = entry;
	/* the root comes first */
	if (t == rs->tasks)
		rs->own = ids_own_of(t->ids, rs->inventory->root_ids);
	return ids_check(t->ids, rs->inventory->root_ids, rs->own, err);
}

/* A client that is not root may not become through images what it is not. */
static int ask_policy(const struct restore *rs, const struct rtask *t, struct cr_error *err)
{
	const struct cr_observer *obs = rs->ctx->obs;
	int r = 0;

	if (!obs->may_restore)
		return 0;
	for (size_t i = 0; r == 0 && i < t->nr_threads; i++) {
		if (!t->cores[i]->thread_core || !t->cores[i]->thread_core->creds)
			return cr_refuse(err, -EBADMSG, "thread %u: no credentials", t->tids[i]);
		r = obs->may_restore(obs->arg, t->cores[i]->thread_core->creds, err);
	}
	return r;
}

static int read_task(struct restore *rs, struct rtask *t, const struct xstate_layout *layout, struct cr_error *err)
{
	const struct proto_u32_vec *threads = &t->entry->threads;
	img_core_entry *leader;
	int r;

	t->cores = calloc(threads->nr ? threads->nr : 1, sizeof(t->cores[0]));
	t->tids = calloc(threads->nr ? threads->nr : 1, sizeof(t->tids[0]));
	if (!t->cores || !t->tids)
		return cr_fail(err, -ENOMEM, "read process images");
	r = read_core(rs, t->entry->pid, &t->cores[0], err);
	if (r < 0)
		return r;
	t->nr_threads = 1;
	t->tids[0] = t->entry->pid;
	leader = t->cores[0];
	if (!leader->tc)
		return cr_refuse(err, -EBADMSG, "core-%u.img: no task part", t->entry->pid);
	t->zombie = leader->tc->task_state == TASK_DEAD;
	t->leader_exited = tasks_leader_exited(leader);
	for (size_t i = 0; i < threads->nr && !t->zombie; i++) {
		if (threads->items[i] == t->entry->pid)
			continue;
		if (t->nr_threads == threads->nr)
			return cr_refuse(err, -EBADMSG, "pstree.img: the leading thread of %u is missing",
					 t->entry->pid);
		r = read_core(rs, threads->items[i], &t->cores[t->nr_threads], err);
		if (r < 0)
			return r;
		t->tids[t->nr_threads++] = threads->items[i];
	}
	r = tasks_check(leader, (const img_core_entry *const *)t->cores, t->tids, t->zombie ? 0 : t->nr_threads, err);
	if (r < 0 || t->zombie)
		return r;
	for (size_t i = 0; r == 0 && i < t->nr_threads; i++)
		r = cr_within(err, restore_check_registers(layout, t->cores[i], err), "thread %u", t->tids[i]);
	if (r == 0)
		r = ask_policy(rs, t, err);
	if (r < 0)
		return r;
	r = read_ids(rs, t, err);
	return r < 0 ? r : mm_read(rs->ctx, rs->set, (pid_t)t->entry->pid, &t->space, err);
}

/* Without the image nothing is known of the other processor; who asked for the comparison is told so. */
static int check_processor(struct restore *rs, struct cr_error *err)
{
	uint32_t caps = cpuinfo_caps(rs->ctx->opts->rpc);

	return caps & CPUINFO_IMAGE ? cpuinfo_check_set(rs->set, caps, err) : 0;
}

/* Sums that are damaged end the restore here, and those of other sets when their pages are looked for. */
static int look_at_sums(struct restore *rs, struct cr_error *err)
{
	const struct page_sums *sums;
	int r = image_set_sums(rs->set, &sums, err);

	if (r == PAGE_SUMS_FOREIGN)
		log_info(&rs->ctx->log, "pages.sum is of another dump: pages are not compared with checksums");
	return r < 0 ? r : 0;
}

int restore_read(struct restore *rs, struct cr_error *err)
{
	struct files_owner *owners;
	struct xstate_layout layout;
	size_t nr_owners = 0;
	int r = read_inventory(rs, err);

	xstate_layout_init(&layout);
	if (r == 0)
		r = look_at_sums(rs, err);
	if (r == 0)
		r = check_processor(rs, err);
	if (r == 0)
		r = read_pstree(rs, err);
	for (size_t i = 0; r == 0 && i < rs->nr_tasks; i++)
		r = cr_within(err, read_task(rs, &rs->tasks[i], &layout, err), "pid %u", rs->tasks[i].entry->pid);
	if (r == 0 && rs->own.ipc)
		r = ipc_ns_read(rs->ctx, rs->set, rs->own.ipc, &rs->ipc, err);
	if (r == 0 && rs->own.mnt)
		r = mnt_ns_read(rs->ctx, rs->set, rs->own.mnt, &rs->mnt, err);
	else if (r == 0)
		mnt_options_idle(rs->ctx);
	if (r < 0)
		return r;
	owners = calloc(rs->nr_tasks, sizeof(*owners));
	if (!owners)
		return cr_fail(err, -ENOMEM, "read images");
	for (size_t i = 0; i < rs->nr_tasks; i++)
		if (!rs->tasks[i].zombie)
			owners[nr_owners++] =
				(struct files_owner){ (pid_t)rs->tasks[i].entry->pid, rs->tasks[i].ids->files_id,
						       (pid_t)rs->tasks[i].entry->sid };
	r = files_read(rs->ctx, rs->set, owners, nr_owners, &rs->files, err);
	free(owners);
	return r;
}

void restore_drop_images(struct restore *rs)
{
	for (size_t i = 0; i < rs->nr_tasks; i++) {
		struct rtask *t = &rs->tasks[i];

		for (size_t k = 0; k < t->nr_threads; k++)
			img_entry_free(t->cores[k]);
		free(t->cores);
		free(t->tids);
		img_entry_free(t->entry);
		img_entry_free(t->ids);
		mm_space_free(t->space);
	}
	free(rs->tasks);
	rs->tasks = NULL;
	rs->nr_tasks = 0;
	files_free(rs->files);
	rs->files = NULL;
	ipc_ns_free(rs->ipc);
	rs->ipc = NULL;
	mnt_ns_free(rs->mnt);
	rs->mnt = NULL;
	img_entry_free(rs->inventory);
	rs->inventory = NULL;
	image_set_free(rs->set);
	rs->set = NULL;
}
