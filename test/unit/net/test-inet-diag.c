/* Answers of INET_DIAG and the like, and what passes by itself among the obstacles of a dump. */
#include "net/inet-diag.h"

#include "base/obstacle.h"
#include "net/packet-diag.h"
#include "net/unix-diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct message {
	struct nlmsghdr h;
	struct inet_diag_msg m;
};

struct answer {
	struct message m[3];
	struct nlmsghdr done;
};

/* One that listens, one that is being made, one of a family that nobody asked for. */
static struct answer answer(void)
{
	struct answer a = { .done = { .nlmsg_len = sizeof(a.done), .nlmsg_type = NLMSG_DONE } };

	for (size_t i = 0; i < ARRAY_LEN(a.m); i++)
		a.m[i].h = (struct nlmsghdr){ .nlmsg_len = sizeof(a.m[i]), .nlmsg_type = SOCK_DIAG_BY_FAMILY };
	a.m[0].m = (struct inet_diag_msg){
		.idiag_family = AF_INET6, .idiag_state = 10, .idiag_inode = 77, .idiag_rqueue = 3
	};
	a.m[0].m.id.idiag_sport = htons(8080);
	inet_pton(AF_INET6, "2001:db8::7", a.m[0].m.id.idiag_src);
	a.m[1].m = (struct inet_diag_msg){ .idiag_family = AF_INET, .idiag_state = 3 };
	a.m[1].m.id.idiag_sport = htons(80);
	inet_pton(AF_INET, "192.0.2.1", a.m[1].m.id.idiag_src);
	memset(a.m[1].m.id.idiag_src + 1, 0xff, 12);
	a.m[2].m = (struct inet_diag_msg){ .idiag_family = AF_UNIX };
	return a;
}

static void test_answer(void **state)
{
	struct answer a = answer();
	struct tcp_fact_vec v = { 0 };
	char text[INET_TEXT_MAX];

	(void)state;
	assert_int_equal(inet_diag_parse(&a, sizeof(a), &v, NULL), 1);
	assert_int_equal(v.nr, 2);
	assert_int_equal(v.items[0].state, 10);
	assert_int_equal(v.items[0].ino, 77);
	assert_int_equal(v.items[0].waiting, 3);
	inet_end_text(&v.items[0].own, text);
	assert_string_equal(text, "[2001:db8::7]:8080");
	inet_end_text(&v.items[1].own, text);
	assert_string_equal(text, "192.0.2.1:80");
	assert_int_equal(v.items[1].own.addr[1], 0);
	tcp_fact_vec_done(&v);
}

/* Cut anywhere, it is an answer that goes on, or none. */
static void test_cut(void **state)
{
	struct answer a = answer();

	(void)state;
	for (size_t len = 0; len < sizeof(a); len++) {
		struct tcp_fact_vec v = { 0 };

		assert_int_equal(inet_diag_parse(&a, len, &v, NULL), 0);
		assert_true(v.nr <= len / sizeof(struct message));
		tcp_fact_vec_done(&v);
	}
}

static void test_refused(void **state)
{
	struct {
		struct nlmsghdr h;
		int code;
	} e = { { .nlmsg_len = sizeof(e), .nlmsg_type = NLMSG_ERROR }, -ENOENT };
	struct answer a = answer();
	struct tcp_fact_vec v = { 0 };

	(void)state;
	assert_int_equal(inet_diag_parse(&e, sizeof(e), &v, NULL), -ENOENT);
	e.code = 5;
	assert_int_equal(inet_diag_parse(&e, sizeof(e), &v, NULL), -EPROTO);
	a.m[0].h.nlmsg_len = sizeof(a.m[0]) - 8;
	assert_int_equal(inet_diag_parse(&a, sizeof(a), &v, NULL), -EBADMSG);
	tcp_fact_vec_done(&v);
}

/* What lies behind an answer is no part of it, also if its last message ends in the middle of a word. */
static void test_end(void **state)
{
	struct {
		struct nlmsghdr h;
		char byte, pad[3];
		struct nlmsghdr beyond;
	} p = { .h = { .nlmsg_len = NLMSG_LENGTH(1), .nlmsg_type = NLMSG_NOOP },
		.beyond = { .nlmsg_len = sizeof(p.beyond), .nlmsg_type = NLMSG_DONE } };
	struct tcp_fact_vec v = { 0 };
	struct unix_facts u = { 0 };
	struct packet_fact f = { 0 };

	(void)state;
	assert_int_equal(inet_diag_parse(&p, NLMSG_LENGTH(1), &v, NULL), 0);
	assert_int_equal(unix_diag_parse(&p, NLMSG_LENGTH(1), &u, NULL), 0);
	assert_int_equal(packet_diag_parse(&p, NLMSG_LENGTH(1), 77, &f), 0);
}

static void test_passing(void **state)
{
	struct obstacles list = { 0 };

	(void)state;
	assert_false(obstacles_pass(&list));
	assert_int_equal(obstacle_add(&list, 1, "a", "fd 3", "", "waits"), 0);
	assert_false(obstacles_pass(&list));
	list.items[0].passing = true;
	assert_true(obstacles_pass(&list));
	assert_int_equal(obstacle_add(&list, 1, "a", "fd 4", "", "stays"), 0);
	assert_false(obstacles_pass(&list));
	obstacles_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_answer), cmocka_unit_test(test_cut),
					    cmocka_unit_test(test_refused), cmocka_unit_test(test_end),
					    cmocka_unit_test(test_passing) };

	return cmocka_run_group_tests_name("inet-diag", tests, NULL, NULL);
}
