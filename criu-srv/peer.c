/* The client of a socket; see peer.h. */
#include "peer.h"

#include "base/array.h"
#include "base/error.h"
#include "base/own.h"
#include "options/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* newer than the oldest headers that this must compile with */
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* 4.13 */
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* 6.5 */
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* 5.3 */
#endif

/* Capabilities that a request of an untrusted client works with. None of them reaches files past their permissions. */
#define CAPS_COMMON (CAP_BIT(CAP_SYS_PTRACE) | CAP_BIT(CAP_CHECKPOINT_RESTORE) | CAP_BIT(CAP_KILL))
#define CAPS_SETID  (CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP))
/* of root's requests that read and write files alone: as its own processes do */
#define CAPS_FILES                                                                                      \
	(CAPS_COMMON | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_FOWNER) | \
	 CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_FSETID) | CAP_BIT(CAP_NET_BIND_SERVICE))
/* seccomp filters and page frame numbers are shown to administrators only */
#define CAPS_DUMP (CAPS_COMMON | CAP_BIT(CAP_SYS_ADMIN))
/* restored tasks start as ours and become the client's */
#define CAPS_RESTORE (CAPS_COMMON | CAPS_SETID)

static int read_groups(int sock, struct policy_client *who, struct cr_error *err)
{
	socklen_t len = 64 * sizeof(gid_t);

	for (;;) {
		autofree gid_t *list = malloc(len);
		int r;

		if (!list)
			return cr_fail(err, -ENOMEM, "groups of the client");
		r = getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0 ? -errno : 0;
		if (r == -ERANGE && len <= POLICY_GROUPS_MAX * sizeof(gid_t))
			continue; /* len says how much it takes */
		if (r < 0)
			return r == -ENOPROTOOPT ? 0 : cr_fail(err, r, "groups of the client");
		who->nr_groups = len / sizeof(gid_t);
		who->groups = take_ptr(&list);
		return 0;
	}
}

/*
 * Kernels before 6.5 have the number only: what it names now may have taken it over from the client since, which
 * peer_learn() finds out by the user as far as it can be found out. A client that has gone already has no process at all.
 */
static void open_pidfd(int sock, struct peer *p)
{
	socklen_t len = sizeof(p->pidfd);

	if (p->pid <= 0)
		return;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &p->pidfd, &len) == 0)
		return;
	p->pidfd = errno == ENOPROTOOPT ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
	if (p->pidfd < 0) {
		p->pidfd = -1;
		p->gone = true;
	}
}

int peer_read(int sock, bool spawned, struct peer *ret, struct cr_error *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*ret = (struct peer){ .pidfd = -1 };
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return cr_fail(err, -errno, "identity of the client");
	ret->pid = cred.pid;
	open_pidfd(sock, ret);
	/* who starts a program with rights of its own is judged by who he really is */
	ret->who.uid = spawned ? getuid() : cred.uid;
	ret->who.gid = spawned ? getgid() : cred.gid;
	ret->trusted = spawned ? !privilege_elevated() || getuid() == 0 : cred.uid == 0;
	ret->who.any = ret->trusted;
	ret->spawned = spawned;
	ret->equal = spawned && ret->trusted;
	return ret->equal ? 0 : read_groups(sock, &ret->who, err);
}

void peer_done(struct peer *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	free(p->who.groups);
	p->pidfd = -1;
	p->who.groups = NULL;
}

/*
 * The work is charged to the client: his cgroups are joined while this is still root.
 * A file system user id other than root also takes the capabilities away that go past file permissions
 * (capabilities(7), "Effect of user ID changes on capabilities"). They are taken out of the permitted set as well, so
 * that nothing can bring them back.
 */
static int assume_identity(const struct peer *p, struct cr_error *err)
{
	int r = p->pid > 0 ? cr_join_cgroups_of(p->pid, err) : 0;

	if (r == 0 && p->pid > 0)
		r = cr_inherit_from(p->pid, err);
	if (r < 0)
		return cr_within(err, r, "client %d", (int)p->pid);
	if (setgroups(p->who.nr_groups, p->who.groups) < 0)
		return cr_fail(err, -errno, "take over the groups of the client");
	setfsgid(p->who.gid);
	setfsuid(p->who.uid);
	/* these two return the former id, whether they succeed or not: asked again with an id that is never valid */
	if ((gid_t)setfsgid((gid_t)-1) != p->who.gid || (uid_t)setfsuid((uid_t)-1) != p->who.uid)
		return cr_refuse(err, -EPERM, "cannot take over the file system identity of the client");
	return 0;
}

/* The daemon sleeps with all of its capabilities permitted and none in effect: often there is nothing to change. */
static int set_caps(uint64_t permitted, bool awake)
{
	struct cap_sets caps, wanted;
	int r = caps_get(&caps);

	if (r < 0)
		return r;
	wanted = caps;
	wanted.permitted &= permitted;
	wanted.effective = awake ? wanted.permitted : 0;
	return memcmp(&wanted, &caps, sizeof(caps)) == 0 ? 0 : caps_set(&wanted);
}

/*
 * What is restored as part of a shell job takes part in the session of the one who restores it, and may have its terminal:
 * for root that is the daemon's, as it always was; anybody else would be able to type there.
 */
static int leave_terminal(struct cr_error *err)
{
	autofd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return cr_fail(err, -errno, "give up the terminal");
	setsid();
	return 0;
}

int peer_assume(const struct peer *p, struct cr_error *err)
{
	int r;

	if (p->equal)
		return 0;
	r = p->trusted || p->spawned ? 0 : leave_terminal(err);
	if (r < 0)
		return r;
	/* a program with file capabilities has its caller's groups and file system identity already */
	if (!p->trusted && (geteuid() != p->who.uid || geteuid() == 0)) {
		r = set_caps(UINT64_MAX, true);
		if (r < 0)
			return cr_fail(err, r, "wake up capabilities");
		r = assume_identity(p, err);
		if (r < 0)
			return r;
	}
	r = set_caps(p->trusted ? UINT64_MAX : CAPS_DUMP | CAPS_SETID, false);
	return r < 0 ? cr_fail(err, r, "put capabilities to sleep") : 0;
}

/*
 * Root of a container is not root of this machine: user 0 with a few capabilities, in namespaces of its own, who has
 * been given the socket would be let out by it. What makes root what it is are these, in our user namespace, in all of its
 * threads; and nothing that holds it in and not us.
 */
static bool is_root(const struct cr_who *w)
{
	const uint64_t needed = CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SYS_PTRACE) | CAP_BIT(CAP_DAC_OVERRIDE);

	if ((w->cap_eff & needed) != needed || w->other_user_ns || w->seccomp)
		return false;
	return !w->landlock || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

/* Asked only when something is at stake: it takes a look into procfs. */
static int judge_root(struct peer *p, struct cr_error *err)
{
	struct cr_who w;
	int r;

	if (p->equal || !p->trusted || p->judged || geteuid() != 0)
		return 0;
	if (p->pid <= 0)
		return cr_refuse(err, -ESRCH, "the client cannot be seen from this pid namespace");
	r = set_caps(UINT64_MAX, true);
	if (r < 0)
		return cr_fail(err, r, "wake up capabilities");
	r = cr_who_read_process(p->pid, &w, err);
	if (r == 0 && peer_is_gone(p))
		r = cr_refuse(err, -ESRCH, "client %d has gone", (int)p->pid);
	if (r < 0)
		return r;
	p->judged = true;
	if (is_root(&w))
		return 0;
	p->trusted = p->who.any = false;
	return peer_assume(p, err);
}

static uint64_t caps_of(const struct peer *p, enum peer_need need)
{
	static const uint64_t strangers[] = {
		[PEER_NEED_NOTHING] = 0,      [PEER_NEED_FILES] = CAPS_COMMON,    [PEER_NEED_PROBE] = CAPS_COMMON,
		[PEER_NEED_DUMP] = CAPS_DUMP, [PEER_NEED_RESTORE] = CAPS_RESTORE,
	};

	if (!p->trusted)
		return strangers[need];
	return need == PEER_NEED_NOTHING ? 0 : need == PEER_NEED_FILES ? CAPS_FILES : UINT64_MAX;
}

/*
 * The client may send signals to a process that is his, and his limits hold it: a core file with what the service has in
 * memory would be his as well, since it is also he who says how large it may be (prlimit(2)). What is raised by the
 * processor itself kills all the same.
 */
static int forbid_core_files(void)
{
	static const int signals[] = { SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGSYS };
	struct rlimit core;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || getrlimit(RLIMIT_CORE, &core) < 0)
		return -errno;
	/* the hard limit stays, tasks get theirs from the images */
	core.rlim_cur = 0;
	return setrlimit(RLIMIT_CORE, &core) < 0 ? -errno : 0;
}

/*
 * What is restored begins as a copy of this process. The kernel counts processes, pending signals and locked memory by
 * real user, and lets root have as many as it likes (copy_process() in kernel/fork.c): so this process becomes the
 * client's before any is made, and RLIMIT_NPROC and its like hold by themselves; they hold for what a series of dumps
 * leaves behind as well.
 *
 * As the client's it can look at itself in procfs, where a kernel is asked what it can do; and it can let tasks take their
 * descriptors out of it without CAP_SYS_PTRACE. For both it must be dumpable, which it is not since its ids changed
 * (commit_creds(), kernel/cred.c). It is out of reach for the client's other processes all the same, which lack its
 * capabilities (cap_ptrace_access_check(), security/commoncap.c).
 */
static int become_client(const struct peer *p)
{
	uid_t uid = p->who.uid;
	gid_t gid = p->who.gid;
	int r = forbid_core_files();

	if (r < 0)
		return r;
	/* a program with file capabilities is its caller's already, and may not be permitted to ask */
	if (getuid() != uid || geteuid() != uid || getgid() != gid || getegid() != gid) {
		if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(uid, uid, uid) < 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
			return -errno;
	}
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/*
 * Before any file is opened, options and logs included, a stranger's worker is his: sysctl files go by the effective user
 * and not by the one for files (test_perm() in fs/proc/proc_sysctl.c), and are open to root without any capability.
 *
 * For a dump or restore what it does not need is given up, since nothing follows but more of its own kind.
 * CAP_SETUID has nothing to do any more; with it, sockets could be restored in the name of others. Images name paths,
 * and CAP_SYS_PTRACE opens those that lead through /proc/PID of anybody: at restore it sleeps on until tasks are seized
 * (infect/trace-right.h).
 */
static int raise_for_stranger(const struct peer *p, enum peer_need need)
{
	bool final = need == PEER_NEED_DUMP || need == PEER_NEED_RESTORE;
	struct cap_sets caps;
	int r = caps_get(&caps);

	if (r < 0)
		return r;
	caps.effective = caps.permitted & CAPS_SETID;
	r = caps_set(&caps);
	if (r == 0)
		r = become_client(p);
	if (r < 0)
		return r;
	if (final)
		caps.permitted &= caps_of(p, need) & ~CAP_BIT(CAP_SETUID);
	caps.effective = caps.permitted & caps_of(p, need);
	if (need == PEER_NEED_RESTORE)
		caps.effective &= ~CAP_BIT(CAP_SYS_PTRACE);
	return caps_set(&caps);
}

static int raise_caps(const struct peer *p, enum peer_need need)
{
	struct cap_sets caps;
	int r;

	if (!p->trusted)
		return raise_for_stranger(p, need);
	r = caps_get(&caps);
	if (r < 0)
		return r;
	caps.effective = caps.permitted & caps_of(p, need);
	return caps_set(&caps);
}

int peer_raise(struct peer *p, enum peer_need need, struct cr_error *err)
{
	int r;

	if (p->equal || need == PEER_NEED_NOTHING)
		return 0; /* they sleep: peer_lower() comes before each request */
	p->awake = true;
	r = judge_root(p, err);
	if (r < 0)
		return r;
	r = raise_caps(p, need);
	return r < 0 ? cr_fail(err, r, "take over the rights of user %u", p->who.uid) : 0;
}

int peer_lower(struct peer *p)
{
	int r = p->equal || !p->awake ? 0 : set_caps(UINT64_MAX, false);

	p->awake = r < 0;
	return r;
}

uint64_t peer_doze(const struct peer *p)
{
	struct cap_sets caps;

	if (p->equal || caps_get(&caps) < 0)
		return 0;
	set_caps(UINT64_MAX, false);
	return caps.effective;
}

void peer_wake(const struct peer *p, uint64_t awake)
{
	struct cap_sets caps;

	if (p->equal || caps_get(&caps) < 0)
		return;
	caps.effective = awake;
	caps_set(&caps);
}

bool peer_is_gone(const struct peer *p)
{
	struct pollfd pfd = { .fd = p->pidfd, .events = POLLIN };

	return p->gone || (p->pidfd >= 0 && poll(&pfd, 1, 0) > 0);
}

int peer_open_dir(const struct peer *p, int fd, const char *what, struct cr_error *err)
{
	autofd int dir = -1;
	char path[64];

	if (p->pid <= 0)
		return cr_refuse(err, -ESRCH, "%s: the client cannot be seen from this pid namespace", what);
	if (fd < 0)
		return cr_refuse(err, -EBADF, "%s: descriptor %d", what, fd);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, fd);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY);
	if (dir < 0) {
		int r = cr_fail(err, -errno, "%s: descriptor %d of client %d", what, fd, (int)p->pid);

		if (r == -EACCES)
			cr_advise(err, "the client must be able to read it; one that is not dumpable (prctl(2)) names "
				       "its path instead");
		return r;
	}
	/* alive after the open means that the pid was not somebody else's before it */
	if (peer_is_gone(p))
		return cr_refuse(err, -ESRCH, "%s: client %d has gone", what, (int)p->pid);
	return take_fd(&dir);
}

/* In a user namespace of its own it is out of sight but for who may trace everybody. */
static int look_at_client(struct peer *p, struct cr_error *err)
{
	struct cap_sets caps, more;
	int r = caps_get(&caps);

	more = caps;
	more.effective |= caps.permitted & CAP_BIT(CAP_SYS_PTRACE);
	if (r == 0)
		r = caps_set(&more);
	if (r < 0)
		return cr_fail(err, r, "wake up capabilities");
	r = policy_read_client(p->pid, &p->who, err);
	caps_set(&caps);
	return r;
}

int peer_learn(struct peer *p, struct cr_error *err)
{
	int r;

	if (p->trusted || p->learned)
		return 0;
	if (p->pid <= 0)
		return cr_refuse(err, -ESRCH, "the client cannot be seen from this pid namespace");
	r = look_at_client(p, err);
	if (r == 0 && peer_is_gone(p))
		r = cr_refuse(err, -ESRCH, "client %d has gone", (int)p->pid);
	if (r == 0)
		r = policy_serve(&p->who, err);
	p->learned = r == 0;
	return r;
}
