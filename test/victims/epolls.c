/* epoll: what is watched, and by which numbers, also those that are closed or something else by now. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ep, other, p[2], q[2];
static pid_t kid;

static void watch(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0);
}

/* Exactly these have something to tell. */
static void expect_events(int epoll, int nr, const uint64_t *data)
{
	struct epoll_event ev[16];
	int n = epoll_wait(epoll, ev, 16, 200);

	expect(n == nr, "%d events, should be %d", n, nr);
	for (int i = 0; i < nr; i++) {
		bool there = false;

		for (int k = 0; k < n; k++)
			there |= ev[k].data.u64 == data[i];
		expect(there, "no event of %llu", (unsigned long long)data[i]);
	}
}

static int change(int epoll, int what, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = 99 };

	return epoll_ctl(epoll, what, fd, &ev);
}

/* -------------------------------------------------------------------- moved */

static void set_up_moved(void)
{
	need((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0 && pipe(p) == 0 && pipe(q) == 0);
	/* 20: closed, the file lives on as p[0]; 21: another file now, watched as well; 22: another kind */
	need(dup2(p[0], 20) == 20 && dup2(p[0], 21) == 21 && dup2(p[0], 22) == 22);
	watch(ep, p[0], EPOLLIN, 1);
	watch(ep, 20, EPOLLIN, 20);
	watch(ep, 21, EPOLLIN, 21);
	watch(ep, 22, EPOLLIN, 22);
	close(20);
	need(dup2(q[0], 21) == 21);
	watch(ep, 21, EPOLLIN, 121);
	need(dup3(open("/dev/null", O_RDONLY), 22, O_CLOEXEC) == 22);
}

static void check_moved(void)
{
	expect(fcntl(20, F_GETFD) < 0, "number 20 is open");
	expect(fcntl(22, F_GETFD) == FD_CLOEXEC && fcntl(21, F_GETFD) == 0, "flags of what is there now");
	expect(write(p[1], "x", 1) == 1, "write");
	expect_events(ep, 4, (uint64_t[]){ 1, 20, 21, 22 });
	expect(change(ep, EPOLL_CTL_DEL, p[0], 0) == 0, "remove");
	expect(change(ep, EPOLL_CTL_DEL, 20, 0) < 0 && errno == EBADF, "a closed number can be removed");
	expect(dup2(p[0], 20) == 20 && change(ep, EPOLL_CTL_DEL, 20, 0) == 0, "remove by the number it had: %d", errno);
	close(20);
	expect_events(ep, 2, (uint64_t[]){ 21, 22 });
	expect(write(q[1], "x", 1) == 1, "write");
	expect_events(ep, 3, (uint64_t[]){ 21, 22, 121 });
	expect(change(ep, EPOLL_CTL_ADD, 21, EPOLLIN) < 0 && errno == EEXIST, "number 21 is not watched");
	close(p[0]);
	expect_events(ep, 1, (uint64_t[]){ 121 });
}

/* What is watched is open in a child only. */
static void holder(long arg)
{
	char byte;

	close(ep);
	victim_hold();
	sleep_ms(300);
	expect(read(p[0], &byte, 1) == 1, "read");
}

static void set_up_child_only(void)
{
	need((ep = epoll_create1(0)) >= 0 && pipe(p) == 0);
	watch(ep, p[0], EPOLLIN, 7);
	kid = victim_fork(holder, 0);
	close(p[0]);
	need(write(p[1], "x", 1) == 1);
}

static void check_child_only(void)
{
	expect_events(ep, 1, (uint64_t[]){ 7 });
	victim_reap(kid);
	expect_events(ep, 0, NULL);
}

/* ------------------------------------------------------------- nested, modes */

static void set_up_nested(void)
{
	need((ep = epoll_create1(0)) >= 0 && (other = epoll_create1(0)) >= 0 && pipe(p) == 0 && pipe(q) == 0);
	watch(other, p[0], EPOLLIN, 3);
	watch(ep, other, EPOLLIN, 4);
	watch(ep, q[0], EPOLLIN | EPOLLONESHOT, 5);
	watch(ep, q[1], EPOLLOUT | EPOLLET, 6);
	expect_events(ep, 1, (uint64_t[]){ 6 });
}

static void check_nested(void)
{
	struct epoll_event ev;

	expect(epoll_wait(ep, &ev, 1, 100) == 1 && ev.data.u64 == 6, "what can be written to at once is told");
	expect(write(p[1], "x", 1) == 1, "write");
	expect_events(ep, 1, (uint64_t[]){ 4 });
	expect_events(other, 1, (uint64_t[]){ 3 });
	expect(write(q[1], "x", 1) == 1, "write");
	expect(epoll_wait(ep, &ev, 1, 100) == 1, "nothing is told");
	for (int i = 0, n = 0; i < 5; i++) {
		int k = epoll_wait(ep, &ev, 1, 20);

		n += k == 1 && ev.data.u64 == 5;
		expect(n < 2, "a one-shot watch told twice");
	}
}

/* -------------------------------------------------------------------- many */

#define FIRST 100
static int many;

static void watch_many(int nr, int eventfds)
{
	struct rlimit rl = { (rlim_t)nr + 500, (rlim_t)nr + 500 }, now;

	need(getrlimit(RLIMIT_NOFILE, &now) == 0);
	if (now.rlim_max < rl.rlim_max)
		victim_skip("only %llu descriptors are allowed", (unsigned long long)now.rlim_max);
	rl.rlim_max = now.rlim_max;
	need(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	need((ep = epoll_create1(0)) >= 0);
	many = nr;
	for (int i = 0; i < nr; i++) {
		/* some are of one file under many numbers */
		int fd = i % eventfds == 0 ? eventfd(0, 0) : dup(FIRST + i - i % eventfds);

		if (fd < 0 && errno == ENOMEM)
			victim_skip("no memory for %d descriptors", nr);
		need(fd >= 0);
		if (fd != FIRST + i) {
			need(dup2(fd, FIRST + i) == FIRST + i);
			close(fd);
		}
		watch(ep, FIRST + i, EPOLLIN, (uint64_t)i);
	}
	need(dup2(FIRST + 10, FIRST + 501) == FIRST + 501);
}

static void set_up_thousand(void)
{
	watch_many(1000, 2);
}

static void set_up_large(void)
{
	watch_many(15000, 1);
}

static void check_many(void)
{
	uint64_t one = 1;

	expect(write(FIRST + 10, &one, sizeof(one)) == sizeof(one), "write");
	if (many == 1000)
		expect_events(ep, 2, (uint64_t[]){ 10, 11 });
	else
		expect_events(ep, 1, (uint64_t[]){ 10 });
	expect(write(FIRST + many - 2, &one, sizeof(one)) == sizeof(one), "write");
	if (many == 1000)
		expect_events(ep, 4, (uint64_t[]){ 10, 11, 998, 999 });
	else
		expect_events(ep, 2, (uint64_t[]){ 10, 14998 });
	close(FIRST + 10);
	close(FIRST + 501);
	if (many == 1000)
		close(FIRST + 11);
	expect_events(ep, many == 1000 ? 2 : 1, (uint64_t[]){ (uint64_t)many - 2, 999 });
}

/* A hundred thousand, among few descriptors, since more are seldom allowed. */
#define SETS     50
#define EACH     2000
static int sets[SETS];

static void set_up_hundred_thousand(void)
{
	watch_many(EACH, 1);
	sets[0] = ep;
	for (int k = 1; k < SETS; k++) {
		need((sets[k] = epoll_create1(0)) >= 0);
		for (int i = 0; i < EACH; i++)
			watch(sets[k], FIRST + i, EPOLLIN, (uint64_t)(k * EACH + i));
	}
}

static void check_hundred_thousand(void)
{
	uint64_t one = 1;

	expect(write(FIRST + 77, &one, sizeof(one)) == sizeof(one), "write");
	expect(write(FIRST + EACH - 1, &one, sizeof(one)) == sizeof(one), "write");
	for (int k = 0; k < SETS; k++)
		expect_events(sets[k], 2, (uint64_t[]){ (uint64_t)k * EACH + 77, (uint64_t)(k + 1) * EACH - 1 });
}

/* ----------------------------------------------------- busy polling, Linux 6.9 */

struct params {
	uint32_t usecs;
	uint16_t budget;
	uint8_t prefer, pad;
};

static void set_up_busy(void)
{
	struct params params = { 50, 8, 1, 0 };

	need((ep = epoll_create1(0)) >= 0 && pipe(p) == 0);
	watch(ep, p[0], EPOLLIN, 1);
	if (ioctl(ep, _IOW(0x8A, 0x01, struct params), &params) < 0)
		victim_skip("EPIOCSPARAMS: %s", strerror(errno));
}

static void check_busy(void)
{
	struct params params = { 0 };

	expect(ioctl(ep, _IOR(0x8A, 0x02, struct params), &params) == 0 && params.usecs == 50 && params.budget == 8 &&
		       params.prefer == 1,
	       "it polls for %u us, %u packets", params.usecs, params.budget);
	expect(write(p[1], "x", 1) == 1, "write");
	expect_events(ep, 1, (uint64_t[]){ 1 });
}

/* -------------- a pidfd that this process has closed, its child has, and something else is at its number */

static void hold_for_child(long unused)
{
	(void)unused;
	victim_hold();
}

static int watched_pidfd(void)
{
	int n;

	kid = victim_fork(hold_for_child, 0);
	n = (int)syscall(SYS_pidfd_open, kid, 0);
	if (n < 0)
		victim_skip("pidfd_open: %s", strerror(errno));
	need((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0 && pipe(p) == 0);
	watch(ep, n, EPOLLIN, 1);
	return n;
}

static void set_up_closed_pidfd(void)
{
	int n = watched_pidfd();

	need(fcntl(n, F_SETFD, 0) == 0);
	victim_fork(hold_for_child, 0);
	need(dup2(p[0], n) == n);
}

/* what has a number here is kept */
static void set_up_moved_pidfd(void)
{
	int n = watched_pidfd();

	need(dup(n) >= 0 && dup2(p[0], n) == n);
}

static void check_moved_pidfd(void)
{
	expect(write(p[1], "x", 1) == 1, "write");
	victim_reap(kid);
	expect_events(ep, 1, (uint64_t[]){ 1 });
	expect(read(p[0], (char[1]){ 0 }, 1) == 1, "read");
	expect_events(ep, 1, (uint64_t[]){ 1 });
}

const struct victim_case victim_cases[] = {
	{ "moved", set_up_moved, check_moved, .flags = CASE_MORE },
	{ "child-only", set_up_child_only, check_child_only, .flags = CASE_MORE },
	{ "nested", set_up_nested, check_nested, .flags = CASE_ALTERS },
	{ "thousand", set_up_thousand, check_many, .flags = CASE_MORE },
	{ "large", set_up_large, check_many, .flags = CASE_ALTERS },
	{ "busy-polling", set_up_busy, check_busy },
	{ "closed-pidfd", set_up_closed_pidfd, .refuse = "pidfd that this process has closed" },
	{ "moved-pidfd", set_up_moved_pidfd, check_moved_pidfd },
	{ "hundred-thousand", set_up_hundred_thousand, check_hundred_thousand, .flags = CASE_ALTERS },
	{ NULL },
};
