/* Who is at the other end, as the kernel tells it. */
#include "criu-srv/peer.h"

#include "front/front.h"

#include "options/privilege.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_self(void **state)
{
	struct cr_error err = { 0 };
	struct peer p;
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	assert_int_equal(peer_read(s[0], false, &p, &err), 0);
	assert_int_equal(p.pid, getpid());
	assert_int_equal(p.who.uid, geteuid());
	assert_int_equal(p.trusted, geteuid() == 0);
	assert_false(p.equal || peer_is_gone(&p));
	peer_done(&p);
	assert_int_equal(peer_read(s[0], true, &p, &err), 0);
	assert_true(p.trusted && p.equal);
	peer_done(&p);
	peer_done(&p);
	close(s[0]);
	close(s[1]);
	assert_int_equal(peer_read(-1, false, &p, &err), -EBADF);
	peer_done(&p);
}

/* Its number may be anybody's by now. */
static void test_gone(void **state)
{
	struct cr_error err = { 0 };
	int pass[2], dir, sock;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)
	};
	struct peer p;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pass), 0);
	pid = fork();
	if (pid == 0) {
		int s[2];
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) < 0)
			_exit(1);
		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
				       .cmsg_type = SCM_RIGHTS,
				       .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(c), &s[0], sizeof(int));
		_exit(sendmsg(pass[1], &msg, 0) == 1 ? 0 : 1);
	}
	assert_int_equal(recvmsg(pass[0], &msg, 0), 1);
	memcpy(&sock, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(sock));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(peer_read(sock, false, &p, &err), 0);
	assert_int_equal(p.pid, pid);
	assert_true(peer_is_gone(&p));
	dir = peer_open_dir(&p, 0, "images", &err);
	assert_true(dir < 0);
	assert_true(err.text[0]);
	peer_done(&p);
	close(sock);
	close(pass[0]);
	close(pass[1]);
}

static void test_open_dir(void **state)
{
	struct cr_error err = { 0 };
	struct stat a, b;
	struct peer p;
	int s[2], here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), file = open("/dev/null", O_RDONLY | O_CLOEXEC),
		  dir;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	assert_int_equal(peer_read(s[0], true, &p, &err), 0);
	dir = peer_open_dir(&p, here, "images", &err);
	assert_true(dir >= 0 && dir != here);
	assert_int_equal(fstat(here, &a), 0);
	assert_int_equal(fstat(dir, &b), 0);
	assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	assert_true(fcntl(dir, F_GETFD) & FD_CLOEXEC);
	close(dir);
	assert_int_equal(peer_open_dir(&p, file, "images", &err), -ENOTDIR);
	assert_int_equal(peer_open_dir(&p, s[0], "images", &err), -ENOTDIR);
	assert_int_equal(peer_open_dir(&p, 1000000, "images", &err), -ENOENT);
	assert_int_equal(peer_open_dir(&p, -1, "images", &err), -EBADF);
	p.pid = 0;
	assert_int_equal(peer_open_dir(&p, here, "images", &err), -ESRCH);
	peer_done(&p);
	close(s[0]);
	close(s[1]);
	close(here);
	close(file);
}

/* What dumps or restores is the client's, so that his limits hold, and leaves him no core file. */
static bool is_his(uid_t id, bool traces)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;
	struct cap_sets caps;
	struct rlimit core;
	sigset_t blocked;

	return getresuid(&r, &e, &s) == 0 && r == id && e == id && s == id && getresgid(&gr, &ge, &gs) == 0 &&
	       gr == id && ge == id && gs == id && prctl(PR_GET_DUMPABLE) == 1 && prctl(PR_GET_KEEPCAPS) == 0 &&
	       caps_get(&caps) == 0 && !(caps.effective & CAP_BIT(CAP_SYS_PTRACE)) == !traces &&
	       caps.permitted & CAP_BIT(CAP_SYS_PTRACE) && getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 &&
	       sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, SIGQUIT) == 1 &&
	       sigismember(&blocked, SIGABRT) == 1 && sigismember(&blocked, SIGTERM) == 0;
}

/* Every need wakes up its own capabilities and no others; before a dump or restore the others go for good. */
static void test_needs(void **state)
{
	static const struct {
		enum peer_need need;
		uint64_t with, without;
	} cases[] = {
		{ PEER_NEED_NOTHING, 0, UINT64_MAX },
		{ PEER_NEED_FILES, CAP_BIT(CAP_SYS_PTRACE),
		  CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_SETUID) },
		{ PEER_NEED_PROBE, CAP_BIT(CAP_SYS_PTRACE), CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SETUID) },
		{ PEER_NEED_DUMP, CAP_BIT(CAP_SYS_PTRACE) | CAP_BIT(CAP_SYS_ADMIN),
		  CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_SETUID) },
		{ PEER_NEED_RESTORE, CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP),
		  CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_SETUID) },
	};

	(void)state;
	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct peer p = { .pid = 0, .pidfd = -1, .who = { .uid = 4242, .gid = 4242 } };
			struct cr_error err = { 0 };
			struct cap_sets all, caps;
			uint64_t awake;

			if (caps_get(&all) < 0 || peer_assume(&p, &err) < 0 || caps_get(&caps) < 0 || caps.effective)
				_exit(1);
			if (peer_raise(&p, cases[i].need, &err) < 0 || caps_get(&caps) < 0)
				_exit(2);
			if ((caps.effective & cases[i].without) || (~caps.effective & cases[i].with & all.permitted))
				_exit(3);
			if (cases[i].need >= PEER_NEED_DUMP && (caps.permitted & cases[i].without))
				_exit(4);
			if (cases[i].need >= PEER_NEED_DUMP && !is_his(4242, cases[i].need == PEER_NEED_DUMP))
				_exit(9);
			awake = peer_doze(&p);
			if (caps_get(&caps) < 0 || caps.effective)
				_exit(5);
			peer_wake(&p, awake);
			if (caps_get(&caps) < 0 || caps.effective != awake)
				_exit(6);
			peer_lower(&p);
			if (caps_get(&caps) < 0 || caps.effective)
				_exit(7);
			/* nothing brings back what was given up */
			caps.effective = caps.permitted = all.permitted;
			_exit(caps_set(&caps) == 0 ? 8 : 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		expect_int("need", WEXITSTATUS(status), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_open_dir),
		cmocka_unit_test(test_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
