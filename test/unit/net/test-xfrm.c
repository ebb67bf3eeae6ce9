/* Lists of IPsec policies, among which those of sockets are counted. */
#include "net/xfrm.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct message {
	struct nlmsghdr h;
	struct xfrm_userpolicy_info p;
	struct rtattr a;
	uint32_t pad;
};

struct answer {
	struct message m[4];
	struct nlmsghdr done;
};

static struct message message(uint8_t dir, uint8_t action, uint16_t attribute)
{
	return (struct message){
		.h = { .nlmsg_len = sizeof(struct message), .nlmsg_type = XFRM_MSG_NEWPOLICY },
		.p = { .dir = dir, .action = action },
		.a = { .rta_len = RTA_LENGTH(4), .rta_type = attribute },
	};
}

/* Of the network; of sockets: in the clear, forbidden, protected. */
static struct answer answer(void)
{
	return (struct answer){
		.m = { message(XFRM_POLICY_FWD, XFRM_POLICY_BLOCK, XFRMA_TMPL),
		       message(XFRM_POLICY_MAX, XFRM_POLICY_ALLOW, XFRMA_POLICY_TYPE),
		       message(XFRM_POLICY_MAX + 1, XFRM_POLICY_BLOCK, XFRMA_POLICY_TYPE),
		       message(XFRM_POLICY_MAX, XFRM_POLICY_ALLOW, XFRMA_TMPL) },
		.done = { .nlmsg_len = sizeof(struct nlmsghdr), .nlmsg_type = NLMSG_DONE },
	};
}

static void test_answer(void **state)
{
	struct answer a = answer();
	struct xfrm_policies p = { 0 };

	(void)state;
	assert_int_equal(xfrm_policies_parse(&a, sizeof(a), &p), 1);
	assert_int_equal(p.bypass, 1);
	assert_int_equal(p.others, 2);
}

static void test_damaged(void **state)
{
	struct answer a = answer();

	(void)state;
	for (size_t len = 0; len < sizeof(a); len++) {
		struct xfrm_policies p = { 0 };

		assert_int_equal(xfrm_policies_parse(&a, len, &p), 0);
	}
	for (uint32_t len = sizeof(struct nlmsghdr); len < sizeof(struct message); len++) {
		struct xfrm_policies p = { 0 };

		a = answer();
		a.m[2].h.nlmsg_len = len;
		assert_int_equal(xfrm_policies_parse(&a.m[2], len, &p),
				 len < NLMSG_LENGTH(sizeof(struct xfrm_userpolicy_info)) ? -EBADMSG : 0);
	}
	a = answer();
	a.m[0].h.nlmsg_type = NLMSG_ERROR;
	*(int *)(void *)&a.m[0].p = -EPERM;
	assert_int_equal(xfrm_policies_parse(&a, sizeof(a), &(struct xfrm_policies){ 0 }), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_answer), cmocka_unit_test(test_damaged) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
