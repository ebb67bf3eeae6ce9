/*
 * What confines a process, in the ways that are easily overlooked: by privilege instead of no_new_privs, in one thread or
 * one child alone, for a user without rights. A restored process that may do more than it could is the worst of losses.
 */
#include "victim.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long thread;
static pid_t kid;

/* --- Landlock */

static void enter_domain(void)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (fd < 0)
		victim_skip("landlock: %s", strerror(errno));
	need(syscall(SYS_landlock_restrict_self, fd, 0) == 0);
	close(fd);
}

static void expect_domain(void)
{
	long r = syscall(SYS_mknodat, -100, victim_path("dev"), 0060600, 0x0700);

	expect(r < 0 && errno == EACCES, "the Landlock domain is lost: mknod gives %ld", r);
}

static void set_up_privileged(void)
{
	enter_domain();
	need(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
}

static void *domain_thread(void *arg)
{
	enter_domain();
	victim_thread_ready();
	victim_wait();
	expect_domain();
	return arg;
}

static void set_up_thread(void)
{
	thread = victim_thread(domain_thread, NULL);
}

static void join_thread(void)
{
	victim_join(thread);
}

static void domain_child(long uid)
{
	if (uid) {
		need(syscall(SYS_setresgid, uid, uid, uid) == 0 && syscall(SYS_setresuid, uid, uid, uid) == 0);
		need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	}
	enter_domain();
	victim_hold();
	long r = syscall(SYS_mknodat, -100, victim_path("dev"), 0060600, 0x0700);
	/* a user may not anyway, but is told so by another number */
	expect(r < 0 && errno == EACCES, "the Landlock domain is lost: mknod gives %ld", r);
}

static void set_up_child(void)
{
	kid = victim_fork(domain_child, 0);
}

static void set_up_user(void)
{
	kid = victim_fork(domain_child, 4321);
}

static void reap(void)
{
	victim_reap(kid);
}

/* root by name only: capabilities are gone, so nothing that it may look at tells by itself */
static void bare_child(long arg)
{
	struct {
		uint32_t version;
		int pid;
	} head = { 0x20080522, 0 };
	uint32_t none[6] = { 0 };

	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	need(syscall(SYS_capset, &head, none) == 0);
	domain_child(arg);
}

static void set_up_bare(void)
{
	kid = victim_fork(bare_child, 0);
}

/* --- seccomp */

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		victim_skip("seccomp: %s", strerror(errno));
}

static void expect_filter(void)
{
	expect(syscall(SYS_getppid) < 0 && errno == 77, "the filter is lost");
}

static void *filtered_thread(void *arg)
{
	filter();
	victim_thread_ready();
	victim_wait();
	expect_filter();
	return arg;
}

static void set_up_filter_thread(void)
{
	thread = victim_thread(filtered_thread, NULL);
}

static void filtered_child(long arg)
{
	filter();
	victim_hold();
	expect_filter();
}

static void set_up_filter_child(void)
{
	kid = victim_fork(filtered_child, 0);
}

/* Strict mode knows read, write, _exit and sigreturn: the child waits for a byte. */
static int strict_pipe[2];

static void set_up_strict(void)
{
	char byte = 0;
	int ready[2];

	need(pipe(strict_pipe) == 0 && pipe(ready) == 0);
	kid = fork();
	need(kid >= 0);
	if (kid == 0) {
		need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
		(void)!write(ready[1], "r", 1);
		syscall(SYS_exit, read(strict_pipe[0], &byte, 1) == 1 && byte == 'g' ? 0 : 1);
	}
	need(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
}

static void check_strict(void)
{
	int status = -1;

	need(write(strict_pipe[1], "g", 1) == 1);
	expect(waitpid(kid, &status, 0) == kid && status == 0, "the child ended with status %x", status);
}

#define DOMAIN_REFUSED .refuse = "Landlock"
#define FILTER_REFUSED .refuse = "seccomp filters (1)"

const struct victim_case victim_cases[] = {
	{ "landlock-privileged", set_up_privileged, expect_domain, DOMAIN_REFUSED },
	{ "landlock-thread", set_up_thread, join_thread, DOMAIN_REFUSED },
	{ "landlock-child", set_up_child, reap, DOMAIN_REFUSED },
	{ "landlock-user", set_up_user, reap, DOMAIN_REFUSED },
	{ "landlock-no-capabilities", set_up_bare, reap, DOMAIN_REFUSED },
	{ "seccomp-thread", set_up_filter_thread, join_thread, FILTER_REFUSED },
	{ "seccomp-child", set_up_filter_child, reap, FILTER_REFUSED },
	{ "seccomp-strict", set_up_strict, check_strict, .refuse = "seccomp in strict mode" },
	{ 0 },
};
