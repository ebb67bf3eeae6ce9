/* Capabilities; see privilege.h. The system calls themselves: libcap would bring nothing but its parsing of names. */
#include "options/privilege.h"

#include "base/error.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int caps_get(struct cap_sets *ret)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	ret->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	ret->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	ret->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return 0;
}

int caps_set(const struct cap_sets *sets)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ (uint32_t)sets->effective, (uint32_t)sets->permitted, (uint32_t)sets->inheritable },
		{ (uint32_t)(sets->effective >> 32), (uint32_t)(sets->permitted >> 32),
		  (uint32_t)(sets->inheritable >> 32) },
	};

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

bool privilege_elevated(void)
{
	return getauxval(AT_SECURE) != 0;
}

bool privilege_lent(void)
{
	return privilege_elevated() && getuid() != 0;
}

static int set_lent(uint64_t permitted, uint64_t effective, struct cr_error *err)
{
	struct cap_sets caps;
	int r = privilege_lent() ? caps_get(&caps) : 1;

	if (r == 0) {
		caps.permitted &= permitted;
		caps.effective = caps.permitted & effective;
		r = caps_set(&caps);
	}
	return r < 0 ? cr_fail(err, r, "put capabilities to sleep") : 0;
}

int privilege_sleep(struct cr_error *err)
{
	return set_lent(UINT64_MAX, 0, err);
}

int privilege_wake(uint64_t but, struct cr_error *err)
{
	return set_lent(UINT64_MAX, ~but, err);
}

int privilege_keep(struct cr_error *err)
{
	return set_lent(CAP_BIT(CAP_CHECKPOINT_RESTORE) | CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SYS_PTRACE), UINT64_MAX,
			err);
}

static bool is_one_of(const char *word, const char *const *list)
{
	while (*list && strcmp(*list, word) != 0)
		list++;
	return *list != NULL;
}

int privilege_begin(int argc, char **argv, struct cr_error *err)
{
	static const char *const worker[] = { "swrk", NULL }, *const ask[] = { "--help", "-h", "--version", "-V",
									       NULL };

	if (!privilege_lent() || (geteuid() == getuid() && getegid() == getgid()))
		return privilege_sleep(err);
	if ((argc == 3 && is_one_of(argv[1], worker)) || (argc == 2 && is_one_of(argv[1], ask)))
		return 0;
	return cr_refuse(err, -EPERM,
			 "this command cannot be used through a set-user-id or set-group-id program; ask the service");
}

void privilege_reach(void)
{
	struct cap_sets caps;

	if (privilege_elevated() && geteuid() == getuid() && getegid() == getgid() && caps_get(&caps) == 0 &&
	    caps.permitted)
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

int privilege_check(bool unprivileged, struct cr_error *err)
{
	uint64_t enough = CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_CHECKPOINT_RESTORE);
	struct cap_sets sets = { 0 };
	int r = caps_get(&sets);

	if (r < 0)
		return cr_fail(err, r, "capabilities of this process");
	if (!(sets.effective & enough)) {
		cr_refuse(err, -EPERM, "this process has neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN");
		cr_advise(err,
			  "run as root, or: setcap cap_checkpoint_restore+eip on this program, and use --unprivileged");
		return -EPERM;
	}
	if (geteuid() != 0 && !unprivileged) {
		cr_refuse(err, -EPERM, "not running as root");
		cr_advise(err,
			  "run as root, or use --unprivileged, with which only processes of this user can be handled");
		return -EPERM;
	}
	return 0;
}
