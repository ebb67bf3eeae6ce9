/* The layout of pages-N.frames, and what reading and writing share. */
#ifndef CR_IMAGE_FRAMES_INTERNAL_H
#define CR_IMAGE_FRAMES_INTERNAL_H

#include "image/frames.h"

#include <assert.h>
#include <zstd.h>

#define FRAMES_MAGIC     UINT64_C(0x53454d4152465a43)
#define FRAMES_VERSION   1u
#define FRAMES_BYTES_MAX (UINT64_C(1) << 46)

/* How a frame is stored. */
enum { FRAME_ZEROES, FRAME_PLAIN, FRAME_ZSTD };

struct frames_head {
	uint64_t magic;
	uint32_t version, frame_bytes;
	uint64_t bytes, nr, index_at; /* unpacked; frames; byte of the file */
	uint32_t zero[4], index_crc, crc; /* CRC-32C of the index, and of what is before @crc */
};
static_assert(sizeof(struct frames_head) == 64, "the layout of the file");

struct frame {
	uint64_t at; /* in the file */
	uint32_t size, kind;
};
static_assert(sizeof(struct frame) == 16, "the layout of the file");

struct frame_scratch {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
	const struct frames *of; /* whose frame @plain holds; NULL: none */
	uint64_t nr;             /* which */
	char *packed, *plain;
	size_t packed_size;
};

#endif
