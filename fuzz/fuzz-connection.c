/*
 * A whole connection: packets of a client fed to the state machine of the service, with an engine that takes notes only.
 * Nothing is forked, nothing is run, and no path that comes out of the input is written to. Two bytes say who the client
 * is, what he speaks and how the engine fares; then come packets, each behind its length in two bytes, little endian.
 *
 * What must hold: every answer decodes and fits into the buffer that clients have; a request that is not root's gets
 * past the options with nothing in them that is for root only; no descriptor is left open.
 */
#include "criu-srv/aside.h"
#include "criu-srv/connection.h"
#include "criu-srv/transport.h"
#include "criu-srv/verbs.h"
#include "test/unit/srv/srv-test.h"

#include "kernel/context.h"
#include "options/engine.h"
#include "options/process.h"
#include "options/shield.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/socket.h>

#define PACKETS_MAX 48
#define CLIENT_BUF  1024
#define NOBODY      65534
#define WHERE_FD    20 /* known to seeds.py */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct fake *fake;
static int where_fd, start_fd, null_fd;
static bool stranger;

/* ------------------------------------------------------------------ in place of what leaves this process or this folder */

pid_t __wrap_shield_raise(struct cr_leftovers **ret);
pid_t __wrap_shield_raise(struct cr_leftovers **ret)
{
	*ret = NULL;
	return 0;
}

int __wrap_process_become(const struct proto_str_vec *command);
int __wrap_process_become(const struct proto_str_vec *command)
{
	return command->nr && !stranger ? -ENOENT : (abort(), 0);
}

int __wrap_scripts_run(struct scripts *s, const char *action, pid_t pid, const struct cr_log *log);
int __wrap_scripts_run(struct scripts *s, const char *action, pid_t pid, const struct cr_log *log)
{
	(void)action;
	(void)pid;
	(void)log;
	if (s->list->nr && stranger)
		abort();
	return 0;
}

int __wrap_cr_limit_as(pid_t pid, struct cr_error *err);
int __wrap_cr_limit_as(pid_t pid, struct cr_error *err)
{
	(void)pid;
	(void)err;
	return 0;
}

/* Every directory that is named is the one of the test, or is not there. */
int __wrap_engine_open_dir(const char *path, bool by_name, const char *what, struct cr_error *err);
int __wrap_engine_open_dir(const char *path, bool by_name, const char *what, struct cr_error *err)
{
	(void)by_name;
	if (path[0] != '.' && path[0] != 'd')
		return cr_refuse(err, -ENOENT, "%s", what);
	return fcntl(where_fd, F_DUPFD_CLOEXEC, 3);
}

/* In this process, with a connection of its own, as a child would have. */
int __wrap_aside_run(struct worker *w, const rpc_criu_req *req, rpc_criu_req_type type, enum aside_kind kind,
		     aside_fn *fn);
int __wrap_aside_run(struct worker *w, const rpc_criu_req *req, rpc_criu_req_type type, enum aside_kind kind,
		     aside_fn *fn)
{
	struct aside a = { .said_fd = fcntl(null_fd, F_DUPFD_CLOEXEC, 3), .worker = 0 };
	struct worker child = *w;
	int code;

	(void)type;
	(void)kind;
	child.sock = fcntl(w->sock, F_DUPFD_CLOEXEC, 3);
	code = fn(&child, req, &a);
	if (child.sock >= 0)
		close(child.sock);
	if (a.said_fd >= 0)
		close(a.said_fd);
	return code;
}

/* A page server of one's own, at a port that the kernel chooses, is told of in the same place. */
static bool names_server(const rpc_criu_page_server_info *ps)
{
	return ps && (ps->address || ps->has_fd || (ps->has_port && ps->port));
}

/* The door to the engine: what is for root only has been refused before. */
struct cr_context *__real_cr_context_new(const struct cr_options *o, const struct cr_observer *obs);
struct cr_context *__wrap_cr_context_new(const struct cr_options *o, const struct cr_observer *obs);
struct cr_context *__wrap_cr_context_new(const struct cr_options *o, const struct cr_observer *obs)
{
	const rpc_criu_opts *r = o->rpc;

	if (stranger && r &&
	    (r->exec_cmd.nr || r->root || r->freeze_cgroup || r->lsm_profile || r->lsm_mount_context || r->join_ns.nr ||
	     r->inherit_fd.nr || r->cg_root.nr || r->cgroup_yard || r->cgroup_props || r->cgroup_props_file ||
	     r->tcp_established || r->tls || r->empty_ns || names_server(r->ps) || r->rst_sibling || r->veths.nr ||
	     r->ext_mnt.nr || r->skip_mnt.nr || r->enable_fs.nr || (r->has_auto_ext_mnt && r->auto_ext_mnt) ||
	     o->foreground_sibling))
		abort();
	if (stranger && r)
		for (size_t i = 0; i < r->external.nr; i++)
			if (strncmp(r->external.items[i], "mnt[", 4) == 0 ||
			    strncmp(r->external.items[i], "dev[", 4) == 0 ||
			    strncmp(r->external.items[i], "net[", 4) == 0 ||
			    strncmp(r->external.items[i], "veth[", 5) == 0)
				abort();
	return __real_cr_context_new(o, obs);
}

/* ----------------------------------------------------------------------------------------------------------- the client */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char where[] = "/tmp/fuzz-connection-XXXXXX";
	static struct fake notes;
	int fd;

	(void)argc;
	(void)argv;
	fake = &notes;
	signal(SIGPIPE, SIG_IGN);
	start_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (!mkdtemp(where) || (geteuid() == 0 && chown(where, NOBODY, NOBODY) < 0))
		abort();
	fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	where_fd = fcntl(fd, F_DUPFD_CLOEXEC, WHERE_FD);
	close(fd);
	if (start_fd < 0 || null_fd < 0 || where_fd < 0)
		abort();
	return 0;
}

__attribute__((destructor)) static void remove_where(void)
{
	char link[64], path[64];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", where_fd);
	len = where_fd > 0 ? readlink(link, path, sizeof(path) - 1) : -1;
	if (len > 0) {
		path[len] = '\0';
		rmdir(path);
	}
}

static void empty_where(void)
{
	int fd = openat(where_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	if (!dir)
		abort();
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(where_fd, e->d_name, 0);
	closedir(dir);
}

static int count_fds(void)
{
	int nr = 0;

	for (int fd = 0; fd < 64; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* How the engine fares: up to three stages out of those that it has, the code that it returns. */
static void tell_engine(uint8_t how)
{
	static const char *const stages[] = { "pre-dump",     "query-ext-files",   "network-lock", "setup-namespaces",
					      "status-ready", "orphan-pts-master", "post-restore", "post-resume" };

	memset(fake, 0, sizeof(*fake));
	fake->nr_stages = how & 3;
	for (int i = 0; i < fake->nr_stages; i++) {
		fake->stages[i].script = stages[((how >> 2) + i) & 7];
		fake->stages[i].pid = 42;
		fake->stages[i].optional = how & 0x20;
	}
	fake->give_fd = how & 0x40;
	fake->code = how & 0x80 ? -ENOSPC : 0;
	fake->restored_pid = 42;
	fake->port = 1234;
}

static void send_packets(int sock, const uint8_t *data, size_t size)
{
	for (int i = 0; i < PACKETS_MAX && size >= 2; i++) {
		size_t len = data[0] | (size_t)data[1] << 8;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		if (send(sock, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		data += len;
		size -= len;
	}
	shutdown(sock, SHUT_WR);
}

static void read_answers(int sock, enum rpc_generation generation)
{
	uint8_t answer[65536];
	ssize_t len;

	/* descriptors that come along find no room and are dropped */
	while ((len = recv(sock, answer, sizeof(answer), MSG_DONTWAIT)) > 0) {
		rpc_criu_resp *resp = NULL;

		if (len > CLIENT_BUF)
			abort();
		if (generation == RPC_GENERATION_FIRST)
			continue;
		if (rpc_resp_decode(answer, (size_t)len, NULL, &resp, NULL) < 0)
			abort();
		/* whoever fails says why */
		if (!resp->success &&
		    (!resp->cr_errmsg || !resp->cr_errmsg[0] || !resp->has_cr_errno || resp->cr_errno <= 0))
			abort();
		rpc_resp_free(resp);
	}
}

static void serve(int sock, uint8_t who, const struct settings *base)
{
	struct worker w = {
		.sock = sock,
		.generation = who & 1 ? RPC_GENERATION_FIRST : RPC_GENERATION_TODAY,
		.spawned = who & 2,
		.complaints_fd = null_fd,
		.log_fd = null_fd,
		.base = base,
		.max_bytes = who & 8 ? 256 : PACKET_MAX,
		/* rights stay as they are: an input must not change what the next one meets */
		.peer = { .pid = getpid(),
			  .pidfd = -1,
			  .equal = true,
			  .judged = true,
			  .learned = true,
			  .spawned = who & 2 },
	};

	stranger = !(who & 4);
	w.peer.trusted = w.peer.who.any = !stranger;
	w.peer.who.uid = w.peer.who.gid = stranger ? 12345 : 0;
	connection_serve(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings base;
	int fds[2], before = count_fds(), out, report;

	if (size < 2)
		return 0;
	tell_engine(data[1]);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	send_packets(fds[0], data + 2, size - 2);
	out = dup(STDOUT_FILENO);
	report = dup(STDERR_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	setfsgid(NOBODY);
	setfsuid(NOBODY);
	settings_init(&base);
	serve(fds[1], data[0], &base);
	settings_done(&base);
	setfsuid(geteuid());
	setfsgid(getegid());
	dup2(out, STDOUT_FILENO);
	dup2(report, STDERR_FILENO);
	close(out);
	close(report);
	close(fds[1]);
	read_answers(fds[0], data[0] & 1 ? RPC_GENERATION_FIRST : RPC_GENERATION_TODAY);
	close(fds[0]);
	empty_where();
	if (fchdir(start_fd) < 0 || count_fds() != before)
		abort();
	return 0;
}
