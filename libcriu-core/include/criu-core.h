/*
 * The engine's public face: an opaque context, an options struct that is the decoded criu_opts plus what only a
 * command line can say, a handful of verbs, and an observer for log lines, progress and notifications.
 * Two contexts can live in one process. Nothing here prints.
 */
#ifndef CRIU_CORE_H
#define CRIU_CORE_H

#include "base/error.h"
#include "base/log.h"
#include "proto/rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_context;
struct cr_leftovers;
struct _img_creds_entry; /* proto/images.h */

/* What a client or a command line asks for. Owned by the caller, constant during a verb. */
struct cr_options {
	const rpc_criu_opts *rpc; /* every option that exists on the wire; never NULL */
	int images_dirfd;         /* open directory, O_RDONLY; resolved by the front end */
	int work_dirfd;           /* open directory for side files (stats, pidfile) */
	pid_t pid;                /* root of the tree; host pid as the caller sees it */

	pid_t guard; /* the parent process; when it has ended a dump is called off between stages. 0: nobody is watched */
	struct cr_leftovers *leftovers; /* dump: where the guard looks if this process is killed; NULL: nobody looks */

	/*
	 * Dump: inode number of the socket on which the request was made, if it may be open in the tree; 0: none. At restore
	 * that socket holds the answer to the request, so that its owner learns that it was restored
	 */
	uint32_t service_ino;
	bool service_first; /* that answer is in the words of the first generation of the protocol */

	/* command line only */
	const char *pidfile;     /* restore: write the root's pid there, relative to the work directory; NULL = no */
	bool detached;           /* restore: do not wait (RPC: always true) */
	bool parent_stays;       /* restore, detached: the caller lives on as the parent of the root */
	bool foreground_sibling; /* restore: CLONE_PARENT (rst_sibling) */
	bool gives_terminal; /* restore of a shell job: who is in the foreground of the terminal gives it to the job */
	int file_validation; /* enum cr_file_validation */
	bool stream;         /* images go through a streamer that listens in images_dirfd */
	bool no_checksums;   /* dump: make none of the pages; restore: do not compare the pages with them */
	int log_fd;          /* where log lines of the observer end up; a pager keeps it open. -1: nobody knows */
	int inject_stage;    /* testing: fail at the n-th stage (1...), 0 = never */

	/* who asks; the service fills it from the socket, the command line from itself */
	uid_t client_uid;
	gid_t client_gid;
	bool client_is_peer; /* true: apply the policy for unprivileged clients */
};

enum cr_file_validation { CR_VALIDATE_BUILDID = 0, CR_VALIDATE_SIZE = 1 };

#define CR_TOTAL_UNKNOWN UINT64_MAX

/* A verb's milestones, for notification scripts. Names as in the RPC protocol. */
struct cr_observer {
	struct cr_log log;
	/*
	 * Stage notification ("pre-dump", "post-restore", ...); pid 0 if none. Return: 0 go on, negative errno refuses.
	 * NULL: none wanted. While "query-ext-files" is answered, entries may be appended to external of the RPC options:
	 * the one exception from their being constant.
	 */
	int (*notify)(void *arg, const char *script, pid_t pid);
	/*
	 * Long work: done of total bytes, which may be CR_TOTAL_UNKNOWN; total 0 = a new phase named @phase begins. It may come
	 * from any thread, one at a time. NULL: not wanted
	 */
	void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
	/*
	 * Whose tree is it? Asked for every thread of the frozen tree (ids as procfs counts), before anything of it is
	 * read into images. Return: 0 go on; negative errno with @err filled: the dump ends there. NULL: anything may be dumped
	 */
	int (*may_dump)(void *arg, pid_t pid, pid_t tid, struct cr_error *err);
	/*
	 * Asked for the credentials of every thread of the images, before any process is made. Return: as may_dump().
	 * NULL: anything may be restored
	 */
	int (*may_restore)(void *arg, const struct _img_creds_entry *creds, struct cr_error *err);
	/*
	 * Hand a descriptor to whoever asked, at the stage @script ("orphan-pts-master"). @fd stays the caller's. Return: 0 it
	 * was taken; -ECANCELED it was refused, go on without. NULL: nobody wants any
	 */
	int (*give_fd)(void *arg, const char *script, int fd);
	void *arg;
};

/** cr_context_new() - options and observer must outlive the context. Return: NULL when memory is short. */
struct cr_context *cr_context_new(const struct cr_options *opts, const struct cr_observer *obs);
void cr_context_free(struct cr_context *ctx);

struct cr_dump_result {
	uint64_t frozen_us, pages_written, bytes_written;
};

struct cr_restore_result {
	pid_t pid;        /* of the root task as seen by the caller; -1 when it was never created */
	int exit_status;  /* raw wait status, when the caller asked to wait */
	pid_t foreground; /* process group that was given the caller's terminal, which is to be taken back; 0: none */
	bool stopped;     /* the root task was left stopped, as it had been or as was asked for */
};

/**
 * cr_dump() - checkpoint the tree of opts->pid into opts->images_dirfd
 * The tree carries on as before after any failure; after success it is gone, running or stopped, as the options say.
 * Return: 0 or negative errno: -ESRCH no such process; -EBUSY something stands in the way (see cr_obstacles()).
 */
int cr_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err);

/**
 * cr_leftovers_new() - memory that a dumper shares with the process that watches over it, made before the fork
 * Return: NULL: none is to be had.
 */
struct cr_leftovers *cr_leftovers_new(void);
void cr_leftovers_free(struct cr_leftovers *l);

/**
 * cr_leftovers_clear() - after the dumper was killed: take away what it had in the tasks of the tree at that moment
 * Return: 0; negative errno: something of ours is still in one of them.
 */
int cr_leftovers_clear(struct cr_leftovers *l);

/** cr_restore() - recreate the tree of an image set. Return: 0; -EEXIST a pid is taken; negative errno, nothing is left behind. */
int cr_restore(struct cr_context *ctx, struct cr_restore_result *ret, struct cr_error *err);

/**
 * cr_pre_dump() - store the memory of a tree that goes on running, for a dump that follows
 * Return: 0; -EOPNOTSUPP the kernel cannot track memory; negative errno. The tree runs in any case.
 */
int cr_pre_dump(struct cr_context *ctx, struct cr_dump_result *ret, struct cr_error *err);

/**
 * cr_dedup() - free pages of earlier images that those of the work directory, and of each other, have stored anew
 * Return: 0; -ENOENT there is no parent; negative errno.
 */
int cr_dedup(struct cr_context *ctx, struct cr_error *err);

/**
 * cr_page_server() - receive the pages of one dump into the images directory: one connection, until its end
 * The address is that of the RPC options (ps). @listening is called once, before the connection is waited for, with the
 * port that was bound (0: ps.fd is served); what it returns below 0 ends the server.
 * Return: 0; -ENOTSUP this version cannot; negative errno.
 */
int cr_page_server(struct cr_context *ctx, int (*listening)(void *arg, uint16_t port, struct cr_error *err), void *arg,
		   struct cr_error *err);

/**
 * cr_lazy_pages() - bring memory in for one restore with lazy_pages, whose images are in the images directory
 * @listening: called once, when a restore can connect in the work directory; what it returns below 0 ends the server
 * Return: 0 all is in; -EINTR ended by a signal before there was a restore; negative errno: the process must end at once
 */
int cr_lazy_pages(struct cr_context *ctx, int (*listening)(void *arg, struct cr_error *err), void *arg, struct cr_error *err);

/** cr_cpuinfo_dump() - write what the processor can do into the images directory. Return: 0; negative errno. */
int cr_cpuinfo_dump(struct cr_context *ctx, struct cr_error *err);

/**
 * cr_cpuinfo_check() - can images of the machine that wrote cpuinfo.img be restored here, as far as cpu_cap asks?
 * Return: 0; -ENOENT there is no cpuinfo.img; -ENODEV this processor lacks something; negative errno.
 */
int cr_cpuinfo_check(struct cr_context *ctx, struct cr_error *err);

/* One row of `check`. */
struct cr_check_row {
	const char *name;  /* CRIU's feature name or our own */
	const char *since; /* kernel version, for people */
	bool needed;       /* indispensable, or only for some trees */
	int result;        /* 0 there, negative errno why not */
	const char *loss;  /* what cannot be done without it */
};

/** cr_check() - probe every feature. @rows lives as long as the context. Return: 0 if all needed ones are there, -ENOSYS else. */
int cr_check(struct cr_context *ctx, const struct cr_check_row **ret_rows, size_t *ret_nr, struct cr_error *err);

/** cr_check_feature() - probe one feature, by name. Return: 0, what came of it is in ret->result; -ENOENT no such feature. */
int cr_check_feature(struct cr_context *ctx, const char *name, struct cr_check_row *ret);

/** cr_check_tree() - list what would stand in the way of a dump of opts->pid. Return: 0 nothing, -EBUSY see cr_obstacles(). */
int cr_check_tree(struct cr_context *ctx, struct cr_error *err);

/** cr_obstacles() - what the last verb found in the way; lives as long as the context */
const struct obstacles *cr_obstacles(const struct cr_context *ctx);

/** cr_stage_name() - the n-th stage of dump (or restore); NULL past the end: lets tests fail at each of them */
const char *cr_stage_name(bool restore, int n);

#endif
