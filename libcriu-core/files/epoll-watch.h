/* What an epoll descriptor watches, where the number that the kernel tells leads to something else by now. */
#ifndef CR_FILES_EPOLL_WATCH_H
#define CR_FILES_EPOLL_WATCH_H

#include "base/error.h"

struct file_table;
struct open_file;

/** epoll_note() - an epoll descriptor with watches was described. Return: 0; -ENOMEM. */
int epoll_note(struct file_table *t, struct open_file *f, struct cr_error *err);

/** epolls_collected() - once all descriptors of the tree are known: completes the entries. Return: 0 (look at the obstacles); negative errno */
int epolls_collected(struct file_table *t, struct cr_error *err);

#endif
