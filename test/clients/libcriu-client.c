/*
 * A program that drives criu through the C library of Debian's criu package. The few functions are declared here, since
 * the point is the library as it is installed, whatever headers come with it.
 *
 * libcriu-client CRIU DIR [SOCKET]: every case prints a line; exit status 1 if one failed. With SOCKET the service there
 * is asked, not a worker of our own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int criu_init_opts(void);
void criu_free_service(void);
int criu_set_service_binary(const char *path);
int criu_set_service_address(const char *path);
void criu_set_images_dir_fd(int fd);
void criu_set_pid(int pid);
void criu_set_log_level(int level);
int criu_set_log_file(const char *name);
void criu_set_leave_running(bool yes);
void criu_set_shell_job(bool yes);
void criu_set_notify_cb(int (*cb)(char *action, void *arg));
int criu_check(void);
int criu_dump(void);
int criu_restore(void);
int criu_restore_child(void);
int criu_get_version(void);
int criu_check_version(int minimum);

static int failed;

static void expect(const char *what, bool good, int result)
{
	printf("%s: %s (result %d, errno %d)\n", what, good ? "ok" : "failed", result, errno);
	failed += !good;
}

static int notes;

static int note(char *action, void *arg)
{
	(void)action;
	(void)arg;
	notes++;
	return 0;
}

/* A process without ties: its own session, /dev/null for all three descriptors. */
static pid_t victim(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		for (int fd = 3; fd < 256; fd++)
			close(fd);
		if (chdir("/") < 0)
			_exit(1);
		for (;;)
			pause();
	}
	usleep(100 * 1000);
	return pid;
}

static const char *service; /* NULL: none */

static void begin(const char *binary, int dir, const char *log)
{
	criu_init_opts();
	if (service)
		criu_set_service_address(service);
	else
		criu_set_service_binary(binary);
	criu_set_images_dir_fd(dir);
	criu_set_log_level(4);
	criu_set_log_file(log);
}

static void dump_and_restore(const char *binary, int dir)
{
	pid_t pid = victim(), again;
	int r, status;

	begin(binary, dir, "dump.log");
	criu_set_pid(pid);
	criu_set_leave_running(true);
	criu_set_notify_cb(note);
	r = criu_dump();
	expect("dump, left running", r == 0 && kill(pid, 0) == 0, r);
	expect("notifications", notes == 3, notes);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}

	begin(binary, dir, "dump2.log");
	criu_set_pid(pid);
	r = criu_dump();
	expect("dump, killed", r == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), r);

	begin(binary, dir, "restore.log");
	again = service ? criu_restore() : criu_restore_child();
	expect("restore", again == pid, again);
	if (again > 0 && service) {
		expect("it runs", kill(again, SIGKILL) == 0, again);
	} else if (again > 0) {
		kill(again, SIGKILL);
		expect("it is our child", waitpid(again, &status, 0) == again && WIFSIGNALED(status), status);
	}
}

static int result_in(int dir)
{
	char text[16] = "";
	int fd = openat(dir, "self-result", O_RDONLY), r = -1000;

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strchr(text, '\n'))
		r = atoi(text);
	if (fd >= 0)
		close(fd);
	return r;
}

/* Has itself dumped, and tells what criu_dump() has returned; if all is well only the restored copy gets that far. */
static pid_t self_dumper(const char *binary, int dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR), fd, r;

		setsid();
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		if (chdir("/") < 0)
			_exit(1);
		begin(binary, dir, "self.log");
		r = criu_dump();
		fd = openat(dir, "self-result", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || dprintf(fd, "%d\n", r) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	return pid;
}

/* The copy reads the answer to the request that the program had made before. */
static void dump_itself(const char *binary, int dir)
{
	pid_t pid = self_dumper(binary, dir), again;
	int status = 0, r = -1000;

	for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) == 0; i++)
		usleep(20 * 1000);
	expect("dump of itself, killed", WIFSIGNALED(status) && result_in(dir) == -1000, result_in(dir));
	if (!WIFSIGNALED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}
	/* its zombie of the worker's start, and the worker, which come to us: their numbers are free then */
	while (wait(NULL) > 0 || errno == EINTR)
		;
	begin(binary, dir, "self-restore.log");
	again = criu_restore_child();
	expect("restore of who had itself dumped", again == pid, again);
	if (again <= 0)
		return;
	for (int i = 0; i < 250 && (r = result_in(dir)) == -1000; i++)
		usleep(20 * 1000);
	expect("criu_dump() returns 1 in the copy", r == 1, r);
	kill(again, SIGKILL);
	waitpid(again, &status, 0);
}

int main(int argc, char **argv)
{
	int dir, r;

	if (argc != 3 && argc != 4)
		return 2;
	service = argv[3];
	dir = open(argv[2], O_RDONLY | O_DIRECTORY);
	if (dir < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return 2;

	begin(argv[1], dir, "check.log");
	r = criu_check();
	expect("check", r == 0, r);
	r = criu_get_version();
	expect("version", r == 40200, r);
	r = criu_check_version(31500);
	expect("version of at least 3.15", r == 1, r);
	r = criu_check_version(50000);
	expect("version of at least 5.0", r == 0, r);

	begin(argv[1], dir, "nobody.log");
	criu_set_pid(4194000);
	errno = 0;
	r = criu_dump();
	expect("dump of nobody", r < 0 && errno == ESRCH, r);

	begin(argv[1], dir, "a/b.log");
	criu_set_pid(1);
	errno = 0;
	r = criu_dump();
	expect("log file in a subdirectory", r < 0 && errno == EBADRQC, r);

	dump_and_restore(argv[1], dir);
	if (!service)
		dump_itself(argv[1], dir);
	printf("%d failed\n", failed);
	return failed != 0;
}
