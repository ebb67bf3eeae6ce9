/* Dump: entries to images. */
#include "dump/dump-internal.h"
#include "image/cpuinfo.h"
#include "image/stream.h"
#include "infect/parallel.h"
#include "infect/thread-image.h"
#include "net/connections.h"
#include "tasks/tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int write_pstree(struct dump *d, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(d->set, IMG_PSTREE, 0, &w, err);

	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++) {
		const struct task *t = d->tree->tasks.items[i];
		uint32_t own = (uint32_t)t->ns_pid, *tids = &own;
		size_t nr = t->threads.nr ? t->threads.nr : 1;
		img_pstree_entry e = {
			.pid = own, .ppid = t->parent ? (uint32_t)t->parent->ns_pid : 0, .pgid = (uint32_t)t->ns_pgid,
			.sid = (uint32_t)t->ns_sid,
		};

		if (t->threads.nr) {
			tids = malloc(nr * sizeof(*tids));
			if (!tids)
				return cr_fail(err, -ENOMEM, "write pstree.img");
			for (size_t k = 0; k < nr; k++)
				tids[k] = (uint32_t)t->threads.items[k].ns_tid;
		}
		e.threads.items = tids;
		e.threads.nr = nr;
		r = image_write(w, &e, err);
		if (tids != &own)
			free(tids);
	}
	return r < 0 ? r : image_writer_close(take_ptr(&w), true, err);
}

static int write_zombie(struct dump *d, const struct task *t, struct cr_error *err)
{
	img_task_ext ext;
	img_task_core_entry tc;
	img_core_entry core;

	tasks_zombie_core(t, &ext, &tc, &core);
	return image_write_single(d->set, IMG_CORE, (uint64_t)t->ns_pid, &core, err);
}

struct threads_of {
	struct dump *d;
	const struct task *task;
};

static int write_thread(void *arg, size_t i, struct cr_error *err)
{
	const struct threads_of *of = arg;
	const struct thread *th = &of->task->threads.items[i];
	struct thread_image im;
	int r;

	/* a leader that has ended has no registers */
	if (th->dead)
		return image_write_single(of->d->set, IMG_CORE, (uint64_t)th->ns_tid, th->core, err);
	r = thread_image_make(th, &of->d->layout, &im, err);
	im.info.clear_tid_addr = tasks_clear_tid(th);
	return r == 0 ? image_write_single(of->d->set, IMG_CORE, (uint64_t)th->ns_tid, &im.core, err) : r;
}

static int write_task(struct dump *d, const struct task *t, struct cr_error *err)
{
	int r;

	if (t->state == TASK_DEAD)
		return write_zombie(d, t, err);
	r = parallel_each(t->threads.nr, write_thread, &(struct threads_of){ d, t }, err);
	if (r == 0)
		r = image_write_single(d->set, IMG_IDS, (uint64_t)t->ns_pid, &t->ids, err);
	/* a snapshot learns more of it later */
	return r == 0 && !d->snapshot ? mm_write(d->mm, t, d->set, err) : r;
}

/* Where the clocks stood, for restores on another machine or after a reboot. */
static int write_clocks(struct dump *d, struct cr_error *err)
{
	struct timespec mono, boot;
	img_timespec m, b;
	img_timens_entry e = { .monotonic = &m, .boottime = &b };

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	m = (img_timespec){ (uint64_t)mono.tv_sec, (uint64_t)mono.tv_nsec };
	b = (img_timespec){ (uint64_t)boot.tv_sec, (uint64_t)boot.tv_nsec };
	return image_write_single(d->set, IMG_TIMENS, 0, &e, err);
}

int dump_begin_set(struct dump *d, struct cr_error *err)
{
	const struct cr_options *opts = d->ctx->opts;

	return opts->stream ? image_set_stream_out(opts->images_dirfd, opts->guard, &d->set, err)
			    : image_set_create(opts->images_dirfd, &d->set, err);
}

int dump_commit(struct dump *d, const img_inventory_entry *inv, struct cr_error *err)
{
	int r = image_set_commit(d->set, inv, err);

	if (r == 0)
		r = image_stream_finish(d->set, err);
	if (r == 1)
		log_warn(&d->ctx->log, "the image streamer has taken all images and does not hang up, continuing without waiting for that");
	return r < 0 ? r : 0;
}

int dump_write(struct dump *d, struct cr_error *err)
{
	img_seccomp_entry none = { 0 };
	int r = dump_begin_set(d, err);

	if (r == 0 && d->parent)
		r = image_set_link(d->set, dump_parent_path(d), err);
	if (r == 0)
		r = write_pstree(d, err);
	for (size_t i = 0; r == 0 && i < d->tree->tasks.nr; i++) {
		const struct task *t = d->tree->tasks.items[i];

		r = cr_within(err, write_task(d, t, err), "pid %d (%s)", t->host_pid, t->comm);
	}
	if (r == 0)
		r = files_write(d->files, d->set, err);
	if (r == 0 && d->ipc)
		r = ipc_ns_write(d->ipc, d->set, err);
	if (r == 0 && d->mnt)
		r = mnt_ns_write(d->mnt, d->set, err);
	if (r == 0)
		r = image_write_single(d->set, IMG_SECCOMP, 0, &none, err);
	if (r == 0 && cpuinfo_caps(d->ctx->opts->rpc) & CPUINFO_IMAGE)
		r = cpuinfo_add(d->set, err);
	return r == 0 ? write_clocks(d, err) : r;
}

void dump_run_id(struct dump *d)
{
	uint8_t b[16] = { 0 };

	if (getrandom(b, sizeof(b), 0) != sizeof(b)) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		__builtin_memcpy(b, &now, sizeof(b));
	}
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(d->run_id, sizeof(d->run_id), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
		 b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* inventory_entry.network_lock_method */
enum { LOCKED_NFTABLES = 1, LOCKED_SKIP = 2 };

int dump_inventory(struct dump *d, struct cr_error *err)
{
	const rpc_criu_opts *rpc = d->ctx->opts->rpc;
	img_plugins_entry plugins = { 0 };
	img_inventory_entry inv = {
		.img_version = 2, .has_fdinfo_per_id = true, .fdinfo_per_id = true, .root_ids = &d->root_ids,
		.has_ns_per_id = true, .ns_per_id = true, .has_root_cg_set = true, .root_cg_set = 1,
		.has_lsmtype = true, .lsmtype = img_lsmtype_NO_LSM, .has_network_lock_method = true, .network_lock_method = connections_locked(d->files) ? LOCKED_NFTABLES : LOCKED_SKIP,
		.has_tcp_close = rpc->tcp_close, .tcp_close = rpc->tcp_close,
		.plugins_entry = &plugins, .dump_criu_run_id = d->run_id,
	};

	if (rpc->has_track_mem && rpc->track_mem) {
		inv.has_dump_uptime = true;
		inv.dump_uptime = dump_uptime();
	}
	return dump_commit(d, &inv, err);
}
