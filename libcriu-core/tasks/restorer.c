/* What the restorer is and may do: its own credentials, limits and settings, which the tree inherits. */
#include "tasks/tasks.h"

#include "base/io.h"
#include "base/own.h"
#include "kernel/uapi.h"
#include "procfs/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27 /* 6.3 */
#endif

#define IOPRIO_WHO_PROCESS_ 1

static int read_caps(struct restorer *ret, struct cr_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &head, data) < 0)
		return cr_fail(err, -errno, "capget");
	ret->cap_inh = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	ret->cap_prm = data[0].permitted | (uint64_t)data[1].permitted << 32;
	ret->cap_eff = data[0].effective | (uint64_t)data[1].effective << 32;
	for (int cap = 0; cap < 64; cap++) {
		int bounding = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (bounding < 0)
			break;
		ret->cap_known |= UINT64_C(1) << cap;
		if (bounding)
			ret->cap_bnd |= UINT64_C(1) << cap;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			ret->cap_amb |= UINT64_C(1) << cap;
	}
	ret->securebits = (uint32_t)prctl(PR_GET_SECUREBITS);
	ret->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	return 0;
}

static int read_ids(struct restorer *ret, struct cr_error *err)
{
	int nr;

	if (getresuid(&ret->uid[CRED_REAL], &ret->uid[CRED_EFFECTIVE], &ret->uid[CRED_SAVED]) < 0 ||
	    getresgid(&ret->gid[CRED_REAL], &ret->gid[CRED_EFFECTIVE], &ret->gid[CRED_SAVED]) < 0)
		return cr_fail(err, -errno, "ask for own ids");
	/* an id that cannot be set leaves things as they are, and the old one is returned */
	ret->uid[CRED_FS] = (uint32_t)setfsuid((uid_t)-1);
	ret->gid[CRED_FS] = (uint32_t)setfsgid((gid_t)-1);

	nr = getgroups(0, NULL);
	if (nr < 0)
		return cr_fail(err, -errno, "ask for own groups");
	ret->groups = calloc((size_t)nr + 1, sizeof(uint32_t));
	if (!ret->groups)
		return cr_fail(err, -ENOMEM, "own groups");
	nr = getgroups(nr, ret->groups);
	if (nr < 0)
		return cr_fail(err, -errno, "ask for own groups");
	ret->nr_groups = (size_t)nr;
	return 0;
}

static void read_proc(struct restorer *ret)
{
	autoprocdir struct proc_dir dir = PROC_DIR_NONE;
	char label[PROC_LABEL_MAX + 1] = "";

	ret->loginuid = UINT32_MAX;
	if (proc_dir_open(AT_FDCWD, getpid(), &dir, NULL) < 0)
		return;
	ret->has_proc = true;
	proc_oom_score_adj_read(&dir, &ret->oom_score_adj, NULL);

	char text[8] = "";
	autofd int fd = open("/proc/sys/fs/suid_dumpable", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && fd_read_all(fd, text, sizeof(text) - 1) > 0)
		ret->suid_dumpable = text[0] - '0';
	ret->has_loginuid = proc_loginuid_read(&dir, &ret->loginuid, NULL) == 0;
	if (proc_label_read(&dir, label, NULL) >= 0) {
		label[strcspn(label, " ")] = 0;
		memcpy(ret->label, label, sizeof(ret->label) - 1);
	}
}

static void read_rseq(struct restorer *ret)
{
	unsigned long feature = getauxval(AT_RSEQ_FEATURE_SIZE);

	/* size 0: the C library was told not to register, or could not */
	if (!__rseq_size)
		return;
	ret->rseq_address = (uint64_t)(uintptr_t)__builtin_thread_pointer() + (uint64_t)__rseq_offset;
	ret->rseq_size = feature > 32 ? (uint32_t)(feature + 31) & ~31u : 32;
	ret->rseq_signature = RSEQ_SIG;
}

static bool is_bound(void)
{
	/* room for CONFIG_NR_CPUS, which cannot be higher than 8192 */
	uint64_t mask[8192 / 64] = { 0 };
	long len = syscall(__NR_sched_getaffinity, 0, sizeof(mask), mask), nr = 0;

	for (long i = 0; i < len / 8; i++)
		nr += __builtin_popcountll(mask[i]);
	return len > 0 && nr < sysconf(_SC_NPROCESSORS_ONLN);
}

/* What it has been given by whoever started it, and a new process has not */
static void read_settings(struct restorer *ret)
{
	long io = syscall(__NR_ioprio_get, IOPRIO_WHO_PROCESS_, 0);
	int mode = 0;

	ret->ioprio = io > 0 ? (uint32_t)io : 0;
	ret->timer_slack_ns = (uint64_t)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	ret->bound = is_bound();
	ret->memory_merge = prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1;
	ret->io_flusher = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1;
	ret->mce_kill = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	if (syscall(__NR_get_mempolicy, &mode, NULL, 0, 0, 0) == 0)
		ret->mempolicy_mode = mode;
}

int restorer_init(struct cr_context *ctx, struct restorer *ret, struct cr_error *err)
{
	int r;

	*ret = (struct restorer){ .proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC) };
	r = read_caps(ret, err);
	if (r >= 0)
		r = read_ids(ret, err);
	if (r < 0) {
		restorer_done(ret);
		return r;
	}
	for (unsigned int i = 0; i < 16; i++) {
		struct rlimit l;

		if (getrlimit((__rlimit_resource_t)i, &l) < 0) {
			restorer_done(ret);
			return cr_fail(err, -errno, "ask for own limit %u", i);
		}
		ret->rlim_cur[i] = l.rlim_cur;
		ret->rlim_max[i] = l.rlim_max;
	}
	read_proc(ret);
	read_rseq(ret);
	read_settings(ret);
	ret->timer_restore_ids = kernel_has(&ctx->probes, KERNEL_TIMER_CR_IDS);
	return 0;
}

void restorer_done(struct restorer *r)
{
	free(r->groups);
	if (r->proc_fd > 0)
		close(r->proc_fd);
	*r = (struct restorer){ 0 };
}
