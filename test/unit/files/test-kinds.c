/* Every recorded sample of an open file is claimed by exactly one kind, and every type of the images has one or a reason why not. */
#include "base/array.h"
#include "files/file-ops.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#define HUGETLBFS 0x958458f6u
#define PIDFS     0x50494446u
#define SECRETMEM 0x5345434du
#define MQUEUEFS  0x19800202u

struct sample {
	const char *kind;
	uint32_t fs_type;
	mode_t mode;
	nlink_t nlink;
	unsigned int major_nr, minor_nr;
	uint32_t flags;
	const char *link;
	int sk_family;
};

/* As seen on Linux 6.18. */
static const struct sample samples[] = {
	{ "file", EXT4_SUPER_MAGIC, S_IFREG | 0644, 1, 0, 0, O_RDWR, "/srv/data" },
	{ "file", EXT4_SUPER_MAGIC, S_IFREG | 0644, 0, 0, 0, O_RDWR, "/srv/data (deleted)" },
	{ "file", EXT4_SUPER_MAGIC, S_IFDIR | 0755, 2, 0, 0, O_DIRECTORY, "/srv" },
	{ "file", EXT4_SUPER_MAGIC, S_IFBLK | 0660, 1, 8, 0, O_RDONLY, "/dev/sda" },
	{ "file", EXT4_SUPER_MAGIC, S_IFSOCK | 0755, 1, 0, 0, O_PATH, "/run/x.sock" },
	{ "file", EXT4_SUPER_MAGIC, S_IFLNK | 0777, 1, 0, 0, O_PATH | O_NOFOLLOW, "/srv/link" },
	{ "file", EXT4_SUPER_MAGIC, S_IFIFO | 0600, 1, 0, 0, O_PATH, "/srv/fifo" },
	{ "file", TMPFS_MAGIC, S_IFREG | 0600, 0, 0, 0, O_RDWR, "/dev/shm/x (deleted)" },
	{ "file", TMPFS_MAGIC, S_IFREG | 0600, 1, 0, 0, O_RDWR, "/memfd:named like one" },
	{ "file", TMPFS_MAGIC, S_IFCHR | 0666, 1, 1, 3, O_RDWR, "/dev/null" },
	{ "file", TMPFS_MAGIC, S_IFCHR | 0666, 1, 1, 9, O_RDONLY, "/dev/urandom" },
	{ "file", TMPFS_MAGIC, S_IFCHR | 0666, 1, 10, 229, O_PATH, "/dev/fuse" },
	{ "file", TMPFS_MAGIC, S_IFCHR | 0620, 1, 136, 3, O_PATH, "/dev/pts/3" },
	{ "file", PROC_SUPER_MAGIC, S_IFREG | 0444, 1, 0, 0, O_RDONLY, "/proc/1/status" },
	{ "file", CGROUP2_SUPER_MAGIC, S_IFDIR | 0755, 2, 0, 0, O_DIRECTORY, "/sys/fs/cgroup" },
	{ "character device", TMPFS_MAGIC, S_IFCHR | 0666, 1, 10, 229, O_RDWR, "/dev/fuse" },
	{ "character device", TMPFS_MAGIC, S_IFCHR | 0644, 1, 1, 11, O_RDONLY, "/dev/kmsg" },
	{ "tun descriptor", TMPFS_MAGIC, S_IFCHR | 0666, 1, 10, 200, O_RDWR, "/dev/net/tun" },
	{ "terminal", 0x1cd1 /* devpts */, S_IFCHR | 0620, 1, 136, 3, O_RDWR, "/dev/pts/3" },
	{ "terminal", TMPFS_MAGIC, S_IFCHR | 0666, 1, 5, 0, O_RDWR, "/dev/tty" },
	{ "terminal", TMPFS_MAGIC, S_IFCHR | 0666, 1, 5, 2, O_RDWR, "/dev/ptmx" },
	{ "terminal", TMPFS_MAGIC, S_IFCHR | 0660, 1, 4, 64, O_RDWR, "/dev/ttyS0" },
	{ "pipe", PIPEFS_MAGIC, S_IFIFO | 0600, 1, 0, 0, O_RDONLY, "pipe:[1]" },
	{ "fifo", EXT4_SUPER_MAGIC, S_IFIFO | 0600, 1, 0, 0, O_RDWR, "/srv/fifo" },
	{ "fifo", EXT4_SUPER_MAGIC, S_IFIFO | 0600, 0, 0, 0, O_RDWR, "/srv/fifo (deleted)" },
	{ "UNIX socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_UNIX },
	{ "IP socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_INET },
	{ "IP socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_INET6 },
	{ "netlink socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_NETLINK },
	{ "packet socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_PACKET },
	{ "socket", SOCKFS_MAGIC, S_IFSOCK | 0777, 1, 0, 0, O_RDWR, "socket:[1]", AF_VSOCK },
	{ "memory file", TMPFS_MAGIC, S_IFREG | 0777, 0, 0, 0, O_RDWR, "/memfd:x (deleted)" },
	{ "memory file", HUGETLBFS, S_IFREG | 0777, 0, 0, 0, O_RDWR, "/memfd:x (deleted)" },
	{ "eventfd", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[eventfd]" },
	{ "signalfd", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[signalfd]" },
	{ "timerfd", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[timerfd]" },
	{ "epoll", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[eventpoll]" },
	{ "inotify", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDONLY, "anon_inode:inotify" },
	{ "fanotify descriptor", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDONLY, "anon_inode:[fanotify]" },
	{ "io_uring", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[io_uring]" },
	{ "performance counter", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[perf_event]" },
	{ "BPF map", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:bpf-map" },
	{ "BPF object", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:bpf-prog" },
	{ "userfaultfd", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[userfaultfd]" },
	{ "pidfd", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[pidfd]" },
	{ "pidfd", PIDFS, S_IFREG | 0700, 1, 0, 0, O_RDWR, "pidfd:[7]" },
	{ "namespace file", NSFS_MAGIC, S_IFREG | 0444, 1, 0, 0, O_RDONLY, "net:[4026531840]" },
	{ "secret memory", SECRETMEM, S_IFREG | 0600, 1, 0, 0, O_RDWR, "/secretmem (deleted)" },
	{ "POSIX message queue", MQUEUEFS, S_IFREG | 0600, 1, 0, 0, O_RDWR, "/queue" },
	{ "POSIX message queue", MQUEUEFS, S_IFREG | 0600, 0, 0, 0, O_RDWR, "/queue (deleted)" },
	{ "file", MQUEUEFS, S_IFDIR | 01777, 2, 0, 0, O_DIRECTORY, "/dev/mqueue" },
	{ "anonymous file", ANON_INODE_FS_MAGIC, 0600, 1, 0, 0, O_RDWR, "anon_inode:[kvm-vm]" },
};

static void test_one_claim_each(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample *s = &samples[i];
		struct file_facts f = { .fs_type = s->fs_type, .flags = s->flags, .link = s->link, .sk_family = s->sk_family };
		const struct file_ops *ops;
		unsigned int claims = 0;

		f.st.st_mode = s->mode;
		f.st.st_nlink = s->nlink;
		f.st.st_rdev = makedev(s->major_nr, s->minor_nr);
		for (unsigned int k = 0; (ops = file_ops_at(k)); k++)
			claims += ops->claims(&f);
		ops = file_ops_for(&f);
		if (claims != 1 || strcmp(ops->name, s->kind) != 0)
			fail_msg("%s: %u claims, %s", s->link, claims, ops ? ops->name : "nobody's");
	}
}

static void test_every_type(void **state)
{
	static const struct {
		img_fd_types type;
		const char *why_not;
	} types[] = {
		{ img_fd_types_REG, NULL },
		{ img_fd_types_PIPE, NULL },
		{ img_fd_types_FIFO, NULL },
		{ img_fd_types_EVENTFD, NULL },
		{ img_fd_types_EVENTPOLL, NULL },
		{ img_fd_types_SIGNALFD, NULL },
		{ img_fd_types_TTY, NULL },
		{ img_fd_types_TIMERFD, NULL },
		{ img_fd_types_MEMFD, NULL },
		{ img_fd_types_UND, "never written" },
		{ img_fd_types_INETSK, NULL },
		{ img_fd_types_UNIXSK, NULL },
		{ img_fd_types_PACKETSK, NULL },
		{ img_fd_types_NETLINKSK, NULL },
		{ img_fd_types_INOTIFY, NULL },
		{ img_fd_types_FANOTIFY, NULL },
		{ img_fd_types_NS, "an obstacle" },
		{ img_fd_types_TUNF, NULL },
		{ img_fd_types_BPFMAP, NULL },
		{ img_fd_types_PIDFD, NULL },
		{ img_fd_types_EXT, "there are no plugins" },
		{ img_fd_types_CTL_TTY, "in memory of another program only" },
		{ img_fd_types_AUTOFS_PIPE, "in memory of another program only" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const struct file_ops *ops = file_ops_of_type(types[i].type);

		if (!ops != !!types[i].why_not)
			fail_msg("type %d", (int)types[i].type);
		if (ops && ((!ops->open && !ops->arrive) || !ops->dump || !ops->claims))
			fail_msg("%s has one half only", ops->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_claim_each), cmocka_unit_test(test_every_type) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
