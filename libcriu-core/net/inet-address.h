/* Addresses of IP sockets: between what the kernel gives, what images hold (words in network order, port in host order) and text. */
#ifndef CR_NET_INET_ADDRESS_H
#define CR_NET_INET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct inet_end {
	int family;       /* AF_INET, AF_INET6 */
	uint32_t addr[4]; /* bytes in network order; the first word only for AF_INET */
	uint16_t port;    /* host order */
	uint32_t scope;   /* index of the interface of a link-local address; 0 */
};

#define INET_TEXT_MAX 72

/** inet_words() - 1 or 4 */
static inline size_t inet_words(int family)
{
	return family == AF_INET ? 1 : 4;
}

/** inet_end_own(), inet_end_peer() - of socket @fd. Return: 0 or negative errno. */
int inet_end_own(int fd, struct inet_end *ret);
int inet_end_peer(int fd, struct inet_end *ret);

/** inet_end_any() - no particular address */
bool inet_end_any(const struct inet_end *e);

/** inet_end_mapped() - is it an IPv4 address in an IPv6 socket? */
bool inet_end_mapped(const struct inet_end *e);

/** inet_end_unmap() - the IPv4 address itself if it is mapped, else @e */
struct inet_end inet_end_unmap(const struct inet_end *e);

/** inet_end_same() - address and port, whatever the family is that the socket speaks */
bool inet_end_same(const struct inet_end *a, const struct inet_end *b);

/** inet_sockaddr() - for bind(2) and the like. Return: its length. */
socklen_t inet_sockaddr(const struct inet_end *e, struct sockaddr_storage *ret);

/** inet_end_text() - "127.0.0.1:80" or "[::1]:80" */
void inet_end_text(const struct inet_end *e, char ret[static INET_TEXT_MAX]);

#endif
