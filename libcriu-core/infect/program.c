/* Building programs for the interpreter blob, and explaining how one failed. */
#include "infect/program.h"

#include "infect/syscall-names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Beginning of a new area, 0 if it does not fit */
static size_t arena_take(struct arena *a, size_t len, size_t align)
{
	uint64_t at = (a->remote + a->used + align - 1) & ~(uint64_t)(align - 1);
	uint64_t off = at - a->remote;

	if (off > a->size || len > a->size - off)
		return SIZE_MAX;
	a->used = off + len;
	return off;
}

uint64_t arena_put(struct arena *a, const void *data, size_t len, size_t align)
{
	size_t off = arena_take(a, len, align ? align : 1);

	if (off == SIZE_MAX)
		return 0;
	if (data)
		memcpy(a->local + off, data, len);
	else
		memset(a->local + off, 0, len);
	return a->remote + off;
}

void *arena_at(const struct arena *a, uint64_t remote, size_t len)
{
	uint64_t off = remote - a->remote;

	return remote < a->remote || off > a->size || len > a->size - off ? NULL : a->local + off;
}

int program_init(struct program *p, const struct arena *arena, uint32_t max_routines, struct cr_error *err)
{
	struct abi_control *c;

	memset(p, 0, sizeof(*p));
	p->arena = *arena;
	p->max_routines = max_routines;
	p->control = arena_put(&p->arena, NULL, sizeof(struct abi_control), 64);
	p->routines = arena_put(&p->arena, NULL, (size_t)max_routines * sizeof(struct abi_routine), 8);
	if (!p->control || !p->routines)
		return cr_fail(err, -ENOSPC, "lay out a program of %" PRIu32 " routines in %zu bytes", max_routines, arena->size);
	p->tags = tag_table_new();
	if (!p->tags)
		return cr_fail(err, -ENOMEM, "lay out a program");
	c = program_control(p);
	c->version = ABI_PROGRAM_VERSION;
	c->routines = p->routines;
	return 0;
}

void program_done(struct program *p)
{
	tag_table_free(p->tags);
	memset(p, 0, sizeof(*p));
}

struct abi_control *program_control(const struct program *p)
{
	return arena_at(&p->arena, p->control, sizeof(struct abi_control));
}

struct abi_routine *program_routine(const struct program *p, uint32_t index)
{
	if (index >= p->nr_routines)
		return NULL;
	return arena_at(&p->arena, p->routines + (uint64_t)index * sizeof(struct abi_routine), sizeof(struct abi_routine));
}

int routine_begin(struct program *p, struct routine *ret, struct cr_error *err)
{
	if (p->nr_routines == p->max_routines)
		return cr_fail(err, -ENOSPC, "more than %" PRIu32 " routines in a program", p->max_routines);
	memset(ret, 0, sizeof(*ret));
	ret->arena = &p->arena;
	ret->index = p->nr_routines++;
	program_control(p)->nr_routines = p->nr_routines;
	return 0;
}

int routine_finish(struct program *p, struct routine *r, struct cr_error *err)
{
	struct abi_routine *out = program_routine(p, r->index);
	int error = r->error;

	if (!error) {
		out->ops = arena_put(&p->arena, r->ops.items, r->ops.nr * sizeof(struct abi_op), 64);
		out->nr_ops = (uint32_t)r->ops.nr;
		error = out->ops ? 0 : -ENOSPC;
	}
	routine_drop(r);
	return error ? cr_fail(err, error, "write routine %" PRIu32 " of a program of %zu bytes", r->index, p->arena.size) : 0;
}

void routine_drop(struct routine *r)
{
	op_vec_done(&r->ops);
}

static struct abi_op *emission_failed(struct routine *r, int error)
{
	if (!r->error)
		r->error = error;
	memset(&r->scratch, 0, sizeof(r->scratch));
	return &r->scratch;
}

struct abi_op *emit(struct program *p, struct routine *r, enum abi_op_kind kind, const char *what, long nr,
		    uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	struct abi_op *op = r->error ? NULL : op_vec_add(&r->ops);
	uint32_t tag;
	int error;

	if (!op)
		return emission_failed(r, -ENOMEM);
	error = tag_of(p->tags, what, &tag);
	if (error < 0)
		return emission_failed(r, error);
	*op = (struct abi_op){ .kind = (uint8_t)kind, .nr = (uint32_t)nr, .tag = tag, .arg = { a0, a1, a2, a3, a4, a5 } };
	return op;
}

uint64_t emit_data(struct program *p, struct routine *r, const void *data, size_t len, size_t align)
{
	uint64_t at = r->error ? 0 : arena_put(&p->arena, data, len, align);

	if (!at)
		emission_failed(r, -ENOSPC);
	return at;
}

static const char *const kind_names[] = {
	[ABI_OP_FORK] = "fork",       [ABI_OP_THREAD] = "start thread", [ABI_OP_BARRIER] = "wait for stage",
	[ABI_OP_ARRIVE] = "arrive",   [ABI_OP_READ] = "read",           [ABI_OP_COMPARE] = "read and compare",
	[ABI_OP_CHECK] = "check",       [ABI_OP_STORE] = "store",     [ABI_OP_CALL] = "call routine",   [ABI_OP_TRAP] = "trap",
	[ABI_OP_PARK] = "park",       [ABI_OP_HELPER] = "start helper",   [ABI_OP_CLAIM] = "claim",
	[ABI_OP_AWAIT] = "await",     [ABI_OP_SWEEP] = "sweep",
};

static void describe(const struct abi_op *op, char *ret, size_t size)
{
	const char *name = NULL;
	unsigned int nr_args = 6;
	char number[24];
	size_t len;

	if (op->kind == ABI_OP_SYSCALL)
		name = syscall_name(op->nr, &nr_args);
	else if (op->kind < ARRAY_LEN(kind_names))
		name = kind_names[op->kind];
	if (!name) {
		snprintf(number, sizeof(number), "%s %u", op->kind == ABI_OP_SYSCALL ? "system call" : "operation",
			 op->kind == ABI_OP_SYSCALL ? op->nr : op->kind);
		name = number;
	}
	len = (size_t)snprintf(ret, size, "%s", name);
	for (unsigned int i = 0; i < nr_args && len < size; i++)
		len += (size_t)snprintf(ret + len, size - len, op->slot_args & (1u << i) ? " slot%" PRIu64 : " 0x%" PRIx64,
					op->arg[i]);
}

static const struct abi_op *failed_op(const struct program *p, const struct abi_routine *r)
{
	return r->failed_op < r->nr_ops ? arena_at(&p->arena, r->ops + (uint64_t)r->failed_op * sizeof(struct abi_op),
						   sizeof(struct abi_op))
					: NULL;
}

long program_failed_call(const struct program *p, uint32_t routine, uint64_t *ret_arg)
{
	const struct abi_routine *r = program_routine(p, routine);
	const struct abi_op *op = r && r->error ? failed_op(p, r) : NULL;

	if (!op || op->kind != ABI_OP_SYSCALL)
		return -1;
	*ret_arg = op->arg[0];
	return (long)op->nr;
}

bool program_bad_page(const struct program *p, uint32_t routine, uint64_t *ret_at)
{
	const struct abi_routine *r = program_routine(p, routine);
	const struct abi_op *op = r && r->error == -EBADMSG ? failed_op(p, r) : NULL;

	if (!op || op->kind != ABI_OP_CHECK)
		return false;
	*ret_at = op->arg[0];
	return true;
}

uint64_t program_equal_pages(const struct program *p)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < p->nr_routines; i++) {
		const struct abi_routine *r = program_routine(p, i);
		const struct abi_op *ops = r ? arena_at(&p->arena, r->ops, r->nr_ops * sizeof(*ops)) : NULL;

		for (uint32_t n = 0; ops && n < r->nr_ops; n++)
			if (ops[n].kind == ABI_OP_COMPARE && ops[n].flags & ABI_F_RESULT)
				pages += ops[n].arg[0];
	}
	return pages;
}

int program_explain(const struct program *p, uint32_t routine, struct cr_error *err)
{
	const struct abi_routine *r = program_routine(p, routine);
	const struct abi_op *op;
	char text[192];
	uint64_t at;
	int error;

	if (!r || !r->error)
		return cr_refuse(err, -EPROTO, "routine %" PRIu32 " of a program ended without saying why", routine);
	error = r->error < 0 && r->error >= -4095 ? r->error : -EPROTO;
	if (r->failed_op >= r->nr_ops)
		return cr_fail(err, error, "routine %" PRIu32 " ran past its end", routine);
	op = failed_op(p, r);
	if (!op)
		return cr_fail(err, error, "routine %" PRIu32 ", operation %" PRIu32, routine, r->failed_op);
	if (program_bad_page(p, routine, &at)) {
		cr_refuse(err, error, "the page at %" PRIx64 " does not match its checksum", at);
		cr_advise(err, "the images were damaged after the dump; --no-checksums restores them all the same");
		return error;
	}
	describe(op, text, sizeof(text));
	if (error == -ERANGE && op->flags & ABI_F_EQUAL)
		return cr_refuse(err, error, "%s (%s): the result is not 0x%" PRIx64, tag_text(p->tags, op->tag), text, op->arg[5]);
	return cr_fail(err, error, "%s (%s)", tag_text(p->tags, op->tag), text);
}
