/* Victims with a mount namespace of their own: how they get one, and how they compare their mounts. Of each victim alone. */
#ifndef MOUNT_LINES_H
#define MOUNT_LINES_H

#include "victim.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Mounts as mountinfo shows them, without numbers that are new: groups are named by the first mount of theirs */

struct line {
	int id, parent, shared, master;
	char root[256], at[256], options[128], type[32], source[128], sb[256];
	bool unbindable;
};

#define MAX 128
static struct line lines[MAX];
static size_t nr_lines;
static char before[1 << 16], after[1 << 16];

static void read_lines(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char text[4096];

	need(f);
	nr_lines = 0;
	while (fgets(text, sizeof(text), f) && nr_lines < MAX) {
		struct line *l = &lines[nr_lines++];
		char *dash = strstr(text, " - "), *p;

		memset(l, 0, sizeof(*l));
		need(dash && sscanf(text, "%d %d %*s %255s %255s %127s", &l->id, &l->parent, l->root, l->at, l->options) == 5);
		need(sscanf(dash, " - %31s %127s %255s", l->type, l->source, l->sb) == 3);
		*dash = '\0';
		p = strstr(text, " shared:");
		l->shared = p ? atoi(p + 8) : 0;
		p = strstr(text, " master:");
		l->master = p ? atoi(p + 8) : 0;
		l->unbindable = strstr(text, " unbindable") != NULL;
	}
	fclose(f);
}

static const char *place_of(int id)
{
	for (size_t i = 0; i < nr_lines; i++)
		if (lines[i].id == id)
			return lines[i].at;
	return "outside";
}

/* of the group's members that which is the first by its place */
static const char *group(int id)
{
	const char *first = NULL;

	for (size_t i = 0; id && i < nr_lines; i++)
		if (lines[i].shared == id && (!first || strcmp(lines[i].at, first) < 0))
			first = lines[i].at;
	return !id ? "none" : first ? first : "outside";
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void describe(char *ret, size_t size)
{
	char *rows[MAX];
	size_t len = 0;

	read_lines();
	for (size_t i = 0; i < nr_lines; i++) {
		const struct line *l = &lines[i];

		need(asprintf(&rows[i], "%s on %s: %s %s %s %s root %s peers %s master %s%s\n", l->at, place_of(l->parent), l->type,
			      l->source, l->options, l->sb, l->root, group(l->shared), group(l->master),
			      l->unbindable ? " unbindable" : "") > 0);
	}
	qsort(rows, nr_lines, sizeof(rows[0]), compare);
	for (size_t i = 0; i < nr_lines; i++) {
		len += (size_t)snprintf(ret + len, size - len, "%s", rows[i]);
		need(len < size);
		free(rows[i]);
	}
}

static void expect_same_mounts(void)
{
	describe(after, sizeof(after));
	for (char *b = before, *a = after; *a || *b;) {
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

		if (la != lb || memcmp(a, b, la) != 0) {
			victim_differs(__FILE__, __LINE__, "mounts: %.*s, was %.*s", (int)la, a, (int)lb, b);
			return;
		}
		a += la + (a[la] == '\n');
		b += lb + (b[lb] == '\n');
	}
}

/* The root, /dev and what is at @keep stay, and /proc is a new one: all else is gone from this namespace. */
static void bare_mounts(const char *keep)
{
	for (bool more = true; more;) {
		more = false;
		read_lines();
		for (size_t i = nr_lines; i-- > 0 && !more;) {
			const struct line *l = &lines[i];

			if (strcmp(l->at, "/") == 0 || strcmp(l->at, "/dev") == 0 || (keep && strcmp(l->at, keep) == 0) ||
			    (strcmp(l->at, "/proc") == 0 && strcmp(place_of(l->parent), "/proc") != 0))
				continue;
			more = umount2(l->at, MNT_DETACH) == 0;
		}
	}
	need(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0);
}

static void own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		victim_skip("unshare(CLONE_NEWNS): %s", strerror(errno));
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	bare_mounts(NULL);
}

static const char *dir(const char *name)
{
	const char *path = victim_path(name);

	need(mkdir(path, 0755) == 0 || errno == EEXIST);
	return path;
}

#endif
