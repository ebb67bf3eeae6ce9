/*
 * Dumps a process through the service and restores it, and acknowledges the notifications of both. Nothing is needed but
 * the C library: what is sent is small enough to be written by hand. Names and numbers are those of rpc.proto.
 *
 *	cc -o client docs/examples/client.c
 *	criu service &
 *	./client /var/run/criu-service.socket DIRECTORY PID
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DUMP = 1, RESTORE = 2, NOTIFY = 6 }; /* criu_req_type */

struct message {
	unsigned char bytes[512];
	size_t len;
};

/* Seven bits a byte, the lowest first; the eighth says that more follow. */
static void put(struct message *m, unsigned long n)
{
	for (; n > 0x7f; n >>= 7)
		m->bytes[m->len++] = (unsigned char)(n | 0x80);
	m->bytes[m->len++] = (unsigned char)n;
}

static void put_number(struct message *m, int field, unsigned long n)
{
	put(m, (unsigned long)field << 3);
	put(m, n);
}

static void put_bytes(struct message *m, int field, const void *bytes, size_t len)
{
	put(m, (unsigned long)field << 3 | 2);
	put(m, len);
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

struct field {
	unsigned long number, value;
	const unsigned char *bytes; /* of texts and messages, @value long; NULL: a number */
};

static unsigned long get(const unsigned char **at, const unsigned char *end)
{
	unsigned long n = 0;

	for (int shift = 0; *at < end && shift < 64; shift += 7) {
		unsigned char c = *(*at)++;

		n |= (unsigned long)(c & 0x7f) << shift;
		if (!(c & 0x80))
			break;
	}
	return n;
}

static int next(const unsigned char **at, const unsigned char *end, struct field *f)
{
	unsigned long tag;

	if (*at >= end)
		return 0;
	tag = get(at, end);
	*f = (struct field){ .number = tag >> 3, .value = get(at, end) };
	if ((tag & 7) == 2) {
		f->bytes = *at;
		if (f->value > (unsigned long)(end - *at))
			return 0;
		*at += f->value;
	}
	return 1;
}

/* criu_notify { script = 1, pid = 2 }; the answer is criu_req { type = 1, notify_success = 3 } */
static void acknowledge(int sock, const unsigned char *at, const unsigned char *end)
{
	struct message m = { .len = 0 };
	struct field f;

	while (next(&at, end, &f))
		if (f.number == 1 && f.bytes)
			printf("  %.*s\n", (int)f.value, (const char *)f.bytes);
	put_number(&m, 1, NOTIFY);
	put_number(&m, 3, 1);
	if (send(sock, m.bytes, m.len, 0) < 0)
		perror("send");
}

/* criu_resp { type = 1, success = 2, restore = 4 { pid = 1 }, notify = 5, cr_errno = 7, cr_errmsg = 9 } */
static int carry_out(const char *address, const struct message *req)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), pid = 0, type, success;
	unsigned char packet[4096];
	ssize_t len;

	strncpy(to.sun_path, address, sizeof(to.sun_path) - 1);
	if (sock < 0 || connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    send(sock, req->bytes, req->len, 0) < 0) {
		perror(address);
		exit(1);
	}
	do {
		const unsigned char *at = packet;
		struct field f;

		type = success = 0;
		len = recv(sock, packet, sizeof(packet), 0);
		while (len > 0 && next(&at, packet + len, &f)) {
			if (f.number == 1)
				type = (int)f.value;
			if (f.number == 2)
				success = (int)f.value;
			if (f.number == 4 && f.bytes && f.value > 1) {
				const unsigned char *inner = f.bytes + 1; /* behind the tag of its pid */

				pid = (int)get(&inner, f.bytes + f.value);
			}
			if (f.number == 5 && f.bytes && type == NOTIFY)
				acknowledge(sock, f.bytes, f.bytes + f.value);
			if (f.number == 9 && f.bytes)
				fprintf(stderr, "%.*s", (int)f.value, (const char *)f.bytes);
		}
	} while (len > 0 && type == NOTIFY);
	close(sock);
	if (!success)
		exit(1);
	return pid;
}

/* criu_req { type = 1, opts = 2 { images_dir_fd = 1, pid = 2, log_level = 9, log_file = 10, notify_scripts = 12 } } */
static struct message request(int type, int dir, int pid, const char *log)
{
	struct message opts = { .len = 0 }, req = { .len = 0 };

	put_number(&opts, 1, (unsigned long)dir); /* the number of our descriptor, nothing is sent along */
	if (pid)
		put_number(&opts, 2, (unsigned long)pid);
	put_number(&opts, 9, 4);
	put_bytes(&opts, 10, log, strlen(log));
	put_number(&opts, 12, 1);
	put_number(&req, 1, (unsigned long)type);
	put_bytes(&req, 2, opts.bytes, opts.len);
	return req;
}

int main(int argc, char **argv)
{
	struct message req;
	int dir;

	if (argc != 4) {
		fprintf(stderr, "usage: client SOCKET DIRECTORY PID\n");
		return 2;
	}
	dir = open(argv[2], O_RDONLY | O_DIRECTORY);
	if (dir < 0) {
		perror(argv[2]);
		return 1;
	}
	req = request(DUMP, dir, (int)strtol(argv[3], NULL, 10), "dump.log");
	carry_out(argv[1], &req);
	printf("%s is in %s now\n", argv[3], argv[2]);
	req = request(RESTORE, dir, 0, "restore.log");
	printf("%d runs again\n", carry_out(argv[1], &req));
	return 0;
}
