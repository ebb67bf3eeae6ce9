/* The service manager's side of starting; see activation.h. */
#include "activation.h"

#include "base/error.h"
#include "base/own.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_legacy(const char *name, size_t len)
{
	static const char *const endings[] = { "legacy", "legacy.socket" };

	for (size_t i = 0; i < 2; i++) {
		size_t end = strlen(endings[i]);

		if (len >= end && memcmp(name + len - end, endings[i], end) == 0 &&
		    (len == end || name[len - end - 1] == '-'))
			return true;
	}
	return false;
}

int activation_parse(pid_t self, const char *pid, const char *fds, const char *names,
		     bool ret_legacy[static ACTIVATION_MAX])
{
	int64_t n;

	memset(ret_legacy, 0, ACTIVATION_MAX * sizeof(*ret_legacy));
	if (!pid || !fds || number_parse(pid, 1, INT32_MAX, &n) < 0 || n != self)
		return 0; /* meant for a parent of ours, which has not cleaned up behind itself */
	if (number_parse(fds, 0, INT32_MAX, &n) < 0)
		return -EINVAL;
	if (n > ACTIVATION_MAX)
		return -E2BIG;
	for (int64_t i = 0; names && i < n; i++) {
		size_t len = strcspn(names, ":");

		ret_legacy[i] = is_legacy(names, len);
		names = names[len] ? names + len + 1 : NULL;
	}
	return (int)n;
}

static int check_socket(int fd, struct cr_error *err)
{
	struct {
		int name, want;
	} facts[] = {
		{ SO_DOMAIN, AF_UNIX },
		{ SO_TYPE, SOCK_SEQPACKET },
		{ SO_ACCEPTCONN, 1 },
	};

	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		int value = -1;
		socklen_t len = sizeof(value);

		if (getsockopt(fd, SOL_SOCKET, facts[i].name, &value, &len) < 0)
			return cr_fail(err, -errno, "descriptor %d of LISTEN_FDS", fd);
		if (value != facts[i].want) {
			cr_refuse(err, -EPROTOTYPE,
				  "descriptor %d of LISTEN_FDS is no listening SOCK_SEQPACKET unix socket", fd);
			cr_advise(err, "use ListenSequentialPacket= and no Accept= in the socket unit");
			return -EPROTOTYPE;
		}
	}
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return cr_fail(err, -errno, "descriptor %d of LISTEN_FDS", fd);
	return 0;
}

int activation_take(bool ret_legacy[static ACTIVATION_MAX], struct cr_error *err)
{
	int nr = activation_parse(getpid(), getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"),
				  ret_legacy);
	int r = 0;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("LISTEN_PIDFDID");
	if (nr < 0)
		return cr_fail(err, nr, "sockets of the service manager (LISTEN_FDS)");
	for (int i = 0; i < nr && r == 0; i++)
		r = check_socket(ACTIVATION_FD + i, err);
	return r < 0 ? r : nr;
}

int manager_open(void)
{
	autofd int fd = -1;
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int r;

	if (!len)
		return -ENOENT;
	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(at.sun_path))
		return -EINVAL;
	memcpy(at.sun_path, path, len);
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	unsetenv("NOTIFY_SOCKET");
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	return r < 0 ? -errno : take_fd(&fd);
}

void manager_tell(int fd, const char *state)
{
	ssize_t r;

	if (fd < 0)
		return;
	do {
		r = send(fd, state, strlen(state), MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
}
