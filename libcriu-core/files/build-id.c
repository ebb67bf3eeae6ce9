/* Reading the NT_GNU_BUILD_ID note through the program headers, elf(5). Everything read is checked: it is any file. */
#include "files/build-id.h"

#include "base/io.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAX_PHDRS 64
#define MAX_NOTES 4096

size_t build_id_find(const void *notes, size_t len, uint8_t ret[static BUILD_ID_MAX])
{
	const uint8_t *p = notes;

	while (len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		size_t name, desc;

		memcpy(&h, p, sizeof(h));
		p += sizeof(h);
		len -= sizeof(h);
		name = ((size_t)h.n_namesz + 3) & ~(size_t)3;
		desc = ((size_t)h.n_descsz + 3) & ~(size_t)3;
		if (name > len || desc > len - name)
			return 0;
		if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && memcmp(p, "GNU", 4) == 0 && h.n_descsz &&
		    h.n_descsz <= BUILD_ID_MAX) {
			memcpy(ret, p + name, h.n_descsz);
			return h.n_descsz;
		}
		p += name + desc;
		len -= name + desc;
	}
	return 0;
}

static size_t note_segment(int fd, uint64_t off, uint64_t size, uint8_t ret[static BUILD_ID_MAX])
{
	char notes[MAX_NOTES];
	ssize_t len;

	if (off > INT64_MAX)
		return 0;
	len = fd_pread_all(fd, notes, size < sizeof(notes) ? (size_t)size : sizeof(notes), (off_t)off);
	return len > 0 ? build_id_find(notes, (size_t)len, ret) : 0;
}

static size_t from_64(int fd, const char *head, uint8_t ret[static BUILD_ID_MAX])
{
	Elf64_Phdr ph[MAX_PHDRS];
	Elf64_Ehdr eh;
	size_t nr, found = 0;

	memcpy(&eh, head, sizeof(eh));
	nr = eh.e_phnum < MAX_PHDRS ? eh.e_phnum : MAX_PHDRS;
	if (eh.e_phentsize != sizeof(ph[0]) || eh.e_phoff > INT64_MAX ||
	    fd_pread_all(fd, ph, nr * sizeof(ph[0]), (off_t)eh.e_phoff) != (ssize_t)(nr * sizeof(ph[0])))
		return 0;
	for (size_t i = 0; i < nr && !found; i++)
		if (ph[i].p_type == PT_NOTE)
			found = note_segment(fd, ph[i].p_offset, ph[i].p_filesz, ret);
	return found;
}

static size_t from_32(int fd, const char *head, uint8_t ret[static BUILD_ID_MAX])
{
	Elf32_Phdr ph[MAX_PHDRS];
	Elf32_Ehdr eh;
	size_t nr, found = 0;

	memcpy(&eh, head, sizeof(eh));
	nr = eh.e_phnum < MAX_PHDRS ? eh.e_phnum : MAX_PHDRS;
	if (eh.e_phentsize != sizeof(ph[0]) ||
	    fd_pread_all(fd, ph, nr * sizeof(ph[0]), (off_t)eh.e_phoff) != (ssize_t)(nr * sizeof(ph[0])))
		return 0;
	for (size_t i = 0; i < nr && !found; i++)
		if (ph[i].p_type == PT_NOTE)
			found = note_segment(fd, ph[i].p_offset, ph[i].p_filesz, ret);
	return found;
}

int build_id_read(int fd, uint8_t ret[static BUILD_ID_MAX])
{
	char head[sizeof(Elf64_Ehdr)];
	ssize_t len = fd_pread_all(fd, head, sizeof(head), 0);

	if (len < 0)
		return (int)len;
	if ((size_t)len < sizeof(head) || memcmp(head, ELFMAG, SELFMAG) != 0)
		return 0;
	if (head[EI_CLASS] == ELFCLASS64)
		return (int)from_64(fd, head, ret);
	return head[EI_CLASS] == ELFCLASS32 ? (int)from_32(fd, head, ret) : 0;
}
