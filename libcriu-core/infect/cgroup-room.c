#include "infect/cgroup-room.h"

#include "base/own.h"
#include "procfs/cgroup.h"
#include "procfs/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* More than the mappings, stacks and page tables of the eight processes that are asked at a time */
#define NEEDED (1u << 20)
#define UNLIMITED UINT64_MAX

/* Names of the same things in both versions; cgroups(7), Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst */
struct names {
	const char *limit, *usage, *swap_limit, *swap_usage, *inactive, *active;
};

static const struct names v1_names = {
	"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes",
	"\ntotal_inactive_file ", "\ntotal_active_file ",
};
static const struct names v2_names = {
	"memory.max", "memory.current", "memory.swap.max", "memory.swap.current", "\ninactive_file ", "\nactive_file ",
};

struct search {
	struct cr_context      *ctx;
	struct cgroup_need      need;
	struct cgroup_limits   *limits;       /* NULL: nobody wants to know */
	struct proc_mount_list  mounts;
	char                    seen[4096];   /* text of the last process: most have the same */
	ssize_t                 seen_len;
};

static ssize_t read_text(int dir, const char *name, char *ret, size_t size)
{
	autofd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, ret, size - 1) : -1;

	ret[len > 0 ? len : 0] = 0;
	return len;
}

/* "max" is no limit; a file that is not there neither. */
static uint64_t number_in(int dir, const char *name)
{
	char text[64], *end;
	uint64_t n;

	if (read_text(dir, name, text, sizeof(text)) <= 0)
		return UNLIMITED;
	n = strtoull(text, &end, 10);
	return end == text ? UNLIMITED : n;
}

static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What the kernel can take away instead: files that are cached, and what may go to swap */
static bool can_be_freed(int dir, const struct names *n, uint64_t needed)
{
	char text[8192];
	uint64_t used, limit;
	struct sysinfo info;

	read_text(dir, "memory.stat", text, sizeof(text));
	if (number_after(text, n->inactive) + number_after(text, n->active) >= needed)
		return true;
	limit = number_in(dir, n->swap_limit);
	used = number_in(dir, n->swap_usage);
	return sysinfo(&info) == 0 && info.freeswap * (uint64_t)info.mem_unit >= needed &&
	       (limit == UNLIMITED || used == UNLIMITED || (limit > used && limit - used >= needed));
}

/* All processes are killed together, or none is and all that need memory wait for ever. Names of both versions. */
static bool kills_no_single_one(int dir)
{
	char text[256];

	if (number_in(dir, "memory.oom.group") == 1)
		return true;
	read_text(dir, "memory.oom_control", text, sizeof(text));
	return strstr(text, "oom_kill_disable 1") != NULL;
}

static int keep_limit(struct cgroup_limits *l, const char *path)
{
	char **more;

	for (size_t i = 0; l && i < l->nr; i++)
		if (strcmp(l->paths[i], path) == 0)
			return 0;
	if (!l)
		return 0;
	more = realloc(l->paths, (l->nr + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->paths = more;
	more[l->nr] = strdup(path);
	return more[l->nr++] ? 0 : -ENOMEM;
}

static int check_level(struct search *s, const struct task *task, const char *path, const struct names *n, struct cr_error *err)
{
	autofd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t limit, usage, needed = NEEDED + s->need.at_once;
	char advice[160];

	if (dir < 0)
		return 0;
	limit = number_in(dir, n->limit);
	usage = number_in(dir, n->usage);
	if (limit == UNLIMITED || usage == UNLIMITED)
		return 0;
	if (keep_limit(s->limits, path) < 0)
		return cr_fail(err, -ENOMEM, "note a limit");
	if (s->need.in_all && kills_no_single_one(dir))
		needed += s->need.in_all;
	if ((limit > usage && limit - usage >= needed) || can_be_freed(dir, n, needed))
		return 0;
	snprintf(advice, sizeof(advice), "raise %s there by %" PRIu64 " KiB for the moment; without that the dump would get a process killed",
		 n->limit, needed >> 10);
	if (obstacle_add(&s->ctx->obstacles, task->host_pid, task->comm, "", advice,
			 "memory cgroup %.80s is full: %" PRIu64 " of %" PRIu64 " KiB", path, usage >> 10, limit >> 10) < 0)
		return cr_fail(err, -ENOMEM, "note an obstacle");
	return 1;
}

/* The cgroup and those above it, up to where the hierarchy is mounted. Return: 0; 1 one is full; -ENOMEM. */
static int check_path(struct search *s, const struct task *task, const struct proc_mount *m, const char *below,
		      const struct names *n, struct cr_error *err)
{
	size_t top = strlen(m->mountpoint), root = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
	char path[PATH_MAX];
	int r = 0;

	/* outside of what we see of the hierarchy */
	if (strncmp(below, m->root, root) != 0 || strstr(below, "/.."))
		return 0;
	if (snprintf(path, sizeof(path), "%s%s", m->mountpoint, below + root) >= (int)sizeof(path))
		return 0;
	while (r == 0 && strlen(path) > top) {
		r = check_level(s, task, path, n, err);
		*strrchr(path, '/') = 0;
	}
	return r;
}

/* A controller is in one hierarchy only: that with its name, or the unified one */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
		if ((at == list || at[-1] == ',') && (at[len] == 0 || at[len] == ','))
			return true;
	return false;
}

static const struct proc_mount *mount_of(const struct search *s, bool unified)
{
	for (size_t i = 0; i < s->mounts.nr; i++) {
		const struct proc_mount *m = &s->mounts.items[i];

		if (unified ? strcmp(m->fstype, "cgroup2") == 0 : strcmp(m->fstype, "cgroup") == 0 && has_word(m->sb_options, "memory"))
			return m;
	}
	return NULL;
}

static int check_task(struct search *s, const struct task *task, struct cr_error *err)
{
	autocgroups struct proc_cgroup_list list = { 0 };
	int r = proc_cgroup_parse(s->seen, (size_t)s->seen_len, &list, err);

	for (size_t i = 0; r == 0 && i < list.nr; i++) {
		const struct proc_cgroup *g = &list.items[i];
		bool unified = g->hierarchy == 0;
		const struct proc_mount *m = unified || has_word(g->controllers, "memory") ? mount_of(s, unified) : NULL;

		if (m)
			r = check_path(s, task, m, g->path, unified ? &v2_names : &v1_names, err);
	}
	return r < 0 ? r : 0;
}

int cgroup_limits_check(const struct cgroup_limits *l, struct cr_error *err)
{
	for (size_t i = 0; i < l->nr; i++) {
		autofd int dir = open(l->paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		bool v1 = dir >= 0 && faccessat(dir, v1_names.limit, F_OK, 0) == 0;
		const struct names *n = v1 ? &v1_names : &v2_names;
		uint64_t limit, usage;

		if (dir < 0)
			continue;
		limit = number_in(dir, n->limit);
		usage = number_in(dir, n->usage);
		if (limit != UNLIMITED && usage != UNLIMITED && (limit < usage || limit - usage < NEEDED) && !can_be_freed(dir, n, NEEDED))
			return cr_refuse(err, -ENOMEM, "memory cgroup %.80s is nearly full: %" PRIu64 " of %" PRIu64 " KiB", l->paths[i],
					 usage >> 10, limit >> 10);
	}
	return 0;
}

void cgroup_limits_done(struct cgroup_limits *l)
{
	for (size_t i = 0; i < l->nr; i++)
		free(l->paths[i]);
	free(l->paths);
	*l = (struct cgroup_limits){ 0 };
}

int cgroup_room_check(struct cr_context *ctx, const struct tree *tree, const struct cgroup_need *need,
		      struct cgroup_limits *ret_limits, struct cr_error *err)
{
	struct search s = { .ctx = ctx, .limits = ret_limits };
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	char text[sizeof(s.seen)];
	int r = 0;

	if (need)
		s.need = *need;
	for (size_t i = 0; r == 0 && i < tree->tasks.nr; i++) {
		const struct task *task = tree->tasks.items[i];
		ssize_t len = task->state == TASK_DEAD ? 0 : proc_read_small(&task->dir, "cgroup", text, sizeof(text), NULL);

		if (len <= 0 || (len == s.seen_len && memcmp(text, s.seen, (size_t)len) == 0))
			continue;
		memcpy(s.seen, text, (size_t)len);
		s.seen_len = len;
		if (!s.mounts.nr && self.fd < 0) {
			r = proc_dir_open(AT_FDCWD, getpid(), &self, err);
			if (r == 0)
				r = proc_mountinfo_read(&self, &s.mounts, err);
		}
		if (r == 0)
			r = check_task(&s, task, err);
	}
	proc_mount_list_done(&s.mounts);
	return r;
}
