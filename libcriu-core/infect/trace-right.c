/* The right to trace; see trace-right.h. */
#include "infect/trace-right.h"

#include "base/error.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

int trace_right_raise(struct cr_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
	unsigned int word = CAP_TO_INDEX(CAP_SYS_PTRACE);

	if (syscall(SYS_capget, &head, sets) < 0)
		return cr_fail(err, -errno, "read capabilities");
	if (!(sets[word].permitted & ~sets[word].effective & CAP_TO_MASK(CAP_SYS_PTRACE)))
		return 0;
	sets[word].effective |= CAP_TO_MASK(CAP_SYS_PTRACE);
	return syscall(SYS_capset, &head, sets) < 0 ? cr_fail(err, -errno, "raise CAP_SYS_PTRACE") : 0;
}
