/*
 * Chains of page maps. The first byte says how the rest becomes three sets, each the parent of the one before: with its top
 * bit the pieces are the bytes of their pagemap images behind the header, else lists of entries of five bytes. Whatever is
 * accepted must be in order and in the files; of lists of entries it must also be what a search page by page finds. Freeing
 * what newer sets have must stay inside of the files, too.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mm/page-chain.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEVELS  3
#define ENTRY   5
#define PAGES   (65536u + 256u) /* that entries can name */
#define ID      1
#define FILE_AT ((off_t)1 << 26) /* size of pages files */

/* The only state: where the sets are. */
static char base[64];
static int dirs[LEVELS] = { -1, -1, -1 };

static void leave(void)
{
	static const char *const names[] = { "pagemap-1.img", "pages-1.img", "parent", IMAGE_WHOLE_MARK };

	for (int i = 0; i < LEVELS; i++) {
		char path[80];

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			unlinkat(dirs[i], names[k], 0);
		snprintf(path, sizeof(path), "%s/%d", base, i);
		rmdir(path);
	}
	rmdir(base);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	snprintf(base, sizeof(base), "%s/fuzz-page-chain-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(base))
		abort();
	for (int i = 0; i < LEVELS; i++) {
		char path[80];

		snprintf(path, sizeof(path), "%s/%d", base, i);
		if (mkdir(path, 0700) < 0 || (dirs[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
			abort();
		snprintf(path, sizeof(path), "../%d", i + 1);
		if (i + 1 < LEVELS && symlinkat(path, dirs[i], "parent") < 0)
			abort();
		/* or nothing would be freed */
		int mark = openat(dirs[i], IMAGE_WHOLE_MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (mark < 0)
			abort();
		close(mark);
	}
	atexit(leave);
	return 0;
}

static uint64_t page_of(const uint8_t *e)
{
	return (uint64_t)e[0] | (uint64_t)e[1] << 8;
}

static void put_entries(struct proto_buf *to, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + ENTRY <= size; i += ENTRY) {
		img_pagemap_entry e = { .vaddr = page_of(data + i) * MM_PAGE, .has_nr_pages = data[i + 4] < 250,
					.nr_pages = data[i + 2], .compat_nr_pages = data[i + 2],
					.has_flags = true, .flags = data[i + 3] };

		if (img_entry_encode(IMG_MSG_pagemap_entry, &e, to, NULL) < 0)
			abort();
	}
}

static void make_level(int level, bool raw, const uint8_t *data, size_t size)
{
	struct proto_buf file = proto_buf_of(16 << 20);
	img_pagemap_head head = { .pages_id = 1 };
	int fd = openat(dirs[level], "pagemap-1.img", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
	    pages = openat(dirs[level], "pages-1.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || pages < 0 || ftruncate(pages, FILE_AT) < 0 || img_header_encode(IMG_PAGEMAP, &file, NULL) < 0)
		abort();
	if (raw) {
		if (proto_buf_append(&file, data, size) < 0)
			abort();
	} else {
		if (img_entry_encode(IMG_MSG_pagemap_head, &head, &file, NULL) < 0)
			abort();
		put_entries(&file, data, size);
	}
	if (write(fd, file.data, file.len) != (ssize_t)file.len)
		abort();
	close(fd);
	close(pages);
	proto_buf_done(&file);
}

/* The long way: the entry of a level that has the page. Return: offset in its pages file, in pages; -1 it has none, -2 the parent's */
static long look(const uint8_t *data, size_t size, uint64_t page)
{
	long off = 0;

	for (size_t i = 0; i + ENTRY <= size; i += ENTRY) {
		uint64_t first = page_of(data + i), nr = data[i + 2];

		if (page >= first && page < first + nr)
			return data[i + 3] & MM_PE_PARENT ? -2 : off + (long)(page - first);
		if (data[i + 3] & MM_PE_PRESENT)
			off += (long)nr;
	}
	return -1;
}

static void check_page(const uint8_t *const *parts, const size_t *sizes, uint64_t page, const struct stored_run *run)
{
	long off = look(parts[0], sizes[0], page);

	for (int level = 1; level < LEVELS && off == -2; level++)
		off = look(parts[level], sizes[level], page);
	/* what is asked for and in no set is refused as a whole */
	if (off == -2 || (off >= 0) != (run != NULL))
		abort();
	if (run && run->off + page * MM_PAGE - run->start != (uint64_t)off * MM_PAGE)
		abort();
}

static void check_runs(const struct stored_runs *runs, const struct page_files *files)
{
	uint64_t last = 0;

	for (size_t i = 0; i < runs->nr; i++) {
		const struct stored_run *run = &runs->items[i];

		if (run->start >= run->end || run->start < last || run->start % MM_PAGE || run->end % MM_PAGE)
			abort();
		if (run->file >= files->nr || run->off % MM_PAGE || run->off + (run->end - run->start) > (uint64_t)FILE_AT)
			abort();
		last = run->end;
	}
}

static void check_all(const uint8_t *const *parts, const size_t *sizes, const struct stored_runs *runs)
{
	size_t at = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		while (at < runs->nr && runs->items[at].end <= page * MM_PAGE)
			at++;
		check_page(parts, sizes, page,
			   at < runs->nr && runs->items[at].start <= page * MM_PAGE ? &runs->items[at] : NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *parts[LEVELS];
	size_t sizes[LEVELS], third;
	struct stored_runs runs = { 0 };
	struct page_files files = { 0 };
	struct image_set *set = NULL;
	struct cr_error err = { 0 };
	uint64_t bytes = 0;
	bool raw;
	int r;

	if (size < 2 || size > 4096)
		return 0;
	raw = data[0] & 0x80;
	third = (size - 1) / LEVELS;
	for (size_t i = 0; i < LEVELS; i++) {
		parts[i] = data + 1 + i * third;
		sizes[i] = third;
		make_level((int)i, raw, parts[i], sizes[i]);
	}
	if (image_set_open_any(dirs[0], &set, &err) < 0)
		abort();
	r = page_chain_read(set, IMG_PAGEMAP, ID, NULL, NULL, &runs, &files, &err);
	if (r < 0 && (err.code != r || !err.text[0]))
		abort();
	if (r == 0)
		check_runs(&runs, &files);
	if (r == 0 && !raw)
		check_all(parts, sizes, &runs);
	stored_runs_done(&runs);
	page_files_close(&files);
	err = (struct cr_error){ 0 };
	page_chain_dedup(set, &bytes, &err);
	for (int i = 0; i < LEVELS; i++) {
		struct stat st;

		if (fstatat(dirs[i], "pages-1.img", &st, 0) < 0 || st.st_size != FILE_AT)
			abort();
	}
	image_set_free(set);
	return 0;
}
