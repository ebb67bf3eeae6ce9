/* Many descriptors at once, see sweep.h. */
#include "files/sweep.h"

#include "base/io.h"
#include "infect/parallel.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK      128u
#define SEEN       1024u /* files remembered: many descriptors of few files are common, and so are few of many */
#define FDINFO_MAX 1024u /* of counters and timers; longer ones are read later, one by one */

/* Shared by the jobs; each writes its own part only. */
struct sweeping {
	int root_fd, pidfd, self_fd, self_fdinfo;
	uint32_t room;
	dev_t anon_dev;                           /* of anonymous inodes */
	dev_t pipe_dev;                           /* of pipes without a name */
	struct probe *probes;                     /* one per number, fd -1 where nothing is open */
	struct pool *pools;                       /* one per chunk */
	_Atomic(const struct probe *) seen[SEEN]; /* files with a name, complete; by seen_slot() */
};

/* Names of what fdinfo tells by a line of its own: saves reading the link, which takes longer than all else. */
static const char *link_by_fdinfo(const char *fdinfo)
{
	static const char *const names[][2] = {
		{ "\neventfd-count:", "anon_inode:[eventfd]" },
		{ "\nsigmask:", "anon_inode:[signalfd]" },
		{ "\nclockid:", "anon_inode:[timerfd]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strstr(fdinfo, names[i][0]))
			return names[i][1];
	return NULL;
}

static int read_fdinfo(const struct sweeping *s, struct probe *p, struct pool *pool)
{
	char name[12], text[FDINFO_MAX];
	ssize_t len;
	int fd;

	number_text((unsigned int)p->copy, name);
	fd = openat(s->self_fdinfo, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = fd_read_all(fd, text, sizeof(text));
	close(fd);
	if (len <= 0 || (size_t)len == sizeof(text))
		return 0;
	p->fdinfo = pool_text(pool, text, (size_t)len);
	return p->fdinfo ? 0 : -ENOMEM;
}

static int read_link(const struct sweeping *s, struct probe *p, struct pool *pool, struct cr_error *err)
{
	char name[12], text[LINK_TEXT_MAX + 1];
	ssize_t len;

	number_text((unsigned int)p->copy, name);
	len = readlinkat(s->self_fd, name, text, sizeof(text));
	if ((len < 0 && errno == ENAMETOOLONG) || (size_t)len == sizeof(text))
		return 0; /* found again, and refused, when it is described */
	if (len < 0)
		return cr_fail(err, -errno, "read link of fd %d", p->fd);
	p->facts.link = pool_text(pool, text, (size_t)len);
	return p->facts.link ? 0 : pool_failed(err);
}

/*
 * A file with one name, seen before: the text would be the same. (A file that was linked elsewhere and then unlinked
 * has two texts and one name; it is the good one that is taken for both.)
 */
static bool same_name(const struct probe *p, const struct probe *seen)
{
	return seen && !S_ISDIR(p->facts.st.st_mode) && p->facts.st.st_nlink == 1 &&
	       seen->facts.st.st_dev == p->facts.st.st_dev && seen->facts.st.st_ino == p->facts.st.st_ino &&
	       seen->mnt_id && seen->mnt_id == p->mnt_id && seen->look.dev == p->facts.st.st_dev &&
	       seen->look.ino == p->facts.st.st_ino;
}

static _Atomic(const struct probe *) *seen_slot(struct sweeping *s, const struct probe *p)
{
	uint64_t h = map_mix(map_mix(map_mix(0, p->facts.st.st_dev), p->facts.st.st_ino), p->mnt_id);

	return &s->seen[h % SEEN];
}

/* From the link, or from another descriptor of the same file. */
static int find_name(struct sweeping *s, struct probe *p, struct pool *pool, struct cr_error *err)
{
	_Atomic(const struct probe *) *slot = seen_slot(s, p);
	const struct probe *seen = atomic_load_explicit(slot, memory_order_acquire);
	int r;

	if (same_name(p, seen)) {
		p->facts.link = seen->facts.link;
		p->look = seen->look;
		return 0;
	}
	r = read_link(s, p, pool, err);
	if (r < 0 || !p->facts.link || p->facts.link[0] != '/')
		return r;
	p->look = path_look_at(s->root_fd, p->facts.link);
	if (p->look.there)
		atomic_store_explicit(slot, p, memory_order_release);
	return 0;
}

static int probe_one(struct sweeping *s, struct probe *p, struct pool *pool, struct cr_error *err)
{
	int r = facts_of(p->copy, &p->facts, &p->mnt_id, err);

	if (r < 0)
		return cr_within(err, r, "fd %d", p->fd);
	p->facts.link = NULL;
	if (p->facts.st.st_dev == s->anon_dev && !(p->facts.flags & O_PATH)) {
		r = read_fdinfo(s, p, pool);
		if (r < 0)
			return cr_fail(err, r, "read fdinfo of fd %d", p->fd);
		p->facts.link = p->fdinfo ? link_by_fdinfo(p->fdinfo) : NULL;
	}
	p->key = sharing_key(&p->facts, p->fdinfo);
	if (p->facts.link)
		return 0;
	if (S_ISFIFO(p->facts.st.st_mode) && p->facts.st.st_dev == s->pipe_dev) {
		p->facts.link = pool_printf(pool, "pipe:[%llu]", (unsigned long long)p->facts.st.st_ino);
		return p->facts.link ? 0 : pool_failed(err);
	}
	return S_ISSOCK(p->facts.st.st_mode) ? 0 : find_name(s, p, pool, err);
}

static int sweep_chunk(void *arg, size_t chunk, struct cr_error *err)
{
	struct sweeping *s = arg;
	uint32_t end = (chunk + 1) * CHUNK < s->room ? (uint32_t)(chunk + 1) * CHUNK : s->room;

	for (uint32_t fd = (uint32_t)chunk * CHUNK; fd < end; fd++) {
		struct probe *p = &s->probes[fd];
		int r;

		p->copy = (int)syscall(__NR_pidfd_getfd, s->pidfd, fd, 0);
		if (p->copy < 0 && errno == EBADF)
			continue;
		if (p->copy < 0)
			return cr_fail(err, -errno, "take a copy of fd %u", fd);
		p->fd = (int)fd;
		r = probe_one(s, p, &s->pools[chunk], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Anonymous inodes and pipes each share one file system, so any of our own tells its device. 0: unknown. */
static dev_t dev_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_dev : 0;
}

static void find_devs(struct sweeping *s)
{
	int counter = eventfd(0, EFD_CLOEXEC), ends[2];

	s->anon_dev = dev_of(counter);
	if (counter >= 0)
		close(counter);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	s->pipe_dev = dev_of(ends[0]);
	close(ends[0]);
	close(ends[1]);
}

static void close_unused(struct probe *probes, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (probes[i].copy >= 0)
			close(probes[i].copy);
}

int sweep_run(int root_fd, int pidfd, uint32_t room, struct sweep *ret, struct cr_error *err)
{
	size_t nr_chunks = (room + CHUNK - 1) / CHUNK;
	struct sweeping s = {
		.root_fd = root_fd,
		.pidfd = pidfd,
		.room = room,
		.probes = calloc(room, sizeof(*s.probes)),
		.pools = calloc(nr_chunks, sizeof(*s.pools)),
		.self_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC),
		.self_fdinfo = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC),
	};
	int r = s.probes && s.pools ? 0 : pool_failed(err);

	find_devs(&s);
	for (uint32_t i = 0; s.probes && i < room; i++)
		s.probes[i].fd = s.probes[i].copy = -1;
	*ret = (struct sweep){
		.probes = s.probes, .nr = s.probes ? room : 0, .pools = s.pools, .nr_pools = s.pools ? nr_chunks : 0
	};
	if (r == 0 && (s.self_fd < 0 || s.self_fdinfo < 0))
		r = cr_fail(err, -errno, "open /proc/self");
	if (r == 0)
		r = parallel_pieces(nr_chunks, sweep_chunk, &s, err);
	if (s.self_fd >= 0)
		close(s.self_fd);
	if (s.self_fdinfo >= 0)
		close(s.self_fdinfo);
	if (r < 0) {
		sweep_done(ret);
		return r;
	}
	ret->nr = 0;
	for (uint32_t i = 0; i < room; i++)
		if (s.probes[i].fd >= 0)
			s.probes[ret->nr++] = s.probes[i];
	return 0;
}

void sweep_done(struct sweep *s)
{
	close_unused(s->probes, s->nr);
	for (size_t i = 0; i < s->nr_pools; i++)
		pool_done(&s->pools[i]);
	free(s->pools);
	free(s->probes);
	*s = (struct sweep){ 0 };
}
