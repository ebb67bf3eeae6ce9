/*
 * Descriptors of /dev/net/tun. The option about TCP connections makes the runner take these cases to a network of their own,
 * whose devices end with it.
 */
#include "victim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static int tun = -1, second = -1;
static char name[IFNAMSIZ];

static int open_tun(int flags)
{
	int fd = open("/dev/net/tun", O_RDWR | flags);

	if (fd < 0)
		victim_skip("/dev/net/tun: %s", strerror(errno));
	return fd;
}

static void attach(int fd, int flags)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, name[0] ? name : "victim%d", name[0] ? strlen(name) : 8);
	ifr.ifr_flags = (short)flags;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		victim_skip("TUNSETIFF: %s", strerror(errno));
	memcpy(name, ifr.ifr_name, sizeof(name));
}

/* sysfs shows the network of whoever mounted it; this mount is the case's alone */
static void see_own_network(void)
{
	need(mount("none", "/sys", "sysfs", 0, NULL) == 0);
}

static void leave_network(void)
{
	expect(umount2("/sys", MNT_DETACH) == 0, "unmount sysfs");
	/* the next case of this network begins anew */
	ioctl(tun, TUNSETPERSIST, 0);
}

static void bring_up(void)
{
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr;

	need(sock >= 0);
	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, name, sizeof(name));
	need(ioctl(sock, SIOCGIFFLAGS, &ifr) == 0);
	ifr.ifr_flags |= IFF_UP;
	need(ioctl(sock, SIOCSIFFLAGS, &ifr) == 0);
	close(sock);
}

/* What is sent through the device arrives at the descriptor. @head: bytes in front of the frame. */
static void expect_through(int fd, size_t head)
{
	unsigned char frame[200] = { 0 }, got[300];
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(name),
				  .sll_protocol = htons(ETH_P_IP) };
	int sock = socket(AF_PACKET, SOCK_RAW, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = 0;

	frame[0] = 0x45;
	pattern_fill(frame + 20, sizeof(frame) - 20, 8);
	expect(sock >= 0 && sendto(sock, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(frame),
	       "send through the device");
	/* the kernel sends by the device what it likes, too */
	while (poll(&p, 1, 5000) == 1) {
		n = read(fd, got, sizeof(got));
		if (n == (ssize_t)(head + sizeof(frame)) && memcmp(got + head, frame, sizeof(frame)) == 0)
			break;
		n = 0;
	}
	expect(n != 0, "nothing arrives");
	close(sock);
}

static void expect_flags(int fd, int flags)
{
	char path[100], text[32];
	struct ifreq ifr;
	int got;

	memset(&ifr, 0, sizeof(ifr));
	expect(ioctl(fd, TUNGETIFF, &ifr) == 0 && strcmp(ifr.ifr_name, name) == 0, "attached to '%s'", ifr.ifr_name);
	snprintf(path, sizeof(path), "/sys/class/net/%s/tun_flags", name);
	slurp(path, text, sizeof(text));
	got = (int)strtol(text, NULL, 16);
	expect(got == flags, "flags %x, should be %x", got, flags);
}

static void expect_device(int fd, int flags)
{
	expect_flags(fd, flags | IFF_PERSIST);
}

/* --- one that is attached to nothing */

static void set_up_plain(void)
{
	tun = open_tun(O_NONBLOCK | O_CLOEXEC);
}

static void check_plain(void)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	expect(ioctl(tun, TUNGETIFF, &ifr) < 0 && errno == EBADFD, "it is attached");
	expect(fcntl(tun, F_GETFL) & O_NONBLOCK, "it waits");
	attach(tun, IFF_TUN | IFF_NO_PI);
}

/* --- devices that stay */

static void set_up_persistent(void)
{
	see_own_network();
	tun = open_tun(O_NONBLOCK);
	attach(tun, IFF_TUN | IFF_NO_PI);
	need(ioctl(tun, TUNSETPERSIST, 1) == 0);
	bring_up();
	expect_through(tun, 0);
}

static void check_persistent(void)
{
	expect_device(tun, IFF_TUN | IFF_NO_PI);
	expect_through(tun, 0);
	expect(write(tun, (const char[60]){ 0x45 }, 60) == 60, "write");
	leave_network();
}

static void set_up_tap(void)
{
	int size = 12;

	see_own_network();
	tun = open_tun(0);
	attach(tun, IFF_TAP | IFF_VNET_HDR | IFF_NO_PI);
	need(ioctl(tun, TUNSETVNETHDRSZ, &size) == 0 && ioctl(tun, TUNSETPERSIST, 1) == 0);
	bring_up();
}

static void check_tap(void)
{
	int size = 0;

	expect_device(tun, IFF_TAP | IFF_VNET_HDR | IFF_NO_PI);
	expect(ioctl(tun, TUNGETVNETHDRSZ, &size) == 0 && size == 12, "header of %d bytes", size);
	expect_through(tun, 12);
	leave_network();
}

static void set_up_queues(void)
{
	struct ifreq ifr;

	see_own_network();
	tun = open_tun(0);
	attach(tun, IFF_TUN | IFF_MULTI_QUEUE);
	need(ioctl(tun, TUNSETPERSIST, 1) == 0);
	second = open_tun(0);
	attach(second, IFF_TUN | IFF_MULTI_QUEUE);
	memset(&ifr, 0, sizeof(ifr));
	ifr.ifr_flags = IFF_DETACH_QUEUE;
	need(ioctl(second, TUNSETQUEUE, &ifr) == 0);
	bring_up();
}

static void check_queues(void)
{
	struct ifreq ifr;

	expect_device(tun, IFF_TUN | IFF_MULTI_QUEUE);
	expect_through(tun, 4);
	memset(&ifr, 0, sizeof(ifr));
	expect(ioctl(second, TUNGETIFF, &ifr) == 0 && ifr.ifr_flags & IFF_DETACH_QUEUE, "it is attached, flags %x",
	       (unsigned)ifr.ifr_flags);
	ifr.ifr_flags = IFF_ATTACH_QUEUE;
	expect(ioctl(second, TUNSETQUEUE, &ifr) == 0, "attach the queue");
	leave_network();
}

/* --- one that ends with its last descriptor */

#define ADDRESS "198.51.100.7"
#define MTU     1380
#define GROUP   4242

/* What of the device is set, or asked for, by a call of its own. Return: 0 or -1 */
static int device_call(unsigned long call, struct ifreq *ifr)
{
	int sock = socket(AF_INET, SOCK_DGRAM, 0), r;

	memcpy(ifr->ifr_name, name, sizeof(name));
	r = ioctl(sock, call, ifr);
	close(sock);
	return r;
}

static void set_up_passing(void)
{
	struct sockaddr_in own = { .sin_family = AF_INET };
	struct ifreq ifr = { 0 };

	see_own_network();
	tun = open_tun(0);
	attach(tun, IFF_TUN | IFF_NO_PI);
	need(ioctl(tun, TUNSETGROUP, GROUP) == 0 && inet_pton(AF_INET, ADDRESS, &own.sin_addr) == 1);
	memcpy(&ifr.ifr_addr, &own, sizeof(own));
	need(device_call(SIOCSIFADDR, &ifr) == 0);
	ifr.ifr_mtu = MTU;
	need(device_call(SIOCSIFMTU, &ifr) == 0);
	bring_up();
	expect_through(tun, 0);
}

static void check_passing(void)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_in own;
	char text[32], path[100];

	expect_flags(tun, IFF_TUN | IFF_NO_PI);
	expect_through(tun, 0);
	expect(device_call(SIOCGIFADDR, &ifr) == 0, "SIOCGIFADDR");
	memcpy(&own, &ifr.ifr_addr, sizeof(own));
	expect(strcmp(inet_ntop(AF_INET, &own.sin_addr, text, sizeof(text)), ADDRESS) == 0, "its address is %s", text);
	expect(device_call(SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu == MTU, "its MTU is %d", ifr.ifr_mtu);
	snprintf(path, sizeof(path), "/sys/class/net/%s/group", name);
	expect(slurp(path, text, sizeof(text)) > 0 && atoi(text) == GROUP, "its group is %s", text);
	close(tun);
	expect(if_nametoindex(name) == 0, "it has outlived its descriptor");
	umount2("/sys", MNT_DETACH);
}

/* --- the same, in a tree with a connection */

static int client, server;

static void set_up_connected(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	set_up_passing();
	need(l >= 0 && bind(l, (struct sockaddr *)&sa, len) == 0 && listen(l, 1) == 0);
	need(getsockname(l, (struct sockaddr *)&sa, &len) == 0 && (client = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
	need(connect(client, (struct sockaddr *)&sa, len) == 0 && (server = accept(l, NULL, NULL)) >= 0);
	close(l);
	need(send(client, "before", 6, 0) == 6);
}

static void check_connected(void)
{
	char text[16] = "";

	expect(send(server, "answer", 6, 0) == 6 && recv(client, text, sizeof(text), 0) == 6 && !strcmp(text, "answer"),
	       "the client reads '%s'", text);
	memset(text, 0, sizeof(text));
	expect(recv(server, text, sizeof(text), 0) == 6 && !strcmp(text, "before"), "the server reads '%s'", text);
	check_passing();
}

const struct victim_case victim_cases[] = {
	{ "plain", set_up_plain, check_plain, OWN_NETWORK, .flags = CASE_MUTATES },
	{ "persistent", set_up_persistent, check_persistent, OWN_NETWORK,
	  .flags = CASE_MORE | CASE_MUTATES | CASE_ALTERS },
	{ "tap", set_up_tap, check_tap, OWN_NETWORK, .flags = CASE_MUTATES },
	{ "queues", set_up_queues, check_queues, OWN_NETWORK, .flags = CASE_MUTATES },
	{ "passing-connected", set_up_connected, check_connected, OWN_NETWORK, .flags = CASE_MUTATES | CASE_ALTERS },
	{ "passing", set_up_passing, check_passing, OWN_NETWORK, .flags = CASE_MORE | CASE_MUTATES | CASE_ALTERS },
	{ NULL },
};
