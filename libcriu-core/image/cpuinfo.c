/* The processor of a dump; see cpuinfo.h. */
#include "image/cpuinfo.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/own.h"
#include "image/image-set.h"
#include "proto/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define CPUINFO_MAX  65536
#define NO_IMAGE     "no cpuinfo.img: the dump was made without the image bit of cpu_cap"
#define LAYOUT_TODAY 2 /* capability_ver */
#define LAYOUT_OLD   1
#define OLD_WORDS    10 /* of which the meaning is the same in both layouts */

struct store {
	struct cpuid_facts facts;
	img_cpuinfo_x86_entry x86;
	img_cpuinfo_entry entry;
};

static void store_fill(struct store *s)
{
	struct cpuid_facts *f = &s->facts;

	cpuid_read(f);
	s->x86 = (img_cpuinfo_x86_entry){
		.vendor_id = f->vendor,
		.cpu_family = f->family,
		.model = f->model,
		.stepping = f->stepping,
		.capability_ver = LAYOUT_TODAY,
		.capability = { f->words, CPUID_WORDS },
		.model_id = f->brand,
		.has_xfeatures_mask = true,
		.xfeatures_mask = f->xfeatures,
		.has_xsave_size = true,
		.xsave_size = f->xsave_size,
		.has_xsave_size_max = true,
		.xsave_size_max = f->xsave_size_max,
	};
	s->entry = (img_cpuinfo_entry){ .x86_entry = { &s->x86, 1 } };
}

uint32_t cpuinfo_caps(const rpc_criu_opts *opts)
{
	return opts->has_cpu_cap ? opts->cpu_cap : CPUINFO_DEFAULT;
}

int cpuinfo_add(struct image_set *set, struct cr_error *err)
{
	struct store s;

	store_fill(&s);
	return image_write_single(set, IMG_CPUINFO, 0, &s.entry, err);
}

static int encode(struct proto_buf *buf, struct cr_error *err)
{
	struct proto_error why = { 0 };
	struct store s;
	int r = img_header_encode(IMG_CPUINFO, buf, &why);

	store_fill(&s);
	if (r == 0)
		r = img_cpuinfo_entry_encode(&s.entry, buf, &why);
	return r < 0 ? cr_refuse(err, r, "encode cpuinfo.img: %s", why.text) : 0;
}

/* As a file that is whole or not there: a set of images may be in the same directory. */
int cpuinfo_write(int dirfd, struct cr_error *err)
{
	struct proto_buf buf = proto_buf_of(CPUINFO_MAX);
	autofd int fd = -1;
	int r = encode(&buf, err);

	if (r == 0)
		r = fd = image_create(dirfd, "cpuinfo.img", O_WRONLY, err);
	if (r >= 0) {
		r = fd_write_all(fd, buf.data, buf.len);
		if (r < 0) {
			cr_fail(err, r, "write cpuinfo.img");
			unlinkat(dirfd, "cpuinfo.img", 0);
		}
	}
	proto_buf_done(&buf);
	return r;
}

/* -------------------------------------------------------------- comparison */

static uint32_t word_of(const img_cpuinfo_x86_entry *was, unsigned int word)
{
	if (word >= was->capability.nr || (was->capability_ver == LAYOUT_OLD && word >= OLD_WORDS))
		return 0;
	return was->capability.items[word];
}

static int compare_state(const img_cpuinfo_x86_entry *was, const struct cpuid_facts *here, struct cr_error *err)
{
	uint64_t lacks = was->has_xfeatures_mask ? was->xfeatures_mask & ~here->xfeatures : 0;

	if (lacks)
		return cr_refuse(err, -ENODEV,
				 "this processor lacks extended state %#" PRIx64 " of the one of the dump", lacks);
	if (was->has_xsave_size && was->xsave_size > here->xsave_size)
		return cr_refuse(err, -ENODEV, "the extended state has %u bytes here and had %u at the dump",
				 here->xsave_size, was->xsave_size);
	return 0;
}

static int compare_instructions(const img_cpuinfo_x86_entry *was, const struct cpuid_facts *here, struct cr_error *err)
{
	for (size_t i = 0; i < cpuid_nr_instructions; i++) {
		const struct cpuid_instruction *in = &cpuid_instructions[i];

		if (word_of(was, in->word) & ~here->words[in->word] & 1u << in->bit)
			return cr_refuse(err, -ENODEV, "this processor lacks %s, which the one of the dump has",
					 in->name);
	}
	return 0;
}

/* The kernel's own words differ with the kernel, and are not compared. */
static int compare_all(const img_cpuinfo_x86_entry *was, const struct cpuid_facts *here, struct cr_error *err)
{
	static const uint8_t hardware[] = {
		CPUID_1_EDX,        CPUID_80000001_EDX, CPUID_1_ECX,        CPUID_80000001_ECX,
		CPUID_7_EBX,        CPUID_D_1_EAX,      CPUID_80000008_EBX, CPUID_6_EAX,
		CPUID_8000000A_EDX, CPUID_7_ECX,        CPUID_80000007_EBX, CPUID_7_EDX,
	};

	if (was->vendor_id != here->vendor || was->cpu_family != here->family || was->model != here->model)
		return cr_refuse(err, -ENODEV,
				 "this processor is of vendor %d, family %u, model %u, that of the dump of %d, %u, %u",
				 (int)here->vendor, here->family, here->model, (int)was->vendor_id, was->cpu_family,
				 was->model);
	for (size_t i = 0; i < sizeof(hardware); i++) {
		uint32_t w = hardware[i];

		if ((was->capability_ver == LAYOUT_TODAY || w < OLD_WORDS) && word_of(was, w) != here->words[w])
			return cr_refuse(
				err, -ENODEV,
				"features of this processor differ from those of the dump (word %u: %#x, was %#x)", w,
				here->words[w], word_of(was, w));
	}
	return 0;
}

int cpuinfo_compare(const img_cpuinfo_x86_entry *was, const struct cpuid_facts *here, uint32_t caps,
		    struct cr_error *err)
{
	int r = 0;

	if (was->capability_ver != LAYOUT_TODAY && was->capability_ver != LAYOUT_OLD)
		return cr_refuse(err, -EBADMSG, "cpuinfo.img: capability_ver %u is not known", was->capability_ver);
	if (caps & CPUINFO_FPU)
		r = compare_state(was, here, err);
	if (r == 0 && caps & CPUINFO_INS)
		r = compare_instructions(was, here, err);
	if (r == 0 && caps & CPUINFO_CPU)
		r = compare_all(was, here, err);
	if (r == -ENODEV)
		cr_advise(err, "cpu-cap says what is compared");
	return r;
}

static int check_entry(const img_cpuinfo_entry *e, const struct cpuid_facts *here, uint32_t caps, struct cr_error *err)
{
	if (e->x86_entry.nr != 1)
		return cr_refuse(err, -EBADMSG, "cpuinfo.img: %zu entries of x86 processors instead of one",
				 e->x86_entry.nr);
	return cpuinfo_compare(&e->x86_entry.items[0], here, caps, err);
}

static int compare_file(const struct buf *file, uint32_t caps, struct cr_error *err)
{
	struct proto_error why = { 0 };
	struct cpuid_facts here;
	struct img_reader reader;
	struct img_item item;
	img_cpuinfo_entry *e;
	int r = img_reader_init(&reader, IMG_CPUINFO, file->data, file->len, NULL, &why);

	if (r == 0)
		r = img_reader_next(&reader, &item, &why);
	if (r < 0)
		return cr_refuse(err, r, "cpuinfo.img: %s", why.text);
	if (r == 0)
		return cr_refuse(err, -EBADMSG, "cpuinfo.img is empty");
	e = item.entry;
	cpuid_read(&here);
	r = check_entry(e, &here, caps, err);
	img_item_done(&item);
	return r;
}

int cpuinfo_check_set(struct image_set *set, uint32_t caps, struct cr_error *err)
{
	struct cpuid_facts here;
	img_cpuinfo_entry *e;
	void *entry = NULL;
	int r = image_read_single(set, IMG_CPUINFO, 0, &entry, err);

	if (r == 1)
		return cr_refuse(err, -ENOENT, NO_IMAGE);
	if (r < 0)
		return r;
	e = entry;
	cpuid_read(&here);
	r = check_entry(e, &here, caps, err);
	img_entry_free(entry);
	return r;
}

/* As with all images nothing is followed, and nothing is waited for: whose directory it is may have made it a pipe. */
int cpuinfo_check(int dirfd, uint32_t caps, struct cr_error *err)
{
	autobuf struct buf file = BUF_INIT(CPUINFO_MAX);
	autofd int fd = openat(dirfd, "cpuinfo.img", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (r == -ENOENT)
		return cr_refuse(err, -ENOENT, NO_IMAGE);
	if (r == 0 && !S_ISREG(st.st_mode))
		return cr_refuse(err, -EBADMSG, "cpuinfo.img: not a regular file");
	if (r == 0)
		r = fd_read_buf(fd, &file);
	if (r < 0)
		return cr_fail(err, r, "read cpuinfo.img");
	return compare_file(&file, caps, err);
}
