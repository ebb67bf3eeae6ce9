#include "infect/way-back.h"

#include "base/own.h"
#include "infect/remote-mem.h"
#include "infect/tracee.h"
#include "kernel/uapi.h"
#include "sigframe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHUNK     (64u << 10)
#define SCAN_MAX  (8u << 20) /* of a file's code */
#define MAPPINGS  24u        /* that are looked at */
#define NAME_ROOM 32u

/* Since 6.11; where the kernel cannot tell, finding out takes longer than the calls that it would protect */
static bool mapping_at(int maps, uint64_t addr, uint64_t flags, struct uapi_procmap_query *ret,
		       char name[static NAME_ROOM])
{
	*ret = (struct uapi_procmap_query){
		.size = sizeof(*ret),
		.query_flags = flags,
		.query_addr = addr,
		.vma_name_size = NAME_ROOM,
		.vma_name_addr = (uint64_t)(uintptr_t)name,
	};
	name[0] = 0;
	if (ioctl(maps, UAPI_PROCMAP_QUERY, ret) == 0)
		return true;
	if (errno != ENAMETOOLONG)
		return false;
	/* a file with a longer name than is of interest here */
	ret->vma_name_size = 0;
	ret->vma_name_addr = 0;
	return ioctl(maps, UAPI_PROCMAP_QUERY, ret) == 0;
}

static struct way_file *file_known(struct way_cache *c, uint64_t dev, uint64_t inode)
{
	for (size_t i = 0; i < c->nr; i++)
		if (c->files[i].inode == inode && c->files[i].dev == dev)
			return &c->files[i];
	return NULL;
}

/* Both in one mapping, which has all code of a library. Chunks overlap by what could lie across. */
static void scan(pid_t pid, const struct uapi_procmap_query *m, struct way_file *f)
{
	autofree char *bytes = malloc(CHUNK);
	uint64_t call = 0, back = 0;

	for (uint64_t at = m->vma_start; bytes && at < m->vma_end && at < m->vma_start + SCAN_MAX;
	     at += CHUNK - WAY_CODE_MAX) {
		size_t len = m->vma_end - at < CHUNK ? (size_t)(m->vma_end - at) : CHUNK;
		ssize_t hit;

		if (remote_read(pid, at, bytes, len) < 0)
			return;
		hit = call ? -1 : way_find_call(bytes, len);
		if (hit >= 0)
			call = at + (uint64_t)hit;
		hit = back ? -1 : way_find_back(bytes, len);
		if (hit >= 0)
			back = at + (uint64_t)hit;
		if (call && back)
			break;
	}
	if (call && back) {
		f->call = call - m->vma_start + m->vma_offset;
		f->back = back - m->vma_start + m->vma_offset;
	}
}

static struct way_file *file_of(struct way_cache *c, pid_t pid, const struct uapi_procmap_query *m)
{
	uint64_t dev = (uint64_t)m->dev_major << 32 | m->dev_minor;
	struct way_file *f = file_known(c, dev, m->inode);

	if (!f && c->nr < WAY_FILES) {
		f = &c->files[c->nr++];
		*f = (struct way_file){ .inode = m->inode, .dev = dev };
		scan(pid, m, f);
	}
	return f;
}

struct code {
	uint64_t call, back;
};

/* Is it in this mapping? What was found in another process need not be what is there: mappings of a file can be written to. */
static bool code_in(struct way_cache *c, pid_t pid, const struct uapi_procmap_query *m, struct code *ret)
{
	const struct way_file *f = m->inode ? file_of(c, pid, m) : NULL;
	uint64_t end = m->vma_offset + (m->vma_end - m->vma_start);
	char call[WAY_CODE_MAX], back[WAY_CODE_MAX];

	if (!f || !f->call || f->call < m->vma_offset || f->back < m->vma_offset || f->call + WAY_CODE_MAX > end ||
	    f->back + WAY_CODE_MAX > end)
		return false;
	*ret = (struct code){ f->call - m->vma_offset + m->vma_start, f->back - m->vma_offset + m->vma_start };
	return remote_read(pid, ret->call, call, sizeof(call)) == 0 &&
	       remote_read(pid, ret->back, back, sizeof(back)) == 0 && way_find_call(call, sizeof(call)) == 0 &&
	       way_find_back(back, sizeof(back)) == 0;
}

/* First where the thread is, mostly in the C library's part for system calls; then everywhere. */
static bool find_code(int maps, struct way_cache *c, const struct tracee *t, struct code *ret)
{
	struct uapi_procmap_query m;
	char name[NAME_ROOM];
	uint64_t at = 0;

	if (mapping_at(maps, regs_ip(&t->regs), UAPI_PROCMAP_VMA_EXECUTABLE, &m, name) && code_in(c, t->tid, &m, ret))
		return true;
	for (size_t i = 0; i < MAPPINGS; i++) {
		if (!mapping_at(maps, at, UAPI_PROCMAP_VMA_EXECUTABLE | UAPI_PROCMAP_COVERING_OR_NEXT, &m, name))
			return false;
		if (code_in(c, t->tid, &m, ret))
			return true;
		at = m.vma_end;
	}
	return false;
}

static uint64_t lowest_mapping(int maps)
{
	struct uapi_procmap_query m;
	char name[NAME_ROOM];

	return mapping_at(maps, 0, UAPI_PROCMAP_COVERING_OR_NEXT, &m, name) ? m.vma_start : 0;
}

/* Room for @size bytes below the red zone, on the main stack */
static uint64_t place_on_stack(int maps, const struct tracee *t, size_t size)
{
	struct uapi_procmap_query m;
	char name[NAME_ROOM];
	uint64_t sp = regs_sp(&t->regs), at;

	if (!mapping_at(maps, sp, UAPI_PROCMAP_VMA_WRITABLE, &m, name) || strcmp(name, "[stack]") != 0)
		return 0;
	if (sp - m.vma_start < size + WAY_RED_ZONE + 128)
		return 0;
	at = (sp - WAY_RED_ZONE - size) & ~UINT64_C(63);
	return at - sizeof(uint64_t) >= m.vma_start ? at : 0;
}

/* @frame_at: aligned for a frame; the return address lies right below it */
static int write_way(struct way_back *way, const struct code *code, uint64_t frame_at, const struct tracee *t,
		     const struct xstate_layout *layout)
{
	size_t size = sizeof(uint64_t) + sigframe_size(t->xstate_size);
	autofree char *laid = calloc(1, size), *was = malloc(size);
	struct regs own;
	int r;

	if (!laid || !was)
		return -ENOMEM;
	way->at = frame_at - sizeof(uint64_t);
	r = remote_read(t->tid, way->at, was, size);
	if (r < 0)
		return 0;
	memcpy(laid, &code->back, sizeof(code->back));
	tracee_own_regs(t, &own);
	sigframe_build(laid + sizeof(uint64_t), frame_at, &own, t->mask, layout, t->xstate, t->xstate_size);
	r = remote_write(t->tid, way->at, laid, size);
	way->size = size;
	way->was = take_ptr(&was);
	if (r < 0)
		return r;
	way->call = code->call;
	way->sp = way->at;
	return 0;
}

int way_back_lay(struct way_back *way, struct way_cache *cache, const struct task *t, const struct thread *th,
		 const struct xstate_layout *layout, struct cr_error *err)
{
	struct code code;
	uint64_t at;
	int r = tracee_settle(th->tracee, err);

	*way = (struct way_back){ 0 };
	if (r < 0 || th->status.shadow_stack)
		return r;

	autofd int maps = proc_open(&t->dir, "maps", O_RDONLY, NULL);

	if (maps < 0)
		return 0;
	way->lowest = lowest_mapping(maps);
	at = place_on_stack(maps, th->tracee, sigframe_size(th->tracee->xstate_size));
	if (!at || !find_code(maps, cache, th->tracee, &code))
		return 0;
	r = write_way(way, &code, at, th->tracee, layout);
	if (r < 0)
		way_back_clear(way, th);
	return r < 0 ? cr_fail(err, r, "write below the stack of thread %d", th->host_tid) : 0;
}

void way_back_clear(struct way_back *way, const struct thread *th)
{
	if (way->was && th->tracee && th->tracee->state == TRACEE_STOPPED && !th->tracee->borrowed)
		remote_write(th->host_tid, way->at, way->was, way->size);
	free(way->was);
	*way = (struct way_back){ 0 };
}
