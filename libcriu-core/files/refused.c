/*
 * Kinds that are recognised but not dumped: each is named for what it is, so that an obstacle tells more than "unknown".
 */
#include "files/refused.h"

#include "files/dump-internal.h"
#include "procfs/fdinfo.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool anon_is(const struct file_facts *facts, const char *name)
{
	return facts->fs_type == ANON_INODE_FS_MAGIC && strcmp(facts->link, name) == 0;
}

#define REFUSED(var, text, hint, condition)                      \
	static bool var##_claims(const struct file_facts *facts) \
	{                                                        \
		return condition;                                \
	}                                                        \
	const struct file_ops var##_ops = { .name = text, .claims = var##_claims, .advice = hint };

REFUSED(perf, "performance counter", "", anon_is(facts, "anon_inode:[perf_event]"))
REFUSED(userfaultfd, "userfaultfd", "", anon_is(facts, "anon_inode:[userfaultfd]"))
REFUSED(namespace_file, "namespace file", "", facts->fs_type == NSFS_MAGIC && !S_ISDIR(facts->st.st_mode))
REFUSED(secretmem, "secret memory", "", facts->fs_type == 0x5345434d /* SECRETMEM_MAGIC */)

static bool io_uring_claims(const struct file_facts *facts)
{
	return anon_is(facts, "anon_inode:[io_uring]");
}

/*
 * A ring that is at rest could be made again, but for what nobody tells: the flags that it was set up with, what is registered
 * with it besides files and buffers, and where its owner has mapped what (io_uring_show_fdinfo() in io_uring/fdinfo.c).
 */
static int io_uring_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	static const char *const keys[] = { "SqMask:", "SqHead:", "SqTail:", "CqHead:", "CqTail:" };
	uint64_t v[ARRAY_LEN(keys)] = { 0 };
	struct scan rest, line;
	int r = file_read_fdinfo(t, f, &rest, err);

	if (r < 0)
		return r;
	while (proc_fdinfo_next(&rest, &line))
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			if (scan_lit(&line, keys[i]) == 0) {
				scan_blanks(&line);
				if (i ? scan_dec(&line, &v[i]) < 0
				      : scan_lit(&line, "0x") < 0 || scan_hex(&line, &v[i]) < 0)
					v[i] = 0;
				break;
			}
	return file_refuse(
		t, f, "the process must close its rings first, or run with kernel.io_uring_disabled=2",
		"io_uring of %llu entries, %u of them not taken yet and %u results unread; the kernel does not tell "
		"how it was set up",
		(unsigned long long)v[0] + 1, (uint32_t)(v[2] - v[1]), (uint32_t)(v[4] - v[3]));
}

const struct file_ops io_uring_ops = { .name = "io_uring", .claims = io_uring_claims, .dump = io_uring_dump };

/* Programs, links, iterators, type information, tokens. Maps are kept (bpf-map.c). */
static bool bpf_claims(const struct file_facts *facts)
{
	return facts->fs_type == ANON_INODE_FS_MAGIC && strcmp(facts->link, "anon_inode:bpf-map") != 0 &&
	       (strncmp(facts->link, "anon_inode:bpf", 14) == 0 || strncmp(facts->link, "anon_inode:[bpf", 15) == 0 ||
		strcmp(facts->link, "anon_inode:btf") == 0);
}

/* Which one: "prog_id", "link_id" and "btf_id" in fdinfo, by which people find it with bpftool. */
static int bpf_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	static const struct {
		const char *key, *name;
	} ids[] = { { "link_id:", "BPF link" }, { "prog_id:", "BPF program" }, { "btf_id:", "BTF" } };
	struct scan rest, line;
	int r = file_read_fdinfo(t, f, &rest, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		for (struct scan lines = rest; proc_fdinfo_next(&lines, &line);) {
			uint64_t id;

			if (scan_lit(&line, ids[i].key) != 0)
				continue;
			scan_blanks(&line);
			if (scan_dec(&line, &id) == 0)
				return file_refuse(t, f, "", "BPF object: %s %llu", ids[i].name,
						   (unsigned long long)id);
		}
	return file_refuse(t, f, "", "BPF object, %s", f->facts.link);
}

const struct file_ops bpf_ops = { .name = "BPF object", .claims = bpf_claims, .dump = bpf_dump };

/* Unlike the rest of anonymous inodes, which have no business in a checkpoint either. */
static bool anon_other_claims(const struct file_facts *facts)
{
	static const struct file_ops *const named[] = { &io_uring_ops, &perf_ops, &bpf_ops, &userfaultfd_ops };
	static const char *const kept[] = { "anon_inode:[eventfd]",   "anon_inode:[signalfd]", "anon_inode:[timerfd]",
					    "anon_inode:[eventpoll]", "anon_inode:inotify",    "anon_inode:[pidfd]",
					    "anon_inode:[fanotify]",  "anon_inode:bpf-map" };

	if (facts->fs_type != ANON_INODE_FS_MAGIC || facts->flags & O_PATH)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (strcmp(facts->link, kept[i]) == 0)
			return false;
	for (size_t i = 0; i < ARRAY_LEN(named); i++)
		if (named[i]->claims(facts))
			return false;
	return true;
}

const struct file_ops anon_other_ops = { .name = "anonymous file", .claims = anon_other_claims };

static bool device_claims(const struct file_facts *facts)
{
	return S_ISCHR(facts->st.st_mode) && !(facts->flags & O_PATH) && !file_is_tty(facts) &&
	       !file_is_stateless_device(facts) && !file_is_tun(facts);
}

static int device_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	(void)err;
	return file_refuse(t, f, "", "character device %u:%u, %s", major(f->facts.st.st_rdev),
			   minor(f->facts.st.st_rdev), f->facts.link);
}

const struct file_ops device_ops = { .name = "character device", .claims = device_claims, .dump = device_dump };
