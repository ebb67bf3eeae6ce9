/* Files on file systems that only the mount namespace of the tree has. */
#include "own-mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul

static int fd[16];
static char *area[2];

/* --- by name, without one, with another one */

static void set_up_files(void)
{
	static const char *const decoys[] = { "t/file", "t/gone", "t/left", "t/sub", NULL };

	own_mounts(decoys);
	spill(victim_path("t/file"), "ours", 4);
	spill(victim_path("t/gone"), "ghost", 5);
	spill(victim_path("t/left"), "linked", 6);
	need(mkdir(victim_path("t/sub"), 0750) == 0 && mkfifo(victim_path("t/fifo"), 0600) == 0);
	need((fd[0] = open(victim_path("t/file"), O_RDWR)) >= 0 && lseek(fd[0], 2, SEEK_SET) == 2);
	need((fd[1] = open(victim_path("t/file"), O_WRONLY | O_APPEND)) >= 0);
	need((fd[2] = open(victim_path("t/gone"), O_RDWR)) >= 0 && unlink(victim_path("t/gone")) == 0);
	need((fd[3] = open(victim_path("t/left"), O_RDWR)) >= 0 &&
	     link(victim_path("t/left"), victim_path("t/right")) == 0 && unlink(victim_path("t/left")) == 0);
	need((fd[4] = open(victim_path("t/sub"), O_RDONLY | O_DIRECTORY)) >= 0);
	need((fd[5] = open(victim_path("t/file"), O_PATH)) >= 0);
	need((fd[6] = open(victim_path("t/fifo"), O_RDWR | O_NONBLOCK)) >= 0 && write(fd[6], "piped", 5) == 5);
	need((fd[7] = open("/proc/self/status", O_RDONLY)) >= 0);
	need((fd[8] = open(victim_path("t"), O_TMPFILE | O_RDWR, 0600)) >= 0 && write(fd[8], "nameless", 8) == 8);
	need((fd[9] = memfd_create("ours", 0)) >= 0 && write(fd[9], "memory", 6) == 6);
	need(mkdir(victim_path("t/cwd"), 0700) == 0 && chdir(victim_path("t/cwd")) == 0 &&
	     rmdir(victim_path("t/cwd")) == 0);
}

static void check_files(void)
{
	struct stat st, other;
	char text[400] = "";

	check_private();
	check_fd(fd[0], "t/file");
	check_fd(fd[1], "t/file");
	check_fd(fd[3], "t/right");
	check_fd(fd[4], "t/sub");
	check_fd(fd[5], "t/file");
	check_fd(fd[6], "t/fifo");
	check_text(fd[0], "ours");
	check_text(fd[2], "ghost");
	check_text(fd[3], "linked");
	check_text(fd[8], "nameless");
	check_text(fd[9], "memory");
	expect(lseek(fd[0], 0, SEEK_CUR) == 2, "position is %ld", (long)lseek(fd[0], 0, SEEK_CUR));
	expect(write(fd[1], "!", 1) == 1, "append");
	check_text(fd[0], "ours!");
	expect(fstat(fd[2], &st) == 0 && st.st_dev == device && st.st_nlink == 0, "the ghost is elsewhere");
	expect(fstat(fd[8], &st) == 0 && st.st_dev == device && st.st_nlink == 0, "the nameless file is elsewhere");
	expect(access(victim_path("t/gone"), F_OK) < 0 && access(victim_path("t/left"), F_OK) < 0, "names are back");
	expect(stat(".", &st) == 0 && st.st_dev == device && st.st_nlink == 0, "the working directory is elsewhere");
	expect(read(fd[6], text, sizeof(text)) == 5 && strncmp(text, "piped", 5) == 0, "the fifo holds %s", text);
	expect(pread(fd[7], text, sizeof(text) - 1, 0) > 0 && strstr(text, "mount-files"), "not our status: %.20s",
	       text);
	expect(fstat(fd[7], &st) == 0 && stat("/proc", &other) == 0 && st.st_dev == other.st_dev, "of another procfs");
}

/* --- many at once, which are looked at in another way */

static void set_up_many(void)
{
	static const char *const decoys[] = { "t/0", "t/1", "t/2", NULL };
	char name[16];

	own_mounts(decoys);
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "t/%d", i % 100);
		spill(victim_path(name), name, strlen(name));
		need(open(victim_path(name), O_RDWR) >= 0);
	}
	need((fd[0] = open(victim_path("t/0"), O_RDONLY)) >= 0);
}

static void check_many(void)
{
	char name[16];

	check_private();
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "t/%d", i % 100);
		check_fd(fd[0] - 400 + i, name);
		check_text(fd[0] - 400 + i, name);
	}
}

/* --- mapped */

static void set_up_mapped(void)
{
	static const char *const decoys[] = { "t/shared", "t/private", NULL };
	static char page[2 * PAGE];

	own_mounts(decoys);
	pattern_fill(page, sizeof(page), 1);
	spill(victim_path("t/shared"), page, sizeof(page));
	spill(victim_path("t/private"), page, sizeof(page));
	need((fd[0] = open(victim_path("t/shared"), O_RDWR)) >= 0 &&
	     (fd[1] = open(victim_path("t/private"), O_RDONLY)) >= 0);
	area[0] = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
	area[1] = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd[1], 0);
	need(area[0] != MAP_FAILED && area[1] != MAP_FAILED && close(fd[1]) == 0);
	area[0][5] = 'S';
	area[1][5] = 'P';
}

static void check_mapped(void)
{
	char byte = 0;

	check_private();
	check_fd(fd[0], "t/shared");
	expect(pread(fd[0], &byte, 1, 5) == 1 && byte == 'S' && area[0][5] == 'S', "the shared mapping holds '%c'",
	       area[0][5]);
	area[0][PAGE] = 'T';
	expect(pread(fd[0], &byte, 1, PAGE) == 1 && byte == 'T', "the mapping is of another file");
	expect(area[1][5] == 'P', "the private mapping holds '%c'", area[1][5]);
	area[0][5] = 0;
	need((fd[1] = open(victim_path("t/private"), O_RDWR)) >= 0);
	expect(pwrite(fd[1], "Q", 1, PAGE + 7) == 1 && area[1][PAGE + 7] == 'Q',
	       "the private mapping is of another file");
}

/* --- sockets by name, one of them relative, one through an absolute link */

static void set_up_sockets(void)
{
	static const char *const decoys[] = { "t/stream", "t/datagram", NULL };

	own_mounts(decoys);
	need(mkdir(victim_path("t/real"), 0755) == 0 && symlink(victim_path("t/real"), victim_path("t/link")) == 0);
	fd[0] = bound(SOCK_STREAM, victim_path("t/stream"));
	need(chdir(victim_path("t")) == 0);
	fd[1] = bound(SOCK_DGRAM, "datagram");
	fd[2] = bound(SOCK_STREAM, "link/stream");
	need((fd[3] = reach(SOCK_STREAM, victim_path("t/stream"))) >= 0 && (fd[4] = accept(fd[0], NULL, NULL)) >= 0);
	fd[5] = bound(SOCK_STREAM, "unlinked");
	need(unlink("unlinked") == 0);
}

static void check_sockets(void)
{
	struct stat st;
	char text[8] = "";
	int s;

	check_private();
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "t/stream", "t/datagram", "t/real/stream" };

		expect(stat(victim_path(names[i]), &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == device,
		       "no socket at %s", names[i]);
	}
	expect((s = reach(SOCK_STREAM, "stream")) >= 0 && accept(fd[0], NULL, NULL) >= 0, "connect to stream");
	expect((s = reach(SOCK_DGRAM, "datagram")) >= 0 && write(s, "hello", 5) == 5 && read(fd[1], text, 8) == 5,
	       "datagram");
	expect((s = reach(SOCK_STREAM, "link/stream")) >= 0 && accept(fd[2], NULL, NULL) >= 0,
	       "connect to link/stream");
	expect(write(fd[3], "old", 3) == 3 && read(fd[4], text, 8) == 3, "the old connection");
	expect(access("unlinked", F_OK) < 0, "the unlinked name is back");
}

/* --- watched */

static void set_up_watches(void)
{
	static const char *const decoys[] = { "t/file", "t/sub", NULL };

	own_mounts(decoys);
	spill(victim_path("t/file"), "ours", 4);
	need(mkdir(victim_path("t/sub"), 0755) == 0);
	need((fd[0] = inotify_init1(IN_NONBLOCK)) >= 0 &&
	     inotify_add_watch(fd[0], victim_path("t/file"), IN_MODIFY) == 1 &&
	     inotify_add_watch(fd[0], victim_path("t/sub"), IN_CREATE) == 2);
	fd[1] = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	fd[2] = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	if (fd[1] < 0)
		victim_skip("fanotify: %s", strerror(errno));
	need(fanotify_mark(fd[1], FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, victim_path("t/file")) == 0);
	need(fanotify_mark(fd[2], FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_CLOSE_WRITE, AT_FDCWD, victim_path("t")) == 0);
}

static void check_watches(void)
{
	char buf[512];

	check_private();
	for (int i = 0; i < 3; i++)
		expect(!told(fd[i]), "descriptor %d tells of something", i);
	spill(victim_path("t/file"), "x", 1);
	expect(told(fd[0]) && read(fd[0], buf, sizeof(buf)) > 0 && told(fd[1]), "nothing is told of the file");
	spill(victim_path("t/sub/new"), "x", 1);
	expect(told(fd[0]), "nothing is told of the directory");
	expect(told(fd[2]), "nothing is told of the mount");
	while (read(fd[2], buf, sizeof(buf)) > 0)
		; /* files that it hands over are closed with the process */
	spill(victim_path("../elsewhere"), "x", 1);
	expect(!told(fd[2]), "of another mount it is told, too");
	unlink(victim_path("../elsewhere"));
}

/* --- a root of its own in there */

static pid_t child;

static void jailed(long arg)
{
	struct stat st;

	(void)arg;
	need(chroot(victim_path("t/jail")) == 0 && chdir("/sub") == 0);
	need((fd[0] = open("/file", O_RDWR)) >= 0);
	fd[1] = bound(SOCK_STREAM, "/socket");
	/* the way to talk with the runner is from the root now */
	victim_moved("/case");
	victim_hold();
	check_text(fd[0], "jailed");
	expect(stat("/file", &st) == 0 && st.st_size == 6, "/file has %ld bytes", (long)st.st_size);
	expect((fd[2] = reach(SOCK_STREAM, "/socket")) >= 0 && accept(fd[1], NULL, NULL) >= 0, "connect to /socket");
	expect(access("../sub/here", F_OK) == 0 && access("/sub/../../t", F_OK) < 0, "the root is another");
}

static void set_up_jail(void)
{
	static const char *const decoys[] = { "t/jail", NULL };

	own_mounts(decoys);
	need(mkdir(victim_path("t/jail"), 0755) == 0 && mkdir(victim_path("t/jail/sub"), 0755) == 0 &&
	     mkdir(victim_path("t/jail/case"), 0755) == 0);
	spill(victim_path("t/jail/file"), "jailed", 6);
	spill(victim_path("t/jail/sub/here"), "", 0);
	need(mount(victim_path("."), victim_path("t/jail/case"), NULL, MS_BIND, NULL) == 0);
	child = victim_fork(jailed, 0);
}

static void check_jail(void)
{
	check_private();
	victim_reap(child);
}

/* --- a program that lies there */

static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	char buf[4096];
	ssize_t n;

	need(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		need(write(out, buf, (size_t)n) == n);
	close(in);
	close(out);
}

static void set_up_program(void)
{
	static const char *const decoys[] = { "t/sleep", NULL };
	char name[32], text[300];

	own_mounts(decoys);
	copy("/bin/sleep", victim_path("t/sleep"));
	child = fork();
	if (child == 0) {
		execl(victim_path("t/sleep"), "sleep", "1000", NULL);
		_exit(1);
	}
	snprintf(name, sizeof(name), "/proc/%d/exe", child);
	do {
		sleep_ms(5);
		memset(text, 0, sizeof(text));
		need(readlink(name, text, sizeof(text) - 1) > 0);
	} while (strcmp(text, victim_path("t/sleep")) != 0);
	victim_asleep(child);
}

static void check_program(void)
{
	struct stat at, st;
	char name[32];

	check_private();
	snprintf(name, sizeof(name), "/proc/%d/exe", child);
	expect(stat(name, &st) == 0 && stat(victim_path("t/sleep"), &at) == 0 && st.st_dev == at.st_dev &&
		       st.st_ino == at.st_ino && st.st_dev == device,
	       "the child runs another program");
	expect(kill(child, SIGKILL) == 0, "kill");
}

/* --- all of the tree with a root of its own in there, which is not that of the namespace */

static void set_up_root(void)
{
	own_mounts(NULL);
	need(mkdir(victim_path("t/jail"), 0755) == 0 && mkdir(victim_path("t/jail/case"), 0755) == 0);
	spill(victim_path("t/jail/file"), "jailed", 6);
	need(mount(victim_path("."), victim_path("t/jail/case"), NULL, MS_BIND, NULL) == 0);
	need(chroot(victim_path("t/jail")) == 0 && chdir("/") == 0);
	need((fd[0] = open("/file", O_RDWR)) >= 0);
	victim_moved("/case");
}

static void check_root(void)
{
	struct stat st;

	check_text(fd[0], "jailed");
	expect(stat("/file", &st) == 0 && st.st_size == 6 && access("/proc", F_OK) < 0, "the root is another");
}

/* --- queues of messages, by path */

static void set_up_queue(void)
{
	struct mq_attr attr = { .mq_maxmsg = 5, .mq_msgsize = 64 };

	own_mounts(NULL);
	need(mkdir(victim_path("t/mq"), 0755) == 0);
	if (mount("none", victim_path("t/mq"), "mqueue", 0, NULL) < 0)
		victim_skip("mqueue cannot be mounted: %s", strerror(errno));
	mq_unlink("/victim-mounts");
	need((fd[0] = (int)mq_open("/victim-mounts", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640, &attr)) >= 0);
	need(mq_send(fd[0], "kept", 4, 3) == 0);
	need((fd[1] = open(victim_path("t/mq/victim-mounts"), O_RDONLY)) >= 0);
}

static void check_queue(void)
{
	unsigned int prio = 0;
	char buf[64];

	expect(mq_receive(fd[0], buf, sizeof(buf), &prio) == 4 && prio == 3, "priority %u", prio);
	expect(read(fd[1], buf, sizeof(buf)) > 0, "read its state");
	expect(access(victim_path("t/mq/victim-mounts"), F_OK) == 0, "the queue is not in the mount");
	mq_unlink("/victim-mounts");
}

/* --- locked and leased */

static void set_up_locks(void)
{
	static const char *const decoys[] = { "t/file", "t/leased", NULL };
	struct flock record = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2 };

	own_mounts(decoys);
	spill(victim_path("t/file"), "ours", 4);
	spill(victim_path("t/leased"), "ours", 4);
	need((fd[0] = open(victim_path("t/file"), O_RDWR)) >= 0 && fcntl(fd[0], F_SETLK, &record) == 0 &&
	     flock(fd[0], LOCK_EX) == 0);
	need((fd[1] = open(victim_path("t/leased"), O_RDONLY)) >= 0 && fcntl(fd[1], F_SETLEASE, F_RDLCK) == 0);
}

static void check_locks(void)
{
	struct flock record = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int other = open(victim_path("t/file"), O_RDWR);

	check_private();
	check_fd(fd[0], "t/file");
	check_fd(fd[1], "t/leased");
	expect(flock(other, LOCK_EX | LOCK_NB) < 0, "the file is not locked");
	expect(fcntl(other, F_OFD_GETLK, &record) == 0 && record.l_type == F_WRLCK && record.l_start == 1 &&
		       record.l_len == 2,
	       "the record is not locked");
	expect(fcntl(fd[1], F_GETLEASE) == F_RDLCK, "the lease is gone");
}

const struct victim_case victim_cases[] = {
	{ "files", .setup = set_up_files, .check = check_files, .dump = MOUNTS " --link-remap", .restore = MOUNTS,
	  .flags = CASE_MUTATES | CASE_MORE },
	{ "many", .setup = set_up_many, .check = check_many, OUR },
	{ "mapped", .setup = set_up_mapped, .check = check_mapped, OUR },
	{ "sockets", .setup = set_up_sockets, .check = check_sockets, OUR, .flags = CASE_MORE },
	{ "watches", .setup = set_up_watches, .check = check_watches, OUR },
	{ "jail", .setup = set_up_jail, .check = check_jail, OUR },
	{ "program", .setup = set_up_program, .check = check_program, OUR },
	{ "root", .setup = set_up_root, .check = check_root, OUR },
	{ "queue", .setup = set_up_queue, .check = check_queue, OUR, .flags = CASE_ALTERS },
	{ "locks", .setup = set_up_locks, .check = check_locks, .dump = MOUNTS " --file-locks",
	  .restore = MOUNTS " --file-locks" },
	{ 0 },
};
