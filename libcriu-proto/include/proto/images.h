/*
 * Image files: their names, magics and framing, and the messages inside them.
 *
 * The structs (img_mm_entry, img_file_entry, ...) are generated from proto/images/; how a field
 * becomes a member is in proto/nanopb.options. Start a struct of your own with `= { 0 }`, which is
 * "nothing is set"; the ..._init_default macros that nanopb makes do not fit our arrays.
 *
 * A decoded entry is one block of memory in truth: members may be changed, also pointers, and
 * img_entry_free() gives back exactly what the decoder took. Unknown fields are skipped.
 */
#ifndef PROTO_IMAGES_H
#define PROTO_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/error.h"
#include "proto/img-messages.h"
#include "proto/limits.h"

enum img_msg {
	IMG_MSG_NONE,
#define IMG_MSG_ROW(msg) IMG_MSG_##msg,
	IMG_MESSAGES(IMG_MSG_ROW)
#undef IMG_MSG_ROW
	IMG_MSG_NR
};

/* Name as in the proto file, "mm_entry"; "none" for IMG_MSG_NONE. */
const char *img_msg_name(enum img_msg msg);

/* ---------------------------------------------------------------- entries */

/* Limits that decoders use when they are given NULL: wide enough for any real process. */
extern const struct proto_limits img_limits_default;

/**
 * img_entry_encode() - append one framed entry: u32 size, then the message
 * @msg:   which message @entry is
 * @entry: the struct; read only, and so is all that it points at
 * @buf:   unchanged on failure
 *
 * Return: 0; -EINVAL if a required member is missing or nested too deep; -E2BIG if @buf is full;
 * -ENOMEM.
 */
int img_entry_encode(enum img_msg msg, const void *entry, struct proto_buf *buf,
		     struct proto_error *err);

/**
 * img_entry_decode() - bytes of one message, without the size in front, to a struct
 * @limits:    NULL for img_limits_default
 * @ret_entry: to be freed with img_entry_free()
 *
 * Return: 0, -EBADMSG, -E2BIG, -ENOMEM.
 */
int img_entry_decode(enum img_msg msg, const void *bytes, size_t len,
		     const struct proto_limits *limits, void **ret_entry, struct proto_error *err);

/* Frees an entry that was decoded; NULL is fine. Never for a struct of your own. */
void img_entry_free(void *entry);

/* The same with types: img_mm_entry_encode(), img_mm_entry_decode(), ... */
#define IMG_TYPED(msg)                                                                        \
	static inline int img_##msg##_encode(const img_##msg *entry, struct proto_buf *buf,   \
					     struct proto_error *err)                         \
	{                                                                                     \
		return img_entry_encode(IMG_MSG_##msg, entry, buf, err);                      \
	}                                                                                     \
	static inline int img_##msg##_decode(const void *bytes, size_t len,                   \
					     img_##msg **ret_entry, struct proto_error *err)  \
	{                                                                                     \
		void *entry = NULL;                                                           \
		int r = img_entry_decode(IMG_MSG_##msg, bytes, len, NULL, &entry, err);       \
                                                                                              \
		if (r == 0)                                                                   \
			*ret_entry = (img_##msg *)entry;                                      \
		return r;                                                                     \
	}
IMG_MESSAGES(IMG_TYPED)
#undef IMG_TYPED

/* ---------------------------------------------------------- kinds of image */

enum img_type {
	IMG_INVENTORY,
	IMG_PSTREE,
	IMG_CORE,
	IMG_IDS,
	IMG_MM,
	IMG_FS,
	IMG_PAGEMAP,
	IMG_PAGEMAP_SHMEM,
	IMG_PAGES,
	IMG_PAGES_PACKED,
	IMG_PAGE_SUMS, /* ours alone */
	IMG_FDINFO,
	IMG_FILES,
	IMG_REMAP_FPATH,
	IMG_GHOST_FILE,
	IMG_MEMFD,
	IMG_PIPES_DATA,
	IMG_FIFO_DATA,
	IMG_SK_QUEUES,
	IMG_TCP_STREAM,
	IMG_TTY_INFO,
	IMG_TTY_DATA,
	IMG_FILELOCKS,
	IMG_SECCOMP,
	IMG_APPARMOR,
	IMG_CGROUP,
	IMG_CPUINFO,
	IMG_BPFMAP_DATA,
	IMG_MOUNTPOINTS,
	IMG_NETDEV,
	IMG_NETNS,
	IMG_IFADDR,
	IMG_ROUTE,
	IMG_ROUTE6,
	IMG_RULE,
	IMG_IPTABLES,
	IMG_IP6TABLES,
	IMG_NFTABLES,
	IMG_NETNS_CT,
	IMG_NETNS_EXP,
	IMG_UTSNS,
	IMG_IPCNS_VAR,
	IMG_IPCNS_SHM,
	IMG_IPCNS_MSG,
	IMG_IPCNS_SEM,
	IMG_USERNS,
	IMG_TIMENS,
	IMG_PIDNS,
	IMG_TMPFS_DEV,
	IMG_BINFMT_MISC,
	IMG_AUTOFS,
	IMG_STATS_DUMP,
	IMG_STATS_RESTORE,
	IMG_IRMAP_CACHE,

	/* Written by old programs only; read. */
	IMG_REG_FILES,
	IMG_EXT_FILES,
	IMG_NS_FILES,
	IMG_EVENTFD,
	IMG_EVENTPOLL,
	IMG_EVENTPOLL_TFD,
	IMG_SIGNALFD,
	IMG_TIMERFD,
	IMG_INOTIFY,
	IMG_INOTIFY_WD,
	IMG_FANOTIFY,
	IMG_FANOTIFY_MARK,
	IMG_PIPES,
	IMG_FIFO,
	IMG_UNIXSK,
	IMG_INETSK,
	IMG_PACKETSK,
	IMG_NETLINKSK,
	IMG_TUNFILE,
	IMG_TTY,
	IMG_PIDFD,
	IMG_BPFMAP_FILE,
	IMG_CREDS,
	IMG_VMAS,
	IMG_SIGACTS,
	IMG_ITIMERS,
	IMG_POSIX_TIMERS,
	IMG_RLIMIT,
	IMG_SIGNAL_S,
	IMG_SIGNAL_P,
	IMG_TMPFS_MNT,
	IMG_BINFMT_MISC_MNT,
	IMG_TYPE_NR
};

#define IMG_MAGIC_COMMON    0x54564319u
#define IMG_MAGIC_SERVICE   0x55105940u
#define IMG_MAGIC_INVENTORY 0x58313116u

enum img_header {
	IMG_HEADER_NONE,      /* raw file: content starts at offset 0 */
	IMG_HEADER_INVENTORY, /* its own magic only, 4 bytes */
	IMG_HEADER_COMMON,    /* common magic, own magic */
	IMG_HEADER_SERVICE    /* service magic, own magic; lives in the work directory */
};

enum img_number {
	IMG_NUMBER_NONE,
	IMG_NUMBER_DEC,
	IMG_NUMBER_HEX /* lower case, no prefix */
};

/**
 * struct img_kind - what there is to know about one kind of image file
 * @prefix, @suffix: the name around its number; the whole name is @prefix when there is no number
 * @magic:  second magic of the header, the only one of the inventory, 0 for a raw file
 * @single: exactly one entry; else any number
 * @head:   message of the first entry where that is another one, else IMG_MSG_NONE
 * @entry:  message of the (other) entries; IMG_MSG_NONE for a raw file
 * @legacy: never written today
 */
struct img_kind {
	const char *prefix;
	const char *suffix;
	uint32_t magic;
	uint8_t number; /* enum img_number */
	uint8_t header; /* enum img_header */
	bool single;
	bool legacy;
	enum img_msg head;
	enum img_msg entry;
};

/* Never NULL for a value of the enum; NULL for any other number. */
const struct img_kind *img_kind_of(enum img_type type);

#define IMG_NAME_MAX 64

/**
 * img_name() - file name of an image
 * @id: pid, namespace id, ...; must be 0 for a kind without a number
 *
 * Return: 0; -EINVAL if @id does not fit the kind or @len is too short (IMG_NAME_MAX always does).
 */
int img_name(enum img_type type, uint64_t id, char *ret_name, size_t len);

/**
 * img_name_parse() - the other way round: which image is this file?
 *
 * Only names that img_name() would make are known: no leading zeroes, no sign.
 *
 * Return: 0; -ENOENT for any other name.
 */
int img_name_parse(const char *name, enum img_type *ret_type, uint64_t *ret_id);

/* Appends the magics of a new image; nothing for a raw file. Return: 0, -ENOMEM, -E2BIG. */
int img_header_encode(enum img_type type, struct proto_buf *buf, struct proto_error *err);

/**
 * img_header_check() - are these the first bytes of such an image?
 * @len: bytes that are there, may be more than the header
 * @ret_len: length of the header; also known without bytes from img_header_len()
 *
 * Files of img_version 1 had their own magic only: accepted, their header is 4 bytes long.
 *
 * Return: 0, -EBADMSG.
 */
int img_header_check(enum img_type type, const void *bytes, size_t len, size_t *ret_len,
		     struct proto_error *err);

/* Bytes in front of the first entry in images that we write: 0, 4 or 8. */
size_t img_header_len(enum img_type type);

/* ------------------------------------------------ what follows an entry */

/**
 * struct img_payload - bytes and records behind an entry that are part of it
 * @len:     lengths of up to two runs of bytes, in order; 0 is no run
 * @pad:     the second run, or what follows, starts after so many bytes of padding
 * @to_end:  the bytes up to the end of the file; @len is 0
 * @record:  message of the framed records that follow, each with a payload of its own
 * @nr:      how many records; IMG_RECORDS_TO_END: as many as there are
 */
#define IMG_RECORDS_TO_END UINT64_MAX
struct img_payload {
	uint64_t len[2];
	uint8_t pad[2];
	bool to_end;
	enum img_msg record;
	uint64_t nr;
};

/**
 * img_payload_of() - what follows this entry
 * @msg: message of @entry
 *
 * Lengths come from the entry and are not to be believed before they were compared with the file.
 */
struct img_payload img_payload_of(enum img_msg msg, const void *entry);

/* ---------------------------------------------------- an image in memory */

struct img_span {
	const uint8_t *bytes;
	size_t len;
};

/**
 * struct img_item - one entry, or one record behind an entry, of an image
 * @msg:     its message; IMG_MSG_NONE: the content of a raw image
 * @entry:   decoded; freed by img_item_done(), or taken by setting this to NULL
 * @encoded: the message as it stands in the image
 * @payload: the bytes that follow it, in the image, padding left out
 */
struct img_item {
	enum img_msg msg;
	void *entry;
	struct img_span encoded;
	struct img_span payload[2];
};

void img_item_done(struct img_item *item);

/* Walks an image that lies in memory. All members are private; owns nothing. */
struct img_reader {
	const struct img_kind *kind;
	const struct proto_limits *limits;
	const uint8_t *bytes;
	size_t len;
	size_t pos;
	uint64_t nr_entries;
	uint64_t records_left;
	enum img_msg record;
};

/**
 * img_reader_init() - check the header of an image
 * @bytes:  the whole file; must stay as long as the reader and its items
 * @limits: of each entry; NULL for img_limits_default
 *
 * Return: 0, -EBADMSG.
 */
int img_reader_init(struct img_reader *reader, enum img_type type, const void *bytes, size_t len,
		    const struct proto_limits *limits, struct proto_error *err);

/**
 * img_reader_next() - the next entry, or the next record behind the last entry
 * @ret_item: written when the answer is 1; give it back with img_item_done()
 *
 * Return: 1 with an item; 0 at the end; -EBADMSG if the image is cut short, has bytes left over or
 * a wrong number of entries; -E2BIG; -ENOMEM.
 */
int img_reader_next(struct img_reader *reader, struct img_item *ret_item, struct proto_error *err);

#endif
