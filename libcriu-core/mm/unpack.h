/*
 * Compressed pages in a restore. Tasks read pages themselves, and the interpreter in them knows nothing of compression: so
 * they get a pipe in place of the file, into which a thread of the coordinator writes what they will ask for, in the order
 * of their plan. Whoever else wants pages of such a file takes its frames apart where it is (page_file_read()).
 */
#ifndef CR_MM_UNPACK_H
#define CR_MM_UNPACK_H

#include "base/array.h"
#include "base/error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct frame_scratch;
struct frames;
struct mm_space;

struct unpack_part {
	uint64_t off, len;
};
DEFINE_VEC(unpack_parts, struct unpack_part)

/* Of one pages file. */
struct unpack {
	struct frames *frames;
	struct frame_scratch *kept; /* has the frame that was read last; NULL: none yet */
	atomic_flag busy;          /* somebody reads with it */
	int in, out;               /* ends of the pipe for tasks, -1: none */
	struct unpack_parts parts; /* what goes through it */
};

/** unpack_new() - @fd: pages-N.frames, borrowed, open as long as @ret is used; @bytes: that it must hold. Return: as frames_open() */
int unpack_new(int fd, uint64_t bytes, struct unpack **ret, struct cr_error *err);
void unpack_free(struct unpack *u);

/**
 * unpack_read() - as frames_read(), from any thread
 * A frame of which a part was read is kept for the next who wants some of it, as pagers do page by page.
 */
int unpack_read(struct unpack *u, void *buf, size_t len, uint64_t off);

/** unpack_pipe() - make the pipe. Return: 0; negative errno */
int unpack_pipe(struct unpack *u, struct cr_error *err);
/** unpack_want() - more that is read from it, behind all before. Return: 0; -ENOMEM */
int unpack_want(struct unpack *u, uint64_t off, uint64_t len);

/* The threads that fill the pipes of a restore. */
struct unpacker;

/** unpacker_new() - Return: 0; -ENOMEM */
int unpacker_new(struct unpacker **ret, struct cr_error *err);
/** unpacker_add() - what the plan of a process reads through pipes. Parents first; borrowed until unpacker_end(). Return: 0; -ENOMEM */
int unpacker_add(struct unpacker *w, const struct mm_space *s, struct cr_error *err);
/** unpacker_begin() - start the threads, if there is anything for them. Return: 0; negative errno */
int unpacker_begin(struct unpacker *w, struct cr_error *err);
/** unpacker_look() - has it failed? Return: 0; its failure */
int unpacker_look(struct unpacker *w, struct cr_error *err);
/** unpacker_end() - wait for the threads, which have nothing to do when all was read, or call them off; frees. NULL is fine */
void unpacker_end(struct unpacker *w);

#endif
