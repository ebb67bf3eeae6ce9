/* A worker and its client; see srv-test.h. */
#include "srv-test.h"

#include "criu-srv/worker.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PATIENCE_S 10

struct fake *fake;
char test_dir[] = "/tmp/criu-srv-test-XXXXXX";
int test_dir_fd = -1;

int srv_group_begin(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("needs root\n");
		exit(77);
	}
	signal(SIGPIPE, SIG_IGN);
	fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fake == MAP_FAILED || pipe2(fake_life, O_CLOEXEC) < 0 || !mkdtemp(test_dir))
		return -1;
	test_dir_fd = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return test_dir_fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

int srv_group_end(void **state)
{
	(void)state;
	close(test_dir_fd);
	close(fake_life[0]);
	close(fake_life[1]);
	munmap(fake, sizeof(*fake));
	return nftw(test_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int srv_test_begin(void **state)
{
	(void)state;
	memset(fake, 0, sizeof(*fake));
	return 0;
}

static void be_worker(int sock, struct talk_terms terms)
{
	struct srv_limits limits = { .message_bytes = 1 << 20, .notify_s = (uint32_t)terms.notify_s };
	struct worker_terms w = { .generation = terms.generation, .spawned = !terms.daemon };
	int null = open("/dev/null", O_RDWR);
	struct settings base;

	settings_init(&base);
	dup2(null, STDOUT_FILENO);
	w.log_fd = null;
	w.base = &base;
	w.limits = terms.notify_s ? &limits : NULL;
	_exit(worker_run(sock, &w));
}

void talk_begin(struct talk *t, struct talk_terms terms)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	fflush(NULL);
	*t = (struct talk){ .sock = fds[0], .generation = terms.generation, .worker = fork() };
	if (t->worker == 0) {
		close(fds[0]);
		close(fake_life[1]);
		be_worker(fds[1], terms);
	}
	assert_true(t->worker > 0);
	close(fds[1]);
	setsockopt(t->sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

int talk_end(struct talk *t)
{
	int status;

	if (t->sock >= 0)
		close(t->sock);
	t->sock = -1;
	assert_int_equal(waitpid(t->worker, &status, 0), t->worker);
	if (!WIFEXITED(status))
		fail_msg("the worker was killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

void talk_send_bytes(const struct talk *t, const void *bytes, size_t len)
{
	assert_int_equal(send(t->sock, bytes, len, MSG_NOSIGNAL), len);
}

void talk_send(const struct talk *t, const rpc_criu_req *req)
{
	struct proto_buf buf = proto_buf_of(2 << 20);

	assert_int_equal(rpc_req_encode(req, &buf, NULL), 0);
	talk_send_bytes(t, buf.data, buf.len);
	proto_buf_done(&buf);
}

static size_t receive(const struct talk *t, void *bytes, size_t size, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { bytes, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;
	ssize_t len = recvmsg(t->sock, &msg, MSG_CMSG_CLOEXEC);

	if (len < 0 && errno != ECONNRESET)
		fail_msg("no answer: %s", strerror(errno));
	c = CMSG_FIRSTHDR(&msg);
	if (ret_fd)
		*ret_fd = -1;
	if (c && ret_fd)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
	return len > 0 ? (size_t)len : 0;
}

size_t talk_receive_bytes(const struct talk *t, void *bytes, size_t size)
{
	return receive(t, bytes, size, NULL);
}

rpc_criu_resp *talk_receive(const struct talk *t, int *ret_fd)
{
	uint8_t packet[4096];
	size_t len = receive(t, packet, sizeof(packet), ret_fd);
	rpc_criu_resp *resp = NULL;

	if (!len)
		return NULL;
	/* clients have buffers of that size */
	assert_true(len <= 1024);
	assert_int_equal(rpc_resp_decode(packet, len, NULL, &resp, NULL), 0);
	return resp;
}

void talk_expect_end(struct talk *t, const char *name, int code)
{
	char byte;
	int got;

	if (receive(t, &byte, 1, NULL))
		fail_msg("%s: the connection goes on", name);
	got = talk_end(t);
	if (got != code)
		fail_msg("%s: exit code %d, not %d", name, got, code);
}

void asked_init(struct asked *a, rpc_criu_req_type type)
{
	*a = (struct asked){ .opts = { .images_dir_fd = test_dir_fd, .has_log_level = true, .log_level = 4 },
			     .req = { .type = type } };
	a->req.opts = &a->opts;
}

rpc_criu_resp *expect_answer(const struct talk *t, const char *name, rpc_criu_req_type type, bool success)
{
	rpc_criu_resp *resp = talk_receive(t, NULL);

	if (!resp)
		fail_msg("%s: no answer", name);
	if (resp->type != type || resp->success != success)
		fail_msg("%s: type %d, success %d, %s", name, (int)resp->type, resp->success,
			 resp->cr_errmsg ? resp->cr_errmsg : "");
	return resp;
}

void expect_failure(const struct talk *t, const char *name, rpc_criu_req_type type, int number, const char *part)
{
	rpc_criu_resp *resp = expect_answer(t, name, type, false);

	if (!resp->has_cr_errno || resp->cr_errno != number)
		fail_msg("%s: errno %d, not %d: %s", name, resp->cr_errno, number, resp->cr_errmsg);
	if (!resp->cr_errmsg || !strstr(resp->cr_errmsg, part))
		fail_msg("%s: \"%s\" does not hold \"%s\"", name, resp->cr_errmsg ? resp->cr_errmsg : "", part);
	rpc_resp_free(resp);
}
