/*
 * Sockets of devices, ports that several have, and options that read back as something else than what was set. All in a network of
 * their own, whose devices are of /dev/net/tun.
 */
#include "sockets.h"

#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KEY "0123456789abcdef"

static int tun = -1, s[4] = { -1, -1, -1, -1 };
static uint16_t port;
static struct ifreq ifr;

static void attach(void)
{
	tun = open("/dev/net/tun", O_RDWR);
	if (tun < 0)
		victim_skip("/dev/net/tun: %s", strerror(errno));
	if (ioctl(tun, TUNSETIFF, &ifr) < 0)
		victim_skip("TUNSETIFF: %s", strerror(errno));
}

static void make_device(void)
{
	memcpy(ifr.ifr_name, "odd%d", 6);
	ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
	attach();
}

static void drop_device(void)
{
	close(tun);
	tun = -1;
}

/* one that outlives its descriptor */
static void make_lasting_device(void)
{
	make_device();
	need(ioctl(tun, TUNSETPERSIST, 1) == 0);
	drop_device();
}

static void end_device(void)
{
	attach();
	expect(ioctl(tun, TUNSETPERSIST, 0) == 0, "TUNSETPERSIST");
	drop_device();
}

static void bind_device(int fd, const char *name)
{
	need(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1) == 0);
}

static void same_device(int fd, const char *name)
{
	char now[IFNAMSIZ] = "";
	socklen_t len = sizeof(now);

	expect(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, now, &len) == 0 && strcmp(now, name) == 0,
	       "bound to device '%s', was '%s'", now, name);
}

static void bind_any(int fd, uint16_t to)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(to) };

	need(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0);
}

/* --- of a device that has gone */

static void set_up_gone(void)
{
	make_device();
	s[0] = socket(AF_INET, SOCK_DGRAM, 0);
	bind_device(s[0], ifr.ifr_name);
	bind_any(s[0], 0);
	drop_device();
}

static void check_gone(void)
{
	expect(get(s[0], SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */) > 1, "bound to no device any more");
}

static void set_up_gone_scope(void)
{
	struct sockaddr_in6 all = { .sin6_family = AF_INET6 };

	make_device();
	if ((s[0] = socket(AF_INET6, SOCK_DGRAM, 0)) < 0)
		victim_skip("no IPv6");
	need(inet_pton(AF_INET6, "ff02::1", &all.sin6_addr) == 1);
	all.sin6_scope_id = if_nametoindex(ifr.ifr_name);
	need(bind(s[0], (struct sockaddr *)&all, sizeof(all)) == 0);
	drop_device();
}

static void set_up_gone_packet(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };

	make_device();
	to.sll_ifindex = (int)if_nametoindex(ifr.ifr_name);
	if ((s[0] = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
		victim_skip("packet sockets: %s", strerror(errno));
	need(bind(s[0], (struct sockaddr *)&to, sizeof(to)) == 0);
	drop_device();
}

/* --- one port on each device */

static void send_to_port(void)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(AF_INET, port, &sa);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	expect(sendto(fd, "hello", 5, 0, (struct sockaddr *)&sa, len) == 5, "send to port %u", port);
	close(fd);
}

static bool has_waiting(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void expect_datagram(int fd)
{
	char text[8] = "";

	expect(recv(fd, text, 5, MSG_DONTWAIT) == 5 && strcmp(text, "hello") == 0, "received '%s'", text);
}

/* by the loopback device comes one for the first alone, and one that waits is of each */
static void set_up_ports(void)
{
	make_lasting_device();
	for (int i = 0; i < 2; i++) {
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		need(s[i] >= 0);
		if (i)
			bind_device(s[i], "lo");
		bind_any(s[i], port);
		port = port_of(s[i]);
		send_to_port();
		need(has_waiting(s[i]));
		if (!i)
			bind_device(s[i], ifr.ifr_name);
	}
}

static void check_ports(void)
{
	same_device(s[0], ifr.ifr_name);
	same_device(s[1], "lo");
	expect(port_of(s[0]) == port && port_of(s[1]) == port, "ports %u and %u, were %u", port_of(s[0]), port_of(s[1]),
	       port);
	expect_datagram(s[0]);
	expect_datagram(s[1]);
	send_to_port();
	expect(!has_waiting(s[0]) && has_waiting(s[1]), "it came in at the other one");
	end_device();
}

static void set_up_listeners(void)
{
	make_lasting_device();
	for (int i = 0; i < 2; i++) {
		s[i] = socket(AF_INET, SOCK_STREAM, 0);
		bind_device(s[i], i ? "lo" : ifr.ifr_name);
		bind_any(s[i], port);
		port = port_of(s[i]);
		need(listen(s[i], 5) == 0);
	}
}

static void check_listeners(void)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(AF_INET, port, &sa);
	int c = socket(AF_INET, SOCK_STREAM, 0);

	same_device(s[0], ifr.ifr_name);
	same_device(s[1], "lo");
	expect(port_of(s[0]) == port && port_of(s[1]) == port, "ports %u and %u, were %u", port_of(s[0]), port_of(s[1]),
	       port);
	expect(connect(c, (struct sockaddr *)&sa, len) == 0, "connect by the loopback device");
	expect(!has_waiting(s[0]) && has_waiting(s[1]), "it came in at the other one");
	end_device();
}

/* --- one port that was shared, by what has been taken back since */

static void set_up_cleared(void)
{
	for (int i = 0; i < 4; i++) {
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		set(s[i], SOL_SOCKET, i < 2 ? SO_REUSEADDR : SO_REUSEPORT, 1);
		bind_any(s[i], i % 2 ? port : 0);
		port = port_of(s[i]);
	}
	for (int i = 0; i < 4; i++)
		set(s[i], SOL_SOCKET, i < 2 ? SO_REUSEADDR : SO_REUSEPORT, 0);
}

static void check_cleared(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int late;

	for (int i = 0; i < 4; i++) {
		expect(get(s[i], SOL_SOCKET, SO_REUSEADDR) == 0 && get(s[i], SOL_SOCKET, SO_REUSEPORT) == 0,
		       "socket %d lets others in", i);
		expect(port_of(s[i]) == port_of(s[i ^ 1]), "ports %u and %u", port_of(s[i]), port_of(s[i ^ 1]));
	}
	late = socket(AF_INET, SOCK_DGRAM, 0);
	set(late, SOL_SOCKET, SO_REUSEADDR, 1);
	any.sin_port = htons(port_of(s[0]));
	expect(bind(late, (struct sockaddr *)&any, sizeof(any)) < 0 && errno == EADDRINUSE, "another one has the port");
}

/* --- values that do not read back */

static int linger[2];

static void set_up_linger(void)
{
	socklen_t len = sizeof(linger);

	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	need(setsockopt(s[0], SOL_SOCKET, SO_LINGER, (int[]){ 1, -1 }, sizeof(linger)) == 0);
	need(getsockopt(s[0], SOL_SOCKET, SO_LINGER, linger, &len) == 0);
}

static void check_linger(void)
{
	int now[2];
	socklen_t len = sizeof(now);

	expect(getsockopt(s[0], SOL_SOCKET, SO_LINGER, now, &len) == 0 && memcmp(now, linger, len) == 0,
	       "lingers for %d seconds, did for %d", now[1], linger[1]);
}

/* --- the secret that cookies of clients are made with */

static void set_up_fastopen(void)
{
	for (int i = 0; i < 2; i++) {
		s[i] = socket(AF_INET, SOCK_STREAM, 0);
		bind_any(s[i], 0);
		set(s[i], IPPROTO_TCP, TCP_FASTOPEN, 5);
		need(setsockopt(s[i], IPPROTO_TCP, TCP_FASTOPEN_KEY, KEY "backup of 16 byt", i ? 32 : 16) == 0);
		need(listen(s[i], 5) == 0);
	}
}

static void check_fastopen(void)
{
	for (int i = 0; i < 2; i++) {
		char key[64];
		socklen_t len = sizeof(key);

		expect(getsockopt(s[i], IPPROTO_TCP, TCP_FASTOPEN_KEY, key, &len) == 0, "TCP_FASTOPEN_KEY");
		expect(len == (i ? 32 : 16) && memcmp(key, KEY "backup of 16 byt", len) == 0, "key %d of %u bytes", i,
		       len);
	}
}

/* --- what the kernel does for one socket */

static void set_policy(int action)
{
	struct xfrm_userpolicy_info p = { .sel = { .family = AF_INET },
					  .dir = XFRM_POLICY_OUT,
					  .action = (__u8)action };

	p.lft.soft_byte_limit = p.lft.hard_byte_limit = p.lft.soft_packet_limit = p.lft.hard_packet_limit = XFRM_INF;
	s[0] = socket(AF_INET, SOCK_DGRAM, 0);
	if (setsockopt(s[0], IPPROTO_IP, IP_XFRM_POLICY, &p, sizeof(p)) < 0)
		victim_skip("IP_XFRM_POLICY: %s", strerror(errno));
}

static void set_up_policy(void)
{
	set_policy(XFRM_POLICY_BLOCK);
}

static void check_policy(void)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(AF_INET, 9, &sa);

	expect(sendto(s[0], "x", 1, 0, (struct sockaddr *)&sa, len) < 0 && errno == EPERM,
	       "what was forbidden is sent");
}

static void set_up_bypass(void)
{
	set_policy(XFRM_POLICY_ALLOW);
}

/* one that routes, and one that does not */
static void become_router(int family, int protocol, int level)
{
	s[0] = socket(family, SOCK_RAW, protocol);
	s[1] = socket(family, SOCK_RAW, protocol);
	if (s[0] < 0 || s[1] < 0)
		victim_skip("raw sockets: %s", strerror(errno));
	if (setsockopt(s[1], level, 200 /* MRT_INIT, MRT6_INIT */, &(int){ 1 }, sizeof(int)) < 0)
		victim_skip("MRT_INIT: %s", strerror(errno));
}

static void set_up_router(void)
{
	become_router(AF_INET, IPPROTO_IGMP, IPPROTO_IP);
}

static void set_up_router6(void)
{
	become_router(AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6);
}

/* the router, and nobody else, may be told so again: there is one already */
static void check_router(void)
{
	expect(setsockopt(s[0], IPPROTO_IP, 200, &(int){ 1 }, sizeof(int)) < 0 && errno == EADDRINUSE,
	       "nobody routes any more");
}

static void check_router6(void)
{
	expect(setsockopt(s[0], IPPROTO_IPV6, 200, &(int){ 1 }, sizeof(int)) < 0 && errno == EADDRINUSE,
	       "nobody routes any more");
}

const struct victim_case victim_cases[] = {
	{ "gone", set_up_gone, check_gone, .dump = "--tcp-established",
	  .refuse = "fd 4: socket bound to a network device" },
	{ "gone-scope", set_up_gone_scope, check_gone, .dump = "--tcp-established",
	  .refuse = "fd 4: socket |device that has gone" },
	{ "gone-packet", set_up_gone_packet, NULL, .dump = "--tcp-established",
	  .refuse = "fd 4: packet socket of a network device" },
	{ "ports", set_up_ports, check_ports, OWN_NETWORK },
	{ "listeners", set_up_listeners, check_listeners, OWN_NETWORK },
	{ "cleared", set_up_cleared, check_cleared, OWN_NETWORK },
	{ "linger", set_up_linger, check_linger, OWN_NETWORK },
	{ "fastopen-key", set_up_fastopen, check_fastopen, OWN_NETWORK },
	{ "policy", set_up_policy, check_policy, .dump = "--tcp-established",
	  .refuse = "fd 3: IP socket of a network|1 IPsec policies" },
	{ "policy-bypass", set_up_bypass, NULL, OWN_NETWORK },
	{ "router", set_up_router, check_router, .dump = "--tcp-established",
	  .refuse = "fd 4: raw socket that routes multicast|!fd 3" },
	{ "router6", set_up_router6, check_router6, .dump = "--tcp-established",
	  .refuse = "fd 4: raw socket that routes multicast|!fd 3" },
	{ 0 },
};
