/*
 * Undo lists of System V semaphores: whatever a process has to give back at its end it still has to give back. Its end is made
 * to come, and the values tell.
 */
#include "victim.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

static int set, other_set;
static pid_t kids[2];

static void change(int id, unsigned short num, short by, short flags)
{
	struct sembuf op = { num, by, (short)(flags | IPC_NOWAIT) };

	need(semop(id, &op, 1) == 0);
}

static void expect_values(const char *when, int a, int b, int c, int d)
{
	int want[4] = { a, b, c, d };

	for (int i = 0; i < 4; i++)
		expect(semctl(set, i, GETVAL) == want[i], "%s, semaphore %d is %d, should be %d", when, i,
		       semctl(set, i, GETVAL), want[i]);
}

/* One after the other, and none before the parent has looked. */
static void wait_for_turn(int nr)
{
	victim_hold();
	while (semctl(other_set, 0, GETVAL) < nr)
		sleep_ms(5);
}

/* The second has a thread, whose list is that of the process. */
static void *thread_main(void *arg)
{
	(void)arg;
	change(set, 2, 5, SEM_UNDO);
	victim_thread_ready();
	victim_wait();
	return NULL;
}

static void kid_main(long nr)
{
	unsigned long thread = 0;

	if (nr == 0) {
		change(set, 0, -1, SEM_UNDO);
		change(set, 1, 3, SEM_UNDO);
		change(set, 3, -30000, SEM_UNDO);
		change(set, 3, 30000, 0);
		change(set, 3, -2767, SEM_UNDO);
		change(set, 3, 2767, 0);
	} else {
		thread = victim_thread(thread_main, NULL);
		change(set, 1, -2, SEM_UNDO);
	}
	wait_for_turn((int)nr + 1);
	if (thread)
		victim_join(thread);
}

static void set_up(void)
{
	unsigned short values[4] = { 1, 0, 2, 32767 };
	int spare;

	need((spare = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	need((set = semget(IPC_PRIVATE, 4, 0600)) >= 0 && (other_set = semget(IPC_PRIVATE, 300, 0600)) >= 0);
	need(semctl(spare, 0, IPC_RMID) == 0 && semctl(set, 0, SETALL, values) == 0);
	for (long i = 0; i < 2; i++)
		kids[i] = victim_fork(kid_main, i);
	/* its own, of which nothing is left: it has taken and given back */
	change(set, 2, -1, SEM_UNDO);
	change(set, 2, 1, SEM_UNDO);
	change(other_set, 299, 9, SEM_UNDO);
	expect_values("before", 0, 1, 7, 32767);
}

static void set_up_own(void)
{
	if (unshare(CLONE_NEWIPC) < 0)
		victim_skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	set_up();
}

static void check(void)
{
	expect_values("after the restore", 0, 1, 7, 32767);
	expect(semctl(other_set, 299, GETVAL) == 9, "semaphore 299 is %d", semctl(other_set, 299, GETVAL));
	/* a process can be in the way of none of the others: it ends at its turn */
	change(other_set, 0, 1, 0);
	victim_reap(kids[0]);
	/* 1 given back; 3 taken back of which 2 are used up; what was taken of a full one does not fit */
	expect_values("after the end of the first", 1, 0, 7, 32767);
	change(set, 1, 5, 0);
	change(other_set, 0, 1, 0);
	victim_reap(kids[1]);
	expect_values("after the end of the second", 1, 7, 2, 32767);
	expect(unshare(CLONE_SYSVSEM) == 0, "give up the own list");
	expect_values("after the end of the own list", 1, 7, 2, 32767);
	expect(semctl(other_set, 299, GETVAL) == 0, "semaphore 299 is %d at the end", semctl(other_set, 299, GETVAL));
	expect(semctl(set, 0, IPC_RMID) == 0 && semctl(other_set, 0, IPC_RMID) == 0, "remove");
}

/* --- of an IPC namespace that stays: the end of the dumped tree gives back, the restored one takes again */

static void outside_main(long arg)
{
	(void)arg;
	change(set, 0, -1, SEM_UNDO);
	change(set, 1, 4, SEM_UNDO);
	change(set, 2, -2, SEM_UNDO);
	wait_for_turn(1);
}

static void set_up_outside(void)
{
	unsigned short values[4] = { 1, 2, 10, 3 };

	need((set = semget(IPC_PRIVATE, 4, 0600)) >= 0 && semctl(set, 0, SETALL, values) == 0);
	need((other_set = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	for (int i = 0; i < 2; i++) {
		/* a lock that both have had, one of the two has it now */
		kids[i] = victim_fork(outside_main, 0);
		if (i == 0)
			change(set, 0, 1, 0);
	}
	change(set, 3, -1, SEM_UNDO);
	expect_values("before", 0, 10, 6, 2);
}

static void check_outside(void)
{
	expect_values("after the restore", 0, 10, 6, 2);
	change(other_set, 0, 1, 0);
	for (int i = 0; i < 2; i++)
		victim_reap(kids[i]);
	expect_values("after the end of both", 2, 2, 10, 2);
	expect(unshare(CLONE_SYSVSEM) == 0, "give up the own list");
	expect_values("after the end of the own list", 2, 2, 10, 3);
	expect(semctl(set, 0, IPC_RMID) == 0 && semctl(other_set, 0, IPC_RMID) == 0, "remove");
}

/* --- every part of the range */

static const struct {
	int adjust;
	unsigned short value;
} extremes[] = { { 1, 0 },         { -1, 1 },         { 2, 32767 },      { -2, 0 },        { 32767, 0 },
		 { 32767, 32767 }, { -32768, 32767 }, { -32768, 5 },     { 20000, 16383 }, { -20000, 16384 },
		 { 255, 7 },       { -256, 9 },       { -32767, 12345 }, { 16384, 1 } };

#define NR_EXTREMES (sizeof(extremes) / sizeof(extremes[0]))

/* An entry is told by its end: with the value in the middle, in two parts where one would not fit. */
static void extremes_main(long arg)
{
	(void)arg;
	for (unsigned short i = 0; i < NR_EXTREMES; i++) {
		int left = extremes[i].adjust, part;

		need(semctl(set, i, SETVAL, left > 0 ? 32767 : 0) == 0);
		for (; left; left -= part) {
			part = left > 30000 ? 30000 : left < -30000 ? -30000 : left;
			change(set, i, (short)-part, SEM_UNDO);
			change(set, i, (short)part, 0);
		}
		/* not SETVAL, which forgets all entries */
		if (semctl(set, i, GETVAL) != extremes[i].value)
			change(set, i, (short)(extremes[i].value - semctl(set, i, GETVAL)), 0);
	}
	wait_for_turn(1);
}

static void set_up_extremes(void)
{
	if (unshare(CLONE_NEWIPC) < 0)
		victim_skip("unshare(CLONE_NEWIPC): %s", strerror(errno));
	need((set = semget(IPC_PRIVATE, NR_EXTREMES, 0600)) >= 0);
	need((other_set = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	kids[0] = victim_fork(extremes_main, 0);
}

static void check_extremes(void)
{
	for (unsigned short i = 0; i < NR_EXTREMES; i++) {
		int value = semctl(set, i, GETVAL), start = extremes[i].adjust > 0 ? 0 : 32767;

		expect(value == extremes[i].value, "semaphore %d is %d", i, value);
		if (start != value)
			change(set, i, (short)(start - value), 0);
	}
	change(other_set, 0, 1, 0);
	victim_reap(kids[0]);
	for (unsigned short i = 0; i < NR_EXTREMES; i++) {
		int value = semctl(set, i, GETVAL), want = (extremes[i].adjust > 0 ? 0 : 32767) + extremes[i].adjust;

		want = want < 0 ? 0 : want;
		expect(value == want, "semaphore %d ends as %d, should be %d", i, value, want);
	}
}

/* --- what cannot be kept */

static _Noreturn int shares_list(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void set_up_shared(void)
{
	static char stack[16384] __attribute__((aligned(16)));

	set_up_own();
	kids[0] = clone(shares_list, stack + sizeof(stack), CLONE_SYSVSEM | SIGCHLD, NULL);
	need(kids[0] > 0);
}

static void check_shared(void)
{
	kill(kids[0], SIGKILL);
	waitpid(kids[0], NULL, 0);
	semctl(other_set, 0, SETVAL, 1);
	sleep_ms(20);
	semctl(other_set, 0, SETVAL, 2);
}

/* Two that give back more than a semaphore can have: what their end makes of it cannot be told from another value. */
static void take_much(void)
{
	change(set, 0, -20000, SEM_UNDO);
	change(set, 0, 20000, 0);
}

static void much_main(long arg)
{
	(void)arg;
	take_much();
	wait_for_turn(1);
}

static void set_up_too_much(void)
{
	need((set = semget(IPC_PRIVATE, 1, 0600)) >= 0 && (other_set = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	change(set, 0, 20000, 0);
	kids[0] = victim_fork(much_main, 0);
	take_much();
}

static void check_too_much(void)
{
	change(other_set, 0, 1, 0);
	victim_reap(kids[0]);
	expect(semctl(set, 0, GETVAL) == 32767, "semaphore is %d", semctl(set, 0, GETVAL));
	expect(semctl(set, 0, IPC_RMID) == 0 && semctl(other_set, 0, IPC_RMID) == 0, "remove");
}

const struct victim_case victim_cases[] = {
	{ "own", set_up_own, check, .flags = CASE_MORE },
	{ "outside", set_up_outside, check_outside, .flags = CASE_MUTATES },
	{ "extremes", set_up_extremes, check_extremes, .flags = CASE_MORE },
	{ "shared", set_up_shared, check_shared, .refuse = "undo list|shared with pid" },
	{ "too-much", set_up_too_much, check_too_much, .refuse = "undo lists|add 40000 to semaphore 0" },
	{ NULL },
};
