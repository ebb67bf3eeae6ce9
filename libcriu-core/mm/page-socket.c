/* Sockets of page servers; see page-socket.h. */
#include "mm/page-socket.h"

#include "base/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_MS 30000
#define BACKLOG    16

/* A peer that is gone without a word is noticed after some two minutes, instead of never. */
static void keep_alive(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 10 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 6 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

struct address {
	struct sockaddr_storage at;
	socklen_t len;
};

/* In numbers only: names would take what a program that is linked statically does not have. */
static int parse(const char *text, uint16_t port, struct address *ret, struct cr_error *err)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret->at;
	struct sockaddr_in *four = (struct sockaddr_in *)&ret->at;
	const char *scope = strchr(text, '%');
	size_t len = scope ? (size_t)(scope - text) : strlen(text);
	char plain[INET6_ADDRSTRLEN] = "";

	*ret = (struct address){ .len = sizeof(*four) };
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return 0;
	}
	if (len < sizeof(plain))
		snprintf(plain, sizeof(plain), "%.*s", (int)len, text);
	if (inet_pton(AF_INET6, plain, &six->sin6_addr) != 1)
		return cr_refuse(err, -EINVAL, "address %.100s is neither IPv4 nor IPv6", text);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	six->sin6_scope_id = scope ? if_nametoindex(scope + 1) : 0;
	ret->len = sizeof(*six);
	if (scope && !six->sin6_scope_id)
		return cr_refuse(err, -ENODEV, "address %.100s: there is no such interface", text);
	return 0;
}

static int listen_at(const struct sockaddr *at, socklen_t len, int family, int *ret_code)
{
	autofd int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1, off = 0;

	/* so that the wildcard of IPv6 is that of IPv4, too; a port that is in TIME_WAIT is free */
	if (fd >= 0 && family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || bind(fd, at, len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		*ret_code = -errno;
		return -1;
	}
	return take_fd(&fd);
}

static int listen_anywhere(uint16_t port, int *ret_code)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY };
	int fd = listen_at((struct sockaddr *)&six, sizeof(six), AF_INET6, ret_code);

	/* IPv6 can be off, as a whole or for its addresses */
	if (fd < 0 && (*ret_code == -EAFNOSUPPORT || *ret_code == -EADDRNOTAVAIL))
		fd = listen_at((struct sockaddr *)&four, sizeof(four), AF_INET, ret_code);
	return fd;
}

static int bound_port(int fd, uint16_t *ret)
{
	struct sockaddr_storage at = { 0 };
	socklen_t len = sizeof(at);

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	*ret = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
					      : ((struct sockaddr_in *)&at)->sin_port);
	return 0;
}

int page_socket_listen(const char *address, uint16_t port, uint16_t *ret_port, struct cr_error *err)
{
	struct address a;
	autofd int fd = -1;
	int r = 0;

	if (address) {
		r = parse(address, port, &a, err);
		if (r < 0)
			return r;
		fd = listen_at((struct sockaddr *)&a.at, a.len, a.at.ss_family, &r);
	} else {
		fd = listen_anywhere(port, &r);
	}
	if (fd >= 0)
		r = bound_port(fd, ret_port);
	if (r < 0)
		return cr_fail(err, r, "listen at %s port %u", address ? address : "any address,", port);
	return take_fd(&fd);
}

static int wait_connected(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int code = 0, r;

	do {
		r = poll(&p, 1, CONNECT_MS);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0 ? -errno : -code;
}

int page_socket_connect(const char *address, uint16_t port, struct cr_error *err)
{
	struct address a;
	autofd int fd = -1;
	int r = parse(address, port, &a, err);

	if (r < 0)
		return r;
	fd = socket(a.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cr_fail(err, -errno, "socket");
	r = connect(fd, (struct sockaddr *)&a.at, a.len) < 0 ? -errno : 0;
	if (r == -EINPROGRESS)
		r = wait_connected(fd);
	if (r < 0) {
		cr_fail(err, r, "connect to %.100s port %u", address, port);
		cr_advise(err, "start the page server first: criu page-server --port %u", port);
		return r;
	}
	keep_alive(fd);
	return take_fd(&fd);
}

int page_socket_accept(int listener, struct cr_error *err)
{
	int fd;

	/* a connection that was broken off before it was accepted is no reason to end; accept(2), "Error handling" */
	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
	if (fd < 0)
		return cr_fail(err, -errno, "wait for a connection");
	keep_alive(fd);
	return fd;
}

int page_socket_given(int fd, struct cr_error *err)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer), size = sizeof(int);
	int type = 0, own;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return cr_fail(err, -errno, "socket %d of the page server", fd);
	if (type != SOCK_STREAM)
		return cr_refuse(err, -EINVAL, "socket %d of the page server is no stream socket", fd);
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? cr_fail(err, -errno, "socket %d of the page server", fd) : own;
}
