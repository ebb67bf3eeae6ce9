/*
 * State that no line of procfs shows and that is easily lost in silence: tables of segments, I/O permissions, per-thread
 * settings of prctl(2) and arch_prctl(2), what a thread does not share with its process, seals of mappings.
 * Each is either kept or refused by name.
 */
#include "victim.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <linux/capability.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#define SYS_MSEAL 462
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static long page;
static char *area;

/* --- tables of segments */

static void set_up_ldt(void)
{
	struct user_desc d = { .entry_number = 3,
			       .base_addr = 0x1000,
			       .limit = 0xfffff,
			       .seg_32bit = 1,
			       .limit_in_pages = 1,
			       .useable = 1 };

	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) < 0)
		victim_skip("modify_ldt: %s", strerror(errno));
}

static void check_ldt(void)
{
	uint64_t entries[8] = { 0 };
	long n = syscall(SYS_modify_ldt, 0, entries, sizeof(entries));

	expect(n >= 32 && entries[3], "LDT has %ld bytes", n);
}

/* --- permission to use ports */

static void set_up_ioperm(void)
{
	if (ioperm(0x80, 1, 1) < 0)
		victim_skip("ioperm: %s", strerror(errno));
}

static void fault(int sig)
{
	_exit(50);
}

static bool may_use_port(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGSEGV, fault);
		outb(0, 0x80);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static void check_ioperm(void)
{
	expect(may_use_port(), "the port may not be used any more");
}

static void set_up_iopl(void)
{
	if (iopl(3) < 0)
		victim_skip("iopl: %s", strerror(errno));
}

/* The level stays when the capability that it took is gone. */
static void set_up_iopl_dropped(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	set_up_iopl();
	need(syscall(SYS_capget, &head, data) == 0);
	data[0].effective &= ~(1u << CAP_SYS_RAWIO);
	data[0].permitted &= ~(1u << CAP_SYS_RAWIO);
	need(syscall(SYS_capset, &head, data) == 0);
}

/* --- prctl and arch_prctl */

static void set_up_tsc(void)
{
	need(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
}

static void check_tsc(void)
{
	int now = 0;
	expect(prctl(PR_GET_TSC, &now) == 0 && now == PR_TSC_SIGSEGV, "TSC mode is %d", now);
}

static void set_up_cpuid(void)
{
	if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) < 0)
		victim_skip("cpuid faulting: %s", strerror(errno));
}

static void check_cpuid(void)
{
	expect(syscall(SYS_arch_prctl, ARCH_GET_CPUID) == 0, "cpuid is allowed");
}

static void set_up_keepcaps(void)
{
	need(prctl(PR_SET_KEEPCAPS, 1) == 0);
}
static void check_keepcaps(void)
{
	expect(prctl(PR_GET_KEEPCAPS) == 1, "keepcaps is %d", prctl(PR_GET_KEEPCAPS));
}

/* --- what a thread has for itself */

static bool has_policy;
static void *other(void *arg)
{
	void (*setup)(void) = ((void (**)(void))arg)[0], (*check)(void) = ((void (**)(void))arg)[1];

	setup();
	victim_thread_ready();
	victim_wait();
	check();
	return NULL;
}

static unsigned long thread;
static void (*pair[2])(void);
static void in_thread(void (*setup)(void), void (*check)(void))
{
	pair[0] = setup;
	pair[1] = check;
	thread = victim_thread(other, pair);
}
static void check_thread(void)
{
	victim_join(thread);
}

static void own_fs(void)
{
	need(unshare(CLONE_FS) == 0 && chdir("/usr") == 0);
	umask(0123);
}
static void still_own_fs(void)
{
	char path[100] = "";
	expect(getcwd(path, sizeof(path)) && strcmp(path, "/usr") == 0, "cwd of the thread is %s", path);
	mode_t m = umask(0);
	expect(m == 0123, "umask of the thread is %o", m);
}
static void set_up_thread_fs(void)
{
	in_thread(own_fs, still_own_fs);
}

static ino_t ns_was;
static ino_t ns_now(const char *name)
{
	char path[64];
	struct stat st = { 0 };
	snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", name);
	stat(path, &st);
	return st.st_ino;
}
static void own_net(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		victim_skip("network namespace");
	ns_was = ns_now("net");
}
static void still_own_net(void)
{
	struct stat st = { 0 };
	stat("/proc/self/ns/net", &st);
	expect(ns_now("net") != st.st_ino, "the thread is in the network namespace of its process");
}
static void set_up_thread_net(void)
{
	in_thread(own_net, still_own_net);
}

static void own_uts(void)
{
	if (unshare(CLONE_NEWUTS) < 0)
		victim_skip("uts namespace");
	need(sethostname("inner", 5) == 0);
}
static void still_own_uts(void)
{
	char name[100] = "";
	expect(gethostname(name, sizeof(name)) == 0 && strcmp(name, "inner") == 0, "host name is %s", name);
}
static void set_up_thread_uts(void)
{
	in_thread(own_uts, still_own_uts);
}

static void own_ipc(void)
{
	ns_was = ns_now("ipc");
	if (unshare(CLONE_NEWIPC) < 0)
		victim_skip("ipc namespace");
}
static void still_own_ipc(void)
{
	expect(ns_now("ipc") != ns_was, "the IPC namespace is that of the process");
}
static void set_up_thread_ipc(void)
{
	in_thread(own_ipc, still_own_ipc);
}

/* Among many: these are compared beside other work, and in another way. */
static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}
static void set_up_crowd_ipc(void)
{
	pthread_t t;

	for (int i = 0; i < 60; i++)
		need(pthread_create(&t, NULL, idle, NULL) == 0);
	set_up_thread_ipc();
}

/* Children of this thread would be born in another time, and in another pid namespace. */
static void own_time(void)
{
	if (unshare(CLONE_NEWTIME) < 0)
		victim_skip("time namespace");
}
static void still_own_time(void)
{
	struct stat st = { 0 };
	stat("/proc/self/ns/time_for_children", &st);
	expect(ns_now("time_for_children") != st.st_ino, "children of the thread are in the time of its process");
}
static void set_up_thread_time(void)
{
	in_thread(own_time, still_own_time);
}

static void own_pids(void)
{
	if (unshare(CLONE_NEWPID) < 0)
		victim_skip("pid namespace");
}
static void still_own_pids(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(getpid() == 1 ? 0 : 1);
	int status = 1;
	expect(waitpid(pid, &status, 0) == pid && status == 0, "a child of the thread is not the first of its namespace");
}
static void set_up_thread_pids(void)
{
	in_thread(own_pids, still_own_pids);
}

static void own_settings(void)
{
	cpu_set_t one;
	unsigned long node = 1;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	need(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
	need(prctl(PR_SET_TIMERSLACK, 777) == 0 && sched_setaffinity(0, sizeof(one), &one) == 0);
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	need(prctl(PR_SET_SECUREBITS, 0x2a) == 0);
	has_policy = syscall(SYS_set_mempolicy, 3, &node, 64) == 0;
	need(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
	need(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 5) == 0);
}
static void still_own_settings(void)
{
	cpu_set_t set;
	int now = 0, mode = 0;

	expect(prctl(PR_GET_TSC, &now) == 0 && now == PR_TSC_SIGSEGV, "TSC mode is %d", now);
	expect(prctl(PR_GET_TIMERSLACK) == 777, "slack is %d", prctl(PR_GET_TIMERSLACK));
	expect(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1 && CPU_ISSET(0, &set), "affinity");
	expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs");
	expect(prctl(PR_GET_SECUREBITS) == 0x2a, "securebits are %x", prctl(PR_GET_SECUREBITS));
	expect(!has_policy || (syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) == 0 && mode == 3),
	       "memory policy is %d", mode);
	expect(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY, "mce kill");
	expect(syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 5), "ioprio");
}
static void set_up_thread_settings(void)
{
	in_thread(own_settings, still_own_settings);
}
static void check_thread_settings(void)
{
	int now = 0;
	victim_join(thread);
	expect(prctl(PR_GET_TSC, &now) == 0 && now == PR_TSC_ENABLE, "TSC mode of the leader is %d", now);
	expect(prctl(PR_GET_TIMERSLACK) == 50000, "slack of the leader is %d", prctl(PR_GET_TIMERSLACK));
	expect(prctl(PR_GET_PDEATHSIG, &now) == 0 && now == 0, "pdeathsig of the leader is %d", now);
	expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "no_new_privs of the leader");
}

/* --- asynchronous I/O */

static aio_context_t aio;
static int aio_file;
static void set_up_aio(void)
{
	if (syscall(SYS_io_setup, 8, &aio) < 0)
		victim_skip("io_setup: %s", strerror(errno));
	aio_file = open(victim_path("aio"), O_RDWR | O_CREAT, 0644);
}
static void check_aio(void)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE,
			   .aio_fildes = (unsigned)aio_file,
			   .aio_buf = (uintptr_t) "abc",
			   .aio_nbytes = 3 },
		    *list[] = { &cb };
	struct io_event ev;
	struct timespec second = { 1, 0 };

	expect(syscall(SYS_io_submit, aio, 1, list) == 1, "io_submit");
	expect(syscall(SYS_io_getevents, aio, 1, 1, &ev, &second) == 1 && ev.res == 3, "io_getevents");
}

/* --- a ring of io_uring that is neither open nor mapped: a thread has it by a number of its own */

#define ENTER_REGISTERED_RING (1U << 4)
#define REGISTER_RING_FDS     20

static struct {
	uint32_t number, resv;
	uint64_t fd;
} ring = { .number = UINT32_MAX };

static void set_up_ring(void)
{
	char params[120] = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, params);

	ring.fd = (uint64_t)fd;
	if (fd < 0 || syscall(SYS_io_uring_register, fd, REGISTER_RING_FDS, &ring, 1) != 1)
		victim_skip("io_uring: %s", strerror(errno));
	close(fd);
}
static void check_ring(void)
{
	expect(syscall(SYS_io_uring_enter, ring.number, 0, 0, ENTER_REGISTERED_RING, NULL, 0) == 0, "the ring is gone");
}

/* --- mappings */

static void set_up_seal(void)
{
	area = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(area != MAP_FAILED);
	memset(area, 7, 4 * page);
	if (syscall(SYS_MSEAL, area, 4 * page, 0) < 0)
		victim_skip("mseal: %s", strerror(errno));
}
static void check_seal(void)
{
	expect(area[page] == 7, "content");
	expect(munmap(area, page) < 0 && errno == EPERM, "a sealed mapping can be unmapped");
}

static void set_up_droppable(void)
{
	area = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		victim_skip("MAP_DROPPABLE: %s", strerror(errno));
	memset(area, 7, 4 * page);
}
static void check_droppable(void)
{
	expect(mlock(area, page) == 0, "mlock");
}

/* --- signalled notification of a queue */

static mqd_t queue;
static void set_up_mqueue(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	queue = mq_open("/audit-queue", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
	if (queue < 0)
		victim_skip("mq_open: %s", strerror(errno));
	mq_unlink("/audit-queue");
	need(mq_send(queue, "hello", 5, 3) == 0);
}
static void check_mqueue(void)
{
	char text[16] = "";
	expect(mq_receive(queue, text, 16, NULL) == 5, "message is %s", text);
}

/* --- leases */

static int leased;
static void set_up_lease(void)
{
	spill(victim_path("leased"), "x", 1);
	need((leased = open(victim_path("leased"), O_RDONLY)) >= 0);
	if (fcntl(leased, F_SETLEASE, F_RDLCK) < 0)
		victim_skip("F_SETLEASE: %s", strerror(errno));
}
static void check_lease(void)
{
	expect(fcntl(leased, F_GETLEASE) == F_RDLCK, "lease is %d", fcntl(leased, F_GETLEASE));
}

/* --- scheduling hints */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t min, max;
};
static void set_up_uclamp(void)
{
	struct attr a = { .size = sizeof(a), .flags = 0x78, .min = 100, .max = 900 };
	if (syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		victim_skip("clamps: %s", strerror(errno));
}
static void check_uclamp(void)
{
	struct attr a = { 0 };
	expect(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) == 0 && a.min == 100 && a.max == 900, "clamps are %u %u",
	       a.min, a.max);
}

static void set_up_page(void) __attribute__((constructor));
static void set_up_page(void)
{
	page = sysconf(_SC_PAGESIZE);
}

const struct victim_case victim_cases[] = {
	{ "ldt", set_up_ldt, check_ldt, .refuse = "LDT" },
	{ "ioperm", set_up_ioperm, check_ioperm, .refuse = "port", .flags = CASE_KEEP_OR_REFUSE },
	{ "iopl", set_up_iopl, check_ioperm, .refuse = "port", .flags = CASE_KEEP_OR_REFUSE },
	{ "iopl-dropped", set_up_iopl_dropped, check_ioperm, .refuse = "port", .flags = CASE_KEEP_OR_REFUSE },
	{ "tsc", set_up_tsc, check_tsc },
	{ "cpuid", set_up_cpuid, check_cpuid, .refuse = "CPUID", .flags = CASE_KEEP_OR_REFUSE },
	{ "keepcaps", set_up_keepcaps, check_keepcaps },
	{ "thread-fs", set_up_thread_fs, check_thread, .refuse = "own working directory, root and umask" },
	{ "thread-net", set_up_thread_net, check_thread, .refuse = "own network namespace" },
	{ "thread-uts", set_up_thread_uts, check_thread, .refuse = "own UTS namespace" },
	{ "thread-ipc", set_up_thread_ipc, check_thread, .refuse = "own IPC namespace" },
	{ "crowd-ipc", set_up_crowd_ipc, check_thread, .refuse = "own IPC namespace" },
	{ "thread-time", set_up_thread_time, check_thread, .refuse = "own time namespace for its children" },
	{ "thread-pids", set_up_thread_pids, check_thread, .refuse = "own pid namespace for its children" },
	{ "thread-settings", set_up_thread_settings, check_thread_settings },
	{ "aio", set_up_aio, check_aio, .refuse = "ring of native AIO|io_destroy()" },
	{ "registered-ring", set_up_ring, check_ring, .refuse = "1 registered rings of io_uring|close its rings" },
	{ "sealed", set_up_seal, check_seal },
	{ "droppable", set_up_droppable, check_droppable },
	{ "mqueue", set_up_mqueue, check_mqueue, .refuse = "POSIX message queue without a name" },
	{ "lease", set_up_lease, check_lease, .refuse = "lease|--file-locks" },
	{ "clamps", set_up_uclamp, check_uclamp },
	{ NULL },
};
