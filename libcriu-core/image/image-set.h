/*
 * A set of images: one flat directory. Written with the inventory last; read only with the inventory there.
 * Names, magics and framing are libcriu-proto's (proto/images.h); this is the I/O around them.
 *
 * Files of a set that is being written carry their final names but the set does not exist until
 * image_set_commit(). A set that is not committed removes what it created when it is freed.
 */
#ifndef CR_IMAGE_IMAGE_SET_H
#define CR_IMAGE_IMAGE_SET_H

#include "base/error.h"
#include "base/log.h"
#include "base/own.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct image_set;
struct pool;

/** image_set_create() - begin a set in @dirfd (borrowed). An older set's inventory is removed first: it is about to be overwritten. */
int image_set_create(int dirfd, struct image_set **ret, struct cr_error *err);
/**
 * image_set_beside() - more files in the directory of @set, which is being written: they are kept, or removed, by themselves
 * Nothing that is there is touched. @set may be freed before it.
 */
int image_set_beside(const struct image_set *set, struct image_set **ret, struct cr_error *err);
/** image_set_open() - open a complete set for reading. Return: 0; -ENOENT without inventory.img (an incomplete dump). */
int image_set_open(int dirfd, struct image_set **ret, struct cr_error *err);
/**
 * image_set_run_id() - dump_criu_run_id of the inventory of a set that is read, which keeps it
 * @ret: "" if the inventory has none, as those before CRIU 4.0
 * Return: 0; 1 there is no inventory; negative errno.
 */
int image_set_run_id(struct image_set *set, const char **ret, struct cr_error *err);
/** image_set_commit() - write the inventory and so make the set whole. -ENOENT: a file of the set was removed meanwhile. */
int image_set_commit(struct image_set *set, const img_inventory_entry *inv, struct cr_error *err);
/** image_set_keep() - what was written stays although it has no inventory: pages alone. Return: as image_set_commit() */
int image_set_keep(struct image_set *set, struct cr_error *err);

/* Beside pages without an inventory: nothing of them is missing. For us alone, other readers do not know the name. */
#define IMAGE_WHOLE_MARK "pages.whole"

/** image_set_mark_whole() - leave that mark; it goes when the next set is begun there */
int image_set_mark_whole(struct image_set *set, struct cr_error *err);
/** image_set_check_whole() - has the set an inventory, or that mark? Return: 0; -ENOENT neither; negative errno */
int image_set_check_whole(struct image_set *set, struct cr_error *err);
/** image_set_withdraw() - the set is not to exist after all: image_set_free() will remove it */
void image_set_withdraw(struct image_set *set);
/** image_set_free() - close; removes the files of a set that was begun and not committed */
void image_set_free(struct image_set *set);
DEFINE_SLOT(struct image_set, image_set_free)

/*
 * Writing. The file is created at the first entry; entries are buffered and written in large pieces. Thread-safe between
 * different images of one set.
 */
struct image_writer;
int image_writer_open(struct image_set *set, enum img_type type, uint64_t id, struct image_writer **ret,
		      struct cr_error *err);
/* one framed entry; for images with a head, the first entry is the head message */
int image_write(struct image_writer *w, const void *entry, struct cr_error *err);
/* one framed record behind an entry, of another message type (chunks of ghost files) */
int image_write_record(struct image_writer *w, enum img_msg msg, const void *entry, struct cr_error *err);
/* raw bytes behind the last entry (extra payload) */
int image_write_raw(struct image_writer *w, const void *data, size_t len, struct cr_error *err);
/* descriptor with everything buffered flushed, for large payloads that the caller writes itself at the end of file */
int image_writer_fd(struct image_writer *w, struct cr_error *err);
/** image_writer_close() - flush and close. @keep_empty: create the file even without entries. Frees @w always. */
int image_writer_close(struct image_writer *w, bool keep_empty, struct cr_error *err);
/** image_writer_drop() - close without flushing, after a failure */
void image_writer_drop(struct image_writer *w);
DEFINE_SLOT(struct image_writer, image_writer_drop)

/** image_write_single() - a whole image with one entry */
int image_write_single(struct image_set *set, enum img_type type, uint64_t id, const void *entry, struct cr_error *err);
/**
 * image_create() - a file beside or among images, emptied if it is there
 * Nothing is followed and nothing blocks; what is no regular file is refused. @access: O_WRONLY or O_RDWR
 * Return: descriptor, owned by the caller
 */
int image_create(int dirfd, const char *name, int access, struct cr_error *err);
/** image_set_clear() - an image that this set will not have here: remove one that an older set has left in the directory */
int image_set_clear(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err);
/** image_open_raw() - create (O_RDWR) or open (O_RDONLY, of a set opened for reading) an image without framing. Return: descriptor, owned by the caller */
int image_open_raw(struct image_set *set, enum img_type type, uint64_t id, struct cr_error *err);

/** image_open_stored() - the same of an image that is there, whatever the set was opened for. @flags: O_RDONLY or O_RDWR */
int image_open_stored(struct image_set *set, enum img_type type, uint64_t id, int flags, struct cr_error *err);

/*
 * Parents: an incremental set has a link "parent" to the one before it. A parent needs no inventory: a page server stores
 * pages alone.
 */
#define IMAGE_PARENT_LINK "parent"

/** image_set_parent() - the set that @set's link leads to; opened once, owned by @set. Return: 0; 1 there is none; negative errno */
int image_set_parent(struct image_set *set, struct image_set **ret, struct cr_error *err);

/** image_set_open_any() - a directory of images that need not be whole, or a pre-dump. @dirfd is borrowed */
int image_set_open_any(int dirfd, struct image_set **ret, struct cr_error *err);

/**
 * image_set_open_previous() - the parent of a set that is going to be written into @dirfd
 * Where a link is there already, its target; else @path, relative to @dirfd.
 * Return: 0; -EINVAL it is the same directory, or links lead from there to it; negative errno.
 */
int image_set_open_previous(int dirfd, const char *path, struct image_set **ret, struct cr_error *err);

/**
 * image_set_link() - make the link, before image_set_commit(); taken away if the set is not committed
 * @path: relative to the set's directory. A link that is there already stays.
 */
int image_set_link(struct image_set *set, const char *path, struct cr_error *err);

/** image_set_each() - ids of all images of @type in the directory. @fn ends it with a negative errno. Return: 0, that. */
int image_set_each(struct image_set *set, enum img_type type,
		   int (*fn)(void *arg, enum img_type type, uint64_t id, struct cr_error *err), void *arg,
		   struct cr_error *err);

/* Reading: a whole image as a stream of entries. */
struct image_reader;
/** image_reader_open() - Return: 0; 1 the image does not exist (*ret is NULL: no entries); negative errno */
int image_reader_open(struct image_set *set, enum img_type type, uint64_t id, struct image_reader **ret,
		      struct cr_error *err);
/** image_reader_use() - entries are put into @pool, which must stay as long as they do: to free one does nothing */
void image_reader_use(struct image_reader *r, struct pool *pool);
/** image_read() - next entry, decoded; free it with img_entry_free(). Return: 1 an entry, 0 end of file, negative errno */
int image_read(struct image_reader *r, void **ret_entry, struct cr_error *err);
/** image_read_record() - as image_read(), for a record of another message type behind an entry */
int image_read_record(struct image_reader *r, enum img_msg msg, void **ret_entry, struct cr_error *err);
/** image_read_raw() - the next @len bytes behind the last entry; valid until the reader is closed. Return: 0 or -EBADMSG */
int image_read_raw(struct image_reader *r, size_t len, const void **ret, struct cr_error *err);
/* Offset of the next unread byte in the file, and the descriptor, for large payloads that are not to be read into memory. */
uint64_t image_reader_tell(const struct image_reader *r);
int image_reader_fd(const struct image_reader *r);
int image_reader_skip(struct image_reader *r, uint64_t len, struct cr_error *err);
void image_reader_close(struct image_reader *r);
DEFINE_SLOT(struct image_reader, image_reader_close)

/** image_read_single() - the only entry of an image. Return: 0; 1 no such image; -EBADMSG none or more than one; negative errno */
int image_read_single(struct image_set *set, enum img_type type, uint64_t id, void **ret_entry, struct cr_error *err);

#endif
