/* TLS by gnutls; see session.h. */
#include "session.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_MS 30000

/* Where CRIU looks for what no option names. */
#define AUTHORITY   "/etc/pki/CA/cacert.pem"
#define REVOKED     "/etc/pki/CA/cacrl.pem"
#define CERTIFICATE "/etc/pki/criu/cert.pem"
#define KEY         "/etc/pki/criu/private/key.pem"

struct session {
	gnutls_certificate_credentials_t cred;
	gnutls_session_t tls;
	int fd;
};

static int to_errno(ssize_t r)
{
	switch (r) {
	case GNUTLS_E_AGAIN:
	case GNUTLS_E_INTERRUPTED:
		return -EAGAIN;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PULL_ERROR:
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
}

/* gnutls counts what it has read; 0 is a file without any. */
static const char *why(int r)
{
	return r < 0 ? gnutls_strerror(r) : "there is nothing in it";
}

static int load(struct session *s, const struct session_files *f, struct cr_error *err)
{
	const char *ca = f->authority ? f->authority : AUTHORITY, *crl = f->revoked ? f->revoked : REVOKED;
	const char *cert = f->certificate ? f->certificate : CERTIFICATE, *key = f->key ? f->key : KEY;
	int r = gnutls_certificate_allocate_credentials(&s->cred);

	if (r < 0)
		return cr_refuse(err, to_errno(r), "%s", gnutls_strerror(r));
	r = gnutls_certificate_set_x509_trust_file(s->cred, ca, GNUTLS_X509_FMT_PEM);
	if (r <= 0)
		return cr_refuse(err, -EINVAL, "certificate authority %.150s: %s", ca, why(r));
	/* a list that nobody has named may be missing */
	if (f->revoked || access(crl, F_OK) == 0) {
		r = gnutls_certificate_set_x509_crl_file(s->cred, crl, GNUTLS_X509_FMT_PEM);
		if (r <= 0)
			return cr_refuse(err, -EINVAL, "revocation list %.150s: %s", crl, why(r));
	}
	r = gnutls_certificate_set_x509_key_file(s->cred, cert, key, GNUTLS_X509_FMT_PEM);
	return r < 0 ? cr_refuse(err, -EINVAL, "certificate %.100s with key %.100s: %s", cert, key, gnutls_strerror(r)) : 0;
}

int session_new(const struct session_files *files, struct session **ret, struct cr_error *err)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return cr_fail(err, -ENOMEM, "prepare");
	r = load(s, files, err);
	if (r < 0) {
		session_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	if (s->tls)
		gnutls_deinit(s->tls);
	if (s->cred)
		gnutls_certificate_free_credentials(s->cred);
	free(s);
}

/* Whether a socket blocks is not ours to change: others may have it, too. */
static ssize_t push(gnutls_transport_ptr_t arg, const giovec_t *iov, int nr)
{
	struct session *s = arg;
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)nr };
	ssize_t n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		gnutls_transport_set_errno(s->tls, errno);
	return n;
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t len)
{
	struct session *s = arg;
	ssize_t n = recv(s->fd, buf, len, MSG_DONTWAIT);

	if (n < 0)
		gnutls_transport_set_errno(s->tls, errno);
	return n;
}

static int pull_wait(gnutls_transport_ptr_t arg, unsigned int ms)
{
	struct session *s = arg;
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	return poll(&p, 1, (int)ms);
}

static int set_up(struct session *s, int fd, bool serves, const char *host)
{
	int r = gnutls_init(&s->tls, (serves ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);

	if (r < 0) {
		s->tls = NULL;
		return r;
	}
	r = gnutls_set_default_priority(s->tls);
	if (r >= 0)
		r = gnutls_credentials_set(s->tls, GNUTLS_CRD_CERTIFICATE, s->cred);
	if (r < 0)
		return r;
	if (serves)
		gnutls_certificate_server_set_request(s->tls, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert(s->tls, host, 0);
	s->fd = fd;
	gnutls_transport_set_ptr(s->tls, s);
	gnutls_transport_set_vec_push_function(s->tls, push);
	gnutls_transport_set_pull_function(s->tls, pull);
	gnutls_transport_set_pull_timeout_function(s->tls, pull_wait);
	return 0;
}

static int shake(struct session *s, int fd)
{
	for (;;) {
		int r = gnutls_handshake(s->tls);
		struct pollfd p = { .fd = fd };

		if (r >= 0 || gnutls_error_is_fatal(r))
			return r;
		if (r != GNUTLS_E_AGAIN && r != GNUTLS_E_INTERRUPTED)
			continue;
		p.events = gnutls_record_get_direction(s->tls) ? POLLOUT : POLLIN;
		if (poll(&p, 1, HANDSHAKE_MS) == 0)
			return GNUTLS_E_TIMEDOUT;
	}
}

/* Why a certificate is none that we trust, in words. */
static int refuse_peer(struct session *s, struct cr_error *err)
{
	unsigned int status = gnutls_session_get_verify_cert_status(s->tls);
	gnutls_datum_t text = { 0 };

	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
		return cr_refuse(err, -EACCES, "the certificate of the other side is not to be trusted");
	cr_refuse(err, -EACCES, "the certificate of the other side: %.250s", (const char *)text.data);
	gnutls_free(text.data);
	return -EACCES;
}

int session_shake(struct session *s, int fd, bool serves, const char *host, struct cr_error *err)
{
	int r = set_up(s, fd, serves, host);

	if (r >= 0)
		r = shake(s, fd);
	if (r >= 0)
		return 0;
	if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		return refuse_peer(s, err);
	if (r == GNUTLS_E_TIMEDOUT)
		return cr_refuse(err, -ETIMEDOUT, "no answer for %d seconds", HANDSHAKE_MS / 1000);
	if (r == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return cr_refuse(err, -EACCES, "the other side has refused: %s",
				 gnutls_alert_get_name(gnutls_alert_get(s->tls)));
	return cr_refuse(err, to_errno(r), "%s", gnutls_strerror(r));
}

ssize_t session_recv(struct session *s, void *buf, size_t len)
{
	ssize_t r = gnutls_record_recv(s->tls, buf, len);

	return r < 0 ? to_errno(r) : r;
}

ssize_t session_send(struct session *s, const void *buf, size_t len)
{
	ssize_t r = gnutls_record_send(s->tls, buf, len);

	return r < 0 ? to_errno(r) : r;
}

int session_bye(struct session *s)
{
	int r = gnutls_bye(s->tls, GNUTLS_SHUT_WR);

	return r < 0 ? to_errno(r) : 0;
}

bool session_pending(const struct session *s)
{
	return gnutls_record_check_pending(s->tls) > 0;
}
