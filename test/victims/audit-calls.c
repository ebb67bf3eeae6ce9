/*
 * System calls that wait: each thread sits in one while the process is checkpointed, and must see nothing of it. The word
 * to go on ends them in their own way, and they tell what they returned.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int p[2], q[2], file, id;
static atomic_int word, result_errno;
static atomic_long result = -999;
static unsigned long t;
static pid_t kid;

static void *in_call(void *arg)
{
	long (*fn)(void) = (long (*)(void))arg;
	victim_thread_ready();
	errno = 0;
	long r = fn();
	atomic_store(&result_errno, errno);
	atomic_store(&result, r);
	return NULL;
}
static void enter(long (*fn)(void))
{
	t = victim_thread(in_call, (void *)fn);
	sleep_ms(50);
	need(result == -999);
}
static void returns(long value)
{
	victim_join(t);
	expect(result == value, "the call returned %ld, errno %d; %ld expected", (long)result, (int)result_errno,
	       value);
}
static void still(void)
{
	expect(result == -999, "the call returned %ld, errno %d", (long)result, (int)result_errno);
}

/* write to a full pipe: more than fits, so a part of it is done already */
static char big[300000];
static long call_write(void)
{
	return write(p[1], big, sizeof(big));
}
static void set_up_write(void)
{
	need(pipe(p) == 0);
	pattern_fill(big, sizeof(big), 4);
	enter(call_write);
}
static void check_write(void)
{
	static char in[sizeof(big)];
	size_t got = 0;
	ssize_t n;

	sleep_ms(20);
	/* a signal that stops a write in the middle makes it return what it has done; seen by nobody but who calls */
	long done = result == -999 ? (long)sizeof(big) : (long)result;
	while (got < (size_t)done && (n = read(p[0], in + got, sizeof(in) - got)) > 0)
		got += (size_t)n;
	expect(pattern_same(in, got, 4), "content of the pipe");
	victim_join(t);
	expect(result == (long)got, "write returned %ld, errno %d, %zu arrived", (long)result, (int)result_errno, got);
}

static long call_eventfd(void)
{
	uint64_t v = 0;
	return read(file, &v, 8) == 8 ? (long)v : -1;
}
static void set_up_eventfd(void)
{
	need((file = eventfd(0, 0)) >= 0);
	enter(call_eventfd);
}
static void check_eventfd(void)
{
	still();
	need(eventfd_write(file, 41) == 0);
	returns(41);
}

static long call_open_fifo(void)
{
	return open(victim_path("fifo"), O_RDONLY) >= 0;
}
static void set_up_open_fifo(void)
{
	need(mkfifo(victim_path("fifo"), 0600) == 0);
	enter(call_open_fifo);
}
static void check_open_fifo(void)
{
	still();
	need(open(victim_path("fifo"), O_WRONLY) >= 0);
	returns(1);
}

static void lock_kid(long arg)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	need(fcntl(file, F_SETLK, &fl) == 0);
	victim_hold();
	sleep_ms(100);
	fl.l_type = F_UNLCK;
	expect(fcntl(file, F_SETLK, &fl) == 0, "unlock");
}
static long call_setlkw(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	return fcntl(file, F_SETLKW, &fl);
}
static void set_up_setlkw(void)
{
	need((file = open(victim_path("locked"), O_RDWR | O_CREAT, 0600)) >= 0);
	kid = victim_fork(lock_kid, 0);
	enter(call_setlkw);
}
static void check_setlkw(void)
{
	returns(0);
	victim_reap(kid);
}

static void wait_kid(long arg)
{
	victim_hold();
	sleep_ms(50);
}
static long call_waitid(void)
{
	siginfo_t i = { 0 };
	return waitid(P_PID, (id_t)kid, &i, WEXITED) == 0 ? i.si_pid : -1;
}
static void set_up_waitid(void)
{
	kid = victim_fork(wait_kid, 0);
	enter(call_waitid);
}
static void check_waitid(void)
{
	returns(kid);
}

static sem_t sem;
static long call_sem_wait(void)
{
	return sem_wait(&sem);
}
static void set_up_sem(void)
{
	need(sem_init(&sem, 0, 0) == 0);
	enter(call_sem_wait);
}
static void check_sem(void)
{
	still();
	sem_post(&sem);
	returns(0);
}

static uint32_t lock_word;
static long call_lock_pi(void)
{
	return syscall(SYS_futex, &lock_word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
}
static void set_up_lock_pi(void)
{
	lock_word = (uint32_t)gettid();
	enter(call_lock_pi);
}
static void check_lock_pi(void)
{
	still();
	expect(syscall(SYS_futex, &lock_word, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) == 0, "unlock");
	returns(0);
}

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};
static long call_waitv(void)
{
	struct waitv v[2] = { { 0, (uintptr_t)&word, 2 | 128, 0 }, { 0, (uintptr_t)&lock_word, 2 | 128, 0 } };
	return syscall(449, v, 2, 0, NULL, 0);
}
static void set_up_waitv(void)
{
	if (syscall(449, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS)
		victim_skip("futex_waitv: Linux 5.16");
	enter(call_waitv);
}
static void check_waitv(void)
{
	still();
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
	victim_join(t);
	expect(result == 0 || (result == -1 && result_errno == EAGAIN), "futex_waitv returned %ld, errno %d",
	       (long)result, (int)result_errno);
}

static struct pollfd pfd;
static long call_ppoll(void)
{
	sigset_t set;
	sigfillset(&set);
	pfd = (struct pollfd){ p[0], POLLIN, 0 };
	return ppoll(&pfd, 1, NULL, &set);
}
static void set_up_ppoll(void)
{
	need(pipe(p) == 0);
	enter(call_ppoll);
}
static void check_ppoll(void)
{
	still();
	need(write(p[1], "x", 1) == 1);
	returns(1);
	sigset_t set;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	expect(!sigismember(&set, SIGUSR1), "the mask of ppoll stayed");
}

static long call_epoll(void)
{
	struct epoll_event ev;
	return epoll_wait(id, &ev, 1, -1);
}
static void set_up_epoll(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	need(pipe(p) == 0 && (id = epoll_create1(0)) >= 0 && epoll_ctl(id, EPOLL_CTL_ADD, p[0], &ev) == 0);
	enter(call_epoll);
}
/* epoll_wait() is interrupted by a stop even without a handler; signal(7) */
static void check_epoll(void)
{
	if (result == -999)
		need(write(p[1], "x", 1) == 1);
	victim_join(t);
	expect(result == 1 || (result == -1 && result_errno == EINTR), "epoll_wait returned %ld, errno %d",
	       (long)result, (int)result_errno);
}

static long call_splice(void)
{
	return splice(p[0], NULL, q[1], NULL, 100, 0);
}
static void set_up_splice(void)
{
	need(pipe(p) == 0 && pipe(q) == 0);
	enter(call_splice);
}
static void check_splice(void)
{
	still();
	need(write(p[1], "hello", 5) == 5);
	returns(5);
}

static char b1[4], b2[10];
static long call_readv(void)
{
	struct iovec v[2] = { { b1, 4 }, { b2, 10 } };
	return readv(p[0], v, 2);
}
static void set_up_readv(void)
{
	need(pipe(p) == 0);
	enter(call_readv);
}
static void check_readv(void)
{
	still();
	need(write(p[1], "hello", 5) == 5);
	returns(5);
	expect(b1[0] == 'h' && b2[0] == 'o', "content");
}

/* a parent in vfork() cannot be stopped until the child lets go */
static int vfork_ms;
static void vfork_kid(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		struct timespec ts = { vfork_ms / 1000, vfork_ms % 1000 * 1000000 };
		nanosleep(&ts, NULL);
		_exit(3);
	}
	int status = 0;
	expect(waitpid(pid, &status, 0) == pid && status == 3 << 8, "status %x", status);
	victim_wait();
}
static void set_up_vfork_ms(int ms)
{
	vfork_ms = ms;
	kid = fork();
	if (kid == 0) {
		vfork_kid();
		_exit(0);
	}
	sleep_ms(100);
}
static void set_up_vfork(void)
{
	set_up_vfork_ms(2000);
}
static void set_up_vfork_long(void)
{
	set_up_vfork_ms(16000);
}
static void check_vfork(void)
{
	victim_reap(kid);
}

/* a handler without SA_RESTART, and one with it, of signals that arrive while the tree is frozen and right after */
static atomic_int handled;
static void on_signal(int sig)
{
	handled++;
}
static int restarts;
static long call_read(void)
{
	char c;
	return read(p[0], &c, 1);
}
static pthread_t thread_of(void)
{
	return (pthread_t)t;
}
static void set_up_read_signal(int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };
	restarts = flags != 0;
	need(pipe(p) == 0 && sigaction(SIGUSR1, &sa, NULL) == 0);
	enter(call_read);
}
static void set_up_read_restart(void)
{
	set_up_read_signal(SA_RESTART);
}
static void set_up_read_eintr(void)
{
	set_up_read_signal(0);
}
static void check_read_signal(void)
{
	still();
	pthread_kill(thread_of(), SIGUSR1);
	sleep_ms(50);
	expect(handled == 1, "%d signals handled", handled);
	if (restarts) {
		still();
		need(write(p[1], "x", 1) == 1);
		returns(1);
	} else {
		returns(-1);
		expect(result_errno == EINTR, "errno %d", (int)result_errno);
	}
}

/* SysV: interrupted by any signal, also by a stop; never restarted. Kept or EINTR, which callers have to expect. */
static long call_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} m;
	return msgrcv(id, &m, 8, 0, 0);
}
static void set_up_msgrcv(void)
{
	need((id = msgget(IPC_PRIVATE, 0600)) >= 0);
	enter(call_msgrcv);
}
static void check_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} m = { 1, "hello" };
	if (result == -999)
		need(msgsnd(id, &m, 6, 0) == 0);
	victim_join(t);
	expect(result == 6 || (result == -1 && result_errno == EINTR), "msgrcv returned %ld, errno %d", (long)result,
	       (int)result_errno);
	msgctl(id, IPC_RMID, NULL);
}

const struct victim_case victim_cases[] = {
	{ "write", set_up_write, check_write, .flags = CASE_ALTERS },
	{ "eventfd", set_up_eventfd, check_eventfd },
	{ "open-fifo", set_up_open_fifo, check_open_fifo },
	{ "setlkw", set_up_setlkw, check_setlkw, .dump = "--file-locks", .restore = "--file-locks" },
	{ "waitid", set_up_waitid, check_waitid },
	{ "sem-wait", set_up_sem, check_sem },
	{ "lock-pi", set_up_lock_pi, check_lock_pi },
	{ "futex-waitv", set_up_waitv, check_waitv },
	{ "ppoll-masked", set_up_ppoll, check_ppoll },
	{ "epoll-wait", set_up_epoll, check_epoll, .flags = CASE_ALTERS },
	{ "splice", set_up_splice, check_splice },
	{ "readv", set_up_readv, check_readv },
	{ "vfork-long", set_up_vfork_long, check_vfork, .dump = "--timeout 2", .refuse = "does not stop",
	  .flags = CASE_KEEP_OR_REFUSE | CASE_ALTERS },
	{ "vfork", set_up_vfork, check_vfork, .refuse = "address space", .flags = CASE_KEEP_OR_REFUSE | CASE_ALTERS },
	{ "read-restarts", set_up_read_restart, check_read_signal },
	{ "read-interrupted", set_up_read_eintr, check_read_signal },
	{ "msgrcv", set_up_msgrcv, check_msgrcv },
	{ NULL },
};
