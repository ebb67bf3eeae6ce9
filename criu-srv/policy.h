/*
 * Who may do what. A client that is not root may dump what it could trace itself, and may restore what it could have
 * become itself. The rules are pure functions of facts. What it may say in a request, and in a configuration file that a
 * request names, is a table: every option has a row.
 */
#ifndef CRIU_SRV_POLICY_H
#define CRIU_SRV_POLICY_H

#include "criu-who.h"
#include "options/settings.h"
#include "proto/images.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cr_error;

#define POLICY_GROUPS_MAX 65536 /* NGROUPS_MAX of Linux since 2.6.4 */

struct policy_client {
	bool any; /* may do everything */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned by whoever fills the struct */
	size_t nr_groups;
	uint64_t cap_eff, cap_bnd;
	bool no_new_privs, seccomp;
	bool ended;     /* its first thread, so that nothing tells where it lives */
	bool landlock;  /* may be in a Landlock domain */
	bool elsewhere; /* lives in other namespaces than this process, or below another root directory */
	bool labelled;  /* has a label of a security module that this process has not */
	pid_t pid;
	int yama; /* kernel.yama.ptrace_scope; 0: everybody may trace his own */
};

/**
 * policy_serve() - may anything be done for the client but answer questions?
 * Who is held in by something that the service is not held in by would get out of it: paths that he names are looked up,
 * files are opened, processes are looked at and made where the service is.
 * Return: 0; -EPERM with the reason in @err
 */
int policy_serve(const struct policy_client *c, struct cr_error *err);

/** policy_page_server() - may it have a process that listens to the network? Return: 0; -EPERM with the reason in @err */
int policy_page_server(const struct policy_client *c, struct cr_error *err);

/** policy_dump() - Return: 0; -EPERM with the reason in @err */
int policy_dump(const struct policy_client *c, const struct cr_who *t, struct cr_error *err);

/**
 * policy_trace() - and what Yama asks beyond that, if the kernel has it
 * @below: the process is a descendant of the client, or the client
 * Return: 0; -EPERM with the reason in @err
 */
int policy_trace(const struct policy_client *c, bool below, struct cr_error *err);

/** policy_restore() - of one thread with these credentials. Return: 0; -EPERM with the reason in @err */
int policy_restore(const struct policy_client *c, const img_creds_entry *creds, struct cr_error *err);

/* Who may set an option. */
enum policy_class {
	POLICY_NONE,   /* no row: nobody; a test finds them */
	POLICY_ANYONE, /* says how the client's own tree is treated, and reaches nothing else */
	POLICY_FILES,  /* names files or descriptors of the client, which are opened with its identity and rights */
	POLICY_ROOT,   /* names something of the system, runs a program, or is done with rights that the client lacks */
	POLICY_SPAWNED, /* numbers of descriptors, or the parent, of the process that serves: swrk only, where these are the client's */
};

/** policy_of() - the class of an option */
enum policy_class policy_of(const struct option_row *row);

/* The table put before settings; see struct option_gate. */
struct policy_gate {
	struct option_gate gate;
	bool daemon; /* served by the daemon, not by swrk */
	bool trusted;
};

void policy_gate_init(struct policy_gate *g, bool daemon, bool trusted);

/**
 * policy_read_client() - from procfs: capabilities, confinement, namespaces, of all its threads
 * uid, gid and groups are left alone.
 */
int policy_read_client(pid_t pid, struct policy_client *c, struct cr_error *err);

/** policy_may_dump(), policy_may_restore() - the observer's callbacks for the engine; @arg is a policy_client */
int policy_may_dump(void *arg, pid_t pid, pid_t tid, struct cr_error *err);
int policy_may_restore(void *arg, const struct _img_creds_entry *creds, struct cr_error *err);

#endif
