#include "dump/first-round.h"

#include "infect/task.h"
#include "procfs/lists.h"
#include "procfs/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORTH_KB ((uint64_t)256 << 10) /* less is forked in a few milliseconds */
#define TREE_MAX 65536u

/* Processes that come and go meanwhile do not matter. */
static bool is_large(pid_t root)
{
	autointvec struct int_vec pids = { 0 };
	int *first = int_vec_add(&pids);
	uint64_t kb = 0;

	if (!first)
		return false;
	*first = root;
	for (size_t i = 0; i < pids.nr && i < TREE_MAX && kb < WORTH_KB; i++) {
		autoprocdir struct proc_dir dir = PROC_DIR_NONE;
		autostatus struct proc_status status = { 0 };

		if (proc_dir_open(AT_FDCWD, pids.items[i], &dir, NULL) < 0 || proc_status_read(&dir, &status, NULL) < 0)
			continue;
		kb += status.vm_rss_kb;
		proc_children_read(&dir, &pids, NULL);
	}
	return kb >= WORTH_KB;
}

/* A series of the caller's own is one already; where another process stores the pages, or in order, there is no place for two sets. */
static bool is_wanted(struct cr_context *ctx)
{
	const rpc_criu_opts *rpc = ctx->opts->rpc;

	return rpc->has_snapshot && rpc->snapshot && !rpc->parent_img && !rpc->ps && !ctx->opts->stream &&
	       !(rpc->has_lazy_pages && rpc->lazy_pages) && !(rpc->has_auto_dedup && rpc->auto_dedup) && ctx->opts->pid > 0 &&
	       mm_tracks_by_pages(ctx) && is_large(ctx->opts->pid);
}

static int make(struct cr_context *ctx, struct cr_error *err)
{
	const struct cr_options *ours = ctx->opts;
	autofd int dir = openat(ours->images_dirfd, FIRST_ROUND_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rpc_criu_opts rpc = *ours->rpc;
	struct cr_options opts = *ours;
	struct cr_dump_result result;
	int r;

	if (dir < 0)
		return cr_fail(err, -errno, "open %s", FIRST_ROUND_DIR);
	rpc.has_track_mem = rpc.track_mem = true;
	opts.rpc = &rpc;
	opts.images_dirfd = dir;
	opts.inject_stage = 0;
	ctx->opts = &opts;
	r = cr_pre_dump(ctx, &result, err);
	ctx->opts = ours;
	/* they will be found again, and named then */
	obstacles_done(&ctx->obstacles);
	return r;
}

bool first_round_make(struct cr_context *ctx)
{
	struct cr_error err = { 0 };
	struct stat st;

	/* an older set there is still whole, and stays so until this one can take its place */
	if (!is_wanted(ctx) || fstatat(ctx->opts->images_dirfd, IMAGE_PARENT_LINK, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	    mkdirat(ctx->opts->images_dirfd, FIRST_ROUND_DIR, 0755) < 0)
		return false;
	if (make(ctx, &err) == 0)
		return true;
	log_info(&ctx->log, "store memory beforehand: %s, continuing without", err.text);
	first_round_remove(ctx);
	return false;
}

void first_round_remove(struct cr_context *ctx)
{
	int fd = openat(ctx->opts->images_dirfd, FIRST_ROUND_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	unlinkat(ctx->opts->images_dirfd, FIRST_ROUND_DIR, AT_REMOVEDIR);
}
