#include "regs.h"

#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>

/* Results that never reach user space; include/linux/errno.h */
#define K_ERESTARTSYS           512
#define K_ERESTARTNOINTR        513
#define K_ERESTARTNOHAND        514
#define K_ERESTART_RESTARTBLOCK 516

#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_DF 0x400u
#define FLAG_AC 0x40000u
/* What user code may have in its flags: FLAG_MASK of arch/x86/kernel/ptrace.c, and IF, which is always set there */
#define FLAGS_USER 0x50dd5u

#define USER_CS        0x33u
#define USER_DS        0x2bu
#define TASK_SIZE_LA57 (UINT64_C(1) << 56)

const unsigned char syscall_insn[SYSCALL_INSN_SIZE] = { 0x0f, 0x05 };

int regs_get(int tid, struct regs *ret)
{
	return ptrace(PTRACE_GETREGS, tid, NULL, &ret->u) < 0 ? -errno : 0;
}

int regs_set(int tid, const struct regs *r)
{
	return ptrace(PTRACE_SETREGS, tid, NULL, &r->u) < 0 ? -errno : 0;
}

/*
 * orig_rax -1 says that the thread is in no system call: whatever is in rax then, the kernel restarts nothing.
 * The flags are those of a fresh function call: direction up, no single step, no alignment checks.
 */
static void clean_start(struct regs *r)
{
	r->u.orig_rax = (unsigned long long)-1;
	r->u.eflags &= ~(unsigned long long)(FLAG_TF | FLAG_DF | FLAG_AC);
}

void regs_enter_blob(struct regs *r, uint64_t entry, uint64_t stack, uint64_t control, uint32_t routine, uint64_t slots,
		     uint64_t frame)
{
	clean_start(r);
	r->u.rip = entry;
	r->u.rsp = stack & ~(uint64_t)15;
	r->u.rdi = control;
	r->u.rsi = routine;
	r->u.rdx = slots;
	r->u.rcx = frame;
}

void regs_enter_syscall(struct regs *r, uint64_t insn, long nr, const uint64_t arg[6])
{
	clean_start(r);
	r->u.rip = insn;
	r->u.rax = (unsigned long long)nr;
	r->u.rdi = arg[0];
	r->u.rsi = arg[1];
	r->u.rdx = arg[2];
	r->u.r10 = arg[3];
	r->u.r8 = arg[4];
	r->u.r9 = arg[5];
}

/*
 * Which calls leave a restart block, and what repeating them with the same arguments means:
 *
 * - clock_nanosleep(TIMER_ABSTIME), FUTEX_WAIT_BITSET, FUTEX_LOCK_PI: an absolute time, repeating is exact.
 * - nanosleep, relative clock_nanosleep, poll, FUTEX_WAIT with a timeout: the time left is in the kernel's block only.
 *   Repeated in full the wait is longer than asked, by up to its whole length. The alternative, -EINTR, is what a
 *   signal handler would cause, but a program without handlers need not expect it (sleep(3) would return early, a shell's
 *   `sleep` would fail); waiting longer is always allowed by the standards. So the call is repeated.
 *   For the two sleeps the kernel has written the time left to *rmtp if the caller gave one; it is the same object as the
 *   request in the usual loops, which makes even those exact: the repeated call reads what is left.
 * - restart_syscall itself (the thread was stopped before, by an earlier dump for instance): the arguments are still in
 *   their registers, the number is not. It is looked for in the code, where a C library has `mov $number, %eax` a few bytes
 *   in front of the instruction; where there is none, the kernel is asked (restarted_find()), and if it does not tell, -EINTR.
 */
static bool repeatable(unsigned long long nr)
{
	switch (nr) {
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_poll:
	case SYS_futex:
		return true;
	default:
		return false;
	}
}

bool regs_needs_code(const struct regs *r)
{
	return r->u.orig_rax == SYS_restart_syscall && -(int64_t)r->u.rax == K_ERESTART_RESTARTBLOCK;
}

void regs_find_call(struct regs *r, const unsigned char code[REGS_CODE_BYTES])
{
	for (int i = REGS_CODE_BYTES - 5; i >= 0; i--) {
		uint32_t nr;

		memcpy(&nr, code + i + 1, sizeof(nr));
		if (code[i] == 0xb8 && repeatable(nr)) {
			r->u.orig_rax = nr;
			return;
		}
	}
}

/*
 * The first argument of clock_nanosleep() is a clock, of nanosleep() an address. Clocks of processes and threads are
 * negative numbers of 32 bits (~pid << 3 and some bits), and no address of memory is so close to 4 GiB by accident.
 */
static bool is_clock(uint64_t arg)
{
	uint64_t high = arg >> 32;

	return arg < 4096 || ((uint32_t)arg >= UINT32_C(0xf8000000) && (high == 0 || high == UINT32_MAX));
}

void regs_name_call(struct regs *r, enum regs_wait what)
{
	if (what == REGS_WAIT_TIME)
		r->u.orig_rax = is_clock(r->u.rdi) ? SYS_clock_nanosleep : SYS_nanosleep;
	else if (what == REGS_WAIT_FUTEX)
		r->u.orig_rax = SYS_futex;
	else if (what == REGS_WAIT_FILES)
		r->u.orig_rax = SYS_poll;
}

/*
 * Calls that end with EINTR if anything wakes the thread, a stop included, and that can be made again: nothing has
 * happened yet. Programs without handlers do not expect it (signal(7) says of SIGSTOP that it is so on Linux). Reading from
 * and accepting at a socket is of these if it has a timeout (sock_intr_errno()).
 */
static bool interrupted_only(unsigned long long nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_read:
	case SYS_readv:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_accept:
	case SYS_accept4:
		return true;
	default:
		return false;
	}
}

bool regs_repeat(struct regs *r)
{
	if (!regs_in_syscall(r) || -(int64_t)r->u.rax != EINTR || !interrupted_only(r->u.orig_rax))
		return false;
	r->u.rax = (unsigned long long)-K_ERESTARTNOHAND;
	return true;
}

/* As arch_do_signal_or_restart() in arch/x86/kernel/signal.c does without a handler */
int regs_settle(struct regs *r)
{
	int code;

	if (!regs_in_syscall(r))
		return 0;
	regs_repeat(r);
	code = (int)-(int64_t)r->u.rax;
	switch (-(int64_t)r->u.rax) {
	case K_ERESTART_RESTARTBLOCK:
		if (!repeatable(r->u.orig_rax)) {
			r->u.rax = (unsigned long long)-EINTR;
			return 0;
		}
		code = K_ERESTARTNOHAND;
		break;
	case K_ERESTARTSYS:
	case K_ERESTARTNOINTR:
	case K_ERESTARTNOHAND:
		break;
	default:
		return 0;
	}
	r->u.rax = r->u.orig_rax;
	r->u.rip -= SYSCALL_INSN_SIZE;
	return code;
}

/* The opposite: the kernel decides once more, when the thread leaves the stop in which it gets these. */
static void unsettle(struct regs *r, int code)
{
	r->u.orig_rax = r->u.rax;
	r->u.rax = (unsigned long long)-code;
	r->u.rip += SYSCALL_INSN_SIZE;
}

/* clang-format off */
#define REGS_MAP(X)                                                                                                    \
	X(r15, r15) X(r14, r14) X(r13, r13) X(r12, r12) X(bp, rbp) X(bx, rbx) X(r11, r11) X(r10, r10) X(r9, r9)        \
	X(r8, r8) X(ax, rax) X(cx, rcx) X(dx, rdx) X(si, rsi) X(di, rdi) X(orig_ax, orig_rax) X(ip, rip) X(cs, cs)     \
	X(flags, eflags) X(sp, rsp) X(ss, ss) X(fs_base, fs_base) X(gs_base, gs_base) X(ds, ds) X(es, es) X(fs, fs)    \
	X(gs, gs)
/* clang-format on */

void regs_to_image(const struct regs *r, img_user_x86_regs_entry *ret)
{
	memset(ret, 0, sizeof(*ret));
#define TO_IMAGE(field, reg) ret->field = r->u.reg;
	REGS_MAP(TO_IMAGE)
#undef TO_IMAGE
	ret->has_mode = true;
	ret->mode = img_user_x86_regs_mode_NATIVE;
}

static bool is_restart(uint32_t code)
{
	return code == K_ERESTARTSYS || code == K_ERESTARTNOINTR || code == K_ERESTARTNOHAND;
}

int regs_from_image(const img_user_x86_regs_entry *e, uint32_t restart, struct regs *ret, struct cr_error *err)
{
	struct regs r = { 0 };
	int code;

	if (e->has_mode && e->mode != img_user_x86_regs_mode_NATIVE)
		return cr_refuse(err, -ENOTSUP, "the image is of a 32-bit task, which this version cannot restore");
#define FROM_IMAGE(field, reg) r.u.reg = e->field;
	REGS_MAP(FROM_IMAGE)
#undef FROM_IMAGE
	if (r.u.fs_base >= TASK_SIZE_LA57 || r.u.gs_base >= TASK_SIZE_LA57 || r.u.rip >= TASK_SIZE_LA57)
		return cr_refuse(err, -EINVAL, "registers point outside of user memory");
	if (r.u.cs == 0x23)
		return cr_refuse(err, -ENOTSUP, "the task was in 32-bit code, which this version cannot restore");
	if (restart && (!is_restart(restart) || r.u.rax > INT_MAX))
		return cr_refuse(err, -EINVAL, "call %lld to be made again by rule %u", (long long)r.u.rax, restart);

	/*
	 * Images of other makers may hold a call to be restarted the kernel's way, or 0 segments. The thread sits in a futex
	 * call of the blob when these registers reach it, so "no call" must be said if it was in none.
	 */
	code = regs_settle(&r);
	if (code || restart)
		unsettle(&r, code ? code : (int)restart);
	else
		r.u.orig_rax = (unsigned long long)-1;
	r.u.cs = USER_CS;
	r.u.ss = USER_DS;
	r.u.eflags = (r.u.eflags & FLAGS_USER) | FLAG_IF | 2;
	*ret = r;
	return 0;
}

#ifndef PTRACE_GET_THREAD_AREA
#define PTRACE_GET_THREAD_AREA 25
#define PTRACE_SET_THREAD_AREA 26
#endif

#define TLS_SEG_32BIT   0x01u
#define TLS_CONTENTS_L  0x02u
#define TLS_CONTENTS_H  0x04u
#define TLS_READ_ONLY   0x08u
#define TLS_LIMIT_PAGES 0x10u
#define TLS_NOT_PRESENT 0x20u
#define TLS_USABLE      0x40u
_Static_assert(sizeof(struct regs_tls) == 16, "kernel ABI");

int regs_tls_get(int tid, uint32_t entry_number, struct regs_tls *ret)
{
	return ptrace(PTRACE_GET_THREAD_AREA, tid, (unsigned long)entry_number, ret) < 0 ? -errno : 0;
}

int regs_tls_set(int tid, const struct regs_tls *d)
{
	return ptrace(PTRACE_SET_THREAD_AREA, tid, (unsigned long)d->entry_number, d) < 0 ? -errno : 0;
}

void regs_tls_to_image(const struct regs_tls *d, img_user_desc_t *ret)
{
	*ret = (img_user_desc_t){
		.entry_number = d->entry_number,
		.base_addr = d->base_addr,
		.limit = d->limit,
		.seg_32bit = d->bits & TLS_SEG_32BIT,
		.contents_l = d->bits & TLS_CONTENTS_L,
		.contents_h = d->bits & TLS_CONTENTS_H,
		.read_exec_only = d->bits & TLS_READ_ONLY,
		.limit_in_pages = d->bits & TLS_LIMIT_PAGES,
		.seg_not_present = d->bits & TLS_NOT_PRESENT,
		.usable = d->bits & TLS_USABLE,
	};
}

int regs_tls_from_image(const img_user_desc_t *e, struct regs_tls *ret, struct cr_error *err)
{
	if (e->entry_number < REGS_TLS_FIRST || e->entry_number >= REGS_TLS_FIRST + REGS_TLS_NR)
		return cr_refuse(err, -EBADMSG, "thread descriptor %u does not exist", e->entry_number);
	if (e->seg_not_present && !e->base_addr && !e->limit)
		return REGS_TLS_EMPTY;
	*ret = (struct regs_tls){
		.entry_number = e->entry_number,
		.base_addr = e->base_addr,
		.limit = e->limit,
		.bits = (e->seg_32bit ? TLS_SEG_32BIT : 0) | (e->contents_l ? TLS_CONTENTS_L : 0) |
			(e->contents_h ? TLS_CONTENTS_H : 0) | (e->read_exec_only ? TLS_READ_ONLY : 0) |
			(e->limit_in_pages ? TLS_LIMIT_PAGES : 0) | (e->seg_not_present ? TLS_NOT_PRESENT : 0) |
			(e->usable ? TLS_USABLE : 0),
	};
	return 0;
}
