/*
 * What a restore tells the daemon of `criu lazy-pages`: a head, then for each process its userfaultfd and what is to come of its
 * memory, in packets over a UNIX socket; the daemon answers once. As long as the restore keeps the connection open nothing is to
 * be brought in unasked. Before it lets its tasks go it says that they start, and waits for an answer once more; when they run
 * it says that, too. If it hangs up without it has failed. Both ends are of one version, on one machine.
 */
#ifndef CR_MM_LAZY_WIRE_H
#define CR_MM_LAZY_WIRE_H

#include "base/array.h"
#include "base/error.h"
#include "mm/mm.h"

#include <stdint.h>
#include <sys/types.h>

#define LAZY_SOCKET "lazy-pages.socket"
#define LAZY_RUN_ID 40 /* room for the id of a dump */

struct lazy_load;

DEFINE_VEC(lazy_ranges, struct mm_range)

/* One process as it is told. */
struct lazy_told {
	int uffd;
	pid_t pid;    /* as both ends count */
	pid_t ns_pid; /* as its images count */
	struct lazy_ranges todo, firsts;
};
DEFINE_VEC(lazy_tolds, struct lazy_told)

/** lazy_wire_address() - connect() or bind() @sock to the socket's name in a directory. Return: 0, negative errno */
int lazy_wire_connect(int sock, int dirfd);
int lazy_wire_bind(int sock, int dirfd);

/** lazy_wire_send() - all of it. @run_id: of the dump that is restored, "" if its images do not say. Return: 0, negative errno */
int lazy_wire_send(int sock, const struct lazy_load *load, const char *run_id, struct cr_error *err);

/** lazy_wire_receive() - the same from the other side, which is root or ourselves; see lazy_tolds_drop().
 * @run_id: of the dump that our images are of, as above; @ret_outside: the session in which the restore was asked for.
 * Return: 0; -EINVAL it is about another dump; -EPROTO; -EPERM; negative errno */
int lazy_wire_receive(int sock, const char *run_id, struct lazy_tolds *ret, pid_t *ret_outside, struct cr_error *err);

/** lazy_tolds_drop() - close and free all that was received */
void lazy_tolds_drop(struct lazy_tolds *t);

/** lazy_wire_answer() - the daemon's word: 0, or negative errno with a sentence */
void lazy_wire_answer(int sock, int code, const struct cr_error *err);

enum lazy_word {
	LAZY_HANGS_UP,
	LAZY_STARTS, /* the tasks are about to run: answered */
	LAZY_RUNS,   /* they do; nothing more will be said */
};

/** lazy_wire_say() - one of the words. Return: 0, negative errno */
int lazy_wire_say(int sock, enum lazy_word word, struct cr_error *err);

/** lazy_wire_hear_word() - of a connection that is readable. Return: enum lazy_word; -EPROTO; negative errno */
int lazy_wire_hear_word(int sock, struct cr_error *err);

/** lazy_wire_hear() - wait for it. Return: 0, or what the daemon said, -EPROTO, -EAGAIN it says nothing */
int lazy_wire_hear(int sock, struct cr_error *err);

#endif
