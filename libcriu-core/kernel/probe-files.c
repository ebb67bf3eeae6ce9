#include "kernel/probe-internal.h"

#include "base/own.h"
#include "kernel/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Is there a line that begins with @start in a (small) file? */
static int has_line(const char *path, const char *start)
{
	autofile FILE *f = fopen(path, "re");
	char line[4096];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, start, strlen(start)) == 0)
			return 0;
	return -ENOSYS;
}

static int fdinfo_line(int fd, const char *start)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return has_line(path, start);
}

static int exists(const char *path)
{
	return access(path, F_OK) < 0 ? -errno : 0;
}

int probe_statx_mnt_id(void)
{
	struct statx st;

	if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &st) < 0)
		return -errno;
	return st.stx_mask & STATX_MNT_ID ? 0 : -ENOSYS;
}

int probe_proc_children(void)
{
	return exists("/proc/thread-self/children");
}

int probe_mnt_id(void)
{
	autofd int fd = open("/", O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : fdinfo_line(fd, "mnt_id:");
}

int probe_timerfd(void)
{
	autofd int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	return fd < 0 ? -errno : fdinfo_line(fd, "clockid:");
}

int probe_fdinfo_lock(void)
{
	autofd int fd = memfd_create("probe", MFD_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return fdinfo_line(fd, "lock:");
}

int probe_loginuid(void)
{
	return exists("/proc/self/loginuid");
}

int probe_userns(void)
{
	return exists("/proc/self/ns/user");
}

int probe_cgroupns(void)
{
	return exists("/proc/self/ns/cgroup");
}

int probe_timens(void)
{
	return exists("/proc/self/ns/time_for_children");
}

int probe_ns_pid(void)
{
	return has_line("/proc/self/status", "NSpid:");
}

int probe_autofs(void)
{
	return has_line("/proc/filesystems", "nodev\tautofs");
}

int probe_apparmor_stacking(void)
{
	return exists("/sys/kernel/security/apparmor/features/domain/stack");
}

/* Unknown flags are refused before the paths are looked at; the empty paths are an error then. */
int probe_move_mount_set_group(void)
{
	if (syscall(__NR_move_mount, -1, "", -1, "", MOVE_MOUNT_SET_GROUP) == 0 || errno == ENOENT || errno == EBADF)
		return 0;
	return -errno;
}

int probe_openat2(void)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { .flags = O_PATH | O_CLOEXEC };
	autofd int fd = (int)syscall(__NR_openat2, AT_FDCWD, "/", &how, sizeof(how));

	return fd < 0 ? -errno : 0;
}
