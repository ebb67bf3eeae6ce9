/*
 * The table of image files: names, magics, messages.
 */
#include "proto/images.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NONE IMG_NUMBER_NONE
#define DEC  IMG_NUMBER_DEC
#define HEX  IMG_NUMBER_HEX

/* Any number of entries; exactly one; one of another kind, then any number. */
#define ARRAY(pre, suf, num, mag, msg) \
	{ .prefix = pre, .suffix = suf, .number = num, .magic = mag, .header = IMG_HEADER_COMMON, \
	  .entry = IMG_MSG_##msg }
#define SINGLE(pre, suf, num, mag, msg) \
	{ .prefix = pre, .suffix = suf, .number = num, .magic = mag, .header = IMG_HEADER_COMMON, \
	  .entry = IMG_MSG_##msg, .single = true }
#define HEADED(pre, suf, num, mag, first, msg) \
	{ .prefix = pre, .suffix = suf, .number = num, .magic = mag, .header = IMG_HEADER_COMMON, \
	  .entry = IMG_MSG_##msg, .head = IMG_MSG_##first }
#define RAW(pre, suf, num) \
	{ .prefix = pre, .suffix = suf, .number = num, .header = IMG_HEADER_NONE }
#define SERVICE(pre, mag, msg, one) \
	{ .prefix = pre, .suffix = "", .magic = mag, .header = IMG_HEADER_SERVICE, \
	  .entry = IMG_MSG_##msg, .single = one }
#define OLD(pre, suf, num, mag, msg) \
	{ .prefix = pre, .suffix = suf, .number = num, .magic = mag, .header = IMG_HEADER_COMMON, \
	  .entry = IMG_MSG_##msg, .legacy = true }

static const struct img_kind kinds[IMG_TYPE_NR] = {
	[IMG_INVENTORY] = { .prefix = "inventory.img", .suffix = "", .magic = IMG_MAGIC_INVENTORY,
			    .header = IMG_HEADER_INVENTORY, .entry = IMG_MSG_inventory_entry,
			    .single = true },

	[IMG_PSTREE]        = ARRAY("pstree.img", "", NONE, 0x50273030, pstree_entry),
	[IMG_CORE]          = SINGLE("core-", ".img", DEC, 0x55053847, core_entry),
	[IMG_IDS]           = SINGLE("ids-", ".img", DEC, 0x54432030, task_kobj_ids_entry),
	[IMG_MM]            = SINGLE("mm-", ".img", DEC, 0x57492820, mm_entry),
	[IMG_FS]            = SINGLE("fs-", ".img", DEC, 0x51403912, fs_entry),
	[IMG_PAGEMAP]       = HEADED("pagemap-", ".img", DEC, 0x56084025, pagemap_head, pagemap_entry),
	[IMG_PAGEMAP_SHMEM] = HEADED("pagemap-shmem-", ".img", DEC, 0x56084025, pagemap_head,
				     pagemap_entry),
	[IMG_PAGES]         = RAW("pages-", ".img", DEC),
	[IMG_PAGES_PACKED]  = RAW("pages-", ".frames", DEC),
	[IMG_PAGE_SUMS]     = RAW("pages.sum", "", NONE),
	[IMG_FDINFO]        = ARRAY("fdinfo-", ".img", DEC, 0x56213732, fdinfo_entry),
	[IMG_FILES]         = ARRAY("files.img", "", NONE, 0x56303138, file_entry),
	[IMG_REMAP_FPATH]   = ARRAY("remap-fpath.img", "", NONE, 0x59133954, remap_file_path_entry),
	[IMG_GHOST_FILE]    = SINGLE("ghost-file-", ".img", HEX, 0x52583605, ghost_file_entry),
	[IMG_MEMFD]         = ARRAY("memfd.img", "", NONE, 0x48453499, memfd_inode_entry),
	[IMG_PIPES_DATA]    = ARRAY("pipes-data.img", "", NONE, 0x56453709, pipe_data_entry),
	[IMG_FIFO_DATA]     = ARRAY("fifo-data.img", "", NONE, 0x59333054, pipe_data_entry),
	[IMG_SK_QUEUES]     = ARRAY("sk-queues.img", "", NONE, 0x56264026, sk_packet_entry),
	[IMG_TCP_STREAM]    = SINGLE("tcp-stream-", ".img", HEX, 0x51465506, tcp_stream_entry),
	[IMG_TTY_INFO]      = ARRAY("tty-info.img", "", NONE, 0x59453036, tty_info_entry),
	[IMG_TTY_DATA]      = ARRAY("tty-data.img", "", NONE, 0x59413026, tty_data_entry),
	[IMG_FILELOCKS]     = ARRAY("filelocks.img", "", NONE, 0x54323616, file_lock_entry),
	[IMG_SECCOMP]       = SINGLE("seccomp.img", "", NONE, 0x64413049, seccomp_entry),
	[IMG_APPARMOR]      = SINGLE("apparmor.img", "", NONE, 0x59423047, apparmor_entry),
	[IMG_CGROUP]        = SINGLE("cgroup.img", "", NONE, 0x59383330, cgroup_entry),
	[IMG_CPUINFO]       = SINGLE("cpuinfo.img", "", NONE, 0x61404013, cpuinfo_entry),
	[IMG_BPFMAP_DATA]   = ARRAY("bpfmap-data.img", "", NONE, 0x64324033, bpfmap_data_entry),
	[IMG_MOUNTPOINTS]   = ARRAY("mountpoints-", ".img", DEC, 0x55563928, mnt_entry),
	[IMG_NETDEV]        = ARRAY("netdev-", ".img", DEC, 0x57373951, net_device_entry),
	[IMG_NETNS]         = SINGLE("netns-", ".img", DEC, 0x55933752, netns_entry),
	[IMG_IFADDR]        = RAW("ifaddr-", ".img", DEC),
	[IMG_ROUTE]         = RAW("route-", ".img", DEC),
	[IMG_ROUTE6]        = RAW("route6-", ".img", DEC),
	[IMG_RULE]          = RAW("rule-", ".img", DEC),
	[IMG_IPTABLES]      = RAW("iptables-", ".img", DEC),
	[IMG_IP6TABLES]     = RAW("ip6tables-", ".img", DEC),
	[IMG_NFTABLES]      = RAW("nftables-", ".img", DEC),
	[IMG_NETNS_CT]      = RAW("netns-ct-", ".img", DEC),
	[IMG_NETNS_EXP]     = RAW("netns-exp-", ".img", DEC),
	[IMG_UTSNS]         = SINGLE("utsns-", ".img", DEC, 0x54473203, utsns_entry),
	[IMG_IPCNS_VAR]     = SINGLE("ipcns-var-", ".img", DEC, 0x53115007, ipc_var_entry),
	[IMG_IPCNS_SHM]     = ARRAY("ipcns-shm-", ".img", DEC, 0x46283044, ipc_shm_entry),
	[IMG_IPCNS_MSG]     = ARRAY("ipcns-msg-", ".img", DEC, 0x55453737, ipc_msg_entry),
	[IMG_IPCNS_SEM]     = ARRAY("ipcns-sem-", ".img", DEC, 0x59573019, ipc_sem_entry),
	[IMG_USERNS]        = SINGLE("userns-", ".img", DEC, 0x55474906, userns_entry),
	[IMG_TIMENS]        = SINGLE("timens-", ".img", DEC, 0x43114433, timens_entry),
	[IMG_PIDNS]         = SINGLE("pidns-", ".img", DEC, 0x61157326, pidns_entry),
	[IMG_TMPFS_DEV]     = RAW("tmpfs-dev-", ".tar.gz.img", DEC),
	[IMG_BINFMT_MISC]   = ARRAY("binfmt-misc.img", "", NONE, 0x67343323, binfmt_misc_entry),
	[IMG_AUTOFS]        = SINGLE("autofs-", ".img", DEC, 0x49353943, autofs_entry),

	[IMG_STATS_DUMP]    = SERVICE("stats-dump", 0x57093306, stats_entry, true),
	[IMG_STATS_RESTORE] = SERVICE("stats-restore", 0x57093306, stats_entry, true),
	[IMG_IRMAP_CACHE]   = SERVICE("irmap-cache", 0x57004059, irmap_cache_entry, false),

	[IMG_REG_FILES]     = OLD("reg-files.img", "", NONE, 0x50363636, reg_file_entry),
	[IMG_EXT_FILES]     = OLD("ext-files.img", "", NONE, 0x59255641, ext_file_entry),
	[IMG_NS_FILES]      = OLD("ns-files.img", "", NONE, 0x61394011, ns_file_entry),
	[IMG_EVENTFD]       = OLD("eventfd.img", "", NONE, 0x44523722, eventfd_file_entry),
	[IMG_EVENTPOLL]     = OLD("eventpoll.img", "", NONE, 0x45023858, eventpoll_file_entry),
	[IMG_EVENTPOLL_TFD] = OLD("eventpoll-tfd.img", "", NONE, 0x44433746, eventpoll_tfd_entry),
	[IMG_SIGNALFD]      = OLD("signalfd.img", "", NONE, 0x57323820, signalfd_entry),
	[IMG_TIMERFD]       = OLD("timerfd.img", "", NONE, 0x50493712, timerfd_entry),
	[IMG_INOTIFY]       = OLD("inotify.img", "", NONE, 0x48424431, inotify_file_entry),
	[IMG_INOTIFY_WD]    = OLD("inotify-wd.img", "", NONE, 0x54562009, inotify_wd_entry),
	[IMG_FANOTIFY]      = OLD("fanotify.img", "", NONE, 0x55096122, fanotify_file_entry),
	[IMG_FANOTIFY_MARK] = OLD("fanotify-mark.img", "", NONE, 0x56506035, fanotify_mark_entry),
	[IMG_PIPES]         = OLD("pipes.img", "", NONE, 0x56513555, pipe_entry),
	[IMG_FIFO]          = OLD("fifo.img", "", NONE, 0x58364939, fifo_entry),
	[IMG_UNIXSK]        = OLD("unixsk.img", "", NONE, 0x54373943, unix_sk_entry),
	[IMG_INETSK]        = OLD("inetsk.img", "", NONE, 0x56443851, inet_sk_entry),
	[IMG_PACKETSK]      = OLD("packetsk.img", "", NONE, 0x60454618, packet_sock_entry),
	[IMG_NETLINKSK]     = OLD("netlinksk.img", "", NONE, 0x58005614, netlink_sk_entry),
	[IMG_TUNFILE]       = OLD("tunfile.img", "", NONE, 0x57143751, tunfile_entry),
	[IMG_TTY]           = OLD("tty.img", "", NONE, 0x59433025, tty_file_entry),
	[IMG_PIDFD]         = OLD("pidfd.img", "", NONE, 0x54435556, pidfd_entry),
	[IMG_BPFMAP_FILE]   = OLD("bpfmap-file.img", "", NONE, 0x57506142, bpfmap_file_entry),
	[IMG_CREDS]         = OLD("creds-", ".img", DEC, 0x54023547, creds_entry),
	[IMG_VMAS]          = OLD("vmas-", ".img", DEC, 0x54123737, vma_entry),
	[IMG_SIGACTS]       = OLD("sigacts-", ".img", DEC, 0x55344201, sa_entry),
	[IMG_ITIMERS]       = OLD("itimers-", ".img", DEC, 0x57464056, itimer_entry),
	[IMG_POSIX_TIMERS]  = OLD("posix-timers-", ".img", DEC, 0x52603957, posix_timer_entry),
	[IMG_RLIMIT]        = OLD("rlimit-", ".img", DEC, 0x57113925, rlimit_entry),
	[IMG_SIGNAL_S]      = OLD("signal-s-", ".img", DEC, 0x59255647, siginfo_entry),
	[IMG_SIGNAL_P]      = OLD("signal-p-", ".img", DEC, 0x59255647, siginfo_entry),
	[IMG_TMPFS_MNT]     = { .prefix = "tmpfs-", .suffix = ".tar.gz.img", .number = DEC,
				.header = IMG_HEADER_NONE, .legacy = true },
	[IMG_BINFMT_MISC_MNT] = OLD("binfmt-misc-", ".img", DEC, 0x67343323, binfmt_misc_entry),
};

const struct img_kind *img_kind_of(enum img_type type)
{
	return (unsigned int)type < IMG_TYPE_NR ? &kinds[type] : NULL;
}

int img_name(enum img_type type, uint64_t id, char *ret_name, size_t len)
{
	const struct img_kind *kind = img_kind_of(type);
	char name[IMG_NAME_MAX];
	int n;

	if (kind == NULL)
		return -EINVAL;
	if (kind->number == HEX) {
		n = snprintf(name, sizeof(name), "%s%llx%s", kind->prefix, (unsigned long long)id,
			     kind->suffix);
	} else if (kind->number == DEC) {
		n = snprintf(name, sizeof(name), "%s%llu%s", kind->prefix, (unsigned long long)id,
			     kind->suffix);
	} else {
		if (id != 0)
			return -EINVAL;
		n = snprintf(name, sizeof(name), "%s", kind->prefix);
	}
	if (n < 0 || (size_t)n >= sizeof(name) || (size_t)n >= len)
		return -EINVAL;
	memcpy(ret_name, name, (size_t)n + 1);
	return 0;
}

static int digit_of(char c, unsigned int base)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (base == 16 && c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The number between prefix and suffix, in the one spelling that img_name() has for it. */
static int parse_number(const char *text, size_t len, unsigned int base, uint64_t *ret)
{
	uint64_t value = 0;

	if (len == 0 || (len > 1 && text[0] == '0'))
		return -ENOENT;
	for (size_t i = 0; i < len; i++) {
		int digit = digit_of(text[i], base);

		if (digit < 0 || value > (UINT64_MAX - (unsigned int)digit) / base)
			return -ENOENT;
		value = value * base + (unsigned int)digit;
	}
	*ret = value;
	return 0;
}

int img_name_parse(const char *name, enum img_type *ret_type, uint64_t *ret_id)
{
	size_t len = strlen(name);

	for (unsigned int type = 0; type < IMG_TYPE_NR; type++) {
		const struct img_kind *kind = &kinds[type];
		size_t pre = strlen(kind->prefix), suf = strlen(kind->suffix);
		uint64_t id = 0;

		if (len < pre + suf || memcmp(name, kind->prefix, pre) != 0 ||
		    memcmp(name + len - suf, kind->suffix, suf) != 0)
			continue;
		if (kind->number == NONE) {
			if (len != pre)
				continue;
		} else if (parse_number(name + pre, len - pre - suf, kind->number == HEX ? 16 : 10,
					&id) < 0) {
			/* "pagemap-shmem-5.img" begins like "pagemap-5.img". */
			continue;
		}
		*ret_type = (enum img_type)type;
		*ret_id = id;
		return 0;
	}
	return -ENOENT;
}
