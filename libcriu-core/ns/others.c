#include "ns/others.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

bool ns_warn_of_others(struct cr_context *ctx, const struct tree *tree, const char *link, const char *name, ino_t ino)
{
	DIR *proc = opendir("/proc");
	size_t others = 0;
	struct dirent *d;
	struct stat st;
	char path[64];

	if (!proc) {
		log_warn(&ctx->log, "continuing without looking for other processes in the %s namespace", name);
		return true;
	}
	while ((d = readdir(proc)) != NULL) {
		snprintf(path, sizeof(path), "%.20s/ns/%.20s", d->d_name, link);
		if (isdigit((unsigned char)d->d_name[0]) && fstatat(dirfd(proc), path, &st, 0) == 0 && st.st_ino == ino)
			others++;
	}
	closedir(proc);
	/* zombies have no namespaces any more */
	for (size_t i = 0; i < tree->tasks.nr && others; i++)
		others -= tree->tasks.items[i]->state != TASK_DEAD;
	if (others)
		log_warn(&ctx->log,
			 "%zu processes outside of the tree are in its %s namespace, continuing: "
			 "the restored tree will have one without them",
			 others, name);
	return others != 0;
}
