/* Who may stay, who may be served, who is sent away. */
#include "criu-srv/crowd.h"

#include "front/front.h"

#include <stdlib.h>

static const struct srv_limits narrow = {
	.workers = 8,
	.user_workers = 2,
	.clients = 6,
	.user_clients = 3,
	.request_s = 10,
};

static struct crowd_client *enter(struct crowd *c, int fd, uid_t uid, int64_t now)
{
	struct crowd_client *client = crowd_enter(c, fd, uid, 100 + fd, false, now);

	assert_non_null(client);
	return client;
}

/* Lets the client go on to be served. */
static void serve(struct crowd *c, struct crowd_client *client, pid_t worker)
{
	crowd_asks(c, client, 0);
	assert_ptr_equal(crowd_next(c), client);
	assert_int_equal(crowd_reserve(c), 0);
	crowd_serve(c, client, worker, 0);
}

static void test_own_go_first(void **state)
{
	struct crowd c;
	struct crowd_client *first, *other, *newest;

	(void)state;
	crowd_init(&c, &narrow);
	other = enter(&c, 1, 20, 0);
	assert_null(crowd_surplus(&c, other));
	first = enter(&c, 2, 10, 1);
	enter(&c, 3, 10, 2);
	newest = enter(&c, 4, 10, 3);
	assert_null(crowd_surplus(&c, newest));
	newest = enter(&c, 5, 10, 4);
	assert_ptr_equal(crowd_surplus(&c, newest), first);
	crowd_leave(&c, first);
	assert_null(crowd_surplus(&c, newest));
	crowd_done(&c);
}

/* In all there are too many: one goes of whoever has most. Root has no limit of his own, but counts. */
static void test_most_go(void **state)
{
	struct crowd c;
	struct crowd_client *roots, *newest = NULL;

	(void)state;
	crowd_init(&c, &narrow);
	enter(&c, 1, 10, 0);
	roots = enter(&c, 2, 0, 0);
	for (int i = 0; i < 4; i++)
		newest = enter(&c, 3 + i, 0, 1 + i);
	assert_null(crowd_surplus(&c, newest));
	newest = enter(&c, 9, 20, 9);
	assert_ptr_equal(crowd_surplus(&c, newest), roots);
	crowd_done(&c);
}

/* Those who have asked stay, so that it may be the newest one that goes. */
static void test_newest_goes(void **state)
{
	struct crowd c;
	struct crowd_client *newest;

	(void)state;
	crowd_init(&c, &narrow);
	for (int i = 0; i < 3; i++)
		crowd_asks(&c, enter(&c, i, 10, 0), 0);
	newest = enter(&c, 9, 10, 1);
	assert_ptr_equal(crowd_surplus(&c, newest), newest);
	crowd_leave(&c, newest);
	assert_int_equal(c.silent.nr, 0);
	assert_int_equal(c.asking.nr, 3);
	crowd_done(&c);
}

/* Many users have asked, as many as there may be in all: root comes in, and is the only one who does. */
static void test_room_for_root(void **state)
{
	static const struct srv_limits wide = { .workers = 1, .user_workers = 1, .clients = 16, .user_clients = 2 };
	struct crowd c;
	struct crowd_client *newest;

	(void)state;
	crowd_init(&c, &wide);
	for (int i = 0; i < 14; i++) {
		newest = enter(&c, i, (uid_t)(10 + i / 2), 0);
		assert_null(crowd_surplus(&c, newest));
		crowd_asks(&c, newest, 0);
	}
	newest = enter(&c, 20, 50, 1);
	assert_ptr_equal(crowd_surplus(&c, newest), newest);
	crowd_leave(&c, newest);
	for (int i = 0; i < 2; i++) {
		newest = enter(&c, 21 + i, 0, 1);
		assert_null(crowd_surplus(&c, newest));
		crowd_asks(&c, newest, 1);
	}
	newest = enter(&c, 23, 0, 2);
	assert_ptr_equal(crowd_surplus(&c, newest), newest);
	crowd_done(&c);
}

static void test_places(void **state)
{
	struct crowd c;
	struct crowd_client *third, *other, *root;
	struct crowd_worker w;
	uid_t uid;

	(void)state;
	crowd_init(&c, &narrow);
	serve(&c, enter(&c, 1, 10, 0), 1001);
	serve(&c, enter(&c, 2, 10, 0), 1002);
	third = enter(&c, 3, 10, 0);
	crowd_asks(&c, third, 0);
	assert_null(crowd_next(&c));
	other = enter(&c, 4, 20, 0);
	crowd_asks(&c, other, 1);
	assert_ptr_equal(crowd_next(&c), other);
	/* seven of eight are for everybody */
	serve(&c, other, 1003);
	for (uid_t u = 30; u < 34; u++)
		serve(&c, enter(&c, (int)u, u, 0), (pid_t)(2000 + u));
	assert_int_equal(c.nr_workers, 7);
	crowd_asks(&c, enter(&c, 40, 40, 0), 0);
	assert_null(crowd_next(&c));
	root = enter(&c, 50, 0, 0);
	crowd_asks(&c, root, 2);
	assert_ptr_equal(crowd_next(&c), root);
	assert_true(crowd_reap(&c, 1001, &w, &uid));
	assert_int_equal(uid, 10);
	assert_int_equal(w.client_pid, 101);
	assert_false(crowd_reap(&c, 1001, &w, &uid));
	assert_ptr_equal(crowd_next(&c), third);
	crowd_done(&c);
}

static void test_late(void **state)
{
	struct crowd c;
	struct crowd_client *a, *b;

	(void)state;
	crowd_init(&c, &narrow);
	assert_int_equal(crowd_wait_ms(&c, 0), -1);
	a = enter(&c, 1, 10, 1000);
	b = enter(&c, 2, 20, 3000);
	assert_int_equal(crowd_wait_ms(&c, 2000), 9000);
	assert_null(crowd_late(&c, 10999));
	assert_ptr_equal(crowd_late(&c, 11000), a);
	assert_int_equal(crowd_wait_ms(&c, 20000), 0);
	crowd_asks(&c, a, 10000);
	crowd_asks(&c, a, 15000);
	assert_ptr_equal(crowd_late(&c, 13000), b);
	crowd_leave(&c, b);
	assert_null(crowd_late(&c, 19999));
	assert_ptr_equal(crowd_late(&c, 20000), a);
	crowd_done(&c);
}

static void count_lines(void *arg, uid_t uid, uint64_t nr)
{
	assert_int_equal(uid, 10);
	*(uint64_t *)arg += nr;
}

static void test_lines(void **state)
{
	struct crowd c;
	struct crowd_client *mine, *roots;
	uint64_t unlogged = 0;
	int nr = 0;

	(void)state;
	crowd_init(&c, &narrow);
	mine = enter(&c, 1, 10, 0);
	roots = enter(&c, 2, 0, 0);
	for (int i = 0; i < 1000; i++)
		nr += crowd_may_log(mine->user, 0);
	assert_int_equal(nr, 200);
	for (int i = 0; i < 1000; i++)
		assert_true(crowd_may_log(roots->user, 0));
	assert_true(crowd_may_log(mine->user, 100));
	/* he is not new when he comes back */
	crowd_leave(&c, mine);
	assert_int_equal(c.nr_users, 2);
	crowd_settle(&c, 200, count_lines, &unlogged);
	assert_int_equal(unlogged, 800);
	assert_int_equal(c.nr_users, 2);
	mine = enter(&c, 1, 10, 200);
	nr = 0;
	for (int i = 0; i < 100; i++)
		nr += crowd_may_log(mine->user, 200);
	assert_true(nr < 5);
	crowd_leave(&c, mine);
	unlogged = 0;
	crowd_settle(&c, 60000, count_lines, &unlogged);
	assert_int_equal(c.nr_users, 1);
	crowd_done(&c);
}

/* A book that is kept by other means: counts and lists agree after any sequence of events. */
static void test_at_random(void **state)
{
	static const struct srv_limits wide = {
		.workers = 40, .user_workers = 5, .clients = 60, .user_clients = 20, .request_s = 5
	};
	struct crowd c;
	uint32_t seed = 1;
	pid_t next_pid = 1000;

	(void)state;
	crowd_init(&c, &wide);
	for (int64_t step = 0; step < 20000; step++) {
		struct crowd_client *client, *gone;
		struct crowd_worker w;
		uint32_t dice;
		uid_t uid;

		seed = seed * 1664525 + 1013904223;
		dice = seed >> 8;
		switch (dice % 4) {
		case 0:
			client = enter(&c, 1, dice / 4 % 9, step);
			while ((gone = crowd_surplus(&c, client)) != NULL) {
				bool last = gone == client;

				crowd_leave(&c, gone);
				if (last)
					break;
			}
			break;
		case 1:
			if (c.silent.last)
				crowd_asks(&c, c.silent.last, step);
			break;
		case 2:
			client = crowd_next(&c);
			if (client && crowd_reserve(&c) == 0)
				crowd_serve(&c, client, next_pid++, step);
			break;
		default:
			if (c.nr_workers)
				assert_true(crowd_reap(&c, c.workers[dice / 4 % c.nr_workers].pid, &w, &uid));
		}
		while ((client = crowd_late(&c, step)) != NULL)
			crowd_leave(&c, client);
		assert_true(c.nr_workers <= wide.workers);
		assert_true(c.silent.nr + c.asking.nr <= wide.clients);
		size_t users = 0, clients = 0, workers = 0;
		for (size_t i = 0; i < CROWD_BUCKETS; i++) {
			for (struct crowd_user *u = c.users[i]; u; u = u->next) {
				users++;
				clients += u->clients;
				workers += u->workers;
				assert_true(u->uid == 0 ||
					    (u->clients <= wide.user_clients && u->workers <= wide.user_workers));
			}
		}
		assert_int_equal(users, c.nr_users);
		assert_int_equal(clients, c.silent.nr + c.asking.nr);
		assert_int_equal(workers, c.nr_workers);
	}
	crowd_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_go_first), cmocka_unit_test(test_most_go),
		cmocka_unit_test(test_newest_goes),  cmocka_unit_test(test_room_for_root),
		cmocka_unit_test(test_places),       cmocka_unit_test(test_late),
		cmocka_unit_test(test_lines),        cmocka_unit_test(test_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
