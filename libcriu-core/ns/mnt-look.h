/*
 * A dump looks at the mount namespace of a tree: what there is (mnt-dump.c), and how each mount is to come back
 * (mnt-judge.c).
 */
#ifndef CR_NS_MNT_LOOK_H
#define CR_NS_MNT_LOOK_H

#include "infect/task.h"
#include "ns/mnt-parts.h"

struct mnt_look {
	struct mnt_ns *ns;
	const struct task *root;
	int ns_fd;            /* of the tree */
	int proc, outer_root; /* of ours */
	struct proc_mount_list in, out;
	const struct proc_mount **of; /* of ns->list: its line */
};

/** mnt_note() - an obstacle: what is about mount @m. Return: 0; -ENOMEM */
int mnt_note(const struct mnt_look *k, const struct proc_mount *m, const char *advice, const char *why,
	     struct cr_error *err);

/* As images have it. */
static inline uint32_t mnt_dev_of(const struct proc_mount *m)
{
	return m->dev_major << 20 | m->dev_minor;
}

/** mnt_line_of() - the mount of that number; NULL: it is none of the namespace's */
const struct proc_mount *mnt_line_of(const struct mnt_look *k, int id);

/** mnt_decide() - of all that are listed; what cannot be kept becomes an obstacle. Return: 0; negative errno */
int mnt_decide(struct mnt_look *k, struct cr_error *err);

/**
 * mnt_open_whole() - in the copy: a mount of a whole file system, by itself, whose use is not seen
 * Return: descriptor; -1: no mount shows all of it
 */
int mnt_open_whole(const struct mnt_look *k, uint32_t dev);

/** mnt_is_covered() - is another mount on top of the whole of it? */
bool mnt_is_covered(const struct mnt_look *k, const struct proc_mount *m);

#endif
