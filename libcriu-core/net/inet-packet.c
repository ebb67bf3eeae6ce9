#include "net/inet-packet.h"

#include "base/own.h"
#include "kernel/net-lock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PACKET_MAX (65535 + 40)
#define WINDOW     65535 /* never used: that of the connection is set afterwards */

int inet_packet_socket(int family, struct cr_error *err)
{
	autofd int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	int mark = NET_LOCK_MARK;

	/* IPPROTO_RAW means that headers are ours, in IPv6 as well since 4.5 */
	if (fd < 0)
		return cr_fail(err, -errno, "raw socket for packets");
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return cr_fail(err, -errno, "mark of packets");
	return take_fd(&fd);
}

static uint64_t sum_words(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len > 1; p += 2, len -= 2)
		sum += (uint64_t)p[0] << 8 | p[1];
	return len ? sum + ((uint64_t)p[0] << 8) : sum;
}

uint16_t inet_checksum(const struct inet_end *from, const struct inet_end *to, uint8_t proto, const void *data,
		       size_t len)
{
	size_t words = inet_words(from->family) * sizeof(uint32_t);
	uint64_t sum = sum_words(0, from->addr, words);

	sum = sum_words(sum, to->addr, words) + proto + len;
	sum = sum_words(sum, data, len);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Puts the IP header in front of @len bytes that follow it in @packet. Return: length of the header. */
static size_t put_header(uint8_t *packet, const struct inet_end *from, const struct inet_end *to, uint8_t proto,
			 size_t len)
{
	if (from->family == AF_INET) {
		/* length, id and checksum are filled in by the kernel: raw_send_hdrinc() in net/ipv4/raw.c */
		struct iphdr ip = { .version = 4,
				    .ihl = 5,
				    .ttl = 64,
				    .protocol = proto,
				    .saddr = from->addr[0],
				    .daddr = to->addr[0],
				    .tot_len = htons((uint16_t)(sizeof(ip) + len)) };

		memcpy(packet, &ip, sizeof(ip));
		return sizeof(ip);
	}
	struct ip6_hdr ip6 = {
		.ip6_flow = htonl(6u << 28), .ip6_plen = htons((uint16_t)len), .ip6_nxt = proto, .ip6_hlim = 64
	};

	memcpy(&ip6.ip6_src, from->addr, sizeof(ip6.ip6_src));
	memcpy(&ip6.ip6_dst, to->addr, sizeof(ip6.ip6_dst));
	memcpy(packet, &ip6, sizeof(ip6));
	return sizeof(ip6);
}

static size_t header_size(int family)
{
	return family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);
}

static int send_packet(int raw, const struct inet_end *to, const uint8_t *packet, size_t len, struct cr_error *err)
{
	struct inet_end where = *to;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	char text[INET_TEXT_MAX];

	/* of a raw socket the port is the protocol, and must be that of the socket or none */
	where.port = 0;
	sa_len = inet_sockaddr(&where, &sa);
	if (sendto(raw, packet, len, MSG_DONTWAIT, (struct sockaddr *)&sa, sa_len) == (ssize_t)len)
		return 0;
	inet_end_text(to, text);
	return cr_fail(err, errno ? -errno : -EIO, "send a packet of %zu bytes to %s", len, text);
}

int inet_packet_udp(int raw, int proto, const struct inet_end *from, const struct inet_end *to, const void *data,
		    size_t len, struct cr_error *err)
{
	struct inet_end src = inet_end_unmap(from), dst = inet_end_unmap(to);
	struct udphdr udp = { .source = htons(src.port),
			      .dest = htons(dst.port),
			      .len = htons((uint16_t)(sizeof(udp) + len)) };
	size_t head = header_size(src.family), total = head + sizeof(udp) + len;
	uint8_t *packet;
	int r;

	if (src.family != dst.family || total > PACKET_MAX || sizeof(udp) + len > 65535)
		return cr_refuse(err, -EMSGSIZE, "a datagram of %zu bytes cannot be made", len);
	packet = malloc(total);
	if (!packet)
		return cr_fail(err, -ENOMEM, "make a datagram");
	memcpy(packet + head, &udp, sizeof(udp));
	if (len)
		memcpy(packet + head + sizeof(udp), data, len);
	udp.check = inet_checksum(&src, &dst, (uint8_t)proto, packet + head, sizeof(udp) + len);
	if (!udp.check)
		udp.check = 0xffff; /* 0 says that there is none */
	memcpy(packet + head, &udp, sizeof(udp));
	put_header(packet, &src, &dst, (uint8_t)proto, sizeof(udp) + len);
	r = send_packet(raw, &dst, packet, total, err);
	free(packet);
	return r;
}

int inet_packet_tcp(int raw, const struct inet_end *from, const struct inet_end *to, const struct tcp_segment *seg,
		    struct cr_error *err)
{
	struct inet_end src = inet_end_unmap(from), dst = inet_end_unmap(to);
	struct tcphdr tcp = { .source = htons(src.port),
			      .dest = htons(dst.port),
			      .seq = htonl(seg->seq),
			      .ack_seq = htonl(seg->ack),
			      .doff = sizeof(tcp) / 4,
			      .fin = seg->fin,
			      .ack = 1,
			      .window = htons(WINDOW) };
	uint8_t packet[sizeof(struct ip6_hdr) + sizeof(tcp)];
	size_t head = header_size(src.family);

	tcp.check = inet_checksum(&src, &dst, IPPROTO_TCP, &tcp, sizeof(tcp));
	put_header(packet, &src, &dst, IPPROTO_TCP, sizeof(tcp));
	memcpy(packet + head, &tcp, sizeof(tcp));
	return send_packet(raw, &dst, packet, head + sizeof(tcp), err);
}
