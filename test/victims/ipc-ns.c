/* Trees with an IPC namespace of their own: all that is in it, by number, comes back with its content. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE   4096ul
#define SIZE   (5 * PAGE + 100)
#define FILLED (SIZE - 1) /* behind it is a byte to talk by */

static void own_namespace(void)
{
	if (unshare(CLONE_NEWIPC) < 0)
		victim_skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
}

/* --- segments */

static int attached, loose, removed, locked;
static char *area, *gone;
static pid_t child;

static void child_main(long arg)
{
	char *other = shmat(attached, NULL, SHM_RDONLY);

	(void)arg;
	need(other != (void *)-1);
	victim_hold();
	expect(pattern_same(other, FILLED, 1), "the child's segment has another content");
	/* what the parent writes now is seen here: it is one segment still */
	while (((volatile char *)other)[FILLED] != 77)
		sleep_ms(5);
	expect(pattern_same(gone, 2 * PAGE, 3), "the removed segment has another content");
	expect(shmdt(gone) == 0, "detach");
}

static void set_up_segments(void)
{
	int spare[3];
	char *p;

	own_namespace();
	/* numbers that a new namespace does not begin with */
	for (int i = 0; i < 3; i++)
		need((spare[i] = shmget(IPC_PRIVATE, PAGE, 0600)) >= 0);
	need(shmctl(spare[1], IPC_RMID, NULL) == 0);
	need((attached = shmget(0x1234, SIZE, IPC_CREAT | IPC_EXCL | 0640)) >= 0);
	need((loose = shmget(IPC_PRIVATE, 3 * PAGE, 0604)) >= 0);
	need((removed = shmget(IPC_PRIVATE, 2 * PAGE, 0600)) >= 0);
	need((locked = shmget(IPC_PRIVATE, PAGE, 0600)) >= 0);
	need(shmctl(spare[0], IPC_RMID, NULL) == 0 && shmctl(spare[2], IPC_RMID, NULL) == 0);
	need((area = shmat(attached, NULL, 0)) != (void *)-1);
	pattern_fill(area, FILLED, 1);
	need((p = shmat(loose, NULL, 0)) != (void *)-1);
	pattern_fill(p, 3 * PAGE, 2);
	need(shmdt(p) == 0);
	need((gone = shmat(removed, NULL, 0)) != (void *)-1);
	pattern_fill(gone, 2 * PAGE, 3);
	need(shmctl(removed, IPC_RMID, NULL) == 0);
	need(shmctl(locked, SHM_LOCK, NULL) == 0);

	struct shmid_ds ds = { .shm_perm = { .uid = 65534, .gid = 65533, .mode = 0604 } };

	need(shmctl(loose, IPC_SET, &ds) == 0);
	child = victim_fork(child_main, 0);
}

static void check_segments(void)
{
	struct shmid_ds ds;
	char *p;

	expect(pattern_same(area, FILLED, 1), "the attached segment has another content");
	expect(shmget(0x1234, 0, 0) == attached, "its key leads to %d, not %d", shmget(0x1234, 0, 0), attached);
	expect(shmctl(attached, IPC_STAT, &ds) == 0 && ds.shm_nattch == 3 && ds.shm_segsz == SIZE &&
		       (ds.shm_perm.mode & 07777) == 0640,
	       "attached %lu times, mode %o", ds.shm_nattch, ds.shm_perm.mode);
	area[FILLED] = 77;
	expect((p = shmat(loose, NULL, 0)) != (void *)-1, "attach the loose segment");
	if (p != (void *)-1)
		expect(pattern_same(p, 3 * PAGE, 2), "the loose segment has another content");
	expect(shmctl(loose, IPC_STAT, &ds) == 0 && ds.shm_perm.uid == 65534 && ds.shm_perm.gid == 65533 &&
		       ds.shm_perm.cuid == 0 && (ds.shm_perm.mode & 07777) == 0604,
	       "owner %u mode %o", ds.shm_perm.uid, ds.shm_perm.mode);
	expect(shmctl(locked, IPC_STAT, &ds) == 0 && ds.shm_perm.mode & 02000, "the lock is gone");
	expect(pattern_same(gone, 2 * PAGE, 3), "the removed segment has another content");
	victim_reap(child);
	expect(shmctl(removed, IPC_STAT, &ds) == 0 && ds.shm_perm.mode & 01000, "it is no longer to be removed");
	expect(shmdt(gone) == 0, "detach");
	expect(shmctl(removed, IPC_STAT, &ds) < 0 && errno == EINVAL, "it stays after the last has detached");
}

/* --- queues */

struct message {
	long type;
	char text[600];
};

static int queue, full, theirs;

static void send(int id, long type, size_t len, uint64_t seed)
{
	struct message m = { .type = type };

	pattern_fill(m.text, len, seed);
	need(msgsnd(id, &m, len, IPC_NOWAIT) == 0);
}

static void receive(int id, long want, long type, size_t len, uint64_t seed)
{
	struct message m = { 0 };
	ssize_t n = msgrcv(id, &m, sizeof(m.text), want, IPC_NOWAIT);

	expect(n == (ssize_t)len && m.type == type && pattern_same(m.text, len, seed), "message of %zd bytes, type %ld",
	       n, m.type);
}

static void set_up_queues(void)
{
	struct msqid_ds ds;
	int spare;

	own_namespace();
	need((spare = msgget(IPC_PRIVATE, 0600)) >= 0);
	need((queue = msgget(0x77, IPC_CREAT | 0620)) >= 0);
	need((full = msgget(IPC_PRIVATE, 0600)) >= 0 && msgctl(spare, IPC_RMID, NULL) == 0);
	send(queue, 5, 600, 1);
	send(queue, 3, 1, 2);
	send(queue, 5, 0, 3);
	for (uint64_t i = 0; i < 20; i++)
		send(full, 1, 50, i);
	/* less than is in it: nobody can send, all can receive */
	need(msgctl(full, IPC_STAT, &ds) == 0);
	ds.msg_qbytes = 100;
	need(msgctl(full, IPC_SET, &ds) == 0);
	/* made by somebody else, for a third */
	need(seteuid(12345) == 0);
	theirs = msgget(IPC_PRIVATE, 0600);
	need(seteuid(0) == 0 && theirs >= 0 && msgctl(theirs, IPC_STAT, &ds) == 0);
	ds.msg_perm.uid = 54321;
	need(msgctl(theirs, IPC_SET, &ds) == 0);
}

static void check_queues(void)
{
	struct msqid_ds ds;

	expect(msgget(0x77, 0) == queue, "the key leads elsewhere");
	expect(msgctl(queue, IPC_STAT, &ds) == 0 && ds.msg_qnum == 3 && (ds.msg_perm.mode & 0777) == 0620,
	       "%lu messages", ds.msg_qnum);
	receive(queue, 3, 3, 1, 2);
	receive(queue, 0, 5, 600, 1);
	receive(queue, 0, 5, 0, 3);
	expect(msgctl(full, IPC_STAT, &ds) == 0 && ds.msg_qnum == 20 && ds.msg_qbytes == 100, "%lu messages, %lu bytes",
	       ds.msg_qnum, ds.msg_qbytes);
	expect(msgsnd(full, &(struct message){ .type = 1 }, 50, IPC_NOWAIT) < 0 && errno == EAGAIN, "it is not full");
	for (uint64_t i = 0; i < 20; i++)
		receive(full, 0, 1, 50, i);
	expect(msgctl(theirs, IPC_STAT, &ds) == 0 && ds.msg_perm.cuid == 12345 && ds.msg_perm.uid == 54321 &&
		       ds.msg_perm.cgid == getgid(),
	       "made by %u, of %u", ds.msg_perm.cuid, ds.msg_perm.uid);
}

/* --- semaphores */

static int set, empty_namespace_set;

static void set_up_semaphores(void)
{
	unsigned short values[3] = { 7, 0, 32767 };
	int spare;

	own_namespace();
	need((spare = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	need((set = semget(0x99, 3, IPC_CREAT | 0606)) >= 0 && semctl(spare, 0, IPC_RMID) == 0);
	need(semctl(set, 0, SETALL, values) == 0);
	empty_namespace_set = semget(IPC_PRIVATE, 250, 0600);
	need(empty_namespace_set >= 0);
}

static void check_semaphores(void)
{
	unsigned short values[3] = { 0 };
	struct semid_ds ds;
	struct sembuf down = { 0, -7, IPC_NOWAIT };

	expect(semget(0x99, 3, 0) == set, "the key leads elsewhere");
	expect(semctl(set, 0, GETALL, values) == 0 && values[0] == 7 && values[1] == 0 && values[2] == 32767,
	       "%u %u %u", values[0], values[1], values[2]);
	expect(semctl(set, 0, IPC_STAT, &ds) == 0 && (ds.sem_perm.mode & 0777) == 0606, "mode %o", ds.sem_perm.mode);
	expect(semop(set, &down, 1) == 0 && semctl(set, 0, GETVAL) == 0, "take seven");
	expect(semctl(empty_namespace_set, 0, IPC_STAT, &ds) == 0 && ds.sem_nsems == 250, "the large set is gone");
}

/* --- sysctls */

static const struct {
	const char *path, *value;
} settings[] = {
	{ "/proc/sys/kernel/msgmax", "5000" },
	{ "/proc/sys/kernel/msgmnb", "9999" },
	{ "/proc/sys/kernel/msgmni", "77" },
	{ "/proc/sys/kernel/sem", "250\t32000\t32\t128" },
	{ "/proc/sys/kernel/shmmax", "1234567890123" },
	{ "/proc/sys/kernel/shmall", "98765432109" },
	{ "/proc/sys/kernel/shmmni", "99" },
	{ "/proc/sys/kernel/shm_rmid_forced", "1" },
	{ "/proc/sys/fs/mqueue/queues_max", "33" },
	{ "/proc/sys/fs/mqueue/msg_max", "44" },
	{ "/proc/sys/fs/mqueue/msgsize_max", "5555" },
	{ "/proc/sys/fs/mqueue/msg_default", "6" },
	{ "/proc/sys/fs/mqueue/msgsize_default", "777" },
};

#define NR_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static void set_up_sysctls(void)
{
	own_namespace();
	/* larger than what will be allowed, but there */
	need((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
	send(queue, 1, 600, 4);
	need((attached = shmget(IPC_PRIVATE, PAGE, 0600)) >= 0 && (area = shmat(attached, NULL, 0)) != (void *)-1);
	pattern_fill(area, PAGE, 6);
	for (size_t i = 0; i < NR_SETTINGS; i++) {
		int fd = open(settings[i].path, O_WRONLY);

		if (fd < 0)
			victim_skip("%s: %s", settings[i].path, strerror(errno));
		need(write(fd, settings[i].value, strlen(settings[i].value)) == (ssize_t)strlen(settings[i].value));
		close(fd);
	}
}

static void check_sysctls(void)
{
	char text[100];

	for (size_t i = 0; i < NR_SETTINGS; i++) {
		slurp(settings[i].path, text, sizeof(text));
		text[strcspn(text, "\n")] = '\0';
		expect(strcmp(text, settings[i].value) == 0, "%s is '%s'", settings[i].path, text);
	}
	receive(queue, 0, 1, 600, 4);
	expect(pattern_same(area, PAGE, 6), "the segment has another content");
}

static void check_empty(void)
{
	struct shm_info info;

	expect(shmctl(0, SHM_INFO, (struct shmid_ds *)&info) == 0 && info.used_ids == 0, "%d segments", info.used_ids);
	need((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
	send(queue, 2, 600, 9);
	receive(queue, 0, 2, 600, 9);
}

/* --- what cannot be kept */

static void set_up_huge(void)
{
	own_namespace();
	if (shmget(IPC_PRIVATE, 2ul << 20, SHM_HUGETLB | SHM_NORESERVE | 0600) < 0)
		victim_skip("no huge pages: %s", strerror(errno));
}

static void set_up_forced(void)
{
	own_namespace();
	need(shmget(IPC_PRIVATE, PAGE, 0600) >= 0);

	int fd = open("/proc/sys/kernel/shm_rmid_forced", O_WRONLY);

	need(fd >= 0 && write(fd, "1", 1) == 1);
	close(fd);
}

/* --- POSIX message queues */

static mqd_t reader = -1, writer = -1;

static void set_up_mqueues(void)
{
	struct mq_attr attr = { .mq_maxmsg = 20, .mq_msgsize = 900 };
	char text[900];
	int limit;

	own_namespace();
	/* more than a new namespace allows, and lowered again */
	limit = open("/proc/sys/fs/mqueue/msg_max", O_WRONLY);
	need(limit >= 0 && write(limit, "20", 2) == 2);
	reader = mq_open("/first", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	if (reader < 0)
		victim_skip("mq_open: %s", strerror(errno));
	need(lseek(limit, 0, SEEK_SET) == 0 && write(limit, "10", 2) == 2);
	close(limit);
	need((writer = mq_open("/first", O_WRONLY)) >= 0);
	need(fchown(reader, 123, 456) == 0 && fchmod(reader, 0620) == 0);
	pattern_fill(text, sizeof(text), 5);
	need(mq_send(writer, "low", 3, 1) == 0 && mq_send(writer, text, sizeof(text), 7) == 0);
	need(mq_send(writer, "", 0, 7) == 0 && mq_send(writer, "lower", 5, 0) == 0 &&
	     mq_send(writer, "second", 6, 1) == 0);
	/* one that nobody has open */
	mqd_t q = mq_open("/with a space", O_RDWR | O_CREAT | O_EXCL, 0604, NULL);

	need(q >= 0 && mq_send(q, "kept", 4, 32767) == 0 && mq_close(q) == 0);
}

static void expect_message(mqd_t q, const void *text, size_t len, unsigned int prio)
{
	char buf[8192];
	unsigned int got = 0;
	ssize_t n = mq_receive(q, buf, sizeof(buf), &got);

	expect(n == (ssize_t)len && got == prio && memcmp(buf, text, len) == 0, "message of %zd bytes, priority %u", n,
	       got);
}

static void check_mqueues(void)
{
	struct mq_attr attr = { 0 };
	char text[900];
	struct stat st;
	mqd_t q;

	pattern_fill(text, sizeof(text), 5);
	expect(mq_getattr(reader, &attr) == 0 && attr.mq_maxmsg == 20 && attr.mq_msgsize == 900 &&
		       attr.mq_curmsgs == 5 && attr.mq_flags == O_NONBLOCK,
	       "%ld messages, flags %lo", attr.mq_curmsgs, attr.mq_flags);
	expect(mq_getattr(writer, &attr) == 0 && attr.mq_flags == 0, "flags %lo", attr.mq_flags);
	expect(fstat(reader, &st) == 0 && st.st_uid == 123 && st.st_gid == 456 && (st.st_mode & 07777) == 0620,
	       "owner %u mode %o", st.st_uid, st.st_mode);
	expect(mq_send(writer, "new", 3, 1) == 0, "send");
	expect_message(reader, text, 900, 7);
	expect_message(reader, "", 0, 7);
	expect_message(reader, "low", 3, 1);
	expect_message(reader, "second", 6, 1);
	expect_message(reader, "new", 3, 1);
	expect_message(reader, "lower", 5, 0);
	expect(mq_receive(reader, text, sizeof(text), NULL) < 0 && errno == EAGAIN, "more messages than there were");
	expect(mq_receive(writer, text, sizeof(text), NULL) < 0 && errno == EBADF, "the writer can read");
	q = mq_open("/with a space", O_RDONLY);
	expect(q >= 0 && fstat(q, &st) == 0 && (st.st_mode & 07777) == 0604, "the other queue");
	if (q >= 0)
		expect_message(q, "kept", 4, 32767);
	slurp("/proc/sys/fs/mqueue/msg_max", text, sizeof(text));
	expect(strcmp(text, "10\n") == 0, "msg_max is %s", text);
}

static void set_up_notified(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	set_up_mqueues();
	need(mq_notify(reader, &ev) == 0);
}

static void set_up_unlinked(void)
{
	set_up_mqueues();
	need(mq_unlink("/first") == 0);
}

/* somebody outside of the tree waits to send to a queue that is full: his message comes in for each that is taken */
static void send_from_outside(void)
{
	if (fork() == 0) {
		if (fork())
			_exit(0);
		setsid();
		_exit(mq_send(writer, "m4", 2, 1) < 0);
	}
	need(wait(NULL) > 0);
}

static void set_up_full(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	char text[8];

	own_namespace();
	reader = mq_open("/full", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	if (reader < 0)
		victim_skip("mq_open: %s", strerror(errno));
	need((writer = mq_open("/full", O_WRONLY)) >= 0);
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "m%d", i);
		need(mq_send(reader, text, 2, 1) == 0);
	}
	send_from_outside();
	sleep_ms(200);
}

static void check_full(void)
{
	char text[8], got[16] = "";

	for (int i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "m%d", i);
		for (int left = 100; left && mq_receive(reader, got, sizeof(got), NULL) < 0; left--)
			sleep_ms(10);
		expect(memcmp(got, text, 2) == 0, "message %d is '%.2s'", i, got);
		got[0] = '\0';
	}
}

const struct victim_case victim_cases[] = {
	{ "segments", set_up_segments, check_segments, .flags = CASE_MORE },
	{ "queues", set_up_queues, check_queues, .flags = CASE_MORE },
	{ "semaphores", set_up_semaphores, check_semaphores, .flags = CASE_MORE },
	{ "sysctls", set_up_sysctls, check_sysctls },
	{ "empty", own_namespace, check_empty },
	{ "huge", set_up_huge, NULL, .refuse = "segment|huge pages" },
	{ "forced", set_up_forced, NULL, .refuse = "segment|nobody has attached" },
	{ "mqueues", set_up_mqueues, check_mqueues, .flags = CASE_MORE | CASE_ALTERS },
	{ "mqueue-notified", set_up_notified, check_mqueues, .refuse = "POSIX message queue /first|notified" },
	{ "mqueue-unlinked", set_up_unlinked, NULL, .refuse = "POSIX message queue|without a name" },
	{ "mqueue-waited-for", set_up_full, check_full, .refuse = "POSIX message queue /full|is full|try again" },
	{ NULL },
};
