/* Shared by the restore halves of all kinds: the files of an image set, checked, and later their descriptors. */
#ifndef CR_FILES_RESTORE_INTERNAL_H
#define CR_FILES_RESTORE_INTERNAL_H

#include "base/array.h"
#include "files/file-ops.h"
#include "files/files.h"
#include "base/map.h"
#include "files/placement.h"
#include "base/pool.h"
#include "image/image-set.h"
#include "kernel/context.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>

struct ghost_source;

struct restored_file {
	uint32_t id;
	img_file_entry *entry; /* as read */
	const struct file_ops *ops;
	int fd;          /* in the coordinator, -1 while not open */
	bool used;       /* some descriptor is it */
	bool late;       /* made by the task itself when all tasks exist: pidfds, files below /proc/PID of the tree */
	bool is_dir_ref; /* working or root directory of somebody */
	bool elsewhere;  /* a device that was opened by another path, known to be the same */
	pid_t user_pid;  /* the task that settles it, and its lowest number there */
	int user_fd;
	int map_fd[2]; /* opened for mappings: read only, read and write; -1 */
	/* where the content is if not behind the path */
	struct ghost_source *ghost;
	struct restored_file *link;
	/* of one number there may be a tun descriptor and the entry of its device: the first is meant by the number */
	struct restored_file *node;       /* of a tun descriptor */
	struct restored_file *descriptor; /* of such an entry */
};

DEFINE_VEC(restored_file_vec, struct restored_file *)
DEFINE_VEC(place_want_vec, struct place_want)
DEFINE_VEC(fdinfo_vec, img_fdinfo_entry *)
DEFINE_VEC(ghost_source_vec, struct ghost_source *)

struct restored_table {
	uint32_t files_id;
	pid_t owner;     /* the task that fills it */
	size_t nr_users; /* tasks that have it */
	int service;
	struct fdinfo_vec fds;      /* as read, ascending */
	struct place_want_vec want; /* the same, for the planner */
};

DEFINE_VEC(restored_table_vec, struct restored_table *)

struct restored_task {
	pid_t ns_pid, ns_sid;
	struct restored_table *table;
	img_fs_entry *fs;
};

DEFINE_VEC(restored_task_vec, struct restored_task *)

struct restored_pipe;
struct restored_memfd;
struct tty_source;
struct unix_set;
struct pty_set;
struct inet_set;
struct bpf_set;
DEFINE_VEC(restored_pipe_vec, struct restored_pipe *)
DEFINE_VEC(restored_memfd_vec, struct restored_memfd *)
DEFINE_VEC(lock_entry_vec, img_file_lock_entry *)

/* A session of the tree and its controlling terminal. */
struct terminal {
	uint32_t sid, pgrp;
	int fd;        /* in the coordinator, borrowed */
	bool may_fail; /* it may belong to a session outside */
	const img_tty_info_ext *ext; /* NULL: nothing more is known */
};
DEFINE_VEC(terminal_vec, struct terminal)
DEFINE_VEC(tty_source_vec, img_tty_info_entry *)

struct files {
	struct cr_context *ctx;
	struct image_set *set; /* borrowed until files_open() is through */
	struct pool pool;
	int root_fd; /* "/" of the paths; -1: our own */
	bool committed;
	struct restored_file_vec files;
	struct map by_id; /* id + 1 -> restored_file */
	struct restored_table_vec tables;
	struct map by_files_id;
	struct restored_task_vec tasks;
	struct map by_pid;
	struct ghost_source_vec ghosts;
	struct map ghost_by_id;
	struct restored_pipe_vec pipes;
	struct map pipe_by_id, fifo_by_id;
	struct restored_memfd_vec memfds;
	struct files_shared_memory shared_memory;
	struct files_message_queues message_queues;
	struct map memfd_by_id;
	struct tty_source_vec ttys;
	struct map tty_by_id;
	struct lock_entry_vec locks;
	bool *asked; /* for each inherited descriptor; NULL: there are none */
	int own_fds; /* /proc/self/fd, -1: nobody needs it */
	struct terminal_vec terminals;
	struct pty_set *ptys;     /* of pty-restore.c; NULL: there are no terminals */
	struct bpf_set *bpf;      /* of bpf-map.c; NULL: there are no BPF maps */
	struct inet_set *inet;    /* of net/inet-restore.c; NULL: there are no IP sockets */
	struct unix_set *sockets; /* of net/unix-read.c; NULL: there are no UNIX sockets */
};

/* read.c */
struct restored_file *files_find(const struct files *fs, uint32_t id);
struct restored_task *files_task(const struct files *fs, pid_t ns_pid);
int files_no_memory(struct cr_error *err);

/* entry-check.c: pure */
/** entry_check() - one sub-message, of its type, with its id. Return: 0; -EBADMSG. */
int entry_check(const img_file_entry *e, struct cr_error *err);
/** entry_flags() - open flags, 0 where the entry has none */
uint32_t entry_flags(const img_file_entry *e);
/** entry_fown() - owner of asynchronous I/O, NULL where the entry has none */
const img_fown_entry *entry_fown(const img_file_entry *e);
const char *entry_type_name(img_fd_types type);
int fown_check(const img_fown_entry *e, struct cr_error *err);
int reg_check(const img_reg_file_entry *e, struct cr_error *err);
int fdinfo_check(const img_fdinfo_entry *e, struct cr_error *err);

/* fown.c */
/** fown_finish() - set the signal of asynchronous I/O. Return: @fd; negative errno, and @fd is closed. */
int fown_finish(int fd, const img_fown_entry *o, struct cr_error *err);
/** file_fown() - owner of an entry's file, be it in the entry or in that of its path; NULL: it has none */
const img_fown_entry *file_fown(const struct files *fs, const struct restored_file *f);
/** file_owners_check() - of all files: signals go out in nobody's name but the client's. Return: 0; -EPERM. */
int file_owners_check(const struct files *fs, struct cr_error *err);

/* plan.c */
/** owner_plan() - owner of asynchronous I/O of the task's descriptor @fd, which is @f; nothing if it has none */
void owner_plan(const struct files *fs, const struct restored_file *f, int fd, struct program *p, struct routine *r);

/* reopen.c */
/** path_open() - open the file behind a REG entry, wherever it is. @flags: of open(2). Return: descriptor, owned by the caller. */
int path_open(struct files *fs, struct restored_file *f, uint32_t flags, struct cr_error *err);
/** path_open_at() - a path of the images, inside the root of the images */
int path_open_at(const struct files *fs, const char *path, uint32_t flags, uint32_t mode, struct cr_error *err);
/** path_dir() - open the directory of @path; @ret_base points into @path */
int path_dir(const struct files *fs, const char *path, const char **ret_base, struct cr_error *err);
/** reg_validate() - is the open file the one that was dumped? */
int reg_validate(struct files *fs, const img_reg_file_entry *e, int fd, bool remapped, struct cr_error *err);
/** fd_reopen() - a new description of an open file */
int fd_reopen(int fd, uint32_t flags, struct cr_error *err);
/** open_flags() - of an entry, without those that must not be repeated; O_CLOEXEC added */
uint32_t open_flags(uint32_t flags);
/** is_tmpfile() - of a description that made a file without a name (O_TMPFILE) · named_flags() - without what would make another one */
bool is_tmpfile(uint32_t flags);
uint32_t named_flags(uint32_t flags);
/** async_at_open() - is O_ASYNC a flag for open(2) with this file? */
bool async_at_open(const img_reg_file_entry *e);
int regular_open(struct files *fs, struct restored_file *f, struct cr_error *err);
int fd_set_flags(int fd, uint32_t flags, struct cr_error *err);

/* ghost-restore.c */
int ghosts_read(struct files *fs, struct cr_error *err);
/** ghost_open() - a descriptor of a ghost, made at the first call under the name @path */
int ghost_open(struct files *fs, struct ghost_source *g, const img_reg_file_entry *e, uint32_t flags,
	       struct cr_error *err);
void ghost_sources_done(struct files *fs);

/* pipe-restore.c */
int pipes_read(struct files *fs, struct cr_error *err);
int pipe_open_end(struct files *fs, const img_pipe_entry *e, struct cr_error *err);
int fifo_open_end(struct files *fs, uint32_t pipe_id, struct restored_file *path, uint32_t flags, struct cr_error *err);
/** pipes_settle() - close the ends that nobody has */
void pipes_settle(struct files *fs);
void restored_pipes_done(struct files *fs);

/* memfd.c */
int memfds_read(struct files *fs, struct cr_error *err);
int memfd_open_id(struct files *fs, uint32_t inode_id, uint32_t flags, struct cr_error *err);
/** memfds_make() - create those that do not exist yet */
int memfds_make(struct files *fs, struct cr_error *err);
void restored_memfds_done(struct files *fs);

/* mqueue.c */
/** message_queue_open() - of an entry that says it is one of the tree's IPC namespace. Return: descriptor; negative errno. */
int message_queue_open(struct files *fs, const img_reg_file_entry *e, struct cr_error *err);

/* tty.c */
int ttys_read(struct files *fs, struct cr_error *err);

/* tty-session.c */
/**
 * terminal_plan() - the leader of a session brings a process group to the foreground, others give their terminal up
 * While the table is empty, and all children have been forked.
 */
void terminal_plan(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r);

/* locks-restore.c */
int locks_read(struct files *fs, struct cr_error *err);
/** locks_settle() - once all files are open */
int locks_settle(struct files *fs, struct cr_error *err);
void locks_plan(const struct files *fs, pid_t ns_pid, struct program *p, struct routine *r);
/** lease_holder() - the description with a lease for writing on the file of @f, the only one then; NULL: there is none */
const struct restored_file *lease_holder(const struct files *fs, const struct restored_file *f);
size_t locks_plan_ops(const struct files *fs, pid_t ns_pid);

/* inherit.c */
/* inherit-given.c */
/** inherit_begin(), inherit_end() - around all openings; the second names in warnings what nothing has asked for */
int inherit_begin(struct files *fs, struct cr_error *err);
void inherit_end(const struct files *fs);
/**
 * inherit_find() - descriptor that the caller gave for a resource
 * @kind: what it was, S_IFIFO and so on; 0: not known. @flags: how it was open
 * Of a pipe that can be used in the other direction only, one for this direction is made. Return: owned by the caller; -ENOENT
 * none given; -EINVAL one of no use; negative errno.
 */
int inherit_find(const struct files *fs, const char *key, uint32_t kind, uint32_t flags, struct cr_error *err);

#endif
