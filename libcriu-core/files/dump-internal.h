/* Shared by the dump halves of all kinds: the table of open file descriptions. */
#ifndef CR_FILES_DUMP_INTERNAL_H
#define CR_FILES_DUMP_INTERNAL_H

#include "base/array.h"
#include "base/buf.h"
#include "files/file-ops.h"
#include "files/files.h"
#include "base/map.h"
#include "base/pool.h"
#include "infect/task.h"
#include "kernel/context.h"
#include "procfs/locks.h"
#include "procfs/mountinfo.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stdint.h>

#define LINK_TEXT_MAX 4096 /* d_path() of the kernel never gives more than a page */

/* What a name leads to. */
struct path_look {
	bool done, there;
	dev_t dev;
	ino_t ino;
	mode_t mode;
	uint32_t mnt_id; /* 0 unknown */
};

/* One open file description, or one file that is only mapped, or a directory of fs-PID.img. */
struct open_file {
	uint32_t id;       /* in files.img; 0: not to be written (an obstacle) */
	struct task *task; /* a user of it, and its number there: how kcmp names it; fd -1: not a descriptor */
	int fd_there;
	const char *where; /* for people, where fd_there is -1: "working directory" */
	int fd;            /* our copy while collecting; later only if keep_fd */
	bool keep_fd;
	bool in_flight; /* seen in a queue only: no task has a descriptor of it, fd is ours and kept */
	bool fresh;     /* not described yet */
	struct file_facts facts;
	uint32_t mnt_id;       /* of facts; 0 unknown */
	struct path_look look; /* at facts.link */
	uint64_t key;          /* sharing_key() of a descriptor */
	const char *fdinfo;    /* text of fdinfo, read beforehand; only while it is described; NULL */
	const struct file_ops *ops;
	img_file_entry *entry; /* in the pool; NULL for an obstacle */
	img_file_entry *also;  /* a second entry: the path of a fifo or terminal */
	bool unlinked;         /* regular kinds: the path does not lead to it */
	uint64_t map_len;      /* sockets: bytes that any mapping of it has; 0: it cannot be mapped */
};

DEFINE_VEC(open_file_vec, struct open_file *)

struct fd_user {
	int fd;
	bool cloexec;
	struct open_file *file; /* NULL: an obstacle */
};

DEFINE_VEC(fd_user_vec, struct fd_user)

/* One descriptor table, whoever shares it. */
struct fd_table {
	uint32_t files_id;
	struct task *task;      /* the one that is asked */
	struct fd_user_vec fds; /* ascending */
	bool asked;
	uint32_t routine; /* asked: number of the routine, and of the first operation in it */
	size_t first_op;
};

DEFINE_VEC(fd_table_vec, struct fd_table *)

/* What is written besides files.img, in the order it was found. */
struct ghost;
struct probe;
struct link_remap;
struct pipe_data;
struct memfd_inode;
struct held_lock;
struct unix_table;
struct pty_table;
struct inet_table;
DEFINE_VEC(ghost_vec, struct ghost *)
DEFINE_VEC(link_remap_vec, struct link_remap *)
DEFINE_VEC(pipe_data_vec, struct pipe_data *)
DEFINE_VEC(memfd_inode_vec, struct memfd_inode *)
DEFINE_VEC(remap_vec, img_remap_file_path_entry)
DEFINE_VEC(tty_info_vec, img_tty_info_entry *)
DEFINE_VEC(file_lock_vec, img_file_lock_entry)
DEFINE_VEC(fs_task_vec, struct task *)

struct file_table {
	struct cr_context *ctx;
	const struct tree *tree;
	struct pool pool;
	uint32_t last_id;
	bool committed;
	struct open_file_vec files;
	struct fd_table_vec tables;
	struct fs_task_vec fs_tasks; /* whose task->fs is filled */
	struct map by_files_id;      /* files_id -> fd_table */
	struct map buckets;          /* facts hash -> struct bucket (sharing.c) */
	struct map by_path;          /* hash of (dev, ino, flags, text) -> open_file, of path-only entries */
	struct map fs_types;         /* st_dev + 1 -> f_type + 1 */
	struct map owners;           /* host pid -> struct owner_pids (fown.c) */
	bool owners_known;
	struct map ghost_by_inode, remap_by_inode, pipe_by_ino, memfd_by_ino, tty_by_id;
	struct ghost_vec ghosts;
	struct link_remap_vec links;
	struct pipe_data_vec pipes;
	struct memfd_inode_vec memfds;
	struct remap_vec remaps;
	struct tty_info_vec ttys;
	struct file_lock_vec locks;
	uint64_t fds_ahead;          /* descriptors of the tables that were begun, where the kernel tells */
	struct inet_table *inet;    /* of net/inet-dump.c; NULL: no IP socket was met */
	struct bpf_table *bpf;      /* of bpf-map.c; NULL: no map was met */
	struct unix_table *sockets; /* of net/unix-dump.c; NULL: no UNIX socket was met */
	struct open_file_vec epolls; /* with watches */
	struct open_file_vec inotifies; /* with watches of files that no path leads to */
	struct pty_table *ptys;      /* of pty.c; NULL: none was met */
	struct lock_list *lock_list; /* /proc/locks, being read; NULL: not begun */
	struct map locked_inodes;    /* st_ino + 1 -> table (anything) */
	struct map locks_met;        /* hash of a lock and its owner -> table (anything) */
	dev_t own_queues;            /* file system of the tree's POSIX message queues, 0: they are not the tree's */
	int root_fd;                 /* root directory of the tree's own mount namespace, borrowed; -1: it has ours */
	bool mounts_known;
	const struct proc_mount_list *mounts; /* of the tree; tree_mounts() */
	struct proc_mount_list our_mounts;    /* the same, where it has no namespace of its own */
	struct map mounts_by_id;              /* id + 1 -> struct proc_mount */
	int self_fd;                 /* /proc/self/fd, O_PATH */
	int self_fdinfo;
	struct buf fdinfo_text;
	char text[LINK_TEXT_MAX + 1];
};

/* collect.c */
/** file_new() - a file with the next id, in the table, without entry. Return: NULL when memory is short. */
struct open_file *file_new(struct file_table *t, struct task *task, int fd_there, struct cr_error *err);
/** file_entry_new() - an entry of the pool with type and id set */
img_file_entry *file_entry_new(struct file_table *t, img_fd_types type, uint32_t id, struct cr_error *err);
uint32_t file_next_id(struct file_table *t);
/** file_describe() - kind and entry of a file whose facts are known; link text is read. Return: 0; > 0 obstacle noted; negative errno. */
int file_describe(struct file_table *t, struct open_file *f, struct cr_error *err);
/** file_add_path() - entry for a path that is no descriptor: cwd, root, exe, mapping. @fd: any descriptor of it, borrowed. Return as file_describe(). */
int file_add_path(struct file_table *t, struct task *task, int fd, const char *where, uint32_t flags, uint32_t *ret_id,
		  struct cr_error *err);
/** file_read_fdinfo() - the kind's lines of our own copy f->fd; text stays in t->fdinfo_text */
int file_read_fdinfo(struct file_table *t, const struct open_file *f, struct scan *ret_rest, struct cr_error *err);
/**
 * file_add_in_flight() - a description that was found in the queue of a socket of @task
 * @copy: ours; becomes -1 if it is kept. @ret: may be one that tasks have descriptors of, too. Return as file_describe().
 */
int file_add_in_flight(struct file_table *t, struct task *task, int *copy, struct open_file **ret, struct cr_error *err);
int pool_failed(struct cr_error *err);

/* obstacle.c */
/** file_refuse() - note an obstacle about @f. Return: 1, or -ENOMEM. */
int file_refuse(struct file_table *t, struct open_file *f, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/** file_refuse_passing() - the same, where the tree itself would put an end to it soon (struct obstacle) */
int file_refuse_passing(struct file_table *t, struct open_file *f, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* facts.c */
/** facts_of() - everything about our copy @fd but the link text and the file system type. Touches nothing shared. */
int facts_of(int fd, struct file_facts *ret, uint32_t *ret_mnt_id, struct cr_error *err);
/** fs_type_of() - file system type of device @dev; asked of @fd once per device */
int fs_type_of(struct file_table *t, int fd, dev_t dev, uint32_t *ret, struct cr_error *err);
/** number_text() - digits of @n, NUL terminated */
void number_text(unsigned int n, char ret[static 12]);
/** facts_read() - everything about our copy @fd but the link text. @ret->link is "". */
int facts_read(struct file_table *t, int fd, struct file_facts *ret, uint32_t *ret_mnt_id, struct cr_error *err);
/** facts_read_link() - link text of @fd into t->text. Return: its length or negative errno. */
int facts_read_link(struct file_table *t, int fd, struct cr_error *err);

/* sharing.c */
/**
 * sharing_find() - is this description in the table already?
 * @ret: the description, or a new one made with file_new(), then *ret_new is set and facts are copied
 */
int sharing_find(struct file_table *t, struct task *task, int fd, const struct file_facts *facts, uint64_t key,
		 struct open_file **ret, bool *ret_new, struct cr_error *err);
/** sharing_find_ours() - the same for @copy, which is a descriptor of our own */
int sharing_find_ours(struct file_table *t, struct task *task, int copy, const struct file_facts *facts, uint64_t key,
		      struct open_file **ret, bool *ret_new, struct cr_error *err);
/** sharing_guess() - what the task's parent has at this number, if it is the same description. Return: 0 with *ret, NULL if not */
int sharing_guess(struct file_table *t, const struct task *task, int fd, uint64_t key, struct open_file **ret,
		  struct cr_error *err);
/** sharing_group() - the same for many descriptors of one task: sets the file of each */
int sharing_group(struct file_table *t, struct task *task, struct probe *probes, size_t nr, struct cr_error *err);
/** sharing_key() - equal for descriptors of one description. @fdinfo: its text where it is an anonymous inode, else NULL */
uint64_t sharing_key(const struct file_facts *facts, const char *fdinfo);
void sharing_done(struct file_table *t);

/* fown.c */
/** owner_pid() - number of a thread, process or process group (F_OWNER_*) inside the tree. *ret 0: it is not in the tree */
int owner_pid(struct file_table *t, pid_t host, int type, pid_t *ret, struct cr_error *err);
/** fown_dump() - owner of asynchronous I/O with pids as the tree sees them; in the pool. NULL with an obstacle or failure in *ret_r. */
img_fown_entry *fown_dump(struct file_table *t, struct open_file *f, int *ret_r, struct cr_error *err);
/* The members that all messages of files with an owner have. */
struct owned_entry {
	uint32_t *id, *flags;
	img_fown_entry **fown;
};
#define OWNED_ENTRY(e) ((struct owned_entry){ &(e)->id, &(e)->flags, &(e)->fown })
/** owned_begin() - make f->entry, and fill those members of its part; the part is the caller's to attach. Return as file_describe(). */
int owned_begin(struct file_table *t, struct open_file *f, img_fd_types type, struct owned_entry part,
		struct cr_error *err);
/** owned_begin_fdinfo() - the same, and file_read_fdinfo() */
int owned_begin_fdinfo(struct file_table *t, struct open_file *f, img_fd_types type, struct owned_entry part,
		       struct scan *ret_rest, struct cr_error *err);

/* tree-root.c */
/** open_below() - a name in the root directory @root_fd, out of which nothing leads; -1: in our own. Return: descriptor, close-on-exec; negative errno */
int open_below(int root_fd, const char *path, int flags);
/** path_look_at() - where a name leads, below @root_fd if that is >= 0. Touches nothing shared. */
struct path_look path_look_at(int root_fd, const char *path);

/* paths.c */
/** path_dump() - a reg_file_entry for the name of @f, with remaps where the path does not lead to it. Return as file_describe(). */
int path_dump(struct file_table *t, struct open_file *f, uint32_t id, uint32_t flags, bool validate,
	      img_reg_file_entry **ret, struct cr_error *err);
/**
 * path_is_stand_in() - a name that NFS or FUSE has given to a file that was unlinked while it was open
 * They remove it, with the file, when nobody has that open any more. Pure.
 */
bool path_is_stand_in(uint32_t fs_type, const char *name);
/** path_mount() - note the mount of a name, where the tree has mounts of its own */
void path_mount(const struct file_table *t, uint32_t mnt_id, img_reg_file_entry *e);

/* ghost.c, link-remap.c */
int ghost_note(struct file_table *t, struct open_file *f, uint32_t id, struct cr_error *err);
int ghosts_write(struct file_table *t, struct image_set *set, struct cr_error *err);
void ghosts_done(struct file_table *t);
int link_remap_note(struct file_table *t, struct open_file *f, uint32_t id, const char *path, struct cr_error *err);
int link_remaps_make(struct file_table *t, struct cr_error *err);
void link_remaps_done(struct file_table *t);
const img_file_entry *link_remap_entry(const struct link_remap *l);

/* pipe-data.c */
/** pipe_note() - an end of a pipe or fifo was met; content is looked at if it can be read. @ret_id: its number in the images */
int pipe_note(struct file_table *t, struct open_file *f, bool fifo, uint32_t *ret_id, struct cr_error *err);
int pipes_check_ends(struct file_table *t, struct cr_error *err);
int pipes_write(struct file_table *t, struct image_set *set, struct cr_error *err);
void pipes_done(struct file_table *t);

/* memfd.c */
int memfd_sink_add(void *arg, struct task *task, int fd, uint32_t flags, uint32_t *ret_id, uint32_t *ret_shmid,
		   struct cr_error *err);
int memfds_write(struct file_table *t, struct image_set *set, struct cr_error *err);
void memfds_done(struct file_table *t);

/* locks.c */
/** locks_begin() - called for each table: reading of /proc/locks begins once the table or tables are large */
void locks_begin(struct file_table *t);
int locks_collect(struct file_table *t, struct cr_error *err);
void locks_done(struct file_table *t);
int locks_write(struct file_table *t, struct image_set *set, struct cr_error *err);

/* external.c */
/** external_file_key() - "file[mnt:ino]" of @f if the options declare it external, else NULL; in the pool */
const char *external_file_key(struct file_table *t, const struct open_file *f);
bool external_tty(const struct file_table *t, const struct open_file *f);

#endif
