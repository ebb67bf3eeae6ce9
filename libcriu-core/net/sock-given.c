#include "net/sock-given.h"

#include "base/own.h"
#include "files/restore-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int get_int(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

int sock_given(const struct files *fs, const char *key, uint32_t type, bool listens, struct cr_error *err)
{
	autofd int fd = inherit_find(fs, key, S_IFSOCK, O_RDWR, err);
	int now = fd < 0 ? -1 : get_int(fd, SO_TYPE);

	/* no socket at all, but a file for what was to go to one, is what the caller wants */
	if (now < 0)
		return take_fd(&fd);
	if ((uint32_t)now != type)
		return cr_refuse(err, -EINVAL, "the descriptor given for %s is a socket of type %d, not %u", key, now,
				 type);
	if ((get_int(fd, SO_ACCEPTCONN) > 0) != listens)
		return cr_refuse(err, -EINVAL, "the descriptor given for %s is a socket that %s, which the old one %s",
				 key, listens ? "does not listen" : "listens", listens ? "did" : "did not");
	return take_fd(&fd);
}
