/*
 * What cannot be saved yet. The dump has to fail and name what stands in the way, all of it, and the victim goes on
 * unharmed. When a kind becomes supported, its row loses .refuse and gets a check.
 */
#include "victim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int a = -1, pair[2], tcp[3];
static pid_t kid;

static void set_up_tcp(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
	need(bind(tcp[0], (struct sockaddr *)&addr, len) == 0 && listen(tcp[0], 5) == 0);
	need(getsockname(tcp[0], (struct sockaddr *)&addr, &len) == 0);
	tcp[1] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(tcp[1], (struct sockaddr *)&addr, len) == 0);
	tcp[2] = accept(tcp[0], NULL, NULL);
	need(tcp[2] >= 0 && write(tcp[1], "over", 4) == 4);
}

static void check_tcp(void)
{
	char text[8] = "";

	expect(read(tcp[2], text, 4) == 4 && strcmp(text, "over") == 0, "data is %s", text);
	expect(write(tcp[2], "back", 4) == 4 && read(tcp[1], text, 4) == 4 && strcmp(text, "back") == 0, "answer is %s",
	       text);
}

/* an answer that nobody has read */
static void set_up_netlink(void)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
	} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };

	need((a = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) >= 0 && send(a, &q, sizeof(q), 0) == sizeof(q));
}

static void set_up_packet(void)
{
	struct tpacket_req3 r = { .tp_block_size = 4096,
				  .tp_block_nr = 2,
				  .tp_frame_size = 2048,
				  .tp_frame_nr = 4,
				  .tp_sizeof_priv = 64 };
	int version = TPACKET_V3;

	if ((a = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(setsockopt(a, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	need(setsockopt(a, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)) == 0);
}

static void set_up_unix(void)
{
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	need(write(pair[0], "unix", 4) == 4);
}

static void check_unix(void)
{
	char text[8] = "";
	expect(read(pair[1], text, 4) == 4 && strcmp(text, "unix") == 0, "data is %s", text);
}

static void set_up_epoll(void)
{
	struct epoll_event ev = { .events = EPOLLIN };

	need(pipe(pair) == 0 && (a = epoll_create1(0)) >= 0 && epoll_ctl(a, EPOLL_CTL_ADD, pair[0], &ev) == 0);
	need(write(pair[1], "x", 1) == 1);
}

static void check_epoll(void)
{
	struct epoll_event ev;
	expect(epoll_wait(a, &ev, 1, 0) == 1, "epoll_wait");
}

static void set_up_inotify(void)
{
	need((a = inotify_init1(IN_NONBLOCK)) >= 0 && inotify_add_watch(a, victim_path(""), IN_ATTRIB) >= 0);
}

static void check_inotify(void)
{
	char events[4096];

	(void)!read(a, events, sizeof(events));
	need(chmod(victim_path(""), 0777) == 0);
	expect(read(a, events, sizeof(events)) > 0, "the watch is lost");
}

static void set_up_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && (a = signalfd(-1, &set, SFD_NONBLOCK)) >= 0);
	raise(SIGUSR1);
}

static void check_signalfd(void)
{
	struct signalfd_siginfo info = { 0 };
	expect(read(a, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR1, "signal %u", info.ssi_signo);
}

static void set_up_timerfd(void)
{
	struct itimerspec it = { { 0, 200000000 }, { 0, 300000000 } };
	need((a = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0 && timerfd_settime(a, 0, &it, NULL) == 0);
}

static void check_timerfd(void)
{
	uint64_t times = 0;
	struct itimerspec it;
	expect(read(a, &times, 8) == 8 && times > 0, "the timer does not fire");
	expect(timerfd_gettime(a, &it) == 0 && it.it_interval.tv_nsec == 200000000, "interval");
}

static void set_up_userfaultfd(void)
{
	if ((a = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)) < 0)
		victim_skip("userfaultfd: %s", strerror(errno));
}

static void set_up_io_uring(void)
{
	char params[120] = { 0 };

	if ((a = (int)syscall(425, 4, params)) < 0)
		victim_skip("io_uring: %s", strerror(errno));
}

static void set_up_pidfd(void)
{
	need((a = (int)syscall(SYS_pidfd_open, getpid(), 0)) >= 0);
}

static void check_pidfd(void)
{
	expect(syscall(SYS_pidfd_send_signal, a, 0, NULL, 0) == 0, "the pidfd is of nobody");
}

static void set_up_memfd_secret(void)
{
	if ((a = (int)syscall(447, 0)) < 0)
		victim_skip("memfd_secret: %s", strerror(errno));
	need(ftruncate(a, 4096) == 0);
	need(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0) != MAP_FAILED);
}

/* --- processes that share more than a dump can tell apart, or live elsewhere */

static char child_stack[65536] __attribute__((aligned(16)));

static int shares(void *arg)
{
	victim_wait();
	return 0;
}

static void clone_with(int flags)
{
	kid = clone(shares, child_stack + sizeof(child_stack), flags | SIGCHLD, NULL);
	need(kid >= 0);
	sleep_ms(20);
}

static void set_up_shared_vm(void)
{
	clone_with(CLONE_VM);
}
static void set_up_shared_fs(void)
{
	clone_with(CLONE_FS);
}
static void set_up_shared_sighand(void)
{
	clone_with(CLONE_VM | CLONE_SIGHAND);
}
static void set_up_own_uts(void)
{
	clone_with(CLONE_NEWUTS);
}
static void set_up_own_mnt(void)
{
	clone_with(CLONE_NEWNS);
}
static void set_up_own_net(void)
{
	clone_with(CLONE_NEWNET);
}
static void set_up_own_ipc(void)
{
	clone_with(CLONE_NEWIPC);
}
static void set_up_own_pid(void)
{
	clone_with(CLONE_NEWPID);
}
static void set_up_own_user(void)
{
	clone_with(CLONE_NEWUSER);
}
static void set_up_own_cgroup(void)
{
	clone_with(CLONE_NEWCGROUP);
}

/* Two that a process does not enter itself: its children will be in them, those that it has by now or those to come. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static void waits(long arg)
{
	victim_hold();
}

static void in_other_time(long arg)
{
	if (unshare(CLONE_NEWTIME) < 0)
		victim_skip("time namespaces: %s", strerror(errno));
	pid_t inner = victim_fork(waits, 0);
	victim_hold();
	victim_reap(inner);
}

static void set_up_own_time(void)
{
	kid = victim_fork(in_other_time, 0);
}

static void others_to_come(long flag)
{
	if (unshare((int)flag) < 0)
		victim_skip("namespace for children: %s", strerror(errno));
	victim_hold();
}

static void set_up_time_to_come(void)
{
	kid = victim_fork(others_to_come, CLONE_NEWTIME);
}

static void set_up_pid_to_come(void)
{
	kid = victim_fork(others_to_come, CLONE_NEWPID);
}

static void check_kid(void)
{
	if (kid)
		victim_reap(kid);
}

static unsigned long thread;

static void *own_files(void *arg)
{
	need(unshare(CLONE_FILES) == 0);
	victim_thread_ready();
	victim_wait();
	return NULL;
}

static void set_up_thread_files(void)
{
	thread = victim_thread(own_files, NULL);
}
static void check_thread(void)
{
	victim_join(thread);
}

static void traced(long arg)
{
	need(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	victim_hold();
}

static void set_up_traced(void)
{
	kid = victim_fork(traced, 0);
}

static void set_up_seccomp(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, code };

	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		victim_skip("seccomp: %s", strerror(errno));
}

static void check_seccomp(void)
{
	expect(prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER, "the filter is lost");
}

/* all at once, in two processes: one error names every one of them */
static void second(long arg)
{
	set_up_netlink();
	victim_hold();
}

/* Nothing but a way to the object, which opens as no other: neither it nor what it leads to may come in its place. */
static int path_fd;

static void set_up_path_of(int fd)
{
	char path[40];

	need(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	need((path_fd = open(path, O_PATH)) >= 0);
}

static void set_up_path_of_epoll(void)
{
	set_up_path_of(epoll_create1(0));
}

static void set_up_path_of_signalfd(void)
{
	sigset_t none;

	sigemptyset(&none);
	set_up_path_of(signalfd(-1, &none, 0));
}

static void check_path_of(void)
{
	expect(fcntl(path_fd, F_GETFL) & O_PATH, "flags are %o", fcntl(path_fd, F_GETFL));
}

static void set_up_several(void)
{
	set_up_tcp();
	set_up_unix();
	set_up_packet();
	kid = victim_fork(second, 0);
}

static void check_several(void)
{
	check_tcp();
	check_unix();
	victim_reap(kid);
}

const struct victim_case victim_cases[] = {
	{ "tcp", set_up_tcp, check_tcp, .refuse = "TCP|--tcp-close" },
	{ "epoll", set_up_epoll, check_epoll },
	{ "inotify", set_up_inotify, check_inotify },
	{ "signalfd", set_up_signalfd, check_signalfd },
	{ "timerfd", set_up_timerfd, check_timerfd },
	{ "userfaultfd", set_up_userfaultfd, NULL, .refuse = "fd 3: userfaultfd" },
	{ "io-uring", set_up_io_uring, NULL, .refuse = "io_uring of 4 entries, 0 of them|how it was set up" },
	{ "pidfd", set_up_pidfd, check_pidfd },
	{ "memfd-secret", set_up_memfd_secret, NULL, .refuse = "fd 3: secret memory|mapping" },
	{ "shared-vm", set_up_shared_vm, check_kid, .refuse = "memory shared with its parent" },
	{ "shared-fs", set_up_shared_fs, check_kid, .refuse = "working directory and umask (CLONE_FS) shared" },
	{ "shared-sighand", set_up_shared_sighand, check_kid, .refuse = "memory shared|signal handlers (CLONE_SIGHAND) shared" },
	{ "own-uts-namespace", set_up_own_uts, check_kid, .refuse = "own UTS namespace|nsenter" },
	{ "own-mount-namespace", set_up_own_mnt, check_kid, .refuse = "own mount namespace" },
	{ "own-network-namespace", set_up_own_net, check_kid, .refuse = "own network namespace" },
	{ "own-ipc-namespace", set_up_own_ipc, check_kid, .refuse = "own IPC namespace" },
	{ "own-pid-namespace", set_up_own_pid, check_kid, .refuse = "own pid namespace" },
	{ "own-user-namespace", set_up_own_user, check_kid, .refuse = "own user namespace|!Landlock" },
	{ "own-cgroup-namespace", set_up_own_cgroup, check_kid, .refuse = "own cgroup namespace" },
	{ "own-time-namespace", set_up_own_time, check_kid, .refuse = "own time namespace" },
	{ "time-namespace-to-come", set_up_time_to_come, check_kid, .refuse = "time namespace|children" },
	{ "pid-namespace-to-come", set_up_pid_to_come, check_kid, .refuse = "pid namespace|children" },
	{ "thread-with-own-files", set_up_thread_files, check_thread, .refuse = "own descriptors (unshare(CLONE_FILES))" },
	{ "traced", set_up_traced, check_kid, .refuse = "is traced already" },
	{ "seccomp", set_up_seccomp, check_seccomp, .refuse = "seccomp filters (1)" },
	{ "path-of-epoll", set_up_path_of_epoll, check_path_of, .refuse = "path (O_PATH) of what has no name" },
	{ "path-of-signalfd", set_up_path_of_signalfd, check_path_of, .refuse = "path (O_PATH) of what has no name" },
	{ "several", set_up_several, check_several, .refuse = "TCP connection|netlink socket|unread|packet socket|ring|--tcp-close" },
	{ 0 },
};
