/* POSIX message queues and System V objects of a namespace that is not the tree's own: what processes hold of them. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <unistd.h>

static mqd_t queue = -1, writer = -1;

static void mount_queues(void)
{
	need(mkdir(victim_path("mq"), 0755) == 0 || errno == EEXIST);
	if (mount("none", victim_path("mq"), "mqueue", 0, NULL) < 0)
		victim_skip("mqueue cannot be mounted: %s", strerror(errno));
}

static void make_queue(void)
{
	struct mq_attr attr = { .mq_maxmsg = 5, .mq_msgsize = 64 };

	mq_unlink("/victim");
	queue = mq_open("/victim", O_RDWR | O_CREAT | O_NONBLOCK | O_EXCL, 0640, &attr);
	if (queue < 0)
		victim_skip("mq_open: %s", strerror(errno));
	need((writer = mq_open("/victim", O_WRONLY)) >= 0);
	need(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "high", 4, 7) == 0);
}

static void set_up_named(void)
{
	mount_queues();
	make_queue();
}

static void check_named(void)
{
	struct mq_attr attr = { 0 };
	unsigned int prio = 0;
	char buf[64];

	expect(mq_getattr(queue, &attr) == 0 && attr.mq_maxmsg == 5 && attr.mq_msgsize == 64 && attr.mq_curmsgs == 2 &&
		       attr.mq_flags == O_NONBLOCK,
	       "%ld messages, flags %lo", attr.mq_curmsgs, attr.mq_flags);
	expect(mq_getattr(writer, &attr) == 0 && attr.mq_flags == 0, "flags %lo", attr.mq_flags);
	expect(mq_receive(writer, buf, sizeof(buf), &prio) < 0 && errno == EBADF, "the writer can read");
	expect(mq_receive(queue, buf, sizeof(buf), &prio) == 4 && prio == 7, "priority %u", prio);
	expect(mq_send(writer, "more", 4, 3) == 0, "send");
	expect(mq_receive(queue, buf, sizeof(buf), &prio) == 4 && prio == 3, "priority %u", prio);
	mq_unlink("/victim");
	umount2(victim_path("mq"), MNT_DETACH);
}

static void set_up_unlinked(void)
{
	make_queue();
	need(mq_unlink("/victim") == 0);
}

static void set_up_notified(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	mount_queues();
	make_queue();
	need(mq_notify(queue, &ev) == 0);
}

static void check_notified(void)
{
	mq_unlink("/victim");
	umount2(victim_path("mq"), MNT_DETACH);
}

static int sysv_queue, sysv_sem;

static void set_up_sysv(void)
{
	struct {
		long type;
		char text[16];
	} m = { 5, "kept" };
	struct sembuf up = { 0, 3, 0 };

	need((sysv_queue = msgget(IPC_PRIVATE, 0600)) >= 0 && (sysv_sem = semget(IPC_PRIVATE, 2, 0600)) >= 0);
	need(msgsnd(sysv_queue, &m, sizeof(m.text), 0) == 0 && semop(sysv_sem, &up, 1) == 0);
}

static void check_sysv(void)
{
	struct {
		long type;
		char text[16];
	} m = { 0 };

	expect(msgrcv(sysv_queue, &m, sizeof(m.text), 0, IPC_NOWAIT) == sizeof(m.text) && m.type == 5 && strcmp(m.text, "kept") == 0,
	       "message '%s'", m.text);
	expect(semctl(sysv_sem, 0, GETVAL) == 3, "semaphore is %d", semctl(sysv_sem, 0, GETVAL));
	expect(msgctl(sysv_queue, IPC_RMID, NULL) == 0 && semctl(sysv_sem, 0, IPC_RMID) == 0, "remove");
}

const struct victim_case victim_cases[] = {
	{ "named", set_up_named, check_named, .flags = CASE_MORE | CASE_ALTERS | CASE_MUTATES },
	{ "unlinked", set_up_unlinked, NULL, .refuse = "without a name" },
	{ "notified", set_up_notified, check_notified, .refuse = "notified" },
	{ "sysv", set_up_sysv, check_sysv, .flags = CASE_MUTATES },
	{ NULL },
};
