/*
 * Compressed pages: the file pages-N.frames in place of pages-N.img. The bytes that the latter would have are cut into frames of
 * FRAME_BYTES, and each is compressed by itself (zstd), so that any page can be had by reading one frame. Frames stand in the
 * file in any order; behind them is an index with the place of each, and in front a head that says where the index is.
 * What does not become smaller is stored as it is; a frame of zeroes takes no room.
 *
 * The name is another one so that whoever does not know such files finds no pages, rather than wrong ones. The head is
 * written last: a file that was not finished has none.
 */
#ifndef CR_IMAGE_FRAMES_H
#define CR_IMAGE_FRAMES_H

#include "base/error.h"
#include "base/own.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_BYTES ((uint64_t)256 * 1024)

/* Room for one frame, packed and unpacked, and the state of the library. For one thread at a time. */
struct frame_scratch;
/** frame_scratch_new() - Return: NULL without memory */
struct frame_scratch *frame_scratch_new(void);
void frame_scratch_free(struct frame_scratch *s);
DEFINE_SLOT(struct frame_scratch, frame_scratch_free)

/* A file that is being written. */
struct frames_out;
/** frames_begin() - @fd: empty, borrowed; @bytes: of all that will be put. Return: 0; -EFBIG; -ENOMEM */
int frames_begin(int fd, uint64_t bytes, struct frames_out **ret, struct cr_error *err);
/** frames_grow() - of a file of which it was not known how long it gets: up to @bytes; while nothing is put. Return: as frames_begin() */
int frames_grow(struct frames_out *o, uint64_t bytes, struct cr_error *err);
/**
 * frames_put() - store the frame that begins at @off
 * Once for each frame, in any order, from any number of threads. @len: FRAME_BYTES, less in the last frame
 */
int frames_put(struct frames_out *o, struct frame_scratch *s, uint64_t off, const void *buf, size_t len, struct cr_error *err);
/** frames_end() - all were put: write the index and the head */
int frames_end(struct frames_out *o, struct cr_error *err);
void frames_out_free(struct frames_out *o);

/* A file that is read. */
struct frames;
/**
 * frames_open() - read the index of a file, and check it
 * @fd: borrowed; stays open as long as @ret is used; @bytes: that it must hold, unpacked
 * Return: 0; -EBADMSG it is damaged or too short; -EOPNOTSUPP of a later version; negative errno
 */
int frames_open(int fd, uint64_t bytes, struct frames **ret, struct cr_error *err);
/** frames_read() - @len bytes from @off on, unpacked. Any number of threads, each with its own @s. Return: 0; -EBADMSG; negative errno */
int frames_read(const struct frames *f, struct frame_scratch *s, void *buf, size_t len, uint64_t off, struct cr_error *err);
void frames_free(struct frames *f);
DEFINE_SLOT(struct frames, frames_free)

#endif
