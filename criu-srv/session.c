/* One request; see session.h. */
#include "session.h"
#include "client-fds.h"
#include "transport.h"

#include "base/io.h"
#include "base/obstacle.h"
#include "base/own.h"
#include "options/engine.h"
#include "options/idle.h"
#include "options/page-server.h"
#include "options/request.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void session_init(struct session *n, struct worker *w, const rpc_criu_req *req, const char *scope)
{
	*n = (struct session){ .w = w, .req = req, .images_dirfd = -1, .work_dirfd = -1, .status_fd = -1 };
	settings_init(&n->s);
	log_sink_init(&n->sink, scope);
}

void session_done(struct session *n)
{
	log_sink_done(&n->sink);
	if (n->images_dirfd >= 0)
		close(n->images_dirfd);
	if (n->work_dirfd >= 0)
		close(n->work_dirfd);
	if (n->status_fd >= 0)
		close(n->status_fd);
	settings_done(&n->s);
}

static enum origin origin_of(const struct session *n, const char *option)
{
	return (enum origin)n->s.origin[option_find(option) - option_table];
}

/* A descriptor of this process: of the daemon's, if it is not the client's. The rest is up to the table of policy.c. */
static int check_server(const struct session *n, const rpc_criu_opts *o, struct cr_error *err)
{
	if (n->w->spawned || !o->ps || !o->ps->has_fd)
		return 0;
	return cr_refuse(err, -EINVAL, "option ps.fd of the request can be used with swrk only");
}

/*
 * What a stranger names is looked up without any capability: CAP_SYS_PTRACE alone would lead through /proc/PID/cwd and
 * /proc/PID/root of processes that are none of his.
 */
static uint64_t step_back(const struct session *n)
{
	return n->w->peer.trusted ? 0 : peer_doze(&n->w->peer);
}

static void step_forth(const struct session *n, uint64_t awake)
{
	if (!n->w->peer.trusted)
		peer_wake(&n->w->peer, awake);
}

static int open_named(const struct session *n, const char *path, const char *what, struct cr_error *err)
{
	uint64_t awake = step_back(n);
	int fd = engine_open_dir(path, !n->w->peer.trusted, what, err);

	step_forth(n, awake);
	return fd;
}

static int open_images(const struct session *n, struct cr_error *err)
{
	const rpc_criu_opts *o = &n->s.rpc;

	if (origin_of(n, "images-dir") != ORIGIN_REQUEST_CONFIG && o->images_dir_fd != -1)
		return peer_open_dir(&n->w->peer, o->images_dir_fd, "images_dir_fd", err);
	if (o->images_dir)
		return open_named(n, o->images_dir, "images_dir", err);
	return cr_refuse(err, -EINVAL, "neither images_dir_fd nor images_dir is in the request");
}

static int open_work(const struct session *n, struct cr_error *err)
{
	const rpc_criu_opts *o = &n->s.rpc;
	int fd;

	if (origin_of(n, "work-dir") != ORIGIN_REQUEST_CONFIG && o->has_work_dir_fd)
		return peer_open_dir(&n->w->peer, o->work_dir_fd, "work_dir_fd", err);
	if (n->s.work_dir)
		return open_named(n, n->s.work_dir, "work directory", err);
	fd = fcntl(n->images_dirfd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? cr_fail(err, -errno, "work directory") : fd;
}

static int open_dirs(struct session *n, struct cr_error *err)
{
	n->images_dirfd = open_images(n, err);
	if (n->images_dirfd < 0)
		return n->images_dirfd;
	n->work_dirfd = open_work(n, err);
	if (n->work_dirfd < 0)
		return n->work_dirfd;
	return fchdir(n->work_dirfd) < 0 ? cr_fail(err, -errno, "enter the work directory") : 0;
}

/* The engine opens it again, where it is needed: an option that is wrong is to be told as one. */
static int check_parent(const struct session *n, enum command command, struct cr_error *err)
{
	const char *path = n->s.rpc.parent_img;
	uint64_t awake;
	int fd;

	if (!path || !(command & (COMMAND_DUMP | COMMAND_PRE_DUMP | COMMAND_PAGE_SERVER)))
		return 0;
	awake = step_back(n);
	fd = open_by_name(n->images_dirfd, path, O_RDONLY | O_DIRECTORY);
	step_forth(n, awake);
	if (fd < 0)
		return cr_refuse(err, -EINVAL, "parent_img %s: %s", path, strerrordesc_np(-fd));
	close(fd);
	return 0;
}

static int look_at_fds(struct session *n, enum command command, struct cr_error *err)
{
	const rpc_criu_opts *o = &n->s.rpc;
	struct cr_log log = log_sink_log(&n->sink);

	if (o->has_pidfd_store_sk && command & (COMMAND_DUMP | COMMAND_PRE_DUMP) &&
	    client_check_store(&n->w->peer, o->pidfd_store_sk, err) < 0)
		return err->code;
	if (!o->has_status_fd)
		return 0;
	log_warn(&log, "status_fd is obsolete, continuing with it; the notification status-ready says the same");
	n->status_fd = client_open_status(&n->w->peer, o->status_fd, err);
	return n->status_fd < 0 ? n->status_fd : 0;
}

static int open_log(struct session *n, struct cr_error *err)
{
	const char *file = n->s.rpc.log_file;
	uint64_t awake;
	int r;

	if (origin_of(n, "log-file") < ORIGIN_REQUEST)
		file = n->s.rpc.log_to_stderr ? NULL : file ? file : "criu.log";
	awake = step_back(n);
	r = log_sink_open(&n->sink, n->work_dirfd, file, n->s.rpc.log_level, err);
	step_forth(n, awake);
	return r;
}

static int take_options(struct session *n, struct cr_error *err)
{
	const rpc_criu_opts *o = n->req->opts;
	uint64_t awake;
	int r;

	if (!o)
		return cr_refuse(err, -EINVAL, "the request has no opts");
	if (o->log_file && strchr(o->log_file, '/'))
		return cr_refuse(err, -EINVAL, "No subdirs are allowed in log_file name");
	settings_done(&n->s);
	r = settings_init_from(&n->s, n->w->base) < 0 ? cr_fail(err, -ENOMEM, "options") : 0;
	policy_gate_init(&n->gate, !n->w->spawned, n->w->peer.trusted);
	n->s.gate = &n->gate.gate;
	if (r == 0)
		r = check_server(n, o, err);
	awake = step_back(n);
	if (r == 0)
		r = settings_merge_request(&n->s, o, err);
	step_forth(n, awake);
	return r;
}

/* Many clients print a number and point at the log: so there is one, even if it is the options that are refused. */
static void open_log_of_refused(struct session *n)
{
	struct cr_error ignored = { 0 };

	if (open_dirs(n, &ignored) == 0 && open_log(n, &ignored) == 0)
		log_sink_greet(&n->sink);
}

static void set_engine(struct session *n)
{
	engine_options(&n->s, n->images_dirfd, n->work_dirfd, &n->opts);
	n->opts.client_uid = n->w->peer.who.uid;
	n->opts.client_gid = n->w->peer.who.gid;
	n->opts.client_is_peer = !n->w->peer.trusted;
	n->opts.log_fd = n->sink.fd;
	n->scripts = (struct scripts){ .list = &n->s.scripts, .images_dirfd = n->images_dirfd };
	n->obs = (struct cr_observer){ .log = log_sink_log(&n->sink), .arg = n };
}

int session_begin(struct session *n, enum command command, struct cr_error *err)
{
	struct cr_log log;
	int r = peer_learn(&n->w->peer, err);

	if (r == 0)
		r = take_options(n, err);
	if (r == 0)
		r = settings_name_server(&n->s, command, err);
	if (r == 0) {
		r = settings_check(&n->s, command, err);
		if (r < 0)
			open_log_of_refused(n);
	}
	if (r == 0)
		r = open_dirs(n, err);
	if (r == 0)
		r = open_log(n, err);
	if (r < 0)
		return r;
	log_sink_greet(&n->sink);
	log = log_sink_log(&n->sink);
	idle_options_tell(&n->s, command, true, &log);
	set_engine(n);
	r = check_parent(n, command, err);
	if (r == 0)
		r = look_at_fds(n, command, err);
	n->ready = r == 0;
	return r;
}

int session_begin_bare(struct session *n, struct cr_error *err)
{
	int r = log_sink_open(&n->sink, AT_FDCWD, NULL, CR_LOG_WARN, err);

	n->sink.fd = n->w->log_fd;
	n->s.rpc.images_dir_fd = -1;
	set_engine(n);
	n->ready = r == 0;
	return r;
}

/*
 * Many clients print cr_errno and nothing else, so it is the errno of the root cause. EBADRQC is what all of them know for
 * a request that is wrong in itself.
 */
static int wire_errno(const struct session *n, const struct cr_error *err)
{
	if (n->ready || (err->code != -EINVAL && err->code != -ENOTSUP && err->code != 0))
		return err->code < 0 ? -err->code : EIO;
	return EBADRQC;
}

/* Many clients receive into 1024 bytes, of which the rest of an answer takes less than 64. */
#define ERRMSG_MAX (1024 - 64)

static char *short_enough(char *text)
{
	size_t end = ERRMSG_MAX;

	if (strlen(text) <= end)
		return text;
	/* not in the middle of a character */
	for (end--; end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80; end--)
		;
	memcpy(text + end, "\n", 2);
	return text;
}

void session_fail(struct session *n, const struct cr_error *err, const struct obstacles *list, rpc_criu_resp *resp)
{
	struct cr_log log;

	record_failure(n->w->record, err);
	if (n->sink.fd < 0) {
		n->sink.fd = n->w->log_fd;
		n->sink.level = CR_LOG_WARN;
	}
	log = log_sink_log(&n->sink);
	log_error(&log, "%s", err->text);
	/* with log_level 0 nobody logs errors, but the client is told all the same */
	if (!n->sink.first_error[0])
		log_sink_line(&n->sink, CR_LOG_ERROR, err->text);
	engine_log_obstacles(&log, list);
	if (err->hint[0])
		log_info(&log, "hint: %s", err->hint);
	log_sink_advise(&n->sink, err->hint, ERRMSG_MAX);
	resp->success = false;
	resp->has_cr_errno = true;
	resp->cr_errno = wire_errno(n, err);
	resp->cr_errmsg = short_enough(n->sink.first_error);
}

int session_answer(struct session *n, const rpc_criu_resp *resp)
{
	struct cr_log log = log_sink_log(&n->sink);
	struct cr_error err = { 0 };
	int r = transport_send(n->w->sock, resp, n->w->generation, -1, &err);

	if (r < 0)
		log_warn(&log, "%s, continuing without the client", err.text);
	return r;
}
