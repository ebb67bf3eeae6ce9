/* What service managers say in the environment. */
#include "criu-srv/activation.h"
#include "criu-srv/listener.h"

#include "front/front.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_parse(void **state)
{
	static const struct {
		const char *name, *pid, *fds, *names;
		int r;
		unsigned int legacy;
	} cases[] = {
		{ "nothing", NULL, NULL, NULL, 0, 0 },
		{ "no pid", NULL, "1", NULL, 0, 0 },
		{ "another's", "78", "1", NULL, 0, 0 },
		{ "another's, and wrong", "78", "x", NULL, 0, 0 },
		{ "pid is no number", "x", "1", NULL, 0, 0 },
		{ "one", "77", "1", NULL, 1, 0 },
		{ "none", "77", "0", NULL, 0, 0 },
		{ "two with names", "77", "2", "criu.socket:criu-legacy.socket", 2, 2 },
		{ "short name", "77", "2", "legacy:main", 2, 1 },
		{ "part of a name", "77", "2", "nolegacy:legacy-not", 2, 0 },
		{ "fewer names", "77", "3", "a", 3, 0 },
		{ "more names", "77", "1", "a:legacy:legacy", 1, 0 },
		{ "empty names", "77", "2", ":", 2, 0 },
		{ "no number", "77", "many", NULL, -EINVAL, 0 },
		{ "empty", "77", "", NULL, -EINVAL, 0 },
		{ "negative", "77", "-1", NULL, -EINVAL, 0 },
		{ "too many", "77", "17", NULL, -E2BIG, 0 },
		{ "far too many", "77", "99999999999999999999", NULL, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool legacy[ACTIVATION_MAX];
		unsigned int bits = 0;

		expect_int(cases[i].name, activation_parse(77, cases[i].pid, cases[i].fds, cases[i].names, legacy),
			   cases[i].r);
		for (int k = 0; cases[i].r > 0 && k < cases[i].r; k++)
			bits |= (unsigned int)legacy[k] << k;
		expect_int(cases[i].name, bits, cases[i].legacy);
	}
}

static int socket_at(const char *path, int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* In a child, whose descriptor 3 it is to be. Return: what came of it, 0...; 100 + errno */
static int take(int fd)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		bool legacy[ACTIVATION_MAX];
		struct cr_error err = { 0 };
		char text[16];
		int r;

		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "1", 1);
		dup2(fd, 3);
		r = activation_take(legacy, &err);
		if (getenv("LISTEN_PID") || getenv("LISTEN_FDS") || (r < 0) != (err.text[0] != 0))
			_exit(99);
		if (r == 1 && !(fcntl(3, F_GETFD) & FD_CLOEXEC && fcntl(3, F_GETFL) & O_NONBLOCK))
			_exit(98);
		_exit(r < 0 ? 100 - r : r);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void test_take(void **state)
{
	char path[] = "/tmp/criu-activation-XXXXXX", name[64];
	int packet, stream, null = open("/dev/null", O_RDONLY);

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/packet", path);
	packet = socket_at(name, SOCK_SEQPACKET);
	expect_int("not listening", take(packet), 100 + EPROTOTYPE);
	assert_int_equal(listen(packet, 1), 0);
	expect_int("packets", take(packet), 1);
	unlink(name);
	snprintf(name, sizeof(name), "%s/stream", path);
	stream = socket_at(name, SOCK_STREAM);
	assert_int_equal(listen(stream, 1), 0);
	expect_int("stream", take(stream), 100 + EPROTOTYPE);
	expect_int("no socket", take(null), 100 + ENOTSOCK);
	unlink(name);
	rmdir(path);
	close(packet);
	close(stream);
	close(null);
}

static void test_manager(void **state)
{
	char path[] = "/tmp/criu-manager-XXXXXX", name[64], text[64] = "";
	int fd, manager;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(manager_open(), -ENOENT);
	manager_tell(-1, "READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(manager_open(), -EINVAL);
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/socket", path);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(manager_open(), -ENOENT);
	manager = socket_at(name, SOCK_DGRAM);
	setenv("NOTIFY_SOCKET", name, 1);
	fd = manager_open();
	assert_true(fd >= 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	manager_tell(fd, "READY=1");
	assert_int_equal(recv(manager, text, sizeof(text) - 1, 0), 7);
	assert_string_equal(text, "READY=1");
	close(manager);
	manager_tell(fd, "STOPPING=1"); /* nobody there: nothing happens */
	close(fd);
	unlink(name);
	rmdir(path);
}

static void test_listener(void **state)
{
	char path[] = "/tmp/criu-listener-XXXXXX", name[160], moved[160];
	struct listener a, b;
	struct cr_error err = { 0 };
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/socket", path);
	assert_int_equal(listener_open(name, true, &a, &err), 0);
	assert_true(a.legacy);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	assert_int_equal(listener_open(name, false, &b, &err), -EADDRINUSE);
	/* what somebody else has put there meanwhile is not removed */
	snprintf(moved, sizeof(moved), "%s/moved", path);
	assert_int_equal(rename(name, moved), 0);
	assert_int_equal(listener_open(name, false, &b, &err), 0);
	listener_close(&a);
	assert_int_equal(stat(name, &st), 0);
	unlink(moved);
	/* nobody listens there any more: it is taken over */
	close(b.fd);
	assert_int_equal(listener_open(name, false, &b, &err), 0);
	listener_close(&b);
	listener_close(&b);
	assert_int_equal(stat(name, &st), -1);
	assert_int_equal(symlink("/nowhere", name), 0);
	assert_int_equal(listener_open(name, false, &b, &err), -EEXIST);
	unlink(name);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(listener_open(name, false, &b, &err), -ENAMETOOLONG);
	rmdir(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_manager),
		cmocka_unit_test(test_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
