/*
 * Images that go through an image streamer instead of a directory: a process that listens on a socket in the directory of
 * the images, and has each image passed through a pipe. Only sets that are written or read once, from front to end, so no
 * parents, and no page is looked at twice.
 *
 * The streamer may serve one image after the other. So a set that is read has each image taken whole at once, into memory
 * of its own, and kept; all but the pages, whose pipes are made beforehand, without being asked for: what they hold is
 * asked for when its reader is the next to need it.
 */
#ifndef CR_IMAGE_STREAM_H
#define CR_IMAGE_STREAM_H

#include "image/image-set.h"

/** image_stream_there() - is there a socket in @dirfd for a set that is written (@out), or read? Return: 0; negative errno */
int image_stream_there(int dirfd, bool out, struct cr_error *err);

/**
 * image_set_stream_out() - begin a set that goes to a streamer
 * @guard: parent process, without which the rest is called off; 0: nobody
 */
int image_set_stream_out(int dirfd, pid_t guard, struct image_set **ret, struct cr_error *err);
/** image_set_stream_in() - open one that comes from a streamer. Return: 0; -ENOENT it has no inventory; negative errno */
int image_set_stream_in(int dirfd, struct image_set **ret, struct cr_error *err);

/** image_set_streams() - does it go through a streamer? Then its descriptors have no positions, but for small images that are read. */
bool image_set_streams(const struct image_set *set);

/** image_set_write() - at the end of an image of @set that is being written. Return: 0; -ECANCELED, -EINTR called off; negative errno */
int image_set_write(struct image_set *set, int fd, const void *data, size_t len);

/**
 * image_set_close() - end an image that was written
 * A streamer has taken all of it then: what lies in a pipe when it dies would be lost without anybody noticing.
 * Of a directory, the file system has: some tell only at the end that there is no room.
 * Return: 0; -EPIPE it has died; negative errno as above, or of close(2); @fd is closed in any case.
 */
int image_set_close(struct image_set *set, int fd);

/** image_set_read() - the next bytes of a pages file that was asked for. Return: bytes, less than @len at its end; negative errno as above */
ssize_t image_set_read(struct image_set *set, int fd, void *buf, size_t len);

/**
 * image_stream_finish() - after the commit: everything was taken; waits until the streamer has hung up, too
 * Return: 0; 1 it lives and does not within ten seconds; -EPIPE it had hung up before.
 */
int image_stream_finish(struct image_set *set, struct cr_error *err);

/** image_stream_deliver() - have a pages file sent through its pipe, which image_open_raw() gave; the caller reads it to its end */
int image_stream_deliver(struct image_set *set, uint32_t pages_id, struct cr_error *err);

/**
 * image_stream_begin() - have all other pages files sent, in the order in which they were opened, by a thread
 * image_stream_look() - has it failed? image_stream_end() - wait for it, or call it off. Return: 0; its failure.
 */
int image_stream_begin(struct image_set *set, struct cr_error *err);
int image_stream_look(struct image_set *set, struct cr_error *err);
int image_stream_end(struct image_set *set, bool call_off, struct cr_error *err);

#endif
