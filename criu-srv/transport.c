/* Packets; see transport.h. */
#include "transport.h"

#include "base/error.h"
#include "base/own.h"
#include "base/pass-fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* The size is asked for before memory is taken; descriptors that come along find no room and are dropped by the kernel. */
static ssize_t packet_size(int sock)
{
	ssize_t len;

	do {
		len = recv(sock, NULL, 0, MSG_PEEK | MSG_TRUNC);
	} while (len < 0 && errno == EINTR);
	return len < 0 ? -errno : len;
}

int transport_receive(int sock, enum rpc_generation generation, size_t max, rpc_criu_req **ret_req,
		      struct cr_error *err)
{
	struct proto_limits limits = rpc_limits_default;
	struct proto_error why = { 0 };
	autofree char *packet = NULL;
	ssize_t len = packet_size(sock), got;
	int r;

	if (len == 0 || len == -ECONNRESET)
		return TRANSPORT_CLOSED;
	if (len < 0)
		return cr_fail(err, (int)len, "receive a request");
	if ((size_t)len > max) {
		/* taken and dropped: a socket that is closed with something unread makes the other end lose its answer */
		recv(sock, NULL, 0, 0);
		cr_refuse(err, -EMSGSIZE, "request of %zd bytes, more than %zu", len, max);
		return TRANSPORT_FLAWED;
	}
	limits.message = max;
	packet = malloc((size_t)len);
	if (!packet)
		return cr_fail(err, -ENOMEM, "receive a request");
	do {
		got = recv(sock, packet, (size_t)len, MSG_TRUNC);
	} while (got < 0 && errno == EINTR);
	if (got != len)
		return got < 0 ? cr_fail(err, -errno, "receive a request")
			       : cr_refuse(err, -EBADMSG, "request changed its size");
	r = rpc_req_decode(packet, (size_t)len, generation, &limits, ret_req, &why);
	if (r == 0)
		return TRANSPORT_REQUEST;
	cr_refuse(err, r, "decode a request: %s", why.text);
	return r != -ENOMEM && rpc_req_is_whole(packet, (size_t)len) ? TRANSPORT_FLAWED : r;
}

int transport_send(int sock, const rpc_criu_resp *resp, enum rpc_generation generation, int fd, struct cr_error *err)
{
	struct proto_buf buf = proto_buf_of(PACKET_MAX);
	struct proto_error why = { 0 };
	int r = rpc_resp_encode(resp, generation, &buf, &why);
	ssize_t sent;

	if (r < 0) {
		proto_buf_done(&buf);
		return cr_refuse(err, r, "encode an answer: %s", why.text);
	}
	do {
		sent = pass_fds_send(sock, buf.data, buf.len, &fd, fd >= 0);
	} while (sent == -EINTR);
	r = sent == (ssize_t)buf.len ? 0 : sent < 0 ? (int)sent : -EIO;
	proto_buf_done(&buf);
	return r < 0 ? cr_fail(err, r, "send an answer") : 0;
}
