/* Who is in a namespace of the tree without being of the tree: he stays in the old one. */
#ifndef CR_NS_OTHERS_H
#define CR_NS_OTHERS_H

#include "infect/task.h"
#include "kernel/context.h"

#include <stdbool.h>
#include <sys/types.h>

/** ns_warn_of_others() - in the log. @link: "ipc", below /proc/PID/ns; @name: for people; @ino: of the namespace. Return: may there be others? */
bool ns_warn_of_others(struct cr_context *ctx, const struct tree *tree, const char *link, const char *name, ino_t ino);

#endif
