/*
 * Extended processor state in the layout of PTRACE_GETREGSET NT_X86_XSTATE: the standard (not compacted) XSAVE area.
 * Where a component lies is asked of the processor (CPUID leaf 0xD), never assumed; Intel SDM volume 1, chapter 13.
 */
#ifndef CR_ARCH_XSTATE_H
#define CR_ARCH_XSTATE_H

#include "proto/images.h"

#include <stddef.h>
#include <stdint.h>

struct cr_error;

#define XSTATE_LEGACY   512u /* FXSAVE area */
#define XSTATE_HEADER   64u
#define XSTATE_SW_BYTES 464u /* software bytes of the FXSAVE area; the kernel writes the feature mask there */
#define XSTATE_BITS     63

enum xstate_component {
	XC_X87 = 0,
	XC_SSE = 1,
	XC_YMM = 2,
	XC_BNDREGS = 3,
	XC_BNDCSR = 4,
	XC_OPMASK = 5,
	XC_ZMM_UPPER = 6,
	XC_HI16_ZMM = 7,
	XC_PKRU = 9,
	XC_CET_U = 11,
	XC_TILECFG = 17,
	XC_TILEDATA = 18,
};

struct xstate_layout {
	uint64_t features; /* XCR0; 0: this processor has no XSAVE */
	uint32_t size;     /* of an area with all of them */
	struct {
		uint32_t offset, size;
	} at[XSTATE_BITS];
};

/** xstate_layout_init() - ask this processor. CPUID is slow in virtual machines: once per dump or restore. */
void xstate_layout_init(struct xstate_layout *l);

/** xstate_bv() - components of an area that are not in their initial state */
uint64_t xstate_bv(const void *area, size_t size);

/**
 * xstate_used_size() - bytes up to the end of the last component that every task has or that this area uses
 * Components that need a permission (AMX, arch_prctl(2) ARCH_REQ_XCOMP_PERM) are beyond what others may restore.
 */
uint32_t xstate_used_size(const struct xstate_layout *l, const void *area, size_t size);

/* Memory that an fpregs entry points at */
struct xstate_store {
	img_user_x86_fpregs_entry fpregs;
	img_user_x86_xsave_entry xsave;
	img_user_x86_cet_entry cet;
	uint32_t st[32], xmm[64], ymmh[64], pkru[2];
	uint64_t bndreg[8], bndcsr[8], opmask[8], zmm_upper[64], hi16_zmm[128];
};

/**
 * xstate_to_image() - registers to entry
 * @ret:     filled; ret->fpregs is the entry, the rest is what it points at
 * @ret_raw: components in use that the entry has no field for (0: none): then the area itself belongs into the image
 */
int xstate_to_image(const struct xstate_layout *l, const void *area, size_t size, struct xstate_store *ret,
		    uint64_t *ret_raw, struct cr_error *err);

/**
 * xstate_from_image() - entry to an area for this processor
 * @raw, @raw_size, @raw_features: from thread_ext, NULL and 0 if there is none
 * @ret: room for XSTATE_LEGACY + XSTATE_HEADER or l->size bytes, whichever is more; zeroed here
 * Return: 0; -EBADMSG an array has a wrong length; -EOPNOTSUPP a component in use that this processor lacks or that the
 * entry does not hold, named.
 */
int xstate_from_image(const struct xstate_layout *l, const img_user_x86_fpregs_entry *e, const void *raw,
		      size_t raw_size, uint64_t raw_features, void *ret, size_t size, struct cr_error *err);

/** xstate_check() - will a thread of this machine take what xstate_from_image() makes of the entry? Return: as that. */
int xstate_check(const struct xstate_layout *l, const img_user_x86_fpregs_entry *e, const void *raw, size_t raw_size,
		 uint64_t raw_features, struct cr_error *err);

#endif
