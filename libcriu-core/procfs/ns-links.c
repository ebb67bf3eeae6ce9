/* Reading of /proc/PID/ns/; see ns-links.h. A link's text is enough: following it would need the namespace's inode. */
#include "procfs/ns-links.h"

#include "base/error.h"
#include "base/own.h"
#include "procfs/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const struct {
	const char *name; /* of the link */
	const char *type; /* in its text */
} ns_kinds[PROC_NR_NS] = {
	[PROC_NS_CGROUP] = { "cgroup", "cgroup:[" }, [PROC_NS_IPC] = { "ipc", "ipc:[" },
	[PROC_NS_MNT] = { "mnt", "mnt:[" },          [PROC_NS_NET] = { "net", "net:[" },
	[PROC_NS_PID] = { "pid", "pid:[" },          [PROC_NS_PID_FOR_CHILDREN] = { "pid_for_children", "pid:[" },
	[PROC_NS_TIME] = { "time", "time:[" },       [PROC_NS_TIME_FOR_CHILDREN] = { "time_for_children", "time:[" },
	[PROC_NS_USER] = { "user", "user:[" },       [PROC_NS_UTS] = { "uts", "uts:[" },
};

const char *proc_ns_name(enum proc_ns kind)
{
	return ns_kinds[kind].name;
}

int proc_ns_link_parse(const char *text, size_t len, enum proc_ns kind, uint32_t *ret, struct cr_error *err)
{
	struct scan s = SCAN_INIT(text, len);
	uint32_t ino;
	int r = scan_lit(&s, ns_kinds[kind].type);

	if (r == 0)
		r = scan_dec32(&s, &ino);
	if (r == 0)
		r = scan_is(&s, "]") && ino ? 0 : -EINVAL;
	if (r < 0)
		return cr_fail(err, r, "ns/%s", ns_kinds[kind].name);
	*ret = ino;
	return 0;
}

int proc_ns_links_read(const struct proc_dir *d, struct proc_ns_links *ret, struct cr_error *err)
{
	autofd int fd = proc_open(d, "ns", O_PATH | O_DIRECTORY, err);
	struct proc_ns_links links = { 0 };

	if (fd < 0)
		return fd;
	for (int i = 0; i < PROC_NR_NS; i++) {
		char text[64];
		ssize_t n = readlinkat(fd, ns_kinds[i].name, text, sizeof(text));
		int r;

		if (n < 0 && errno == ENOENT)
			continue;
		if (n < 0)
			return cr_fail(err, -errno, "task %d: ns/%s", d->pid, ns_kinds[i].name);
		r = proc_ns_link_parse(text, (size_t)n, (enum proc_ns)i, &links.ino[i], err);
		if (r < 0)
			return cr_within(err, r, "task %d", d->pid);
	}
	/* every task has this one, a zombie too, which has lost most others: without it the task has gone meanwhile */
	if (!links.ino[PROC_NS_USER])
		return cr_fail(err, -ESRCH, "task %d: ns/user", d->pid);
	*ret = links;
	return 0;
}
