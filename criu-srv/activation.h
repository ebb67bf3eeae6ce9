/*
 * What a service manager gives and wants, by environment variables alone: listening sockets (LISTEN_FDS) and news of the
 * state (NOTIFY_SOCKET). systemd documents both as stable, for programs that do not link its library:
 * sd_listen_fds(3), sd_notify(3).
 */
#ifndef CRIU_SRV_ACTIVATION_H
#define CRIU_SRV_ACTIVATION_H

#include <stdbool.h>
#include <sys/types.h>

struct cr_error;

#define ACTIVATION_FD  3 /* the first descriptor that is handed over */
#define ACTIVATION_MAX 16

/**
 * activation_parse() - how many sockets there are, by the texts of the three variables; pure
 * @self: pid that LISTEN_PID must name
 * @names: LISTEN_FDNAMES, may be NULL
 * @ret_legacy: for each, whether its name is "legacy" or ends in "-legacy" or "-legacy.socket"
 * Return: 0...ACTIVATION_MAX; -EINVAL the variables are for this process and make no sense, -E2BIG too many sockets.
 */
int activation_parse(pid_t self, const char *pid, const char *fds, const char *names,
		     bool ret_legacy[static ACTIVATION_MAX]);

/**
 * activation_take() - the sockets handed to this process, from ACTIVATION_FD on, made O_CLOEXEC and not blocking
 * The variables are removed, so that no child takes them for its own.
 * Return: how many; negative errno with @err filled: one of them is no listening SOCK_SEQPACKET unix socket.
 */
int activation_take(bool ret_legacy[static ACTIVATION_MAX], struct cr_error *err);

/** manager_open() - a socket to NOTIFY_SOCKET; the variable is removed. Return: descriptor; -ENOENT nobody wants news; negative errno. */
int manager_open(void);
/** manager_tell() - @state as in sd_notify(3), "READY=1". @fd: -1 is fine. A manager that does not listen is none. */
void manager_tell(int fd, const char *state);

#endif
