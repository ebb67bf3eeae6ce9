/* Entries for the journal; see journal.h. */
#include "journal.h"

#include "base/io.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCKET_PATH "/run/systemd/journal/socket"
#define STREAM_PATH "/run/systemd/journal/stdout"
#define IDENTIFIER  "criu-service"

bool journal_is_stream(const char *text, int fd)
{
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	if (!text)
		return false;
	dev = strtoull(text, &end, 10);
	if (end == text || *end != ':')
		return false;
	text = end + 1;
	ino = strtoull(text, &end, 10);
	if (end == text || *end)
		return false;
	return fstat(fd, &st) == 0 && (unsigned long long)st.st_dev == dev && (unsigned long long)st.st_ino == ino;
}

static int connect_to(const char *path, int type)
{
	autofd int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	if (fd < 0)
		return -errno;
	memcpy(at.sun_path, path, strlen(path));
	return connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : take_fd(&fd);
}

int journal_open(void)
{
	return connect_to(SOCKET_PATH, SOCK_DGRAM);
}

int journal_open_stream(void)
{
	/* identifier, unit, priority of lines without one, priorities are told apart, not to syslog, kernel or console */
	static const char header[] = IDENTIFIER "\n\n6\n1\n0\n0\n0\n";
	autofd int fd = connect_to(STREAM_PATH, SOCK_STREAM);
	int r;

	if (fd < 0)
		return fd;
	r = fd_write_all(fd, header, sizeof(header) - 1);
	return r < 0 ? r : take_fd(&fd);
}

int journal_field(struct buf *b, const char *name, const char *fmt, ...)
{
	char value[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	/* a line end would begin another field, of the client's choice */
	for (char *p = value; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	return buf_printf(b, "%s=%s\n", name, value);
}

int journal_send(int fd, const struct buf *b)
{
	ssize_t r;

	do {
		r = send(fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}
