/* Devices by another path; see evasive.h. */
#include "files/evasive.h"

#include "base/own.h"

#include <errno.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Minor numbers below major 1; Documentation/admin-guide/devices.txt. Those that regular.c dumps. */
static const struct {
	const char *name;
	unsigned int minor;
} devices[] = {
	{ "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 },
};

static bool is_device(int fd, unsigned int minor_nr)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(MEM_MAJOR, minor_nr);
}

int evasive_open(const struct files *fs, const img_reg_file_entry *e, uint32_t flags, struct cr_error *err)
{
	const rpc_criu_opts *opts = fs->ctx->opts->rpc;
	const char *slash = strrchr(e->name, '/');
	struct cr_error ignored = { 0 };
	char path[32];

	if (!e->has_mode || !S_ISCHR(e->mode) || !slash)
		return -ENOENT;
	if (!opts->has_evasive_devices || !opts->evasive_devices) {
		cr_advise(err, "--evasive-devices");
		return -ENOENT;
	}
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		if (strcmp(slash + 1, devices[i].name) != 0)
			continue;
		snprintf(path, sizeof(path), "/dev/%s", devices[i].name);
		autofd int fd = path_open_at(fs, path, flags, 0, &ignored);
		if (fd < 0 || !is_device(fd, devices[i].minor))
			return -ENOENT;
		log_warn(&fs->ctx->log, "device %s is gone, continuing with %s", e->name, path);
		return take_fd(&fd);
	}
	return -ENOENT;
}
