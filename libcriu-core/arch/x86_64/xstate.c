#include "xstate.h"

#include "base/error.h"

#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BIT64(n) (UINT64_C(1) << (n))
/* Components that a task must ask for; XFEATURE_MASK_USER_DYNAMIC in arch/x86/include/asm/fpu/xstate.h */
#define DYNAMIC            BIT64(XC_TILEDATA)
#define MXCSR_DEFAULT      0x1f80u
#define MXCSR_MASK_DEFAULT 0xffbfu

/* FXSAVE area, 64-bit format */
struct fxsave {
	uint16_t cwd, swd;
	uint8_t twd, pad;
	uint16_t fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask;
	uint32_t st[32], xmm[64];
	uint32_t rest[24];
};
_Static_assert(sizeof(struct fxsave) == XSTATE_LEGACY, "hardware");

void xstate_layout_init(struct xstate_layout *l)
{
	uint32_t a, b, c, d, low, high;

	memset(l, 0, sizeof(*l));
	l->size = XSTATE_LEGACY;
	/* OSXSAVE: the kernel uses XSAVE, and xgetbv may be executed */
	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	l->features = (uint64_t)high << 32 | low;
	l->size = XSTATE_LEGACY + XSTATE_HEADER;
	for (uint32_t i = 2; i < XSTATE_BITS; i++) {
		if (!(l->features & BIT64(i)))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		l->at[i].offset = b;
		l->at[i].size = a;
		if (b + a > l->size)
			l->size = b + a;
	}
}

uint64_t xstate_bv(const void *area, size_t size)
{
	uint64_t bv = BIT64(XC_X87) | BIT64(XC_SSE);

	if (size >= XSTATE_LEGACY + XSTATE_HEADER)
		memcpy(&bv, (const char *)area + XSTATE_LEGACY, sizeof(bv));
	return bv;
}

uint32_t xstate_used_size(const struct xstate_layout *l, const void *area, size_t size)
{
	uint64_t want = (l->features & ~DYNAMIC) | xstate_bv(area, size);
	uint32_t end = l->features ? XSTATE_LEGACY + XSTATE_HEADER : XSTATE_LEGACY;

	for (unsigned int i = 2; i < XSTATE_BITS; i++)
		if (want & BIT64(i) && l->at[i].offset + l->at[i].size > end)
			end = l->at[i].offset + l->at[i].size;
	return end <= size ? end : (uint32_t)size;
}

/* Components that an entry has fields for: where the array is, how many bytes */
struct component {
	int bit;
	size_t bytes;
	const char *name;
};

static const struct component components[] = {
	{ XC_YMM, 256, "AVX" },
	{ XC_BNDREGS, 64, "MPX bound registers" },
	{ XC_BNDCSR, 64, "MPX configuration" },
	{ XC_OPMASK, 64, "AVX-512 masks" },
	{ XC_ZMM_UPPER, 512, "AVX-512" },
	{ XC_HI16_ZMM, 1024, "AVX-512 upper registers" },
	{ XC_PKRU, 8, "protection keys" },
};
#define NR_COMPONENTS (sizeof(components) / sizeof(components[0]))

static const char *component_name(int bit)
{
	for (size_t i = 0; i < NR_COMPONENTS; i++)
		if (components[i].bit == bit)
			return components[i].name;
	switch (bit) {
	case XC_CET_U:
		return "control-flow enforcement";
	case XC_TILECFG:
	case XC_TILEDATA:
		return "AMX tiles";
	default:
		return "an unknown component";
	}
}

static void legacy_to_image(const struct fxsave *fx, struct xstate_store *ret)
{
	img_user_x86_fpregs_entry *e = &ret->fpregs;

	e->cwd = fx->cwd;
	e->swd = fx->swd;
	e->twd = fx->twd;
	e->fop = fx->fop;
	e->rip = fx->rip;
	e->rdp = fx->rdp;
	e->mxcsr = fx->mxcsr;
	e->mxcsr_mask = fx->mxcsr_mask;
	memcpy(ret->st, fx->st, sizeof(ret->st));
	memcpy(ret->xmm, fx->xmm, sizeof(ret->xmm));
	e->st_space.items = ret->st;
	e->st_space.nr = 32;
	e->xmm_space.items = ret->xmm;
	e->xmm_space.nr = 64;
}

static void *store_of(struct xstate_store *s, int bit)
{
	switch (bit) {
	case XC_YMM:
		s->xsave.ymmh_space.items = s->ymmh;
		s->xsave.ymmh_space.nr = 64;
		return s->ymmh;
	case XC_BNDREGS:
		s->xsave.bndreg_state.items = s->bndreg;
		s->xsave.bndreg_state.nr = 8;
		return s->bndreg;
	case XC_BNDCSR:
		s->xsave.bndcsr_state.items = s->bndcsr;
		s->xsave.bndcsr_state.nr = 8;
		return s->bndcsr;
	case XC_OPMASK:
		s->xsave.opmask_reg.items = s->opmask;
		s->xsave.opmask_reg.nr = 8;
		return s->opmask;
	case XC_ZMM_UPPER:
		s->xsave.zmm_upper.items = s->zmm_upper;
		s->xsave.zmm_upper.nr = 64;
		return s->zmm_upper;
	case XC_HI16_ZMM:
		s->xsave.hi16_zmm.items = s->hi16_zmm;
		s->xsave.hi16_zmm.nr = 128;
		return s->hi16_zmm;
	default:
		s->xsave.pkru.items = s->pkru;
		s->xsave.pkru.nr = 2;
		return s->pkru;
	}
}

/*
 * An area in its initial state is written as the processor would have it: for the SSE part of such an area the kernel has
 * filled in the initial values already (copy_xstate_to_uabi_buf()).
 */
int xstate_to_image(const struct xstate_layout *l, const void *area, size_t size, struct xstate_store *ret,
		    uint64_t *ret_raw, struct cr_error *err)
{
	const char *bytes = area;
	uint64_t covered = BIT64(XC_X87) | BIT64(XC_SSE) | BIT64(XC_CET_U), bv = xstate_bv(area, size);

	memset(ret, 0, sizeof(*ret));
	*ret_raw = 0;
	if (size < XSTATE_LEGACY)
		return cr_refuse(err, -EINVAL, "extended state of %zu bytes is too small", size);
	legacy_to_image(area, ret);
	if (size < XSTATE_LEGACY + XSTATE_HEADER)
		return 0;
	ret->fpregs.xsave = &ret->xsave;
	ret->xsave.xstate_bv = bv;
	ret->xsave.cet = &ret->cet;
	for (size_t i = 0; i < NR_COMPONENTS; i++) {
		const struct component *c = &components[i];
		uint32_t off = l->at[c->bit].offset, len = l->at[c->bit].size;

		covered |= BIT64(c->bit);
		if (!(l->features & BIT64(c->bit)) || off + len > size)
			continue;
		memcpy(store_of(ret, c->bit), bytes + off, len < c->bytes ? len : c->bytes);
	}
	*ret_raw = bv & ~covered;
	return 0;
}

struct array {
	const void *items;
	size_t bytes;
};

#define ARRAY_OF(v)                                      \
	{                                                \
		(v).items, (v).nr * sizeof((v).items[0]) \
	}

static struct array array_of(const img_user_x86_xsave_entry *x, int bit)
{
	switch (bit) {
	case XC_YMM:
		return (struct array)ARRAY_OF(x->ymmh_space);
	case XC_BNDREGS:
		return (struct array)ARRAY_OF(x->bndreg_state);
	case XC_BNDCSR:
		return (struct array)ARRAY_OF(x->bndcsr_state);
	case XC_OPMASK:
		return (struct array)ARRAY_OF(x->opmask_reg);
	case XC_ZMM_UPPER:
		return (struct array)ARRAY_OF(x->zmm_upper);
	case XC_HI16_ZMM:
		return (struct array)ARRAY_OF(x->hi16_zmm);
	default:
		return (struct array)ARRAY_OF(x->pkru);
	}
}

static int legacy_from_image(const img_user_x86_fpregs_entry *e, struct fxsave *fx, struct cr_error *err)
{
	if (e->st_space.nr != 32 || e->xmm_space.nr != 64)
		return cr_refuse(err, -EBADMSG, "floating point registers: %zu and %zu words instead of 32 and 64",
				 e->st_space.nr, e->xmm_space.nr);
	fx->cwd = (uint16_t)e->cwd;
	fx->swd = (uint16_t)e->swd;
	fx->twd = (uint8_t)e->twd;
	fx->fop = (uint16_t)e->fop;
	fx->rip = e->rip;
	fx->rdp = e->rdp;
	/* a reserved bit makes the whole request fail */
	fx->mxcsr = e->mxcsr & (e->mxcsr_mask ? e->mxcsr_mask : MXCSR_MASK_DEFAULT) & 0xffffu;
	memcpy(fx->st, e->st_space.items, sizeof(fx->st));
	memcpy(fx->xmm, e->xmm_space.items, sizeof(fx->xmm));
	return 0;
}

static int one_from_image(const struct xstate_layout *l, const struct component *c, const img_user_x86_xsave_entry *x,
			  char *area, uint64_t *bv, struct cr_error *err)
{
	struct array a = array_of(x, c->bit);
	bool used = x->xstate_bv & BIT64(c->bit);

	if (a.bytes && a.bytes != c->bytes)
		return cr_refuse(err, -EBADMSG, "state of %s has %zu bytes instead of %zu", c->name, a.bytes, c->bytes);
	if (!used)
		return 0;
	if (!a.bytes)
		return cr_refuse(err, -EBADMSG, "state of %s is in use but not in the image", c->name);
	if (!(l->features & BIT64(c->bit)))
		return cr_refuse(err, -EOPNOTSUPP, "the task uses %s, which this processor does not have", c->name);
	if (area)
		memcpy(area + l->at[c->bit].offset, a.items,
		       a.bytes < l->at[c->bit].size ? a.bytes : l->at[c->bit].size);
	*bv |= BIT64(c->bit);
	return 0;
}

/* The raw area is in the layout of the processor that made it; standard offsets of a component are the same on all. */
static int raw_from_image(const struct xstate_layout *l, const void *raw, size_t raw_size, uint64_t features,
			  char *area, uint64_t *bv, struct cr_error *err)
{
	for (int i = 2; i < XSTATE_BITS; i++) {
		if (!(features & BIT64(i)))
			continue;
		if (!(l->features & BIT64(i)))
			return cr_refuse(err, -EOPNOTSUPP,
					 "the task uses %s (component %d), which this processor does not have",
					 component_name(i), i);
		if (l->at[i].offset + l->at[i].size > raw_size)
			return cr_refuse(err, -EBADMSG,
					 "extended state of %zu bytes does not hold component %d, bytes %u to %u",
					 raw_size, i, l->at[i].offset, l->at[i].offset + l->at[i].size);
		if (area)
			memcpy(area + l->at[i].offset, (const char *)raw + l->at[i].offset, l->at[i].size);
		*bv |= BIT64(i);
	}
	return 0;
}

/* Components that are said to be in use have to be somewhere. */
static int all_held(const img_user_x86_xsave_entry *x, uint64_t raw_features, struct cr_error *err)
{
	uint64_t left = x->xstate_bv & ~(raw_features | BIT64(XC_X87) | BIT64(XC_SSE) | BIT64(XC_CET_U));

	for (size_t i = 0; i < NR_COMPONENTS; i++)
		left &= ~BIT64(components[i].bit);
	if (!left)
		return 0;
	return cr_refuse(err, -EOPNOTSUPP, "the task uses %s (component %d), and the image does not hold its state",
			 component_name(__builtin_ctzll(left)), __builtin_ctzll(left));
}

/* All but the FXSAVE area. @area: NULL to check only */
static int components_from_image(const struct xstate_layout *l, const img_user_x86_xsave_entry *x, const void *raw,
				 size_t raw_size, uint64_t raw_features, char *area, uint64_t *bv, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && x && i < NR_COMPONENTS; i++)
		r = one_from_image(l, &components[i], x, area, bv, err);
	if (r == 0 && x && x->cet && (x->cet->cet || x->cet->ssp))
		r = cr_refuse(err, -EOPNOTSUPP, "the task uses a shadow stack, which this version cannot restore");
	if (r == 0 && x)
		r = all_held(x, raw ? raw_features : 0, err);
	if (r == 0 && raw)
		r = raw_from_image(l, raw, raw_size, raw_features, area, bv, err);
	return r;
}

int xstate_from_image(const struct xstate_layout *l, const img_user_x86_fpregs_entry *e, const void *raw,
		      size_t raw_size, uint64_t raw_features, void *ret, size_t size, struct cr_error *err)
{
	uint64_t bv = BIT64(XC_X87) | BIT64(XC_SSE);
	int r;

	if (size < l->size || size < XSTATE_LEGACY + XSTATE_HEADER)
		return cr_refuse(err, -EINVAL, "room of %zu bytes for extended state is too small", size);
	memset(ret, 0, size);
	r = legacy_from_image(e, ret, err);
	if (r == 0)
		r = components_from_image(l, e->xsave, raw, raw_size, raw_features, ret, &bv, err);
	if (r < 0)
		return r;
	memcpy((char *)ret + XSTATE_LEGACY, &bv, sizeof(bv));
	return 0;
}

int xstate_check(const struct xstate_layout *l, const img_user_x86_fpregs_entry *e, const void *raw, size_t raw_size,
		 uint64_t raw_features, struct cr_error *err)
{
	struct fxsave legacy = { 0 };
	uint64_t bv = 0;
	int r = legacy_from_image(e, &legacy, err);

	if (r == 0)
		r = components_from_image(l, e->xsave, raw, raw_size, raw_features, NULL, &bv, err);
	/* the kernel takes no such state for a thread without that permission: validate_user_xstate_header(), fpu/xstate.c */
	if (r == 0 && bv & DYNAMIC)
		r = cr_refuse(err, -EOPNOTSUPP,
			      "the task uses %s, for which it needs a permission that this version cannot restore",
			      component_name(XC_TILEDATA));
	return r;
}
