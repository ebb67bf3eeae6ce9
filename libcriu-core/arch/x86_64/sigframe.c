#include "sigframe.h"

#include <stdbool.h>
#include <string.h>

/* struct ucontext and struct sigcontext of arch/x86/include/uapi/asm/{ucontext,sigcontext}.h, 64-bit */
struct frame_context {
	uint64_t flags, link;
	uint64_t stack_sp;
	uint32_t stack_flags, pad;
	uint64_t stack_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
	uint64_t mask;
};
_Static_assert(sizeof(struct frame_context) == 304, "kernel ABI");

/* struct _fpx_sw_bytes at XSTATE_SW_BYTES */
struct frame_sw_bytes {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};
_Static_assert(sizeof(struct frame_sw_bytes) == 48, "kernel ABI");

#define MAGIC1       0x46505853u
#define MAGIC2       0x46505845u
#define UC_XSTATE    1u
#define UC_SS        2u
#define UC_STRICT_SS 4u
/* No such mode: the kernel ignores this alternate stack and leaves the thread's own in place; restore_altstack() in kernel/signal.c */
#define STACK_FLAGS_INVALID 0x10u

#define CONTEXT_SIZE 320u

size_t sigframe_size(size_t xstate_size)
{
	return CONTEXT_SIZE + xstate_size + 64;
}

static void put_context(struct frame_context *c, const struct regs *r, uint64_t mask)
{
	*c = (struct frame_context){
		.flags = UC_XSTATE | UC_SS | UC_STRICT_SS,
		.stack_flags = STACK_FLAGS_INVALID,
		.mask = mask,
		.r8 = r->u.r8,
		.r9 = r->u.r9,
		.r10 = r->u.r10,
		.r11 = r->u.r11,
		.r12 = r->u.r12,
		.r13 = r->u.r13,
		.r14 = r->u.r14,
		.r15 = r->u.r15,
		.di = r->u.rdi,
		.si = r->u.rsi,
		.bp = r->u.rbp,
		.bx = r->u.rbx,
		.dx = r->u.rdx,
		.ax = r->u.rax,
		.cx = r->u.rcx,
		.sp = r->u.rsp,
		.ip = r->u.rip,
		.eflags = r->u.eflags,
		.cs = (uint16_t)r->u.cs,
		.ss = (uint16_t)r->u.ss,
	};
}

/*
 * Without a pointer to extended state the kernel resets all of it, so the whole area is here. Its size must not be larger than
 * what the thread itself may restore, or only the FXSAVE part is taken: check_xstate_in_sigframe() in
 * arch/x86/kernel/fpu/signal.c.
 */
static void put_xstate(char *at, const struct xstate_layout *l, const void *xstate, size_t size)
{
	uint32_t used = xstate_used_size(l, xstate, size), magic2 = MAGIC2;
	struct frame_sw_bytes sw = {
		.magic1 = MAGIC1,
		.extended_size = used + (uint32_t)sizeof(magic2),
		.xstate_size = used,
		.xfeatures = l->features,
	};

	memcpy(at, xstate, used);
	if (!l->features)
		return; /* FXSAVE only: no software bytes */
	memcpy(at + XSTATE_SW_BYTES, &sw, sizeof(sw));
	memcpy(at + used, &magic2, sizeof(magic2));
}

uint64_t sigframe_build(void *buf, uint64_t remote, const struct regs *r, uint64_t mask, const struct xstate_layout *l,
			const void *xstate, size_t xstate_size)
{
	struct frame_context *c = buf;

	memset(buf, 0, sigframe_size(xstate_size));
	put_context(c, r, mask);
	put_xstate((char *)buf + CONTEXT_SIZE, l, xstate, xstate_size);
	c->fpstate = remote + CONTEXT_SIZE;
	return remote;
}

static ssize_t find(const void *bytes, size_t len, const void *code, size_t code_len)
{
	const char *hit = memmem(bytes, len, code, code_len);

	return hit ? hit - (const char *)bytes : -1;
}

ssize_t way_find_call(const void *bytes, size_t len)
{
	static const unsigned char syscall_ret[] = { 0x0f, 0x05, 0xc3 };

	return find(bytes, len, syscall_ret, sizeof(syscall_ret));
}

/* mov $15, %rax; syscall, or with the shorter form of mov */
ssize_t way_find_back(const void *bytes, size_t len)
{
	static const unsigned char wide[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	static const unsigned char narrow[] = { 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	ssize_t at = find(bytes, len, wide, sizeof(wide));

	return at >= 0 ? at : find(bytes, len, narrow, sizeof(narrow));
}
