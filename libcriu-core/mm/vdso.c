/*
 * vDSO images. The addresses in an image are offsets from its start: the kernel maps it as one piece, the way it is
 * linked (one PT_LOAD at 0), so file offsets and addresses are the same.
 */
#include "mm/vdso.h"

#include "procfs/maps.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

uint64_t specials_size(const struct mm_specials *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->nr; i++)
		sum += s->area[i].end - s->area[i].start;
	return sum;
}

static bool is_special(const char *name)
{
	return strcmp(name, "[vdso]") == 0 || strncmp(name, "[vvar", 5) == 0;
}

int vdso_running_init(struct vdso_running *ret, struct cr_error *err)
{
	autovmas struct proc_vma_list list = { 0 };
	autoprocdir struct proc_dir self = PROC_DIR_NONE;
	struct mm_specials s = { 0 };
	bool found = false;
	int r = proc_dir_open(AT_FDCWD, getpid(), &self, err);

	if (r == 0)
		r = proc_maps_read(&self, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr; i++) {
		const char *name = proc_vma_path(&list, &list.items[i]);

		if (list.items[i].ino || !is_special(name))
			continue;
		if (s.nr == MM_SPECIALS)
			return cr_refuse(err, -EOPNOTSUPP, "this kernel maps more than %d special areas", MM_SPECIALS);
		if (strcmp(name, "[vdso]") == 0) {
			s.vdso = s.nr;
			found = true;
		}
		s.area[s.nr++] = (struct mm_range){ list.items[i].start, list.items[i].end };
	}
	memset(ret, 0, sizeof(*ret));
	if (!found)
		return 0;
	if (specials_size(&s) > mm_spare_size())
		return cr_refuse(err, -EOPNOTSUPP, "the special mappings of this kernel are too large");
	ret->len = s.area[s.vdso].end - s.area[s.vdso].start;
	ret->code = malloc(ret->len);
	if (!ret->code)
		return cr_fail(err, -ENOMEM, "copy the vDSO");
	memcpy(ret->code, (const void *)(uintptr_t)s.area[s.vdso].start, ret->len);
	ret->specials = s;
	return 0;
}

void vdso_running_done(struct vdso_running *v)
{
	free(v->code);
	memset(v, 0, sizeof(*v));
}

/* A piece of the image, NULL if any byte of it is outside. */
static const void *piece(const uint8_t *image, size_t len, uint64_t off, uint64_t size)
{
	return off <= len && size <= len - off ? image + off : NULL;
}

struct dynamic {
	uint64_t symtab, strtab, hash, gnu_hash;
};

static int find_dynamic(const uint8_t *image, size_t len, struct dynamic *ret)
{
	const Elf64_Ehdr *eh = piece(image, len, 0, sizeof(*eh));
	const Elf64_Phdr *ph;
	const Elf64_Dyn *dyn = NULL;
	size_t nr = 0;

	if (!eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_phentsize != sizeof(*ph))
		return -EBADMSG;
	ph = eh->e_phoff % 8 ? NULL : piece(image, len, eh->e_phoff, (uint64_t)eh->e_phnum * sizeof(*ph));
	if (!ph)
		return -EBADMSG;
	for (size_t i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_DYNAMIC || ph[i].p_offset % 8)
			continue;
		dyn = piece(image, len, ph[i].p_offset, ph[i].p_filesz);
		nr = ph[i].p_filesz / sizeof(*dyn);
	}
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; dyn && i < nr && dyn[i].d_tag != DT_NULL; i++) {
		uint64_t at = dyn[i].d_un.d_ptr;

		switch (dyn[i].d_tag) {
		case DT_SYMTAB:
			ret->symtab = at;
			break;
		case DT_STRTAB:
			ret->strtab = at;
			break;
		case DT_HASH:
			ret->hash = at;
			break;
		case DT_GNU_HASH:
			ret->gnu_hash = at;
			break;
		}
	}
	return ret->symtab && ret->strtab && ret->symtab % 8 == 0 ? 0 : -EBADMSG;
}

/* The table has no length of its own: the hash tables over it do. Return: number of symbols, 0 if it cannot be told. */
static uint64_t count_symbols(const uint8_t *image, size_t len, const struct dynamic *d)
{
	const uint32_t *w = d->hash && d->hash % 4 == 0 ? piece(image, len, d->hash, 8) : NULL;
	uint64_t max = 0, buckets, chains;

	if (w)
		return w[1];
	w = d->gnu_hash && d->gnu_hash % 4 == 0 ? piece(image, len, d->gnu_hash, 16) : NULL;
	if (!w)
		return 0;

	uint32_t nr_buckets = w[0], first = w[1];

	buckets = d->gnu_hash + 16 + (uint64_t)w[2] * 8;
	chains = buckets + (uint64_t)nr_buckets * 4;
	for (uint32_t i = 0; i < nr_buckets; i++) {
		const uint32_t *b = piece(image, len, buckets + (uint64_t)i * 4, 4);

		if (!b)
			return 0;
		max = *b > max ? *b : max;
	}
	while (max >= first && max) {
		const uint32_t *c = piece(image, len, chains + (max - first) * 4, 4);

		if (!c)
			return 0;
		max++;
		if (*c & 1)
			return max;
	}
	return 0;
}

int vdso_symbols(const uint8_t *image, size_t len, struct vdso_symbol *ret, size_t max, struct cr_error *err)
{
	struct dynamic d;
	uint64_t nr;
	int found = 0;

	if (find_dynamic(image, len, &d) < 0)
		return cr_refuse(err, -EBADMSG, "the vDSO is not an ELF image with a symbol table");
	nr = count_symbols(image, len, &d);
	for (uint64_t i = 0; i < nr && (size_t)found < max; i++) {
		const Elf64_Sym *s = piece(image, len, d.symtab + i * sizeof(*s), sizeof(*s));
		const char *name;
		size_t name_max;

		if (!s)
			return cr_refuse(err, -EBADMSG, "the symbol table of the vDSO is cut off");
		if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF || s->st_value >= len)
			continue;
		name = piece(image, len, d.strtab + s->st_name, 1);
		name_max = name ? len - (size_t)((const uint8_t *)name - image) : 0;
		if (!name || strnlen(name, name_max) >= sizeof(ret->name) || strnlen(name, name_max) == name_max)
			continue;
		memcpy(ret[found].name, name, strlen(name) + 1);
		ret[found].value = s->st_value;
		ret[found++].size = s->st_size;
	}
	return found;
}

size_t vdso_jump(uint64_t to, uint8_t ret[static VDSO_JUMP_MAX])
{
#if defined(__x86_64__)
	/* movabs $to, %rax; jmp *%rax: rax carries nothing into a function without variable arguments */
	static const uint8_t code[] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };

	memcpy(ret, code, sizeof(code));
	memcpy(ret + 2, &to, sizeof(to));
	return sizeof(code);
#elif defined(__aarch64__)
	/* ldr x16, 1f; br x16; 1: .quad to -- x16 is for linkers to use between caller and callee */
	static const uint8_t code[] = { 0x50, 0x00, 0x00, 0x58, 0x00, 0x02, 0x1f, 0xd6 };

	memcpy(ret, code, sizeof(code));
	memcpy(ret + sizeof(code), &to, sizeof(to));
	return sizeof(code) + sizeof(to);
#else
#error "vdso_jump() is needed for this architecture"
#endif
}
