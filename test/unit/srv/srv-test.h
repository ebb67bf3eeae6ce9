/*
 * Tests of requests: a worker in a child process, at the other end of a real socket pair, with an engine that carries
 * nothing out but takes notes.
 */
#ifndef TEST_SRV_TEST_H
#define TEST_SRV_TEST_H

/* cmocka.h needs these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/array.h"
#include "proto/rpc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* ------------------------------------------------------------- the engine */

#define FAKE_STAGES 16

/* In memory that test and worker share. */
struct fake {
	/* what the engine is to do, zeroed before each test */
	struct {
		const char *script;
		pid_t pid;
		bool optional; /* a refusal is noted only */
	} stages[FAKE_STAGES];
	int nr_stages;
	bool give_fd; /* hand out the null device as orphan-pts-master, before the stages */
	int code;     /* what the verb returns, 0: success */
	const char *why;
	pid_t restored_pid;
	uint16_t port;
	int exit_code; /* of a page server that was told to listen */
	bool lives;    /* a page server stays until it is killed */
	bool dies;     /* killed by a signal instead of everything else */

	/* notes */
	char calls[256]; /* "dump pre-dump " */
	int results[FAKE_STAGES], nr_results;
	int give_result;
	bool may_give; /* the observer takes descriptors */
	pid_t pid, engine_pid, engine_sid;
	uint32_t service_ino;
	bool service_first, sibling, leave_running, images_there;
	char externals[256]; /* after the stages, separated by blanks */
};

extern struct fake *fake;
extern int fake_life[2]; /* a pipe: nobody but the test program has its write end */

/* ------------------------------------------------------- the conversation */

struct talk {
	int sock;
	pid_t worker;
	enum rpc_generation generation;
};

struct talk_terms {
	enum rpc_generation generation;
	bool daemon;  /* as the service does it; default: swrk */
	int notify_s; /* 0: as long as it takes */
};

extern char test_dir[]; /* fresh for each program */
extern int test_dir_fd;

/* group setup and teardown; test setup */
int srv_group_begin(void **state);
int srv_group_end(void **state);
int srv_test_begin(void **state);

void talk_begin(struct talk *t, struct talk_terms terms);
/* Return: exit code of the worker */
int talk_end(struct talk *t);
void talk_send(const struct talk *t, const rpc_criu_req *req);
void talk_send_bytes(const struct talk *t, const void *bytes, size_t len);
/* NULL: the worker has closed. @ret_fd: descriptor that came along or -1; may be NULL. */
rpc_criu_resp *talk_receive(const struct talk *t, int *ret_fd);
/* raw bytes; 0: closed */
size_t talk_receive_bytes(const struct talk *t, void *bytes, size_t size);
/* nothing more comes, and the exit code is this */
void talk_expect_end(struct talk *t, const char *name, int code);

/* Request with opts of the test directory. */
struct asked {
	rpc_criu_req req;
	rpc_criu_opts opts;
};
void asked_init(struct asked *a, rpc_criu_req_type type);

/* One answer of this type and success; freed by the caller. Fails the test otherwise. */
rpc_criu_resp *expect_answer(const struct talk *t, const char *name, rpc_criu_req_type type, bool success);
/* the same, a failure with this errno and this part in cr_errmsg; frees the answer */
void expect_failure(const struct talk *t, const char *name, rpc_criu_req_type type, int number, const char *part);

#define SRV_TEST(fn) cmocka_unit_test_setup(fn, srv_test_begin)

#endif
