/* Leases: held, and while somebody wants the file. The holder is told by a signal, once. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd, other;
static char *memory;
static volatile sig_atomic_t told, told_fd;
static pid_t kid;

static void on_break(int signo, siginfo_t *info, void *context)
{
	told++;
	told_fd = info->si_fd;
}

static void lease(int flags, int type, int signo)
{
	struct sigaction sa = { .sa_sigaction = on_break, .sa_flags = SA_SIGINFO | SA_RESTART };

	need(sigaction(signo, &sa, NULL) == 0);
	spill(victim_path("leased"), "content", 7);
	fd = open(victim_path("leased"), flags);
	need(fd >= 0);
	if (signo != SIGIO)
		need(fcntl(fd, F_SETSIG, signo) == 0);
	if (fcntl(fd, F_SETLEASE, type) < 0)
		victim_skip("F_SETLEASE: %s", strerror(errno));
}

static void want(int flags)
{
	need(open(victim_path("leased"), flags | O_NONBLOCK) < 0 && errno == EAGAIN);
	for (int i = 0; i < 100 && !told; i++)
		sleep_ms(10);
	need(told == 1);
}

static void expect_told(int times)
{
	sleep_ms(30);
	expect(told == times, "told %d times, should be %d", (int)told, times);
	expect(!told || told_fd == fd, "told about descriptor %d, not %d", (int)told_fd, fd);
}

/* -------------------------------------------------------------------- held */

static void set_up_read(void)
{
	lease(O_RDONLY, F_RDLCK, SIGRTMIN + 1);
}

static void check_read(void)
{
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK, "lease is %d", fcntl(fd, F_GETLEASE));
	expect(fcntl(fd, F_GETOWN) == getpid() && fcntl(fd, F_GETSIG) == SIGRTMIN + 1, "owner is %d", fcntl(fd, F_GETOWN));
	expect(open(victim_path("leased"), O_WRONLY | O_NONBLOCK) < 0 && errno == EAGAIN, "it is not in the way");
	expect_told(1);
	expect(fcntl(fd, F_SETLEASE, F_UNLCK) == 0, "give it back");
	expect(open(victim_path("leased"), O_WRONLY | O_NONBLOCK) >= 0, "open");
}

static void set_up_write(void)
{
	lease(O_RDWR, F_WRLCK, SIGRTMIN + 2);
}

static void check_write(void)
{
	expect(fcntl(fd, F_GETLEASE) == F_WRLCK, "lease is %d", fcntl(fd, F_GETLEASE));
	expect(open(victim_path("leased"), O_RDONLY | O_NONBLOCK) < 0 && errno == EAGAIN, "it is not in the way");
	expect_told(1);
	expect(fcntl(fd, F_SETLEASE, F_UNLCK) == 0, "give it back");
}

/* the mapping has the file open, too, by the description that the lease is of */
static void set_up_mapped(void)
{
	lease(O_RDWR, F_WRLCK, SIGRTMIN + 2);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(memory != MAP_FAILED && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
}

static void check_mapped(void)
{
	memory[0] = 'C';
	expect(pread(fd, (char[1]){ 0 }, 1, 0) == 1 && memory[1] == 'o', "the mapping has '%.7s'", memory);
	check_write();
}

static void shares(long arg)
{
	victim_hold();
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK, "lease is %d", fcntl(fd, F_GETLEASE));
}

static void set_up_shared(void)
{
	lease(O_RDONLY, F_RDLCK, SIGIO);
	kid = victim_fork(shares, 0);
}

static void check_shared(void)
{
	victim_reap(kid);
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK, "lease is %d", fcntl(fd, F_GETLEASE));
}

/* ------------------------------------------------------------------ wanted */

static void set_up_breaking_read(void)
{
	lease(O_RDONLY, F_RDLCK, SIGRTMIN + 1);
	want(O_WRONLY);
}

static void check_breaking(void)
{
	expect(fcntl(fd, F_GETLEASE) == F_UNLCK, "lease is to become %d", fcntl(fd, F_GETLEASE));
	expect_told(1);
	expect(open(victim_path("leased"), O_WRONLY | O_NONBLOCK) < 0 && errno == EAGAIN, "it is not in the way");
	expect(fcntl(fd, F_GETOWN) == getpid() && fcntl(fd, F_GETSIG) >= SIGRTMIN, "owner is %d", fcntl(fd, F_GETOWN));
	expect(fcntl(fd, F_SETLEASE, F_UNLCK) == 0, "give it back");
	other = open(victim_path("leased"), O_WRONLY | O_NONBLOCK);
	expect(other >= 0, "open");
}

static void set_up_breaking_write(void)
{
	lease(O_RDWR, F_WRLCK, SIGRTMIN + 2);
	want(O_WRONLY);
}

static void set_up_downgrade(void)
{
	lease(O_RDONLY, F_WRLCK, SIGRTMIN + 2);
	want(O_RDONLY);
}

static void check_downgrade(void)
{
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK, "lease is to become %d", fcntl(fd, F_GETLEASE));
	expect_told(1);
	expect(fcntl(fd, F_SETLEASE, F_RDLCK) == 0, "make it one for reading");
	other = open(victim_path("leased"), O_RDONLY | O_NONBLOCK);
	expect(other >= 0, "open");
	expect(fcntl(fd, F_GETLEASE) == F_RDLCK, "lease is %d", fcntl(fd, F_GETLEASE));
}

/* Somebody of the tree waits for it. */
static void waiter(long arg)
{
	victim_held();
	expect(open(victim_path("leased"), O_WRONLY) >= 0, "open");
}

static void set_up_waited(void)
{
	lease(O_RDONLY, F_RDLCK, SIGRTMIN + 1);
	kid = victim_fork(waiter, 0);
	for (int i = 0; i < 100 && !told; i++)
		sleep_ms(10);
	need(told == 1);
}

static void check_waited(void)
{
	expect(fcntl(fd, F_SETLEASE, F_UNLCK) == 0, "give it back");
	victim_reap(kid);
}

const struct victim_case victim_cases[] = {
	{ "read", set_up_read, check_read, "--file-locks", "--file-locks", .flags = CASE_MORE },
	{ "write", set_up_write, check_write, "--file-locks", "--file-locks", .flags = CASE_MORE },
	{ "mapped", set_up_mapped, check_mapped, "--file-locks", "--file-locks" },
	{ "shared", set_up_shared, check_shared, "--file-locks", "--file-locks" },
	{ "not-asked-for", set_up_read, check_read, .refuse = "file-locks" },
	{ "breaking-read", set_up_breaking_read, check_breaking, "--file-locks", "--file-locks", .flags = CASE_MORE },
	{ "breaking-write", set_up_breaking_write, check_breaking, "--file-locks", "--file-locks" },
	{ "breaking-to-read", set_up_downgrade, check_downgrade, "--file-locks", "--file-locks", .flags = CASE_MORE },
	{ "waited-for", set_up_waited, check_waited, "--file-locks", "--file-locks", .flags = CASE_ALTERS },
	{ NULL },
};
