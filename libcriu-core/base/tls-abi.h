/* Between criu and criu-tls, the program that speaks TLS for it: where it finds what, and what it says once. */
#ifndef CR_BASE_TLS_ABI_H
#define CR_BASE_TLS_ABI_H

#include <stdint.h>

/* Its arguments: role, authority, revocation list, certificate, key, host; "" is the default, or none. */
#define TLS_ROLE_CHECK "check" /* are the files in order? Needs no connection */
#define TLS_ROLE_CALL  "call"
#define TLS_ROLE_SERVE "serve"

/* Its descriptors. */
enum { TLS_FD_VERDICT = 3, TLS_FD_NETWORK = 4, TLS_FD_INSIDE = 5 };

/* What it says when it knows who the other side is. From then on it moves bytes. */
struct tls_verdict {
	int32_t code; /* 0, or negative errno: then it has ended */
	char text[300];
};

#endif
