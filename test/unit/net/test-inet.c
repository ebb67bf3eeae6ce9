/* Pure parts of IP sockets: addresses, lists of multicast groups, checksums. */
#include "net/inet-address.h"
#include "net/inet-groups.h"
#include "net/inet-packet.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct inet_end end4(const char *text, uint16_t port)
{
	struct inet_end e = { .family = AF_INET, .port = port };

	assert_int_equal(inet_pton(AF_INET, text, e.addr), 1);
	return e;
}

static struct inet_end end6(const char *text, uint16_t port)
{
	struct inet_end e = { .family = AF_INET6, .port = port };

	assert_int_equal(inet_pton(AF_INET6, text, e.addr), 1);
	return e;
}

static void test_ends(void **state)
{
	struct inet_end a = end4("10.1.2.3", 80), b = end6("::ffff:10.1.2.3", 80), c = end6("::1", 80),
			any = end6("::", 0), u;
	char text[INET_TEXT_MAX];

	(void)state;
	assert_false(inet_end_mapped(&a));
	assert_true(inet_end_mapped(&b));
	assert_false(inet_end_mapped(&c));
	assert_true(inet_end_same(&a, &b));
	assert_false(inet_end_same(&a, &c));
	assert_true(inet_end_any(&any));
	assert_false(inet_end_any(&b));
	u = inet_end_unmap(&b);
	assert_memory_equal(&u, &a, sizeof(u));
	inet_end_text(&a, text);
	assert_string_equal(text, "10.1.2.3:80");
	inet_end_text(&c, text);
	assert_string_equal(text, "[::1]:80");
}

static void test_igmp(void **state)
{
	static const char text[] = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
				   "1\tlo        :     1      V3\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
				   "4\teth0.7    :     2      V3\n"
				   "\t\t\t\t0302FFEF     1 0:00000000\t\t0\n"
				   "\t\t\t\tnonsense\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0";
	struct inet_group_seen_vec v = { 0 };

	(void)state;
	assert_int_equal(igmp_parse(text, sizeof(text) - 1, &v), 0);
	assert_int_equal(v.nr, 3);
	assert_string_equal(v.items[0].dev, "lo");
	assert_int_equal(v.items[0].ifindex, 1);
	assert_memory_equal(v.items[0].addr, "\xe0\0\0\1", 4);
	assert_string_equal(v.items[1].dev, "eth0.7");
	assert_memory_equal(v.items[1].addr, "\xef\xff\2\3", 4);
	assert_int_equal(v.items[2].ifindex, 4);
	inet_group_seen_vec_done(&v);
}

static void test_igmp6(void **state)
{
	static const char text[] = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
				   "2    short           ff02     1 0000000C 0\n"
				   "12   a-longer-name   ff0200000000000000000000000000fb     2 00000004 0\n";
	struct inet_group_seen_vec v = { 0 };

	(void)state;
	assert_int_equal(igmp6_parse(text, sizeof(text) - 1, &v), 0);
	assert_int_equal(v.nr, 2);
	assert_int_equal(v.items[1].ifindex, 12);
	assert_string_equal(v.items[1].dev, "a-longer-name");
	assert_int_equal(v.items[1].addr[15], 0xfb);
	inet_group_seen_vec_done(&v);
}

/* What is summed with its own checksum in place gives zero, odd lengths included. */
static void test_checksum(void **state)
{
	struct inet_end from[2] = { end4("192.0.2.1", 0), end6("2001:db8::1", 0) },
			to[2] = { end4("10.0.0.9", 0), end6("::1", 0) };
	uint8_t data[37];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 1);
	for (size_t k = 0; k < 2; k++)
		for (size_t len = 8; len <= sizeof(data); len++) {
			uint16_t sum;

			memset(data + 6, 0, 2);
			sum = inet_checksum(&from[k], &to[k], 17, data, len);
			memcpy(data + 6, &sum, 2);
			assert_int_equal(inet_checksum(&from[k], &to[k], 17, data, len), 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ends), cmocka_unit_test(test_igmp),
					    cmocka_unit_test(test_igmp6), cmocka_unit_test(test_checksum) };

	return cmocka_run_group_tests_name("inet", tests, NULL, NULL);
}
