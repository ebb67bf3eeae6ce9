/*
 * The table of options; see table.h. A row is refused for the commands in .later as long as it is set to anything but
 * "off". Options that only permit something are taken: a dump that meets what they permit lists it as an obstacle if it
 * cannot be done. Those that parametrise something that is refused itself are taken too, and named in the log: runtimes
 * set them for every container.
 */
#include "options/table.h"

#include "base/array.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>

#define AT(member) .has = OPTION_NOWHERE, .at = offsetof(struct settings, member)
#define NOWHERE    .has = OPTION_NOWHERE, .at = OPTION_NOWHERE
#define AT_HAS(prefix, field) \
	.has = offsetof(struct settings, prefix has_##field), .at = offsetof(struct settings, prefix field)

/* on the wire and elsewhere */
#define RPC_FLAG(field)        .rpc = #field, .kind = OPTION_FLAG, AT_HAS(rpc., field)
#define RPC_INT(field)         .rpc = #field, .kind = OPTION_INT, AT_HAS(rpc., field)
#define RPC_UINT(field)        .rpc = #field, .kind = OPTION_UINT, AT_HAS(rpc., field), .max = UINT32_MAX
#define RPC_WORD(field, list)  .rpc = #field, .kind = OPTION_WORD, AT_HAS(rpc., field), .words = list
#define RPC_TEXT(field)        .rpc = #field, .kind = OPTION_TEXT, AT(rpc.field)
#define RPC_TEXTS(field)       .rpc = #field, .kind = OPTION_TEXTS, AT(rpc.field)
#define RPC_ITEMS(field, type) .rpc = #field, .kind = OPTION_ITEMS, AT(rpc.field), .size = sizeof(type)
/* not on the wire */
#define OWN_FLAG(field) .kind = OPTION_FLAG, AT_HAS(, field)
#define OWN_INT(field)  .kind = OPTION_INT, AT_HAS(, field)
#define OWN_TEXT(field) .kind = OPTION_TEXT, AT(field)

#define NEG             .flags = OPTION_NEGATABLE
#define FOR(commands)   .valid = (commands)
#define LATER(commands) .later = (commands)

#define D   COMMAND_DUMP
#define P   COMMAND_PRE_DUMP
#define R   COMMAND_RESTORE
#define L   COMMAND_LAZY_PAGES
#define C   COMMAND_CHECK
#define S   COMMAND_PAGE_SERVER
#define V   COMMAND_SERVICE
#define U   COMMAND_CPUINFO
#define ALL COMMAND_ALL

const char *const option_group_names[OPTION_GROUPS] = {
	[OPTION_GROUP_GENERAL] = "General",
	[OPTION_GROUP_DUMP_RESTORE] = "Dump and restore",
	[OPTION_GROUP_RESOURCES] = "Files, sockets and other resources",
	[OPTION_GROUP_NAMESPACES] = "Namespaces, mounts, cgroups and security",
	[OPTION_GROUP_MEMORY] = "Memory transfer",
	[OPTION_GROUP_CHECK] = "Check",
	[OPTION_GROUP_DAEMON] = "Servers",
};

static const struct option_word network_lock_words[] = {
	{ "iptables", rpc_criu_network_lock_method_IPTABLES },
	{ "nftables", rpc_criu_network_lock_method_NFTABLES },
	{ "skip", rpc_criu_network_lock_method_SKIP },
	{ "none", rpc_criu_network_lock_method_SKIP },
	{ NULL, 0 },
};

static const struct option_word pre_dump_words[] = {
	{ "splice", rpc_criu_pre_dump_mode_SPLICE },
	{ "read", rpc_criu_pre_dump_mode_VM_READ },
	{ NULL, 0 },
};

/* the numbers are those of enum cr_file_validation */
static const struct option_word validation_words[] = { { "buildid", 0 }, { "filesize", 1 }, { NULL, 0 } };

static const struct option_word cgroup_words[] = {
	{ "ignore", rpc_criu_cg_mode_IGNORE },   { "none", rpc_criu_cg_mode_CG_NONE },
	{ "props", rpc_criu_cg_mode_PROPS },     { "soft", rpc_criu_cg_mode_SOFT },
	{ "full", rpc_criu_cg_mode_FULL },       { "strict", rpc_criu_cg_mode_STRICT },
	{ "default", rpc_criu_cg_mode_DEFAULT }, { NULL, 0 },
};

/* A dump stores the same for every mode; a restore that writes into groups is what is not there yet. */
static const char *refuse_cgroup_mode(const struct settings *s, enum command c)
{
	rpc_criu_cg_mode mode = s->rpc.manage_cgroups_mode;

	if (c != COMMAND_RESTORE || !s->rpc.has_manage_cgroups_mode)
		return NULL;
	return mode == rpc_criu_cg_mode_PROPS || mode == rpc_criu_cg_mode_FULL || mode == rpc_criu_cg_mode_STRICT
		       ? "props, full and strict are not supported yet by this version; use soft, none or ignore"
		       : NULL;
}

static const char *refuse_mntns_compat(const struct settings *s, enum command c)
{
	return s->rpc.mntns_compat_mode && c != COMMAND_RESTORE ? "has a meaning for restore only" : NULL;
}

static const char *refuse_inherit_fd(const struct settings *s, enum command c)
{
	return s->rpc.inherit_fd.nr && c != COMMAND_RESTORE ? "has a meaning for restore only" : NULL;
}

static const char *refuse_stream(const struct settings *s, enum command c)
{
	if (!s->stream)
		return NULL;
	if (!(c & (D | P | R | U)))
		return "has a meaning for dump, pre-dump and restore only";
	if (s->rpc.parent_img || s->rpc.auto_dedup)
		return "cannot be combined with earlier images (--prev-images-dir, --auto-dedup): nothing is looked at "
		       "twice";
	if (s->rpc.lazy_pages || s->rpc.lazy)
		return "cannot be combined with --lazy or --lazy-pages: pages come by in order";
	return s->page_server || s->rpc.ps ? "cannot be combined with --page-server: pages would go to two places"
					   : NULL;
}

static const char *refuse_compress(const struct settings *s, enum command c)
{
	if (!(c & (D | P | S)) || !s->rpc.compress)
		return NULL;
	if (s->stream)
		return "cannot be combined with --stream: an image streamer knows no compressed pages, and may compress itself";
	if (s->rpc.auto_dedup)
		return "cannot be combined with --auto-dedup: pages within compressed ones cannot be freed";
	if (c != S && (s->page_server || (s->rpc.ps && !s->rpc.lazy_pages)))
		return "cannot be combined with --page-server: pages are sent as they are, and compressed by a server that has this option";
	return c == S && s->rpc.lazy_pages ? "cannot be combined with --lazy-pages: nothing is stored" : NULL;
}

static const char *refuse_lazy(const struct settings *s, enum command c)
{
	return c == COMMAND_RESTORE && s->rpc.lazy && s->rpc.lazy_pages ? "cannot be combined with --lazy-pages" : NULL;
}

static const char *refuse_sibling(const struct settings *s, enum command c)
{
	return c == COMMAND_RESTORE && s->rpc.rst_sibling && !s->detached
		       ? "needs --restore-detached (-d): whose child the root task becomes cannot be waited for"
		       : NULL;
}

static const char *refuse_snapshot(const struct settings *s, enum command c)
{
	if (c != COMMAND_DUMP || !s->rpc.snapshot)
		return NULL;
	if (s->rpc.leave_stopped)
		return "cannot be combined with --leave-stopped (-s): the tasks run on while memory is written";
	if (!s->rpc.leave_running)
		return "needs --leave-running (-R): the tasks run on while memory is written";
	if (s->stream)
		return "cannot be combined with --stream: images of a snapshot are not written in one go";
	if (s->page_server || s->rpc.ps)
		return "cannot be combined with --page-server: what is tried again would be sent twice";
	return s->rpc.lazy_pages ? "cannot be combined with --lazy-pages, for which the tasks stay stopped" : NULL;
}

static const char *refuse_exec(const struct settings *s, enum command c)
{
	if (c != COMMAND_RESTORE || !s->exec)
		return NULL;
	if (s->detached)
		return "cannot be combined with --restore-detached (-d)";
	return s->rpc.exec_cmd.nr ? NULL : "needs a command behind --";
}

/* The kernel has empty network namespaces only in the sense of this option; other bits are not defined. */
static const char *refuse_empty_ns(const struct settings *s, enum command c)
{
	if (!s->rpc.has_empty_ns || !(c & (D | R)))
		return NULL;
	if (s->rpc.empty_ns & ~0x40000000u)
		return "knows the network namespace only";
	return s->rpc.empty_ns ? "is not supported yet by this version" : NULL;
}

static const char *refuse_ps_socket(const struct settings *s, enum command c)
{
	return c & (S | L) && s->detached && s->has_ps_socket && s->ps_socket <= 2
		       ? "must be above 2 with --daemon: the standard descriptors are given up"
		       : NULL;
}

static const char *refuse_scan_paths(const struct settings *s, enum command c)
{
	if (!(c & (D | P)))
		return NULL;
	for (size_t i = 0; i < s->rpc.irmap_scan_paths.nr; i++)
		if (s->rpc.irmap_scan_paths.items[i][0] != '/')
			return "has a path that is not absolute";
	return NULL;
}

/* Where a page server listens, or is to be found. A socket that is connected already has no address. */
static const char *refuse_ps(const struct settings *s, enum command c)
{
	const rpc_criu_page_server_info *ps = s->rpc.ps;
	bool leaves = c == COMMAND_DUMP && s->rpc.has_lazy_pages && s->rpc.lazy_pages;
	bool serves = c == COMMAND_PAGE_SERVER || leaves, sends = c & (D | P | L) && !leaves;
	unsigned char addr[sizeof(struct in6_addr)];

	if (!ps || (!serves && !sends))
		return NULL;
	if (ps->has_fd && (ps->address || ps->has_port))
		return "has a socket (fd) and an address for one as well";
	if (ps->has_fd && fcntl(ps->fd, F_GETFD) < 0)
		return "has a socket (fd) that is not open";
	if (ps->has_port && (ps->port < 0 || ps->port > UINT16_MAX))
		return "has a port that is not in 0 to 65535";
	if (sends && !ps->has_fd && (!ps->has_port || ps->port == 0))
		return "has no port: where is the page server?";
	if (serves && ps->address && inet_pton(AF_INET, ps->address, addr) != 1 &&
	    inet_pton(AF_INET6, ps->address, addr) != 1)
		return "has an address that is neither IPv4 nor IPv6";
	return NULL;
}

const struct option_row option_table[] = {
	/* general */
	{ "images-dir", .letter = 'D', .value = "DIR", RPC_TEXT(images_dir), FOR(ALL),
	  .help = "directory of the images (default: the current one)" },
	{ "work-dir", .letter = 'W', .value = "DIR", OWN_TEXT(work_dir), FOR(ALL),
	  .help = "directory of the log, pidfile and statistics (default: that of the images)" },
	{ "log-file", .letter = 'o', .value = "FILE", RPC_TEXT(log_file), FOR(ALL),
	  .help = "write the log there, relative to the work directory; - is standard output (default: standard "
		  "error)" },
	{ "verbosity", .letter = 'v', .value = "N", .flags = OPTION_OPTIONAL | OPTION_AFTER_CONFIG, RPC_INT(log_level),
	  .set = option_set_verbosity, FOR(ALL), .min = INT32_MIN, .max = INT32_MAX,
	  .help = "log more: -v, -vv, or the level itself as in -v4: 1 errors, 2 warnings (default), 3 info, 4 debug" },
	{ "log-pid", NEG, OWN_FLAG(log_pid), FOR(R), LATER(R), .help = "a log for each restored process" },
	{ "pidfile", .value = "FILE", OWN_TEXT(pidfile), FOR(R | S | L | V),
	  .help = "write the pid of the root task or of the server there; the file must not exist" },
	{ "action-script", .value = "FILE", .kind = OPTION_TEXTS, AT(scripts), FOR(ALL),
	  .help = "run at each stage; may be repeated" },
	{ "config", .value = "FILE", .kind = OPTION_SPECIAL, NOWHERE, FOR(ALL),
	  .help = "read this configuration file instead of the default ones" },
	{ "no-default-config", .kind = OPTION_SPECIAL, NOWHERE, FOR(ALL),
	  .help = "do not read /etc/criu/default.conf and ~/.criu/default.conf" },
	{ "close", .value = "FD", .kind = OPTION_SPECIAL, NOWHERE, .set = option_set_close, FOR(ALL),
	  .help = "close this descriptor before doing anything" },
	{ "unprivileged", NEG, RPC_FLAG(unprivileged), FOR(ALL),
	  .help = "run without being root, with CAP_CHECKPOINT_RESTORE" },
	{ "user-mode", NEG, .kind = OPTION_FLAG, AT_HAS(rpc., unprivileged), FOR(ALL),
	  .help = "the same as --unprivileged" },
	{ "deprecated", NEG, OWN_FLAG(deprecated), FOR(ALL),
	  .help = "allow what is going to be removed (nothing at present)" },
	{ "json", OWN_FLAG(json), FOR(D | R | C), .help = "print the result as JSON on standard output" },
	{ "inject-stage", .value = "N", OWN_INT(inject_stage), .min = 0, .max = 1000, .flags = OPTION_HIDDEN,
	  FOR(D | R), .help = "for tests: fail at the n-th stage" },
	{ "ms", .kind = OPTION_SPECIAL, NOWHERE, .set = option_set_removed, .flags = OPTION_HIDDEN, FOR(ALL),
	  .help = "removed" },
	{ "help", .letter = 'h', .kind = OPTION_SPECIAL, AT(want_help), FOR(ALL), .help = "this text" },
	{ "version", .letter = 'V', .kind = OPTION_SPECIAL, AT(want_version), FOR(ALL), .help = "print the version" },
	{ "help-man", .kind = OPTION_SPECIAL, AT(want_man), .flags = OPTION_HIDDEN, FOR(ALL),
	  .help = "print the options as a section of a manual page" },

	/* dump and restore */
	{ "tree", .letter = 't', .value = "PID", RPC_INT(pid), .min = 1, .max = INT32_MAX, FOR(D | P | C),
	  .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "root of the process tree; with check: list what stands in the way of a dump" },
	{ "leave-running", .letter = 'R', RPC_FLAG(leave_running), .flags = OPTION_ONLY_TRUE, FOR(D),
	  .group = OPTION_GROUP_DUMP_RESTORE, .help = "let the tasks run on after the dump" },
	{ "snapshot", NEG, RPC_FLAG(snapshot), FOR(D), .refuse = refuse_snapshot, .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "write memory while the tasks run on, as it was at one instant; needs -R" },
	{ "leave-stopped", .letter = 's', RPC_FLAG(leave_stopped), .flags = OPTION_ONLY_TRUE, FOR(D | R),
	  .group = OPTION_GROUP_DUMP_RESTORE, .help = "leave the tasks stopped" },
	{ "restore-detached", .letter = 'd', NEG, OWN_FLAG(detached), FOR(R), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "leave once the tasks run; without it wait for them and exit as the root task does" },
	{ "restore-sibling", .letter = 'S', NEG, RPC_FLAG(rst_sibling), FOR(R), .refuse = refuse_sibling,
	  .group = OPTION_GROUP_DUMP_RESTORE, .help = "the root task becomes a child of the caller; needs -d" },
	{ "exec-cmd", OWN_FLAG(exec), FOR(R), .refuse = refuse_exec, .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "become the command behind -- once the tasks run, as their parent" },
	{ "shell-job", .letter = 'j', NEG, RPC_FLAG(shell_job), FOR(D | R), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "the tree belongs to a session or terminal outside of it" },
	{ "timeout", .value = "SECONDS", RPC_UINT(timeout), FOR(D | P), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "limit for freezing the tree, 0 is none (default: 10)" },
	{ "freeze-cgroup", .value = "PATH", RPC_TEXT(freeze_cgroup), FOR(D | P), LATER(D | P),
	  .group = OPTION_GROUP_DUMP_RESTORE, .help = "freezer group that holds the tree" },
	{ "cpu-cap", .value = "LIST", .flags = OPTION_OPTIONAL, RPC_UINT(cpu_cap), .set = option_set_cpu_cap,
	  FOR(D | R | U), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "processor checks: all, cpu, fpu, ins, none; ^ before a word removes it (default: fpu,ins)" },
	{ "display-stats", NEG, RPC_FLAG(display_stats), FOR(D | P | R), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "print statistics at the end" },
	{ "allow-uprobes", NEG, OWN_FLAG(allow_uprobes), FOR(D | R), .group = OPTION_GROUP_DUMP_RESTORE,
	  .help = "accept the mapping of uprobes" },
	{ "libdir", .letter = 'L', .value = "DIR", OWN_TEXT(libdir), FOR(D | R), LATER(D | R),
	  .group = OPTION_GROUP_DUMP_RESTORE, .help = "directory of plugins" },

	/* files, sockets and the like */
	{ "external", .value = "RES", RPC_TEXTS(external), .set = option_set_external, FOR(D | R),
	  .group = OPTION_GROUP_RESOURCES, .help = "a resource that is not part of the dump; may be repeated" },
	{ "inherit-fd", .value = "fd[N]:KEY", RPC_ITEMS(inherit_fd, rpc_inherit_fd), .set = option_set_inherit_fd,
	  FOR(R), .refuse = refuse_inherit_fd, .group = OPTION_GROUP_RESOURCES,
	  .help = "put an open descriptor in place of a dumped one; may be repeated" },
	{ "ext-unix-sk", .letter = 'x', .value = "INODES", .flags = OPTION_OPTIONAL, RPC_FLAG(ext_unix_sk),
	  .set = option_set_unix_sk, FOR(D | R), .group = OPTION_GROUP_RESOURCES,
	  .help = "allow connections to unix sockets outside of the tree, all or those listed" },
	{ "tcp-established", NEG, RPC_FLAG(tcp_established), FOR(D | R), .group = OPTION_GROUP_RESOURCES,
	  .help = "keep TCP connections" },
	{ "tcp-close", NEG, RPC_FLAG(tcp_close), FOR(D | R), .group = OPTION_GROUP_RESOURCES,
	  .help = "store and restore TCP connections as closed" },
	{ "skip-in-flight", NEG, RPC_FLAG(tcp_skip_in_flight), FOR(D), .group = OPTION_GROUP_RESOURCES,
	  .help = "leave out connections that are not accepted yet" },
	{ "network-lock", .value = "METHOD", RPC_WORD(network_lock, network_lock_words), FOR(D),
	  .group = OPTION_GROUP_RESOURCES,
	  .help = "how packets of connections are kept away: nftables (default; iptables does the same), skip" },
	{ "file-locks", .letter = 'l', NEG, RPC_FLAG(file_locks), FOR(D | R), .group = OPTION_GROUP_RESOURCES,
	  .help = "dump and restore file locks" },
	{ "link-remap", NEG, RPC_FLAG(link_remap), FOR(D), .group = OPTION_GROUP_RESOURCES,
	  .help = "give unlinked files that have other names a temporary one" },
	{ "ghost-limit", .value = "SIZE", RPC_UINT(ghost_limit), .set = option_set_ghost_limit, FOR(D),
	  .group = OPTION_GROUP_RESOURCES,
	  .help = "largest unlinked file to store, with K, M or G (default: any size)" },
	{ "ghost-fiemap", NEG, OWN_FLAG(ghost_fiemap), FOR(D), .group = OPTION_GROUP_RESOURCES,
	  .help = "find holes of unlinked files by their extents (default)" },
	{ "evasive-devices", NEG, RPC_FLAG(evasive_devices), FOR(R), .group = OPTION_GROUP_RESOURCES,
	  .help = "use another path of a device if the dumped one is gone" },
	{ "force-irmap", NEG, RPC_FLAG(force_irmap), FOR(D | P), .group = OPTION_GROUP_RESOURCES,
	  .help = "find the files of watches by path" },
	{ "irmap-scan-path", .value = "PATH", RPC_TEXTS(irmap_scan_paths), .refuse = refuse_scan_paths,
	  .flags = OPTION_AFTER_CONFIG, FOR(D | P), .group = OPTION_GROUP_RESOURCES,
	  .help = "where to look for them as well; may be repeated" },
	{ "file-validation", .value = "MODE", .kind = OPTION_WORD, AT_HAS(, file_validation), .words = validation_words,
	  FOR(D | R), .group = OPTION_GROUP_RESOURCES,
	  .help = "how mapped files are recognised: buildid (default) or filesize" },
	{ "skip-file-rwx-check", NEG, RPC_FLAG(skip_file_rwx_check), FOR(R), .group = OPTION_GROUP_RESOURCES,
	  .help = "do not compare permission bits of files" },

	/* namespaces, mounts, cgroups, security */
	{ "root", .letter = 'r', .value = "PATH", RPC_TEXT(root), FOR(D | R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "root directory of the restored mount namespace" },
	{ "ext-mount-map", .letter = 'M', .value = "KEY:VAL", .kind = OPTION_SPECIAL, NOWHERE,
	  .set = option_set_ext_mount, FOR(D | R), .group = OPTION_GROUP_NAMESPACES,
	  .help = "old form of --external mnt[KEY]:VAL; auto looks for them" },
	{ "enable-external-sharing", RPC_FLAG(ext_sharing), FOR(D | R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "mounts of outside may be peers of mounts outside" },
	{ "enable-external-masters", RPC_FLAG(ext_masters), FOR(D | R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "mounts of outside may be slaves of mounts outside" },
	{ "skip-mnt", .value = "PATH", RPC_TEXTS(skip_mnt), FOR(D),
	  .group = OPTION_GROUP_NAMESPACES, .help = "leave this mount out; may be repeated" },
	{ "enable-fs", .value = "NAMES", RPC_TEXTS(enable_fs), .set = option_set_enable_fs,
	  FOR(D | R), .group = OPTION_GROUP_NAMESPACES, .help = "unknown file systems to mount afresh, or all" },
	{ "mntns-compat-mode", NEG | OPTION_ONLY_TRUE | OPTION_AFTER_CONFIG | OPTION_DORMANT,
	  RPC_FLAG(mntns_compat_mode), FOR(R), .refuse = refuse_mntns_compat, .group = OPTION_GROUP_NAMESPACES,
	  .help = "restore mounts without move_mount()" },
	{ "veth-pair", .value = "IN=OUT", .kind = OPTION_SPECIAL, NOWHERE, .set = option_set_veth, FOR(R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "old form of --external veth[IN]:OUT" },
	{ "join-ns", .letter = 'J', .value = "NS:PLACE", RPC_ITEMS(join_ns, rpc_join_namespace),
	  .set = option_set_join_ns, FOR(R), LATER(R), .group = OPTION_GROUP_NAMESPACES,
	  .help = "enter the namespace of a pid or file; may be repeated" },
	{ "empty-ns", .value = "NS", RPC_UINT(empty_ns), .set = option_set_empty_ns, FOR(D | R),
	  .refuse = refuse_empty_ns, .group = OPTION_GROUP_NAMESPACES,
	  .help = "leave the content of the namespace (net) to others" },
	{ "weak-sysctls", NEG | OPTION_DORMANT, RPC_FLAG(weak_sysctls), FOR(R), .group = OPTION_GROUP_NAMESPACES,
	  .help = "tolerate sysctls that this kernel lacks" },
	{ "manage-cgroups", .value = "MODE", .rpc = "manage_cgroups_mode", .kind = OPTION_WORD,
	  AT_HAS(rpc., manage_cgroups_mode), .words = cgroup_words, .flags = OPTION_NEGATABLE | OPTION_OPTIONAL,
	  .set = option_set_cgroups, .refuse = refuse_cgroup_mode, FOR(D | R), .group = OPTION_GROUP_NAMESPACES,
	  .help = "none, props, soft (default), full, strict or ignore" },
	{ "cgroup-root", .value = "[CTRL:]PATH", RPC_ITEMS(cg_root, rpc_cgroup_root), .set = option_set_cgroup_root,
	  FOR(D | R), LATER(D | R), .group = OPTION_GROUP_NAMESPACES,
	  .help = "move the tree of groups below this one; may be repeated" },
	{ "cgroup-props", .value = "TEXT", RPC_TEXT(cgroup_props), FOR(D), LATER(D), .group = OPTION_GROUP_NAMESPACES,
	  .help = "further properties of groups" },
	{ "cgroup-props-file", .value = "FILE", RPC_TEXT(cgroup_props_file), FOR(D), LATER(D),
	  .group = OPTION_GROUP_NAMESPACES, .help = "the same from a file" },
	{ "cgroup-dump-controller", .value = "NAME", RPC_TEXTS(cgroup_dump_controller), FOR(D), LATER(D),
	  .group = OPTION_GROUP_NAMESPACES, .help = "only this controller; may be repeated" },
	{ "cgroup-yard", .value = "DIR", RPC_TEXT(cgroup_yard), FOR(D | R), LATER(D | R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "where the hierarchies are mounted" },
	{ "lsm-profile", .value = "TYPE:NAME", RPC_TEXT(lsm_profile), FOR(R), LATER(R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "security label in place of the dumped one" },
	{ "lsm-mount-context", .value = "CONTEXT", RPC_TEXT(lsm_mount_context), FOR(R), LATER(R),
	  .group = OPTION_GROUP_NAMESPACES, .help = "context= of mounts in place of the dumped one" },

	/* memory transfer */
	{ "prev-images-dir", .value = "PATH", RPC_TEXT(parent_img), .flags = OPTION_AFTER_CONFIG, FOR(D | P | S),
	  .group = OPTION_GROUP_MEMORY, .help = "images of the dump before, relative to -D" },
	{ "track-mem", NEG, RPC_FLAG(track_mem), FOR(D | P), .group = OPTION_GROUP_MEMORY,
	  .help = "track memory for a later dump" },
	{ "auto-dedup", NEG, RPC_FLAG(auto_dedup), FOR(D | P | R | S), .group = OPTION_GROUP_MEMORY,
	  .help = "free pages that are not needed any more, of earlier or restored images" },
	{ "pre-dump-mode", .value = "MODE", RPC_WORD(pre_dump_mode, pre_dump_words), FOR(P),
	  .group = OPTION_GROUP_MEMORY, .help = "splice (default) or read" },
	{ "page-server", NEG, OWN_FLAG(page_server), FOR(D | P | L), .group = OPTION_GROUP_MEMORY,
	  .help = "send pages to a page server; lazy-pages: fetch them there" },
	{ "lazy-pages", RPC_FLAG(lazy_pages), FOR(D | R | S), .group = OPTION_GROUP_MEMORY,
	  .help = "fetch memory when it is touched; dump: leave it with the tasks until it is fetched; page-server: give "
		  "pages of the images" },
	{ "checksums", NEG, OWN_FLAG(checksums), FOR(D | P | S | R), .group = OPTION_GROUP_MEMORY,
	  .help = "checksums of pages: made by dumps and page servers, compared by restores (default)" },
	{ "compress", NEG, RPC_FLAG(compress), FOR(D | P | S), .refuse = refuse_compress, .group = OPTION_GROUP_MEMORY,
	  .help = "store pages compressed (zstd), which CRIU cannot read; page-server: those that it receives" },
	{ "lazy", NEG, RPC_FLAG(lazy), FOR(R), .refuse = refuse_lazy, .group = OPTION_GROUP_MEMORY,
	  .help = "run at once, bring memory in when it is touched and behind that" },
	{ "stream", NEG, OWN_FLAG(stream), FOR(D | P | R | U), LATER(U), .refuse = refuse_stream,
	  .group = OPTION_GROUP_MEMORY, .help = "images through an image streamer" },
	{ "tls", NEG | OPTION_ONLY_TRUE, RPC_FLAG(tls), FOR(D | P | L | S), .group = OPTION_GROUP_MEMORY,
	  .help = "protect the connection to the page server" },
	{ "tls-cacert", .value = "FILE", .flags = OPTION_TLS, RPC_TEXT(tls_cacert), FOR(D | P | L | S),
	  .group = OPTION_GROUP_MEMORY, .help = "trusted certificate authority, for --tls" },
	{ "tls-cacrl", .value = "FILE", .flags = OPTION_TLS, RPC_TEXT(tls_cacrl), FOR(D | P | L | S),
	  .group = OPTION_GROUP_MEMORY, .help = "revocation list, for --tls" },
	{ "tls-cert", .value = "FILE", .flags = OPTION_TLS, RPC_TEXT(tls_cert), FOR(D | P | L | S),
	  .group = OPTION_GROUP_MEMORY, .help = "own certificate, for --tls" },
	{ "tls-key", .value = "FILE", .flags = OPTION_TLS, RPC_TEXT(tls_key), FOR(D | P | L | S),
	  .group = OPTION_GROUP_MEMORY, .help = "own private key, for --tls" },
	{ "tls-no-cn-verify", RPC_FLAG(tls_no_cn_verify), .flags = OPTION_ONLY_TRUE | OPTION_TLS, FOR(D | P | L | S),
	  .group = OPTION_GROUP_MEMORY, .help = "do not compare the host name, for --tls" },

	/* check */
	{ "feature", .value = "NAME", OWN_TEXT(feature), FOR(C), .group = OPTION_GROUP_CHECK,
	  .help = "only this feature of the kernel" },
	{ "extra", NEG, OWN_FLAG(extra), FOR(C), .group = OPTION_GROUP_CHECK,
	  .help = "also what only some trees need" },
	{ "experimental", NEG, OWN_FLAG(experimental), FOR(C), .group = OPTION_GROUP_CHECK,
	  .help = "also what is new" },
	{ "all", OWN_FLAG(all), FOR(C), .group = OPTION_GROUP_CHECK, .help = "--extra and --experimental" },

	/* servers */
	{ "daemon", .letter = 'd', NEG, OWN_FLAG(detached), FOR(S | L | V), .group = OPTION_GROUP_DAEMON,
	  .help = "go to the background" },
	{ "address", .value = "ADDRESS", OWN_TEXT(address), FOR(D | P | L | S | V), .group = OPTION_GROUP_DAEMON,
	  .help = "of the page server; path of the service's socket (default: /var/run/criu-service.socket)" },
	{ "legacy-address", .value = "PATH", .flags = OPTION_OPTIONAL, OWN_TEXT(legacy_address),
	  .set = option_set_legacy_address, FOR(V), .group = OPTION_GROUP_DAEMON,
	  .help = "a second socket, for clients of the first protocol of 2013 (/tmp/criu_service.socket without a "
		  "value)" },
	{ "port", .value = "PORT", OWN_INT(port), .min = 1, .max = 65535, FOR(D | P | L | S),
	  .group = OPTION_GROUP_DAEMON, .help = "of the page server" },
	{ "ps-socket", .value = "FD", OWN_INT(ps_socket), .min = 0, .max = INT32_MAX, FOR(D | P | L | S),
	  .refuse = refuse_ps_socket, .group = OPTION_GROUP_DAEMON, .help = "connected socket of the page server" },
	{ "status-fd", .value = "FD", OWN_INT(status_fd), .min = 0, .max = INT32_MAX, FOR(S | L | V | D),
	  .group = OPTION_GROUP_DAEMON, .help = "write a NUL byte there when the server is ready" },

	{ "journal", NEG, OWN_FLAG(journal), FOR(V), .group = OPTION_GROUP_DAEMON,
	  .help = "log of the service to the journal, requests with fields of their own; --no-journal: as text in any "
		  "case" },
	{ "max-message", .value = "BYTES", OWN_INT(max_message), .min = 4096, .max = 1 << 26, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "longest request that is read (default: 1048576)" },
	{ "max-workers", .value = "N", OWN_INT(max_workers), .min = 1, .max = 4096, FOR(V),
	  .group = OPTION_GROUP_DAEMON,
	  .help = "clients served at a time; an eighth of it is kept for root (default: 256)" },
	{ "max-user-workers", .value = "N", OWN_INT(max_user_workers), .min = 1, .max = 4096, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "of these, of one user other than root (default: 64)" },
	{ "max-clients", .value = "N", OWN_INT(max_clients), .min = 1, .max = 1 << 20, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "connections that have not asked for anything yet (default: 16384)" },
	{ "max-user-clients", .value = "N", OWN_INT(max_user_clients), .min = 1, .max = 1 << 20, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "of these, of one user other than root (default: 1024)" },
	{ "request-timeout", .value = "SECONDS", OWN_INT(request_timeout), .min = 1, .max = 86400, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "for a client's first request (default: 60)" },
	{ "idle-timeout", .value = "SECONDS", OWN_INT(idle_timeout), .min = 1, .max = 86400 * 7, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "between the requests of a client (default: 3600)" },
	{ "notify-timeout", .value = "SECONDS", OWN_INT(notify_timeout), .min = 1, .max = 86400, FOR(V),
	  .group = OPTION_GROUP_DAEMON, .help = "for a client to acknowledge a notification (default: 120)" },
	{ "stop-timeout", .value = "SECONDS", OWN_INT(stop_timeout), .min = 0, .max = 86400, FOR(V),
	  .group = OPTION_GROUP_DAEMON,
	  .help = "for requests to finish once the service is to end; then they are called off (default: 30)" },

	/* on the wire only */
	{ NULL, RPC_TEXTS(exec_cmd), FOR(R) },
	{ NULL, .rpc = "images_dir_fd", .kind = OPTION_SPECIAL, NOWHERE, .flags = OPTION_REPLACED, FOR(ALL) },
	{ NULL, RPC_INT(work_dir_fd), .flags = OPTION_REPLACED, FOR(ALL) },
	{ NULL, RPC_FLAG(log_to_stderr), FOR(ALL) },
	{ NULL, RPC_FLAG(notify_scripts), .flags = OPTION_ONLY_TRUE, FOR(ALL) },
	{ NULL, RPC_FLAG(orphan_pts_master), .flags = OPTION_ONLY_TRUE, FOR(R) },
	/* keeps pidfds between the rounds of a series of pre-dumps; a dump alone has no round before it */
	{ NULL, RPC_INT(pidfd_store_sk), .min = INT32_MIN, .max = INT32_MAX, .flags = OPTION_AFTER_CONFIG, FOR(D | P) },
	{ NULL, .rpc = "status_fd", .kind = OPTION_INT, AT_HAS(rpc., status_fd), .min = INT32_MIN, .max = INT32_MAX,
	  FOR(D | L | S) },
	{ NULL, .rpc = "config_file", .kind = OPTION_TEXT, AT(rpc.config_file), .flags = OPTION_REPLACED, FOR(ALL) },
	{ NULL, .rpc = "ps", .kind = OPTION_MESSAGE, AT(rpc.ps), FOR(D | P | L | S), .refuse = refuse_ps },
	{ NULL, .rpc = "veths", .kind = OPTION_ITEMS, AT(rpc.veths), .size = sizeof(rpc_criu_veth_pair),
	  .flags = OPTION_REPLACED, FOR(R) },
	{ NULL, .rpc = "ext_mnt", .kind = OPTION_ITEMS, AT(rpc.ext_mnt), .size = sizeof(rpc_ext_mount_map),
	  .flags = OPTION_REPLACED, FOR(D | R) },
	{ NULL, .rpc = "unix_sk_ino", .kind = OPTION_ITEMS, AT(rpc.unix_sk_ino), .size = sizeof(rpc_unix_sk),
	  .flags = OPTION_REPLACED, FOR(D | R) },
	{ NULL, .rpc = "manage_cgroups", .kind = OPTION_FLAG, AT_HAS(rpc., manage_cgroups), .flags = OPTION_REPLACED,
	  FOR(D | R) },
	{ NULL, RPC_FLAG(auto_ext_mnt), FOR(D | R) },
};

const size_t option_table_len = ARRAY_LEN(option_table);

static_assert(ARRAY_LEN(option_table) <= SETTINGS_ROWS_MAX, "settings remember the origin of every row");
