/*
 * criu-tls: TLS for the connections of page servers, started by criu itself. It has the key, the network and one socket to
 * criu, and nothing else; see base/tls-abi.h.
 */
#include "pump.h"

#include "base/io.h"
#include "base/tls-abi.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *named(const char *arg)
{
	return arg[0] ? arg : NULL;
}

/* What parses the words of strangers needs no rights, and a core file of it would have the key in it. */
static int confine(struct cr_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	struct rlimit zero = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    setrlimit(RLIMIT_CORE, &zero) < 0 || syscall(SYS_capset, &head, none) < 0)
		return cr_fail(err, -errno, "give up rights");
	return 0;
}

static int begin(char **argv, struct session **ret, struct cr_error *err)
{
	struct session_files files = { named(argv[2]), named(argv[3]), named(argv[4]), named(argv[5]) };
	bool check = strcmp(argv[1], TLS_ROLE_CHECK) == 0, serves = strcmp(argv[1], TLS_ROLE_SERVE) == 0;
	int r = session_new(&files, ret, err);

	if (r == 0)
		r = confine(err);
	return r < 0 || check ? r : session_shake(*ret, TLS_FD_NETWORK, serves, named(argv[6]), err);
}

int main(int argc, char **argv)
{
	struct session *s = NULL;
	struct cr_error err = { 0 };
	struct tls_verdict v = { 0 };
	int r;

	if (argc != 7) {
		fputs("criu-tls is started by criu, for --tls\n", stderr);
		return 1;
	}
	v.code = begin(argv, &s, &err);
	snprintf(v.text, sizeof(v.text), "%.*s", (int)sizeof(v.text) - 1, err.text);
	r = fd_write_all(TLS_FD_VERDICT, &v, sizeof(v));
	close(TLS_FD_VERDICT);
	if (r == 0 && v.code == 0 && strcmp(argv[1], TLS_ROLE_CHECK) != 0)
		r = pump(s, TLS_FD_NETWORK, TLS_FD_INSIDE);
	session_free(s);
	return r < 0 || v.code < 0;
}
