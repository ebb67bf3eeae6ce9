/* Who may do what; see policy.h. */
#include "policy.h"

#include "base/array.h"
#include "base/error.h"
#include "base/own.h"
#include "options/privilege.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

static int refuse(struct cr_error *err, const char *why)
{
	cr_refuse(err, -EPERM, "%s", why);
	cr_advise(err, "ask as root, or as the user to whom the whole tree belongs");
	return -EPERM;
}

static int refuse_caged(struct cr_error *err, const char *why, const char *hint)
{
	cr_refuse(err, -EPERM, "%s", why);
	cr_advise(err, "%s", hint);
	return -EPERM;
}

/*
 * Landlock: a domain shows nowhere. Neither procfs, nor SO_PEERSEC, nor the ioctls of a pidfd tell of one (Linux 6.18), and the
 * kernel asks for it only when its own task does something (security/landlock/task.c, fs.c): a stranger could find out no
 * other way than by having the client itself try what a domain forbids. It is entered with no_new_privs, or else with
 * CAP_SYS_ADMIN in the task's user namespace (landlock_restrict_self(2)), and stays when rights are given up. So no_new_privs
 * is taken for a domain; one that a privileged parent has put its child in without it is not noticed.
 */
int policy_serve(const struct policy_client *c, struct cr_error *err)
{
	if (c->any)
		return 0;
	if (c->ended)
		return refuse_caged(err, "the client's first thread has ended, so that nothing tells where it lives",
				    "ask from a process whose first thread goes on");
	if (c->elsewhere)
		return refuse_caged(err, "the client lives in other namespaces or below another root than the service",
				    "run the service where the client is");
	if (c->labelled)
		return refuse_caged(
			err,
			"the client has another security label than the service, and what is done for it would "
			"have that one's",
			"ask from a process with the label of the service, or as root");
	if (c->seccomp)
		return refuse_caged(err, "the client is confined by seccomp, and what is done for it would not be",
				    "ask from a process without seccomp filters");
	if (c->landlock)
		return refuse_caged(
			err,
			"the client has no_new_privs: it may be in a Landlock domain, and what is done for it "
			"would not be",
			"ask from a process without no_new_privs: nothing shows who is in a domain");
	return 0;
}

/* It would listen, and read what strangers send, with more rights than a page server that the client starts by itself. */
int policy_page_server(const struct policy_client *c, struct cr_error *err)
{
	return c->any ? 0
		      : refuse_caged(err, "page servers are started for root only",
				     "run \"criu page-server\": as one's own process it needs no rights");
}

/*
 * What the kernel asks of a tracer without CAP_SYS_PTRACE: real, effective and saved ids are its own, the tracee is
 * dumpable and has no capability that the tracer lacks. ptrace(2), "Ptrace access mode checking".
 */
int policy_dump(const struct policy_client *c, const struct cr_who *t, struct cr_error *err)
{
	if (c->any)
		return 0;
	if (c->seccomp)
		return refuse(err, "the client is confined by seccomp");
	if (t->other_user_ns || c->elsewhere)
		return refuse(err, "the process lives in another user namespace");
	for (int i = 0; i < 4; i++)
		if (t->uid[i] != c->uid)
			return refuse(err, "the process belongs to another user");
	for (int i = 0; i < 4; i++)
		if (t->gid[i] != c->gid)
			return refuse(err, "the process has another group");
	if (t->cap_prm & ~c->cap_eff)
		return refuse(err, "the process has capabilities that the client lacks");
	if (!t->dumpable)
		return refuse(err, "the process is marked as not dumpable");
	return 0;
}

/*
 * Documentation/admin-guide/LSM/Yama.rst: 1, descendants only; 2, with CAP_SYS_PTRACE only; 3, nobody. Whom a process has
 * named by PR_SET_PTRACER nobody can ask.
 */
int policy_trace(const struct policy_client *c, bool below, struct cr_error *err)
{
	if (c->any || c->yama <= 0 || (c->yama == 1 && below) || (c->yama < 3 && c->cap_eff & CAP_BIT(CAP_SYS_PTRACE)))
		return 0;
	cr_refuse(err, -EPERM, "kernel.yama.ptrace_scope is %d, and the client may not trace the process", c->yama);
	cr_advise(err, "ask as root, or from the process that has started it");
	return -EPERM;
}

static bool has_group(const struct policy_client *c, uint32_t gid)
{
	if (c->gid == gid)
		return true;
	for (size_t i = 0; i < c->nr_groups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

static bool caps_within(const struct proto_u32_vec *words, uint64_t limit)
{
	for (size_t i = 0; i < words->nr; i++) {
		uint32_t allowed = i < 2 ? (uint32_t)(limit >> 32 * i) : 0;

		if (words->items[i] & ~allowed)
			return false;
	}
	return true;
}

/*
 * A file may be closed to a group and open to everybody else, and none but CAP_SETGID lets a process leave a group for that
 * reason (user_namespaces(7), setgroups). What a process is in: the gid for files, and the list.
 */
static bool is_in(const img_creds_entry *e, uint32_t gid)
{
	if (e->fsgid == gid)
		return true;
	for (size_t i = 0; i < e->groups.nr; i++)
		if (e->groups.items[i] == gid)
			return true;
	return false;
}

static bool leaves_group(const struct policy_client *c, const img_creds_entry *e)
{
	for (size_t i = 0; i < c->nr_groups; i++)
		if (!is_in(e, c->groups[i]))
			return true;
	return !is_in(e, c->gid);
}

static int check_ids(const struct policy_client *c, const img_creds_entry *e, struct cr_error *err)
{
	const uint32_t uids[] = { e->uid, e->euid, e->suid, e->fsuid }, gids[] = { e->gid, e->egid, e->sgid, e->fsgid };

	for (int i = 0; i < 4; i++)
		if (uids[i] != c->uid)
			return refuse(err, "the images hold a process of another user");
	for (int i = 0; i < 4; i++)
		if (!has_group(c, gids[i]))
			return refuse(err, "the images hold a process of a group that the client is not in");
	for (size_t i = 0; i < e->groups.nr; i++)
		if (!has_group(c, e->groups.items[i]))
			return refuse(err, "the images hold a process with a group that the client is not in");
	if (leaves_group(c, e))
		return refuse(err, "the images hold a process outside of a group of the client, which may be there to "
				   "keep him away from something");
	return 0;
}

/*
 * A restored process does not inherit from the client but from the service: whatever holds the client in must be asked
 * for here, or a restore would be a way out of it.
 */
int policy_restore(const struct policy_client *c, const img_creds_entry *e, struct cr_error *err)
{
	int r;

	if (c->any)
		return 0;
	if (c->seccomp)
		return refuse(err, "the client is confined by seccomp, and the restored processes would not be");
	if (c->elsewhere)
		return refuse(err, "the client lives in other namespaces or below another root than the service");
	if (c->labelled)
		return refuse(err, "the client has another security label than the restored processes would have");
	r = check_ids(c, e, err);
	if (r < 0)
		return r;
	if (!caps_within(&e->cap_prm, c->cap_eff) || !caps_within(&e->cap_eff, c->cap_eff) ||
	    !caps_within(&e->cap_inh, c->cap_eff) || !caps_within(&e->cap_amb, c->cap_eff))
		return refuse(err, "the images hold a process with capabilities that the client lacks");
	if (!caps_within(&e->cap_bnd, c->cap_bnd))
		return refuse(err, "the images hold a process with a wider bounding set than the client's");
	if (e->secbits)
		return refuse(err, "the images hold a process with securebits");
	if (c->no_new_privs && !(e->has_no_new_privs && e->no_new_privs))
		return refuse(err, "the client cannot gain privileges, and the restored processes could");
	if (e->lsm_profile || e->lsm_sockcreate)
		return refuse(err, "the images hold a process with a security label of its own");
	return 0;
}

static int read_yama(int *ret, struct cr_error *err)
{
	autofd int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (fd < 0 && errno == ENOENT) {
		*ret = 0;
		return 0;
	}
	if (fd < 0 || read(fd, &c, 1) != 1)
		return cr_fail(err, -errno, "read kernel.yama.ptrace_scope");
	*ret = c - '0';
	return 0;
}

int policy_read_client(pid_t pid, struct policy_client *c, struct cr_error *err)
{
	struct cr_who w;
	int r = cr_who_read_process(pid, &w, err);

	if (r < 0)
		return r;
	if (w.uid[1] != c->uid)
		return cr_refuse(err, -ESRCH, "process %d is not the client's any more", (int)pid);
	/*
	 * Who has become another program since it connected may have capabilities of that program (capabilities(7), "File
	 * capabilities"), and somebody else, who holds its connection, would ask with them. The kernel tells of such a process
	 * that it is none of its user's: commit_creds() in kernel/cred.c, when a capability is new. Ambient ones are not.
	 */
	c->cap_eff = w.dumpable ? w.cap_eff : 0;
	c->cap_bnd = w.cap_bnd;
	c->no_new_privs = w.no_new_privs;
	c->seccomp = w.seccomp;
	c->landlock = w.landlock;
	c->ended = w.ended;
	c->elsewhere = w.other_ns || w.other_root;
	c->labelled = w.other_label;
	c->pid = pid;
	return read_yama(&c->yama, err);
}

int policy_may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err)
{
	const struct policy_client *c = arg;
	struct cr_who t;
	int r;

	if (c->any)
		return 0;
	r = cr_who_read(pid, tid, &t, err);
	if (r == 0)
		r = policy_dump(c, &t, err);
	if (r == 0 && c->yama > 0) {
		r = cr_is_below(pid, c->pid, err);
		r = r < 0 ? r : policy_trace(c, r, err);
	}
	return cr_within(err, r, "pid %d", (int)tid);
}

int policy_may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err)
{
	return policy_restore(arg, creds, err);
}

/* By the name on the command line and in files; by the one on the wire where there is no other. */
static const struct {
	const char *name;
	uint8_t class; /* enum policy_class */
} options[] = {
	/* the client's directories, and files in them */
	{ "images-dir", POLICY_FILES },
	{ "images_dir_fd", POLICY_FILES },
	{ "work-dir", POLICY_FILES },
	{ "work_dir_fd", POLICY_FILES },
	{ "log-file", POLICY_FILES },
	{ "log-pid", POLICY_FILES },
	{ "pidfile", POLICY_FILES },
	{ "config_file", POLICY_FILES },
	{ "prev-images-dir", POLICY_FILES },
	{ "auto-dedup", POLICY_FILES },
	{ "stream", POLICY_FILES },
	{ "lazy-pages", POLICY_FILES },
	{ "link-remap", POLICY_FILES },
	{ "evasive-devices", POLICY_FILES },
	{ "force-irmap", POLICY_FILES },
	{ "irmap-scan-path", POLICY_FILES },
	{ "status_fd", POLICY_FILES },
	{ "pidfd_store_sk", POLICY_FILES },

	/* how its own tree is treated */
	{ "tree", POLICY_ANYONE },
	{ "verbosity", POLICY_ANYONE },
	{ "leave-running", POLICY_ANYONE },
	{ "snapshot", POLICY_ANYONE },
	{ "leave-stopped", POLICY_ANYONE },
	{ "restore-detached", POLICY_ANYONE },
	{ "shell-job", POLICY_ANYONE },
	{ "timeout", POLICY_ANYONE },
	{ "cpu-cap", POLICY_ANYONE },
	{ "display-stats", POLICY_ANYONE },
	{ "allow-uprobes", POLICY_ANYONE },
	{ "ext-unix-sk", POLICY_ANYONE },
	{ "unix_sk_ino", POLICY_ANYONE },
	{ "external", POLICY_ANYONE }, /* kinds of it that reach further are told apart below */
	{ "tcp-close", POLICY_ANYONE },
	{ "skip-in-flight", POLICY_ANYONE },
	{ "network-lock", POLICY_ANYONE },
	{ "file-locks", POLICY_ANYONE },
	{ "ghost-limit", POLICY_ANYONE },
	{ "ghost-fiemap", POLICY_ANYONE },
	{ "checksums", POLICY_ANYONE },
	{ "compress", POLICY_ANYONE },
	{ "file-validation", POLICY_ANYONE },
	{ "skip-file-rwx-check", POLICY_ANYONE },
	{ "track-mem", POLICY_ANYONE },
	{ "pre-dump-mode", POLICY_ANYONE },
	{ "notify_scripts", POLICY_ANYONE },
	{ "orphan_pts_master", POLICY_ANYONE },
	{ "manage-cgroups", POLICY_ANYONE }, /* writes with its identity: to groups that were given to it */
	{ "manage_cgroups", POLICY_ANYONE },
	{ "weak-sysctls", POLICY_ANYONE },
	{ "inject-stage", POLICY_ANYONE },

	/* without a meaning for requests, so that one file can serve the command line as well */
	{ "config", POLICY_ANYONE },
	{ "no-default-config", POLICY_ANYONE },
	{ "unprivileged", POLICY_ANYONE },
	{ "user-mode", POLICY_ANYONE },
	{ "deprecated", POLICY_ANYONE },
	{ "json", POLICY_ANYONE },
	{ "ms", POLICY_ANYONE },
	{ "help", POLICY_ANYONE },
	{ "version", POLICY_ANYONE },
	{ "help-man", POLICY_ANYONE },
	{ "feature", POLICY_ANYONE },
	{ "extra", POLICY_ANYONE },
	{ "experimental", POLICY_ANYONE },
	{ "all", POLICY_ANYONE },
	{ "daemon", POLICY_ANYONE },
	{ "legacy-address", POLICY_ANYONE },
	{ "journal", POLICY_ANYONE },
	{ "max-message", POLICY_ANYONE },
	{ "max-workers", POLICY_ANYONE },
	{ "max-user-workers", POLICY_ANYONE },
	{ "max-clients", POLICY_ANYONE },
	{ "max-user-clients", POLICY_ANYONE },
	{ "request-timeout", POLICY_ANYONE },
	{ "idle-timeout", POLICY_ANYONE },
	{ "notify-timeout", POLICY_ANYONE },
	{ "stop-timeout", POLICY_ANYONE },

	/* programs that are run, with the rights of the service */
	{ "action-script", POLICY_ROOT },
	{ "exec-cmd", POLICY_ROOT },
	{ "exec_cmd", POLICY_ROOT },
	{ "libdir", POLICY_ROOT },

	/* leaves a process behind that has the rights of the service */
	{ "lazy", POLICY_ROOT },

	/* the log of the service */
	{ "log_to_stderr", POLICY_ROOT },

	/* the network where the service is, which need not be where the client is */
	{ "tcp-established", POLICY_ROOT },
	{ "page-server", POLICY_ROOT },
	{ "ps", POLICY_ROOT },
	{ "address", POLICY_ROOT },
	{ "port", POLICY_ROOT },
	{ "tls", POLICY_ROOT },
	{ "tls-cacert", POLICY_ROOT },
	{ "tls-cacrl", POLICY_ROOT },
	{ "tls-cert", POLICY_ROOT },
	{ "tls-key", POLICY_ROOT },
	{ "tls-no-cn-verify", POLICY_ROOT },

	/* mounts, namespaces, groups and labels of the system */
	{ "root", POLICY_ROOT },
	{ "ext-mount-map", POLICY_ROOT },
	{ "ext_mnt", POLICY_ROOT },
	{ "auto_ext_mnt", POLICY_ROOT },
	{ "enable-external-sharing", POLICY_ROOT },
	{ "enable-external-masters", POLICY_ROOT },
	{ "skip-mnt", POLICY_ROOT },
	{ "enable-fs", POLICY_ROOT },
	{ "mntns-compat-mode", POLICY_ROOT },
	{ "veth-pair", POLICY_ROOT },
	{ "veths", POLICY_ROOT },
	{ "join-ns", POLICY_ROOT },
	{ "empty-ns", POLICY_ROOT },
	{ "freeze-cgroup", POLICY_ROOT },
	{ "cgroup-root", POLICY_ROOT },
	{ "cgroup-props", POLICY_ROOT },
	{ "cgroup-props-file", POLICY_ROOT },
	{ "cgroup-dump-controller", POLICY_ROOT },
	{ "cgroup-yard", POLICY_ROOT },
	{ "lsm-profile", POLICY_ROOT },
	{ "lsm-mount-context", POLICY_ROOT },

	/* the process that serves */
	{ "restore-sibling", POLICY_SPAWNED },
	{ "inherit-fd", POLICY_SPAWNED },
	{ "ps-socket", POLICY_SPAWNED },
	{ "status-fd", POLICY_SPAWNED },
	{ "close", POLICY_SPAWNED },
};

enum policy_class policy_of(const struct option_row *row)
{
	const char *name = row->name ? row->name : row->rpc;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (strcmp(options[i].name, name) == 0)
			return (enum policy_class)options[i].class;
	return POLICY_NONE;
}

/* Things that the client has open are its own; mounts, devices, namespaces and links are not. */
static bool is_own_kind(const char *external)
{
	static const char *const kinds[] = { "file[", "tty[", "unix[", "pipe[" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strncmp(external, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

static int gate_allow(const struct option_gate *gate, const struct option_row *row, bool off, struct cr_error *err)
{
	const struct policy_gate *g = (const struct policy_gate *)gate;
	const char *name = row->rpc ? row->rpc : row->name;
	enum policy_class class = policy_of(row);

	if (class == POLICY_SPAWNED && g->daemon)
		return cr_refuse(err, -EINVAL, "option %s of the request can be used with swrk only", name);
	if (g->trusted || (class == POLICY_ROOT && off))
		return 0;
	if (class == POLICY_NONE || class == POLICY_ROOT) {
		cr_refuse(err, -EPERM, "option %s of the request is for root only", name);
		cr_advise(err, "ask as root, or leave the option out");
		return -EPERM;
	}
	return 0;
}

static int gate_allow_text(const struct option_gate *gate, const struct option_row *row, const char *text,
			   struct cr_error *err)
{
	const struct policy_gate *g = (const struct policy_gate *)gate;

	if (g->trusted || !row->rpc)
		return 0;
	/* the output of the service, as with log_to_stderr */
	if (g->daemon && strcmp(row->rpc, "log_file") == 0 && strcmp(text, "-") == 0)
		return cr_refuse(err, -EPERM, "option log_file of the request: standard output is for root only");
	if (strcmp(row->rpc, "external") == 0 && !is_own_kind(text))
		return cr_refuse(err, -EPERM, "option external of the request: %.64s is for root only", text);
	return 0;
}

void policy_gate_init(struct policy_gate *g, bool daemon, bool trusted)
{
	*g = (struct policy_gate){ .gate = { gate_allow, gate_allow_text }, .daemon = daemon, .trusted = trusted };
}
