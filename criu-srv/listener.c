/* The socket of the service; see listener.h. */
#include "listener.h"

#include "base/error.h"
#include "base/own.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* 6.16; newer than the oldest headers that this must compile with */
#endif

#define BACKLOG 4096 /* SOMAXCONN of Linux since 5.4; the kernel takes less if net.core.somaxconn is less */

static int address_of(const char *path, struct sockaddr_un *ret, struct cr_error *err)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return cr_refuse(err, -ENAMETOOLONG, "path of the socket is longer than %zu bytes",
				 sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

static int remove_stale(const char *path, const struct sockaddr_un *at, struct cr_error *err)
{
	autofd int probe = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : cr_fail(err, -errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return cr_refuse(err, -EEXIST, "%s is there and is not a socket", path);
	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return cr_fail(err, -errno, "socket");
	if (connect(probe, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno == EAGAIN)
		return cr_refuse(err, -EADDRINUSE, "another service listens at %s", path);
	/* of another type, say, and in use: only that nobody is there makes it stale */
	if (errno != ECONNREFUSED && errno != ENOENT)
		return cr_refuse(err, -EADDRINUSE, "%s is there and is not a stale socket: %s", path,
				 strerrordesc_np(errno));
	if (unlink(path) < 0 && errno != ENOENT)
		return cr_fail(err, -errno, "remove the stale socket %s", path);
	return 0;
}

void listener_seal(int fd)
{
	int off = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* A connection has what its listener had when it was made, not when it was accepted: unix_stream_connect(), net/unix/af_unix.c */
bool listener_sealed(int sock)
{
	int on = 1;
	socklen_t len = sizeof(on);

	return getsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &on, &len) == 0 && !on;
}

int listener_open(const char *path, bool legacy, struct listener *ret, struct cr_error *err)
{
	autofd int fd = -1;
	struct sockaddr_un at;
	struct stat st;
	mode_t mask;
	int r = address_of(path, &at, err);

	if (r == 0)
		r = remove_stale(path, &at, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cr_fail(err, -errno, "socket");
	listener_seal(fd);
	/* the mask gives the file its mode at birth: anybody may ask, what he may ask for is decided later */
	mask = umask(0111);
	r = bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return cr_fail(err, r, "bind to %s", path);
	if (lstat(path, &st) < 0 || listen(fd, BACKLOG) < 0) {
		r = cr_fail(err, -errno, "listen at %s", path);
		unlink(path);
		return r;
	}
	*ret = (struct listener){
		.fd = take_fd(&fd), .legacy = legacy, .path = path, .dev = st.st_dev, .ino = st.st_ino
	};
	return 0;
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->fd < 0)
		return;
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
}
