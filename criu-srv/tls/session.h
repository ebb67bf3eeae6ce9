/* One TLS session with certificates of both sides, by gnutls. */
#ifndef CRIU_TLS_SESSION_H
#define CRIU_TLS_SESSION_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct session;

/* Files in PEM; NULL: the one below /etc/pki that CRIU has. */
struct session_files {
	const char *authority, *revoked, *certificate, *key;
};

/** session_new() - read the files. Return: 0; negative errno with the file named */
int session_new(const struct session_files *files, struct session **ret, struct cr_error *err);
void session_free(struct session *s);

/**
 * session_shake() - the handshake on a connected socket
 * @serves: we were called
 * @host: whom we have called: its certificate must say so; NULL: anybody with a certificate of the authority
 * Return: 0; -EACCES one of both does not trust the other; negative errno.
 */
int session_shake(struct session *s, int fd, bool serves, const char *host, struct cr_error *err);

/* Without blocking. Return: bytes; 0 (receive) the other side has said goodbye; -EAGAIN; negative errno */
ssize_t session_recv(struct session *s, void *buf, size_t len);
ssize_t session_send(struct session *s, const void *buf, size_t len);
/** session_bye() - say goodbye. Return: 0; -EAGAIN; negative errno */
int session_bye(struct session *s);
/** session_pending() - is there something to be received that poll() does not show? */
bool session_pending(const struct session *s);

#endif
