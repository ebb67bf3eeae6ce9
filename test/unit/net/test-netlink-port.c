/* What the kernel does for ports of netlink sockets. */
#include "net/netlink-port.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

static void test_queues(void **state)
{
	/* as of Linux 6.18 */
	static const char list[] = "   77  31007     0 2 65531     0     0        0  1\n"
				   " 4711 4294967291     0 0     0     0     0        0  1\n";
	static const struct {
		const char *text;
		uint32_t port;
		bool found;
		uint64_t number;
	} cases[] = {
		{ list, 31007, true, 77 }, { list, 4294967291u, true, 4711 },
		{ list, 77, false, 0 },    { list, 3100, false, 0 },
		{ "", 1, false, 0 },       { "\n\n  \n7 8", 8, true, 7 },
		{ "x 8\n8", 8, false, 0 }, { "99999999999999999999999 8", 8, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t number = 0;

		if (netfilter_queue_find(cases[i].text, strlen(cases[i].text), cases[i].port, &number) !=
			    cases[i].found ||
		    number != cases[i].number)
			fail_msg("case %zu: %lu", i, (unsigned long)number);
	}
}

struct answer {
	struct nlmsghdr head;
	struct nfgenmsg family;
	struct nlattr name;
	char text[8];
	struct nlattr owner;
	uint32_t port;
	struct nlmsghdr done;
	int zero;
};

static const struct answer table = {
	.head = { .nlmsg_len = offsetof(struct answer, done),
		  .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE },
	.name = { .nla_len = NLA_HDRLEN + 5, .nla_type = NFTA_TABLE_NAME },
	.text = "mine",
	.owner = { .nla_len = NLA_HDRLEN + 4, .nla_type = 7 },
	.done = { .nlmsg_len = NLMSG_LENGTH(sizeof(int)), .nlmsg_type = NLMSG_DONE },
};

static void test_tables(void **state)
{
	struct answer a = table;
	struct owned_table t = { 0 };

	(void)state;
	a.port = htonl(31007);
	assert_int_equal(nft_owner_parse(&a, sizeof(a), 31008, &t), 1);
	assert_false(t.found);
	assert_int_equal(nft_owner_parse(&a, sizeof(a), 31007, &t), 1);
	assert_true(t.found);
	assert_string_equal(t.name, "mine");
	/* without the last message more is to come, however much of it is missing */
	for (size_t len = 0; len < offsetof(struct answer, done); len++) {
		t = (struct owned_table){ 0 };
		assert_int_equal(nft_owner_parse(&a, len, 31007, &t), 0);
		assert_false(t.found);
	}
	/* attributes that reach beyond the message, and a message that is none */
	a.name.nla_len = 200;
	assert_int_equal(nft_owner_parse(&a, sizeof(a), 31007, &t), 1);
	assert_false(t.found);
	a.head.nlmsg_len = NLMSG_HDRLEN;
	assert_int_equal(nft_owner_parse(&a, NLMSG_HDRLEN, 31007, &t), 0);
	assert_false(t.found);
}

static void test_errors(void **state)
{
	struct {
		struct nlmsghdr head;
		int code;
	} e = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(int)), .nlmsg_type = NLMSG_ERROR } };
	struct owned_table t = { 0 };

	(void)state;
	e.code = -EPERM;
	assert_int_equal(nft_owner_parse(&e, sizeof(e), 1, &t), -EPERM);
	e.code = 7;
	assert_int_equal(nft_owner_parse(&e, sizeof(e), 1, &t), -EPROTO);
	e.head.nlmsg_flags = NLM_F_DUMP_INTR;
	assert_int_equal(nft_owner_parse(&e, sizeof(e), 1, &t), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
