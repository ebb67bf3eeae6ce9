/*
 * Open files of a tree: descriptors, working and root directories, umask, owners of asynchronous I/O, file locks.
 * What the orchestrators and (through image/file-source.h) mm/ see of it; one kind of file per source file behind it.
 *
 * Dump, in this order: file_table_new, files_collect per live task, files_collect_end, [obstacles?], files_ask and
 * files_answers per task, files_write, file_table_commit once the set is committed, file_table_free.
 *
 * Restore: files_read, files_open, per task files_plan_enter / files_plan / files_plan_late, files_seal once all memory
 * is in place, files_commit once nothing can fail any more, files_free.
 */
#ifndef CR_FILES_FILES_H
#define CR_FILES_FILES_H

#include "base/error.h"
#include "base/own.h"
#include "image/file-source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_context;
struct image_set;
struct proc_mount_list;
struct program;
struct routine;
struct task;
struct tree;

/* ------------------------------------------------------------------- dump */

/* Every open file description that a dump has met, once, with its id in files.img. */
struct file_table;

/** file_table_new() - empty; @ctx and @tree are borrowed for its whole life. Return: 0, -ENOMEM, negative errno. */
int file_table_new(struct cr_context *ctx, const struct tree *tree, struct file_table **ret, struct cr_error *err);

/** files_own_queues() - POSIX message queues on file system @dev come back with the tree: its IPC namespace. Before files_collect(). */
void files_own_queues(struct file_table *t, dev_t dev);

/**
 * files_in_root() - paths of the tree begin at @root_fd, the root of its own mount namespace, in which there are @mounts; both
 * borrowed. Before files_collect().
 */
void files_in_root(struct file_table *t, int root_fd, const struct proc_mount_list *mounts);

/** file_table_free() - releases everything; hard links made for the dump are removed unless it was committed. NULL is fine. */
void file_table_free(struct file_table *t);
DEFINE_SLOT(struct file_table, file_table_free)

/**
 * files_collect() - descriptors, cwd, root and umask of a stopped task
 * @task: not a zombie; its ids.files_id says whose table it uses: a table that was collected already is not again.
 *        task->fs is filled.
 * What cannot be dumped is noted in ctx->obstacles, all of it. Return: 0 (look at the obstacles) or negative errno.
 */
int files_collect(struct file_table *t, struct task *task, struct cr_error *err);

/** files_collect_end() - what shows only when all tasks were seen: file locks, pipes whose other end is outside. As files_collect(). */
int files_collect_end(struct file_table *t, struct cr_error *err);

/** files_ask_size() - bytes of arena that files_ask() will use for @task (10,000 descriptors: 640 KB) */
size_t files_ask_size(const struct file_table *t, const struct task *task);

/**
 * files_ask() - add to the leader's questions: the close-on-exec flag of every descriptor
 * For one task of each descriptor table; for the others it adds nothing.
 */
void files_ask(struct file_table *t, struct task *task, struct program *p, struct routine *r);

/** files_answers() - after the program ran and its arena was read back. Return: 0; -EBADMSG an answer makes no sense. */
int files_answers(struct file_table *t, struct task *task, const struct program *p, struct cr_error *err);

/** files_write() - files.img, fdinfo, fs, pipes-data, ghost files, locks, ... Other folders' entries must have been added before. */
int files_write(struct file_table *t, struct image_set *set, struct cr_error *err);

/** file_table_commit() - the set is whole: links that it refers to stay */
void file_table_commit(struct file_table *t);

/** files_outlive() - the tree is about to be ended: what the images need does not end with it. Return: 0; negative errno: nothing was changed. */
int files_outlive(struct file_table *t, struct cr_error *err);

/** files_outlive_undo() - it was not ended after all */
void files_outlive_undo(struct file_table *t);

/** files_sink() - for mm/: lives as long as @t. May be used after files_collect() of that task, from one thread at a time. */
struct file_sink files_sink(struct file_table *t);

/* The content of memfds and shared anonymous memory is saved and filled in by mm/, whether mapped or not. */
struct files_memfd {
	uint32_t shmid; /* pagemap-shmem-<shmid>.img */
	uint64_t size;  /* bytes */
	int fd;         /* open for reading (dump) or reading and writing (restore); borrowed */
	bool hugetlb;
};

/** files_nr_memfds(), files_memfd() - all of them, those that came through the sink included; valid after the last add */
size_t files_nr_memfds(const struct file_table *t);
struct files_memfd files_memfd(const struct file_table *t, size_t i);

/* ---------------------------------------------------------------- restore */

/* All files of an image set, checked; later open, in the coordinator. */
struct files;

/* A task that has files (no zombies, no helpers). */
struct files_owner {
	pid_t ns_pid;
	uint32_t files_id; /* of its ids entry: tasks with equal numbers share one table */
	pid_t ns_sid;      /* its session; 0 is outside of the pid namespace */
};

/**
 * files_read() - read and check everything about files
 * Return: 0; -ENOENT an image is missing; -EBADMSG an image contradicts itself; -ENOTSUP a kind that this version does
 * not restore; negative errno.
 */
int files_read(struct cr_context *ctx, struct image_set *set, const struct files_owner *owners, size_t nr_owners,
	       struct files **ret, struct cr_error *err);

/** files_free() - closes all, removes temporary names that are left over. NULL and half-made are fine. */
void files_free(struct files *f);
DEFINE_SLOT(struct files, files_free)

/**
 * files_open() - open every description, once, in the coordinator, before any task exists
 * @root_fd: root of the mount namespace that the root of the tree will enter: "/" of the paths in the images; -1: tasks stay in the
 *           coordinator's own, and paths begin at its root. Borrowed until files_commit() and files_free()
 *
 * Raises the coordinator's own limit of open files as far as needed. Tasks inherit the raised soft limit, and their plan
 * relies on it: restore RLIMIT_NOFILE after files_plan() has run.
 */
int files_open(struct files *f, int root_fd, struct cr_error *err);

/*
 * Shared anonymous memory is no memfd, though images may say so. @make: Return: a descriptor, O_RDWR, of @size bytes of it;
 * -EOPNOTSUPP it cannot be had here, then a memfd must do. To be set before files_open().
 */
struct files_shared_memory {
	int (*make)(void *arg, uint64_t size, struct cr_error *err);
	void *arg;
};
void files_set_shared_memory(struct files *f, struct files_shared_memory how);

/*
 * files_set_message_queues() - how to open a POSIX message queue of the IPC namespace that comes back with the tree; without it
 * there is none. @name is without a slash. Return of @open: descriptor, owned by the caller, negative errno. Before files_open().
 */
struct files_message_queues {
	int (*open)(void *arg, const char *name, int flags, struct cr_error *err);
	void *arg;
};
void files_set_message_queues(struct files *f, struct files_message_queues how);

/** files_opener() - for mm/ and exe; lives as long as @f; usable after files_open() */
struct file_opener files_opener(struct files *f);

/** files_nr_memfds_restored(), files_memfd_restored() - to be filled with content; usable after files_open() */
size_t files_nr_memfds_restored(const struct files *f);
struct files_memfd files_memfd_restored(const struct files *f, size_t i);

/** files_service_fd() - the number at which task @ns_pid keeps the coordinator's pidfd: the lowest that it does not use itself */
int files_service_fd(const struct files *f, pid_t ns_pid);

/**
 * files_table_owner() - which of the tasks that share @ns_pid's descriptor table fills it
 * Return: @ns_pid itself nearly always. Otherwise the task is to be created with CLONE_FILES by a task of the same
 * table, and files_plan_enter() and files_plan() add nothing about descriptors for it.
 */
pid_t files_table_owner(const struct files *f, pid_t ns_pid);

/** files_plan_size() - bytes of arena that all of the plan of @ns_pid will use, at most */
size_t files_plan_size(const struct files *f, pid_t ns_pid);

/**
 * files_plan_enter() - first thing in a task: move the pidfd to its service number, close everything else it inherited
 * @from: number at which the pidfd is when the task starts (its parent's service number, or the coordinator's own)
 */
void files_plan_enter(const struct files *f, pid_t ns_pid, int from, struct program *p, struct routine *r);

/**
 * files_plan_session() - right after setsid(2): the controlling terminal of the new session, if it has one
 * Before children are forked; uses the service descriptor and one more for a moment.
 */
void files_plan_session(const struct files *f, pid_t ns_pid, struct program *p, struct routine *r);

/**
 * files_plan() - descriptors, working directory, root, umask
 * When it runs the task's table must hold the service descriptor and nothing else, and its children must have been forked.
 * Needs the privilege to chroot if the task's root is not the coordinator's.
 */
void files_plan(const struct files *f, pid_t ns_pid, struct program *p, struct routine *r);

/**
 * files_plan_late() - what refers to other tasks or to the task itself: owners of asynchronous I/O, record locks, epoll watches
 * Once all tasks exist with their final process groups, and files_plan() ran in this one. Closes the service descriptor
 * at its end, unless other processes share the table: it is the last thing in a task that may use it.
 */
void files_plan_late(const struct files *f, pid_t ns_pid, struct program *p, struct routine *r);

/**
 * files_plan_leave() - after the last barrier: closes the service descriptor of a table that several processes share
 * With a table of its own that has happened in files_plan_late(), and this adds nothing.
 */
void files_plan_leave(const struct files *f, pid_t ns_pid, struct program *p, struct routine *r);

/**
 * files_lock_holder() - who outside of the tree has a lock on the file that a restored task has at @fd
 * Return: its number in our procfs; 0: nobody is known.
 */
pid_t files_lock_holder(const struct files *f, pid_t ns_pid, int fd);

/** files_foreground_group() - that the terminal of a shell job was in the hands of, if it was one of the tree; 0: none */
pid_t files_foreground_group(const struct files *f);

/** files_seal() - seals of memfds, which would forbid filling and mapping them: after all tasks have their memory */
int files_seal(struct files *f, struct cr_error *err);

/** files_commit() - the restore has succeeded: hard links that the dump left for it are removed */
void files_commit(struct files *f);

#endif
