/*
 * A mount namespace of the victim's own, with a file system that nobody else sees. At its places in the runner's namespace lie other
 * files of the same names: whoever goes by a name in the wrong namespace gets those.
 */
#ifndef OWN_MOUNTS_H
#define OWN_MOUNTS_H

#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MOUNTS "--external mnt[]"
#define OUR    .dump = MOUNTS, .restore = MOUNTS

static dev_t device; /* of the private file system */

/* What is mounted in the runner's namespace besides is not the subject, but for what programs cannot do without. */
static inline void drop_mounts(void)
{
	static char at[256][256];
	FILE *list = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	size_t nr = 0;

	need(list != NULL);
	while (nr < 256 && fgets(line, sizeof(line), list))
		if (sscanf(line, "%*s %*s %*s %*s %255s", at[nr]) == 1)
			nr++;
	fclose(list);
	while (nr--) {
		size_t len = strlen(at[nr]);

		if (len > 1 && strcmp(at[nr], "/dev") != 0 &&
		    !(strncmp(victim_path(""), at[nr], len) == 0 && victim_path("")[len] == '/'))
			umount2(at[nr], MNT_DETACH);
	}
	need(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

/* A directory with decoys, and over it, for us alone, an empty file system. */
static inline void own_mounts(const char *const *decoys)
{
	struct stat st;

	need(mkdir(victim_path("t"), 0755) == 0);
	for (; decoys && *decoys; decoys++)
		spill(victim_path(*decoys), "decoy", 5);
	if (unshare(CLONE_NEWNS) < 0)
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	drop_mounts();
	need(mount("private", victim_path("t"), "tmpfs", 0, "mode=755") == 0);
	need(stat(victim_path("t"), &st) == 0);
	device = st.st_dev;
}

/* It has another number now, but it is one, and not that of what it lies over. */
static inline void check_private(void)
{
	struct stat at, above;

	expect(stat(victim_path("t"), &at) == 0 && stat(victim_path("t/.."), &above) == 0 && at.st_dev != above.st_dev,
	       "the file system is not there");
	device = at.st_dev;
}

static inline void check_fd(int f, const char *name)
{
	struct stat at, st;

	expect(fstat(f, &st) == 0 && st.st_dev == device, "fd %d (%s) is on another file system", f, name);
	expect(stat(victim_path(name), &at) == 0 && at.st_dev == st.st_dev && at.st_ino == st.st_ino,
	       "%s leads to another file than fd %d", name, f);
}

static inline void check_text(int f, const char *want)
{
	char text[64] = "";

	expect(pread(f, text, sizeof(text) - 1, 0) >= 0 && strcmp(text, want) == 0, "fd %d holds \"%s\"", f, text);
}

static inline struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(a.sun_path))
		victim_skip("the directory's name is too long for a socket");
	memcpy(a.sun_path, path, strlen(path) + 1);
	return a;
}

static inline int bound(int type, const char *path)
{
	struct sockaddr_un a = address(path);
	int s = socket(AF_UNIX, type, 0);

	need(s >= 0 && bind(s, (struct sockaddr *)&a, sizeof(a)) == 0 && (type == SOCK_DGRAM || listen(s, 4) == 0));
	return s;
}

static inline int reach(int type, const char *path)
{
	struct sockaddr_un a = address(path);
	int s = socket(AF_UNIX, type, 0);

	return connect(s, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : s;
}

static inline bool told(int f)
{
	struct pollfd p = { .fd = f, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

#endif
