#include "infect/leftovers.h"

#include "base/array.h"
#include "base/buf.h"
#include "base/own.h"
#include "infect/remote-call.h"
#include "infect/remote-reap.h"
#include "infect/tracee.h"
#include "infect/twin.h"
#include "kernel/net-lock.h"
#include "kernel/uapi.h"
#include "procfs/lists.h"
#include "procfs/proc-dir.h"
#include "procfs/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TWINS        4096u /* of larger trees, those of the first processes */
#define PLACES       16u /* twice as many as are asked at a time */
#define TRIES        200 /* for threads that are still in our code */
#define PAUSE_US     5000
#define ABSENT_TWICE 2
#define TWIN_LOOKS   3
#define STOP_MS      2000

struct socket_note {
	pid_t pid; /* 0: none; set last */
	int fd;
	bool reuse;
};

struct cr_leftovers {
	struct leftover items[PLACES];
	char lock[NET_LOCK_NAME]; /* the first byte is set last */
	struct socket_note socket;
	struct leftover_twin twins[TWINS];
};

struct cr_leftovers *cr_leftovers_new(void)
{
	void *l = mmap(NULL, sizeof(struct cr_leftovers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return l == MAP_FAILED ? NULL : l;
}

void cr_leftovers_free(struct cr_leftovers *l)
{
	if (l)
		munmap(l, sizeof(*l));
}

/* The other side may be killed after any of these, and what it wrote is looked at then. */
static void set(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

struct leftover *leftover_begin(struct cr_leftovers *l, pid_t pid)
{
	for (size_t i = 0; l && i < PLACES; i++) {
		if (l->items[i].pid)
			continue;
		l->items[i] = (struct leftover){ 0 };
		__atomic_store_n(&l->items[i].pid, pid, __ATOMIC_RELEASE);
		return &l->items[i];
	}
	return NULL;
}

void leftover_mapped(struct leftover *o, uint64_t base, uint64_t size)
{
	if (!o)
		return;
	set(&o->base, base);
	set(&o->size, size);
}

void leftover_raised(struct leftover *o, enum room_limit which, uint64_t soft, uint64_t hard)
{
	if (!o)
		return;
	set(&o->limits[which].soft, soft);
	set(&o->limits[which].hard, hard);
	set(&o->limits[which].raised, 1);
}

void leftover_lowered(struct leftover *o, enum room_limit which)
{
	if (o)
		set(&o->limits[which].raised, 0);
}

void leftover_descriptor(struct leftover *o, int fd)
{
	if (o)
		set(&o->fd, fd < 0 ? 0 : (uint64_t)fd + 1);
}

int room_resource(enum room_limit which)
{
	return which == ROOM_SPACE ? RLIMIT_AS : RLIMIT_DATA;
}

void leftover_end(struct leftover *o)
{
	if (o)
		__atomic_store_n(&o->pid, 0, __ATOMIC_RELEASE);
}

struct leftover_twin *leftover_twin(struct cr_leftovers *l, pid_t parent, pid_t twin)
{
	for (size_t i = 0; l && i < TWINS; i++) {
		if (l->twins[i].parent)
			continue;
		l->twins[i].twin = twin;
		__atomic_store_n(&l->twins[i].parent, parent, __ATOMIC_RELEASE);
		return &l->twins[i];
	}
	return NULL;
}

void leftover_twin_end(struct leftover_twin *o)
{
	if (o)
		__atomic_store_n(&o->parent, 0, __ATOMIC_RELEASE);
}

void leftover_socket(struct cr_leftovers *l, pid_t pid, int fd, bool reuse)
{
	if (!l)
		return;
	__atomic_store_n(&l->socket.pid, 0, __ATOMIC_RELEASE);
	l->socket.fd = fd;
	l->socket.reuse = reuse;
	__atomic_store_n(&l->socket.pid, pid, __ATOMIC_RELEASE);
}

void leftover_lock(struct cr_leftovers *l, const char *name)
{
	if (!l)
		return;
	__atomic_store_n(&l->lock[0], '\0', __ATOMIC_RELEASE);
	snprintf(l->lock + 1, sizeof(l->lock) - 1, "%s", name[0] ? name + 1 : "");
	__atomic_store_n(&l->lock[0], name[0], __ATOMIC_RELEASE);
}

bool leftover_locked(const struct cr_leftovers *l)
{
	return l && __atomic_load_n(&l->lock[0], __ATOMIC_ACQUIRE);
}

/* ------------------------------------------------------------- afterwards */

static void repair_off(const struct socket_note *s)
{
	autofd int pidfd = (int)syscall(__NR_pidfd_open, s->pid, 0);
	autofd int fd = pidfd < 0 ? -1 : (int)syscall(__NR_pidfd_getfd, pidfd, s->fd, 0);
	int mode = 0, on = 1;
	socklen_t len = sizeof(mode);

	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &mode, &len) < 0 || !mode)
		return;
	mode = TCP_REPAIR_OFF;
	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &mode, sizeof(mode));
	if (s->reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

static void let_connection_go(struct cr_leftovers *l)
{
	if (leftover_locked(l))
		net_lock_remove(l->lock, NULL);
	if (l->socket.pid)
		repair_off(&l->socket);
}

DEFINE_VEC(tracee_vec, struct tracee *)

static void let_go(struct tracee_vec *held)
{
	for (size_t i = 0; i < held->nr; i++)
		tracee_free(held->items[i]);
	held->nr = 0;
}

static bool is_held(const struct tracee_vec *held, pid_t tid)
{
	for (size_t i = 0; i < held->nr; i++)
		if (held->items[i]->tid == tid)
			return true;
	return false;
}

static int hold(struct tracee_vec *held, pid_t pid, pid_t tid)
{
	struct tracee *t = NULL, **at;
	int r = tracee_seize(pid, tid, 0, &t, NULL);

	if (r < 0)
		return r == -ESRCH ? 0 : r;
	at = tracee_vec_add(held);
	if (!at) {
		tracee_free(t);
		return -ENOMEM;
	}
	*at = t;
	tracee_interrupt(t);
	r = tracee_wait(t, deadline_in(STOP_MS), NULL);
	return r == -ESRCH ? 0 : r;
}

/* All threads to a stop, until there are no new ones */
static int hold_all(const struct proc_dir *dir, pid_t pid, struct tracee_vec *held)
{
	for (bool new = true; new;) {
		autointvec struct int_vec tids = { 0 };
		int r = proc_tasks_read(dir, &tids, NULL);

		new = false;
		for (size_t i = 0; r == 0 && i < tids.nr; i++) {
			if (is_held(held, tids.items[i]))
				continue;
			new = true;
			r = hold(held, pid, tids.items[i]);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is there is ours: nobody else has code at this very place that is no file's. */
static bool is_ours(const struct proc_dir *dir, const struct leftover *o)
{
	autobuf struct buf text = BUF_INIT(256u << 20);
	char start[32];
	const char *line, *rest;

	snprintf(start, sizeof(start), "%08" PRIx64 "-", o->base);
	if (proc_read_buf(dir, "maps", &text, NULL) < 0 || buf_add(&text, "", 1) < 0)
		return false;
	for (line = text.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, start, strlen(start)) != 0)
			continue;
		rest = strchr(line, ' ');
		return rest && strncmp(rest, " r-xp 00000000 00:00 0", 22) == 0;
	}
	return false;
}

static bool is_inside(const struct tracee_vec *held, const struct leftover *o)
{
	for (size_t i = 0; i < held->nr; i++) {
		struct tracee *t = held->items[i];

		if (t->state != TRACEE_STOPPED)
			continue;
		if (tracee_settle(t, NULL) < 0 || regs_ip(&t->regs) - o->base < o->size)
			return true;
	}
	return false;
}

static int call_through(const struct tracee_vec *held, long nr, const uint64_t arg[6])
{
	int64_t result = 0;
	uint64_t insn;
	int r = -ESRCH;

	for (size_t i = 0; i < held->nr && r == -ESRCH; i++) {
		struct tracee *t = held->items[i];

		if (t->state != TRACEE_STOPPED)
			continue;
		r = remote_find_syscall(t, &insn, NULL);
		if (r == 0)
			r = remote_syscall(t, insn, nr, arg, &result, NULL);
	}
	return r < 0 ? r : (int)result;
}

/* Not one of the process's own, by the number: those are there before ours is made. */
static bool has_our_descriptor(const struct leftover *o)
{
	char path[64], text[64] = "";

	if (!o->fd)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd/%" PRIu64, o->pid, o->fd - 1);
	return readlink(path, text, sizeof(text) - 1) > 0 && strcmp(text, "anon_inode:[userfaultfd]") == 0;
}

static int clear_through(const struct tracee_vec *held, const struct leftover *o)
{
	const uint64_t descriptor[6] = { o->fd - 1 }, mappings[6] = { o->base, o->size };
	int r = has_our_descriptor(o) ? call_through(held, SYS_close, descriptor) : 0;

	return r < 0 ? r : call_through(held, SYS_munmap, mappings);
}

/*
 * A thread that was in our code comes out of it by itself (pie/blob.c); it must have done so before the code goes. And one that
 * was just about to make the mappings makes them now: that they are not there counts only if it was so for a while.
 */
static int unmap(const struct leftover *o)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	struct tracee_vec held = { 0 };
	int r = proc_dir_open(AT_FDCWD, o->pid, &dir, NULL);

	for (int left = TRIES, absent = 0; r == 0 && absent < ABSENT_TWICE; left--) {
		r = hold_all(&dir, o->pid, &held);
		if (r < 0)
			break;
		if (!is_ours(&dir, o)) {
			absent++;
		} else if (!is_inside(&held, o)) {
			r = clear_through(&held, o);
			break;
		}
		let_go(&held);
		if (!left)
			r = -EBUSY;
		usleep(PAUSE_US);
	}
	let_go(&held);
	tracee_vec_done(&held);
	return r;
}

/* A twin that was made a moment before, and that nobody had got hold of; it would end by itself (infect/twin.c), but not be reaped. */
static void end_twins_of(pid_t pid)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	autointvec struct int_vec children = { 0 };

	if (proc_dir_open(AT_FDCWD, pid, &dir, NULL) < 0 || proc_children_read(&dir, &children, NULL) < 0)
		return;
	for (size_t i = 0; i < children.nr; i++) {
		autoprocdir struct proc_dir child = PROC_DIR_NONE;
		struct proc_stat st;

		if (proc_dir_open(AT_FDCWD, children.items[i], &child, NULL) < 0 || proc_stat_read(&child, &st, NULL) < 0 ||
		    strcmp(st.comm, TWIN_NAME) != 0)
			continue;
		kill(children.items[i], SIGKILL);
		remote_reap(pid, children.items[i], NULL);
	}
}

static void lower_limits(const struct leftover *o)
{
	for (int i = 0; i < ROOM_LIMITS; i++) {
		struct rlimit was = { .rlim_cur = o->limits[i].soft, .rlim_max = o->limits[i].hard };

		if (o->limits[i].raised)
			prlimit(o->pid, (__rlimit_resource_t)room_resource((enum room_limit)i), &was, NULL);
	}
}

int cr_leftovers_clear(struct cr_leftovers *l)
{
	int r = 0;

	if (l)
		let_connection_go(l);
	for (size_t i = 0; l && i < PLACES; i++) {
		struct leftover *o = &l->items[i];

		if (!o->pid)
			continue;
		lower_limits(o);
		if (o->size && unmap(o) < 0)
			r = -EBUSY;
		/* one that has only just been made has no name yet */
		for (int looks = 0; looks < TWIN_LOOKS; looks++, usleep(PAUSE_US))
			end_twins_of(o->pid);
		leftover_end(o);
	}
	for (size_t i = 0; l && i < TWINS; i++) {
		if (l->twins[i].parent)
			remote_reap(l->twins[i].parent, l->twins[i].twin, NULL);
		leftover_twin_end(&l->twins[i]);
	}
	return r;
}
