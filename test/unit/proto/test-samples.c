/*
 * Images that criu 4.2 wrote: each decodes, and encodes to the same bytes again. Then the same
 * images with something wrong with them: cut at every byte, and with every byte changed.
 *
 * The bytes are equal, not only the values, because both writers emit fields by ascending number,
 * leave out what is not set and pack nothing.
 */
#include "proto-test.h"

#include <dirent.h>
#include <errno.h>

#include "proto/images.h"

#define SAMPLES "test/data/images"

struct sample {
	char path[600];
	enum img_type type;
	uint8_t *bytes;
	size_t len;
};

typedef void sample_fn(const struct sample *sample);

static void load_sample(const char *set, const char *name, sample_fn *fn)
{
	struct sample sample = { 0 };
	uint64_t id;
	char again[IMG_NAME_MAX];

	snprintf(sample.path, sizeof(sample.path), "%s/%s/%s", SAMPLES, set, name);
	if (img_name_parse(name, &sample.type, &id) != 0)
		fail_msg("%s: not known as the name of an image", sample.path);
	assert_int_equal(img_name(sample.type, id, again, sizeof(again)), 0);
	assert_string_equal(again, name);

	char *text = test_read_file(sample.path, &sample.len);

	sample.bytes = test_copy(text, sample.len);
	free(text);
	fn(&sample);
	free(sample.bytes);
}

static void for_each_sample(sample_fn *fn)
{
	DIR *sets = opendir(SAMPLES);
	size_t nr = 0;

	assert_non_null(sets);
	for (struct dirent *set; (set = readdir(sets)) != NULL;) {
		char path[600];

		if (set->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", SAMPLES, set->d_name);

		DIR *files = opendir(path);

		assert_non_null(files);
		for (struct dirent *file; (file = readdir(files)) != NULL;) {
			if (file->d_name[0] == '.')
				continue;
			load_sample(set->d_name, file->d_name, fn);
			nr++;
		}
		closedir(files);
	}
	closedir(sets);
	assert_true(nr > 150);
}

/* Reads the whole image and writes it again. Returns what ended the reading. */
static int read_and_write(const struct sample *sample, struct proto_buf *out, size_t *ret_nr, struct proto_error *err)
{
	struct img_reader reader;
	struct img_item item;
	int r = img_reader_init(&reader, sample->type, sample->bytes, sample->len, NULL, err);

	*ret_nr = 0;
	if (r < 0)
		return r;
	assert_int_equal(img_header_encode(sample->type, out, NULL), 0);
	while ((r = img_reader_next(&reader, &item, err)) == 1) {
		struct proto_error encode_err = { 0 };

		if (img_entry_encode(item.msg, item.entry, out, &encode_err) < 0)
			fail_msg("%s: %s", sample->path, encode_err.text);
		for (int i = 0; i < 2; i++)
			assert_int_equal(proto_buf_append(out, item.payload[i].bytes, item.payload[i].len), 0);
		img_item_done(&item);
		++*ret_nr;
	}
	return r;
}

static void check_same_bytes(const struct sample *sample)
{
	struct proto_buf out = proto_buf_of(1 << 24);
	struct proto_error err = { 0 };
	size_t nr;

	if (read_and_write(sample, &out, &nr, &err) < 0)
		fail_msg("%s: %s", sample->path, err.text);
	if (out.len != sample->len || memcmp(out.data, sample->bytes, out.len) != 0)
		fail_msg("%s: %zu bytes became %zu others", sample->path, sample->len, out.len);
	proto_buf_done(&out);
}

static void samples_keep_their_bytes(void **state)
{
	(void)state;
	for_each_sample(check_same_bytes);
}

/*
 * A cut image is refused, unless the cut is between two entries: then what is before it is whole.
 * Each cut is a heap copy of its own, so that a sanitizer sees a read past its end.
 */
static void check_cuts(const struct sample *sample)
{
	struct proto_buf whole = proto_buf_of(1 << 24);
	size_t nr_whole;

	assert_int_equal(read_and_write(sample, &whole, &nr_whole, NULL), 0);
	for (size_t len = 0; len < sample->len; len += len < 512 ? 1 : 37) {
		struct sample cut = *sample;
		struct proto_buf out = proto_buf_of(1 << 24);
		struct proto_error err = { 0 };
		size_t nr;

		cut.bytes = test_copy(sample->bytes, len);
		cut.len = len;
		int r = read_and_write(&cut, &out, &nr, &err);

		if (r == 0 && (nr >= nr_whole || memcmp(out.data, whole.data, out.len) != 0) &&
		    sample->type != IMG_GHOST_FILE)
			fail_msg("%s: accepted when cut at byte %zu", sample->path, len);
		if (r < 0 && (err.code != r || err.text[0] == '\0'))
			fail_msg("%s: cut at byte %zu: no error text", sample->path, len);
		proto_buf_done(&out);
		free(cut.bytes);
	}
	proto_buf_done(&whole);
}

static void cut_samples_are_refused(void **state)
{
	(void)state;
	for_each_sample(check_cuts);
}

/* Whatever a changed byte makes of an image: it is refused, or it encodes and decodes again. */
static void check_changes(const struct sample *sample)
{
	static const uint8_t changes[] = { 0x01, 0x80, 0xff };

	for (size_t at = 0; at < sample->len; at += at < 512 ? 1 : 41) {
		for (size_t i = 0; i < TEST_NR(changes); i++) {
			struct proto_buf out = proto_buf_of(1 << 24);
			struct proto_error err = { 0 };
			size_t nr;

			sample->bytes[at] ^= changes[i];
			int r = read_and_write(sample, &out, &nr, &err);
			sample->bytes[at] ^= changes[i];

			if (at < img_header_len(sample->type) && r == 0)
				fail_msg("%s: accepted with magic changed at %zu", sample->path, at);
			proto_buf_done(&out);
		}
	}
}

static void changed_samples_do_no_harm(void **state)
{
	(void)state;
	for_each_sample(check_changes);
}

/* Values, so that a mistake made alike in both directions does not pass. */
static void values_are_those_that_crit_shows(void **state)
{
	size_t len;
	char *image = test_read_file(SAMPLES "/threads/core-35.img", &len);
	img_core_entry *core = NULL;

	(void)state;
	assert_int_equal(img_core_entry_decode(image + 12, len - 12, &core, NULL), 0);
	assert_int_equal(core->mtype, img_core_entry_march_X86_64);
	assert_non_null(core->tc);
	assert_string_equal(core->tc->comm, "kinds");
	assert_int_equal(core->tc->sigactions.nr, 62);
	assert_int_equal(core->tc->rlimits->rlimits.nr, 16);
	assert_int_equal(core->thread_info->tls.nr, 3);
	assert_int_equal(core->thread_info->fpregs->st_space.nr, 32);
	assert_int_equal(core->thread_info->fpregs->xmm_space.nr, 64);
	assert_null(core->ti_aarch64);
	assert_null(core->thread_core->ext);
	img_entry_free(core);
	free(image);

	image = test_read_file(SAMPLES "/threads/mm-35.img", &len);
	img_mm_entry *mm = NULL;

	assert_int_equal(img_mm_entry_decode(image + 12, len - 12, &mm, NULL), 0);
	for (size_t i = 0; i < mm->vmas.nr; i++) {
		assert_true(mm->vmas.items[i].start < mm->vmas.items[i].end);
		assert_int_equal(mm->vmas.items[i].fd, -1);
	}
	img_entry_free(mm);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_keep_their_bytes),
		cmocka_unit_test(cut_samples_are_refused),
		cmocka_unit_test(changed_samples_do_no_harm),
		cmocka_unit_test(values_are_those_that_crit_shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
