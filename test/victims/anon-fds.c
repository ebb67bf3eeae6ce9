/* Descriptors that are no files: timers, counters, signals, memory, watches, and every way of using them. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------- timers */

static const struct timer {
	int clock, flags;
	bool absolute;
	long value_s, interval_s;
} timers[] = {
	{ CLOCK_REALTIME, TFD_NONBLOCK, false, 5000, 0 },
	{ CLOCK_MONOTONIC, 0, false, 6000, 60 },
	{ CLOCK_BOOTTIME, 0, false, 7000, 0 },
	{ CLOCK_REALTIME_ALARM, 0, false, 8000, 0 },
	{ CLOCK_BOOTTIME_ALARM, 0, false, 9000, 0 },
	{ CLOCK_REALTIME, TFD_NONBLOCK, true, 5500, 0 },
	{ CLOCK_MONOTONIC, 0, true, 6500, 7 },
	{ CLOCK_MONOTONIC, TFD_NONBLOCK, false, 0, 0 },
};
#define NR_TIMERS (sizeof(timers) / sizeof(timers[0]))
static int tfds[NR_TIMERS], expired, cancelled;

static void set_up_timers(void)
{
	for (size_t i = 0; i < NR_TIMERS; i++) {
		const struct timer *t = &timers[i];
		struct itimerspec its = { { t->interval_s, 1 }, { t->value_s, 7 } };
		struct timespec now;

		tfds[i] = timerfd_create(t->clock, t->flags);
		if (tfds[i] < 0 && t->clock >= CLOCK_REALTIME_ALARM)
			continue; /* needs a clock that can wake the machine, and CAP_WAKE_ALARM */
		need(tfds[i] >= 0);
		if (clock_gettime(t->clock, &now) < 0) {
			close(tfds[i]); /* made, but of no use without such a clock */
			tfds[i] = -1;
			continue;
		}
		if (t->absolute)
			its.it_value.tv_sec += now.tv_sec;
		if (!t->value_s)
			continue;
		need(timerfd_settime(tfds[i], t->absolute ? TFD_TIMER_ABSTIME : 0, &its, NULL) == 0);
	}
	/* one that is told of when somebody sets the clock, and one that has expired */
	struct itimerspec at = { { 0, 0 }, { time(NULL) + 3000, 0 } }, soon = { { 1000, 0 }, { 0, 1 } };
	need((cancelled = timerfd_create(CLOCK_REALTIME, 0)) >= 0);
	need(timerfd_settime(cancelled, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) == 0);
	need((expired = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0 && timerfd_settime(expired, 0, &soon, NULL) == 0);
	sleep_ms(20);
}

static void check_timers(void)
{
	struct itimerspec left;
	uint64_t n = 0;
	char text[600];

	for (size_t i = 0; i < NR_TIMERS; i++) {
		const struct timer *t = &timers[i];

		if (tfds[i] < 0)
			continue;
		expect(timerfd_gettime(tfds[i], &left) == 0, "timer %zu", i);
		expect(left.it_value.tv_sec <= t->value_s && left.it_value.tv_sec >= t->value_s - 60, "timer %zu: %ld s are left", i,
		       (long)left.it_value.tv_sec);
		expect(left.it_interval.tv_sec == t->interval_s, "timer %zu: interval is %ld", i, (long)left.it_interval.tv_sec);
	}
	snprintf(text, sizeof(text), "/proc/self/fdinfo/%d", cancelled);
	slurp(strdup(text), text, sizeof(text));
	expect(strstr(text, "settime flags: 03"), "'%s'", text);
	expect(read(expired, &n, sizeof(n)) == sizeof(n) && n == 1, "expired %llu times", (unsigned long long)n);
}

/* Two of the same clock, that nobody reads; one is counted once more, as timerfd_gettime(2) does. Both go on alike. */

static int behind[2];

static void set_up_behind(void)
{
	struct itimerspec its = { { 0, 1000000 }, { 0, 1000000 } };

	for (int i = 0; i < 2; i++) {
		need((behind[i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0);
		need(timerfd_settime(behind[i], 0, &its, NULL) == 0);
	}
	sleep_ms(700);
	need(timerfd_gettime(behind[0], &its) == 0);
}

static void check_behind(void)
{
	uint64_t n[2] = { 0 };

	for (int i = 0; i < 2; i++)
		expect(read(behind[i], &n[i], sizeof(n[i])) == sizeof(n[i]), "timer %d has not expired", i);
	expect(n[0] >= 700 && n[1] + 100 > n[0] && n[0] + 100 > n[1], "expired %llu and %llu times",
	       (unsigned long long)n[0], (unsigned long long)n[1]);
}

/* ----------------------------------------------------------------- counters */

static int semaphore, counter, full;

static void set_up_counters(void)
{
	need((semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK)) >= 0 && (counter = eventfd(0xabcdef, 0)) >= 0);
	need((full = eventfd(0, EFD_NONBLOCK)) >= 0);
	uint64_t most = UINT64_MAX - 1;
	need(write(full, &most, sizeof(most)) == sizeof(most));
}

static void check_counters(void)
{
	uint64_t n = 0;

	for (int i = 0; i < 3; i++)
		expect(read(semaphore, &n, sizeof(n)) == sizeof(n) && n == 1, "semaphore gives %llu", (unsigned long long)n);
	expect(read(semaphore, &n, sizeof(n)) < 0 && errno == EAGAIN, "semaphore gives more");
	expect(read(counter, &n, sizeof(n)) == sizeof(n) && n == 0xabcdef, "counter is %llx", (unsigned long long)n);
	n = 1;
	expect(write(full, &n, sizeof(n)) < 0 && errno == EAGAIN, "the full counter is not full");
	expect(read(full, &n, sizeof(n)) == sizeof(n) && n == UINT64_MAX - 1, "full counter is %llx", (unsigned long long)n);
}

/* ------------------------------------------------------------------ signals */

static int sfd;

static void set_up_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 5);
	need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && (sfd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0);
	need(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 77 }) == 0);
}

static void check_signals(void)
{
	struct signalfd_siginfo si = { 0 };

	expect(read(sfd, &si, sizeof(si)) == sizeof(si) && (int)si.ssi_signo == SIGRTMIN + 5 && si.ssi_int == 77,
	       "signal %u with %d", si.ssi_signo, si.ssi_int);
	expect(read(sfd, &si, sizeof(si)) < 0 && errno == EAGAIN, "there is one more");
	raise(SIGUSR1);
	expect(read(sfd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1, "signal %u", si.ssi_signo);
	expect(fcntl(sfd, F_GETFD) == FD_CLOEXEC, "close-on-exec");
}

/* ------------------------------------------------------------------- memory */

static int sealed, future, reader, appender, noexec, huge;

static int reopen(int fd, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static void set_up_memfds(void)
{
	need((sealed = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC)) >= 0 && write(sealed, "sealed", 6) == 6);
	need((reader = reopen(sealed, O_RDONLY)) >= 0 && lseek(reader, 3, SEEK_SET) == 3);
	need(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
	need((future = memfd_create("future", MFD_ALLOW_SEALING)) >= 0 && write(future, "future", 6) == 6);
	need((appender = reopen(future, O_WRONLY | O_APPEND | O_NONBLOCK)) >= 0);
	need(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
	need(fchmod(future, 0640) == 0);
	noexec = memfd_create("noexec", 8 /* MFD_NOEXEC_SEAL, 6.3 */);
	huge = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	if (huge >= 0) {
		void *p = ftruncate(huge, 2 << 20) == 0 ? mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, huge, 0) : MAP_FAILED;

		if (p == MAP_FAILED) {
			close(huge);
			huge = -1;
		} else {
			memset(p, 'h', 2 << 20);
			munmap(p, 2 << 20);
		}
	}
}

static void check_memfds(void)
{
	char buf[16] = "";
	struct stat st;

	expect(fcntl(sealed, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), "seals are %x",
	       fcntl(sealed, F_GET_SEALS));
	expect(write(sealed, "x", 1) < 0 && errno == EPERM, "what is sealed can be written to");
	expect(read(reader, buf, sizeof(buf)) == 3 && memcmp(buf, "led", 3) == 0, "reads '%s'", buf);
	expect((fcntl(reader, F_GETFL) & O_ACCMODE) == O_RDONLY, "flags are %o", fcntl(reader, F_GETFL));
	expect(fcntl(future, F_GET_SEALS) == F_SEAL_FUTURE_WRITE, "seals are %x", fcntl(future, F_GET_SEALS));
	expect((fcntl(appender, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK)) == (O_WRONLY | O_APPEND | O_NONBLOCK),
	       "flags are %o", fcntl(appender, F_GETFL));
	expect(pread(future, buf, 6, 0) == 6 && memcmp(buf, "future", 6) == 0, "content is '%s'", buf);
	expect(fstat(future, &st) == 0 && (st.st_mode & 07777) == 0640, "mode is %o", st.st_mode);
	if (noexec >= 0)
		expect(fstat(noexec, &st) == 0 && !(st.st_mode & 0111) && fcntl(noexec, F_GET_SEALS) == 0x20, "mode %o, seals %x",
		       st.st_mode, fcntl(noexec, F_GET_SEALS));
	if (huge >= 0)
		expect(fstat(huge, &st) == 0 && st.st_blksize == 2 << 20 && pread(huge, buf, 1, 12345) == 1 && buf[0] == 'h',
		       "pages of %ld bytes", (long)st.st_blksize);
}

/* ------------------------------------------------------------------ watches */

static int watcher, gone;

static void set_up_watches(void)
{
	spill(victim_path("kept"), "x", 1);
	spill(victim_path("gone"), "x", 1);
	spill(victim_path("renamed"), "x", 1);
	need(mkdir(victim_path("dir"), 0755) == 0 || errno == EEXIST);
	need((watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) >= 0 && (gone = open(victim_path("gone"), O_RDWR)) >= 0);
	need(inotify_add_watch(watcher, victim_path("kept"), IN_MODIFY | IN_ONESHOT) == 1);
	need(inotify_add_watch(watcher, victim_path("renamed"), IN_CLOSE_WRITE) == 2 && inotify_rm_watch(watcher, 2) == 0);
	need(inotify_add_watch(watcher, victim_path("gone"), IN_MODIFY) == 3);
	need(inotify_add_watch(watcher, victim_path("dir"), IN_CREATE | IN_EXCL_UNLINK) == 4);
	need(inotify_add_watch(watcher, victim_path("renamed"), IN_MODIFY) == 5);
	need(unlink(victim_path("gone")) == 0 && rename(victim_path("renamed"), victim_path("new-name")) == 0);
	char events[4096];
	while (read(watcher, events, sizeof(events)) > 0)
		;
}

static void expect_event(int wd, uint32_t mask)
{
	struct {
		struct inotify_event e;
		char name[256];
	} got = { 0 };
	struct pollfd p = { .fd = watcher, .events = POLLIN };

	expect(poll(&p, 1, 1000) == 1 && read(watcher, &got, sizeof(got)) >= (ssize_t)sizeof(got.e), "no event of watch %d", wd);
	expect(got.e.wd == wd && got.e.mask == mask, "event 0x%x of watch %d, should be 0x%x of %d", got.e.mask, got.e.wd, mask,
	       wd);
}

/* Flags of a watch: one that tells once, and one of a directory that does not tell of what was unlinked there. */
static void check_watch_flags(void)
{
	char path[64], text[4096];
	int fd = open(victim_path("kept"), O_WRONLY);

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", watcher);
	slurp(path, text, sizeof(text));
	snprintf(path, sizeof(path), " mask:%x ", IN_CREATE | IN_EXCL_UNLINK);
	expect(strstr(text, path), "no%sin %s", path, text);
	expect(fd >= 0 && write(fd, "y", 1) == 1, "write");
	expect_event(1, IN_MODIFY); /* and, read with it, IN_IGNORED */
	expect(write(fd, "y", 1) == 1 && poll(&(struct pollfd){ .fd = watcher, .events = POLLIN }, 1, 20) == 0,
	       "a watch that tells once tells again");
	close(fd);
}

static void check_watches(void)
{
	int fd;

	expect(poll(&(struct pollfd){ .fd = watcher, .events = POLLIN }, 1, 50) == 0, "events that nobody made");
	expect(write(gone, "y", 1) == 1, "write");
	expect_event(3, IN_MODIFY);
	fd = open(victim_path("new-name"), O_WRONLY);
	expect(fd >= 0 && write(fd, "y", 1) == 1, "write");
	expect_event(5, IN_MODIFY);
	fd = open(victim_path("dir/made"), O_WRONLY | O_CREAT, 0600);
	expect(fd >= 0, "create");
	expect_event(4, IN_CREATE);
	check_watch_flags();
	unlink(victim_path("dir/made"));
	expect(inotify_add_watch(watcher, victim_path("dir"), IN_CREATE) == 4, "the watch of a directory has another number");
	expect(inotify_add_watch(watcher, victim_path(""), IN_ATTRIB) == 6, "the next number is another one");
}

/* What nobody has read is lost: in its place there is the kernel's own word for that, and nothing else. */
static void set_up_unread(void)
{
	int fd;

	spill(victim_path("kept"), "x", 1);
	spill(victim_path("quiet"), "x", 1);
	need((watcher = inotify_init1(IN_NONBLOCK)) >= 0 && (gone = inotify_init1(IN_NONBLOCK)) >= 0);
	need(inotify_add_watch(watcher, victim_path("kept"), IN_MODIFY | IN_ATTRIB) == 1);
	need(inotify_add_watch(gone, victim_path("quiet"), IN_MODIFY) == 1);
	need((fd = open(victim_path("kept"), O_WRONLY)) >= 0 && write(fd, "abc", 3) == 3 && fchmod(fd, 0600) == 0);
	close(fd);
}

static void check_unread(void)
{
	struct inotify_event e;
	int fd = open(victim_path("kept"), O_WRONLY);

	expect(poll(&(struct pollfd){ .fd = watcher, .events = POLLIN }, 1, 50) == 1, "nothing tells of what is lost");
	expect_event(-1, IN_Q_OVERFLOW);
	expect(read(watcher, &e, sizeof(e)) < 0 && errno == EAGAIN, "there is more");
	expect(read(gone, &e, sizeof(e)) < 0 && errno == EAGAIN, "an event where none is lost");
	expect(fd >= 0 && write(fd, "y", 1) == 1, "write");
	expect_event(1, IN_MODIFY);
	expect(inotify_rm_watch(watcher, 1) == 0, "the watch is gone");
}

/* ----------------------------------------------------------------- fanotify */

#ifndef FAN_MARK_MNTNS
#define FAN_REPORT_MNT 0x00004000 /* 6.14 */
#define FAN_MARK_MNTNS 0x00000110
#define FAN_MNT_ATTACH 0x01000000
#endif

static void set_up_mount_watch(void)
{
	int fd = fanotify_init(FAN_REPORT_MNT | FAN_NONBLOCK, O_RDONLY);

	if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MNTNS, FAN_MNT_ATTACH, AT_FDCWD, "/proc/self/ns/mnt") < 0)
		victim_skip("FAN_REPORT_MNT: %s", strerror(errno));
}

static int group, asked;

static void set_up_fanotify(void)
{
	spill(victim_path("marked"), "x", 1);
	spill(victim_path("ignored"), "x", 1);
	need(mkdir(victim_path("dir"), 0755) == 0 || errno == EEXIST);
	group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE, O_RDONLY | O_CLOEXEC);
	if (group < 0)
		victim_skip("fanotify: %s", strerror(errno));
	need(fanotify_mark(group, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, victim_path("marked")) == 0);
	need(fanotify_mark(group, FAN_MARK_ADD, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, victim_path("dir")) == 0);
	need(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_MODIFY, AT_FDCWD,
			   victim_path("ignored")) == 0);
	need(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_CLOSE_WRITE, AT_FDCWD, "/dev/shm") == 0);
	need(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_MODIFY, AT_FDCWD, "/dev/pts") == 0);
}

static uint64_t next_event(void)
{
	struct fanotify_event_metadata e = { 0 };
	struct pollfd p = { .fd = group, .events = POLLIN };

	if (poll(&p, 1, 500) != 1 || read(group, &e, sizeof(e)) < (ssize_t)sizeof(e))
		return 0;
	expect(fcntl(e.fd, F_GETFD) == FD_CLOEXEC, "flags of the file of an event");
	close(e.fd);
	return e.mask;
}

static void change(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	expect(fd >= 0 && write(fd, "y", 1) == 1 && close(fd) == 0, "change %s", path);
}

static void check_fanotify(void)
{
	while (next_event())
		;
	change(victim_path("marked"));
	expect(next_event() & FAN_MODIFY, "no event of a file");
	change(victim_path("dir/child"));
	expect(next_event() & FAN_CLOSE_WRITE, "no event of a directory");
	change(victim_path("ignored"));
	expect(next_event() == 0, "an event that is to be ignored");
	change("/dev/shm/victim-fanotify");
	expect(next_event() & FAN_CLOSE_WRITE, "no event of a mount");
	unlink("/dev/shm/victim-fanotify");
}

/* What was not read is gone, and nothing else is in its place; the marks are as they were. */
static void set_up_fanotify_unread(void)
{
	set_up_fanotify();
	change(victim_path("marked"));
	need(poll(&(struct pollfd){ .fd = group, .events = POLLIN }, 1, 1000) == 1);
}

static void check_fanotify_unread(void)
{
	struct fanotify_event_metadata e;
	ssize_t n;

	/* others may use the file systems that are watched, nobody the file */
	while ((n = read(group, &e, sizeof(e))) > 0) {
		expect(!(e.mask & FAN_Q_OVERFLOW), "events are said to be lost by a queue without a limit");
		close(e.fd);
	}
	expect(n < 0 && errno == EAGAIN, "read");
	check_fanotify();
}

static void set_up_permission(void)
{
	spill(victim_path("marked"), "x", 1);
	asked = fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, O_RDONLY);
	if (asked < 0 || fanotify_mark(asked, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, victim_path("marked")) < 0)
		victim_skip("fanotify: %s", strerror(errno));
}

const struct victim_case victim_cases[] = {
	{ "fanotify-mounts", set_up_mount_watch, .refuse = "FAN_REPORT_MNT" },
	{ "timerfds-behind", set_up_behind, check_behind, .flags = CASE_ALTERS },
	{ "timerfds", set_up_timers, check_timers, .flags = CASE_MORE },
	{ "eventfds", set_up_counters, check_counters, .flags = CASE_MORE },
	{ "signalfd", set_up_signals, check_signals, .flags = CASE_MORE },
	{ "memfds", set_up_memfds, check_memfds, .flags = CASE_MORE },
	{ "inotify", set_up_watches, check_watches, .flags = CASE_MUTATES | CASE_ALTERS },
	{ "inotify-unread", set_up_unread, check_unread, .flags = CASE_MUTATES | CASE_ALTERS },
	{ "fanotify", set_up_fanotify, check_fanotify, .flags = CASE_MORE },
	{ "fanotify-unread", set_up_fanotify_unread, check_fanotify_unread, .flags = CASE_MUTATES },
	{ "fanotify-permission", set_up_permission, NULL, .refuse = "permission" },
	{ NULL },
};
