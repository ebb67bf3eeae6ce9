/* The running kernel's vDSO, and what an image of any vDSO exports. */
#ifndef CR_MM_VDSO_H
#define CR_MM_VDSO_H

#include "mm/space.h"

#define VDSO_MAX_SIZE    ((size_t)256 * 1024)
#define VDSO_MAX_SYMBOLS 64
#define VDSO_JUMP_MAX    24 /* bytes of a jump to anywhere, on any architecture */

struct vdso_symbol {
	char name[48];
	uint64_t value; /* offset in the image */
	uint64_t size;
};

/* What this process has; tasks of a restore begin as copies of it. */
struct vdso_running {
	struct mm_specials specials;
	uint8_t *code; /* of [vdso], owned; NULL if the kernel gave us none */
	size_t len;
};

int vdso_running_init(struct vdso_running *ret, struct cr_error *err);
void vdso_running_done(struct vdso_running *v);

struct mm_task;
/** vdso_keep() - have the content of a task's vDSO stored with its mapping. Return: 0; negative errno. */
int vdso_keep(struct mm_task *mt, struct cr_error *err);

/** specials_size() - all areas together */
uint64_t specials_size(const struct mm_specials *s);

/**
 * vdso_symbols() - functions in the dynamic symbol table of an ELF image; pure, trusts no byte of it
 * Return: how many, at most @max; -EBADMSG not such an image.
 */
int vdso_symbols(const uint8_t *image, size_t len, struct vdso_symbol *ret, size_t max, struct cr_error *err);

/** vdso_jump() - machine code that jumps from anywhere to @to, touching only what a called function may. Return: its length. */
size_t vdso_jump(uint64_t to, uint8_t ret[static VDSO_JUMP_MAX]);

#endif
