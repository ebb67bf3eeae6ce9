/*
 * Packets that seem to come from somewhere else, for sockets of our own machine: written with their headers into a raw socket,
 * they go through the loopback device to whoever has the destination address, whatever address they say they are from.
 */
#ifndef CR_NET_INET_PACKET_H
#define CR_NET_INET_PACKET_H

#include "base/error.h"
#include "net/inet-address.h"

#include <stddef.h>
#include <stdint.h>

struct tcp_segment {
	uint32_t seq, ack;
	bool fin;
};

/** inet_packet_socket() - to send from; needs CAP_NET_RAW. Return: descriptor, or negative errno with @err filled. */
int inet_packet_socket(int family, struct cr_error *err);

/** inet_packet_udp() - @proto: IPPROTO_UDP or IPPROTO_UDPLITE; both ends of one family, mapped ones are taken as what they are */
int inet_packet_udp(int raw, int proto, const struct inet_end *from, const struct inet_end *to, const void *data,
		    size_t len, struct cr_error *err);

/** inet_packet_tcp() - a segment without data and options */
int inet_packet_tcp(int raw, const struct inet_end *from, const struct inet_end *to, const struct tcp_segment *seg,
		    struct cr_error *err);

/** inet_checksum() - of the Internet, over a pseudo header and @len bytes that have 0 where it goes. Pure. In network order. */
uint16_t inet_checksum(const struct inet_end *from, const struct inet_end *to, uint8_t proto, const void *data,
		       size_t len);

#endif
