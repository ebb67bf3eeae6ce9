/*
 * Processes that do not hold still: they fork, start threads, run programs, map memory or take signals without a pause,
 * and check each step. A dump may catch them anywhere.
 */
#include "every.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int weights; /* see weigh_down() */

static void fork_once(long round)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)(round & 63));
	expect(pid > 0, "fork");
	expect(pid < 0 || waitpid(pid, &status, 0) == pid, "wait for child %d", (int)pid);
	expect(pid < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == (round & 63)), "round %ld: status %x", round,
	       status);
}

static void fork_loop(long arg)
{
	every(fork_once);
}

static void forks_setup(void)
{
	victim_fork(fork_loop, 0);
	victim_fork(fork_loop, 1);
}

static void *thread_once(void *arg)
{
	return (char *)arg + 1;
}

static void start_thread(long round)
{
	pthread_t t[3];
	void *ret[3] = { NULL };

	for (long i = 0; i < 3; i++)
		expect(pthread_create(&t[i], NULL, thread_once, (void *)(round + i)) == 0, "start a thread");
	for (long i = 0; i < 3; i++) {
		expect(pthread_join(t[i], &ret[i]) == 0, "join a thread");
		expect(ret[i] == (void *)(round + i + 1), "round %ld: a thread returned %p", round, ret[i]);
	}
}

static void thread_loop(long arg)
{
	every(start_thread);
}

static void threads_setup(void)
{
	victim_fork(thread_loop, 0);
}

static void spawn_once(long round)
{
	char *argv[] = { "true", NULL }, *env[] = { NULL };
	int status = 0;
	pid_t pid;

	expect(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env) == 0, "spawn");
	expect(waitpid(pid, &status, 0) == pid && status == 0, "round %ld: status %x", round, status);
}

static void spawn_loop(long arg)
{
	every(spawn_once);
}

static void spawns_setup(void)
{
	victim_fork(spawn_loop, 0);
}

/* An environment that takes long to copy: a new program does that before it ends the other threads. */
static void weigh_down(void)
{
	static char much[100 << 10];
	char name[32];

	memset(much, 'x', sizeof(much) - 1);
	for (int i = 0; i < weights; i++) {
		snprintf(name, sizeof(name), "RESTLESS_WEIGHT_%d", i);
		need(setenv(name, much, 1) == 0);
	}
}

/*
 * A thread that runs the program anew, over and over: all others are ended by the kernel, and it gets the number of the
 * process. The program knows by its environment that it was there before, and how often.
 */
static void *run_again(void *arg)
{
	char rounds[24], who[24], cmd[4096], *argv[32];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), argc = 0;
	ssize_t n = fd < 0 ? -1 : read(fd, cmd, sizeof(cmd) - 1);

	need(n > 0);
	cmd[n] = 0;
	for (char *p = cmd; p < cmd + n && argc < 31; p += strlen(p) + 1)
		argv[argc++] = p;
	argv[argc] = NULL;
	snprintf(rounds, sizeof(rounds), "%ld", (long)arg + 1);
	snprintf(who, sizeof(who), "%d", (int)getpid());
	weigh_down();
	setenv("RESTLESS_ROUNDS", rounds, 1);
	setenv("RESTLESS_PID", who, 1);
	execv("/proc/self/exe", argv);
	return NULL;
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void execs_setup(void)
{
	const char *rounds = getenv("RESTLESS_ROUNDS"), *who = getenv("RESTLESS_PID");
	pthread_t t;

	if (who)
		expect(atoi(who) == getpid(), "round %s: pid %s is %d now", rounds, who, (int)getpid());
	if (victim_gone_on())
		return;
	for (int i = 0; i < 3; i++)
		need(pthread_create(&t, NULL, sleep_on, NULL) == 0);
	/* the runner waits for "ready" before it dumps: from the first time on it is there */
	need(rounds || spill(victim_path("ready"), "", 0) == 0);
	need(pthread_create(&t, NULL, run_again, (void *)(rounds ? atol(rounds) : 0)) == 0);
	sleep_on(NULL);
}

static void slow_execs_setup(void)
{
	weights = 12;
	execs_setup();
}

static void map_once(long round)
{
	size_t len = 4096 * (size_t)(1 + round % 50);
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		expect(false, "map %zu bytes", len);
		return;
	}
	pattern_fill(p, len, (uint64_t)round);
	expect(mprotect(p, len / 2 & ~(size_t)4095, PROT_READ) == 0, "protect");
	expect(pattern_same(p, len, (uint64_t)round), "round %ld: memory", round);
	expect(munmap(p, len) == 0, "unmap");
}

static void map_loop(long arg)
{
	every(map_once);
}

static void maps_setup(void)
{
	victim_fork(map_loop, 0);
}

/* --- memory that is moved, dropped, grown and shared with children, each piece of which says what it is to hold */

#define PIECES      64
#define PIECE_BYTES (8u * 4096)

static struct {
	char *at;
	size_t len;
	uint64_t seed; /* 0: dropped */
} pieces[PIECES];

static bool piece_same(long i)
{
	if (pieces[i].seed)
		return pattern_same(pieces[i].at, pieces[i].len, pieces[i].seed);
	for (size_t k = 0; k < pieces[i].len; k++)
		if (pieces[i].at[k])
			return false;
	return true;
}

static void remake_piece(long i, uint64_t seed)
{
	munmap(pieces[i].at, pieces[i].len);
	pieces[i].len = PIECE_BYTES;
	pieces[i].at = mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(pieces[i].at != MAP_FAILED);
	pieces[i].seed = seed;
	pattern_fill(pieces[i].at, PIECE_BYTES, seed);
}

static void move_piece(long i)
{
	char *to = mmap(NULL, pieces[i].len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(to != MAP_FAILED);
	expect(mremap(pieces[i].at, pieces[i].len, pieces[i].len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to, "move");
	pieces[i].at = to;
}

static void look_in_child(long round)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		for (long i = 0; i < PIECES; i++)
			if (!piece_same(i))
				_exit(1);
		_exit(0);
	}
	expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "round %ld: a child sees other memory: %x", round, status);
}

static void remap_once(long round)
{
	long i = round * 7 % PIECES;

	expect(piece_same(i), "round %ld: piece %ld", round, i);
	switch (round % 5) {
	case 0:
		move_piece(i);
		break;
	case 1:
		expect(madvise(pieces[i].at, pieces[i].len, MADV_DONTNEED) == 0, "drop");
		pieces[i].seed = 0;
		break;
	case 2:
		remake_piece(i, (uint64_t)round + 1);
		break;
	case 3:
		pieces[i].seed = (uint64_t)round + 1;
		pattern_fill(pieces[i].at, pieces[i].len, pieces[i].seed);
		break;
	default:
		if (round % 16 == 4)
			look_in_child(round);
	}
}

static void remap_loop(long arg)
{
	for (long i = 0; i < PIECES; i++)
		remake_piece(i, (uint64_t)i + 1);
	every(remap_once);
	for (long i = 0; i < PIECES; i++)
		expect(piece_same(i), "in the end: piece %ld", i);
}

static void remaps_setup(void)
{
	victim_fork(remap_loop, 0);
}

/* --- signals counted in a file that the runner reads, too */

struct counter {
	_Atomic uint64_t plain;   /* SIGUSR1 */
	_Atomic uint64_t queued;  /* SIGRTMIN that came in order: their values count up from 0 */
	_Atomic uint64_t strange; /* out of order */
};

static struct counter *counter;

static void on_plain(int signo)
{
	atomic_fetch_add(&counter->plain, 1);
}

static void on_queued(int signo, siginfo_t *info, void *context)
{
	if ((uint64_t)info->si_value.sival_int == atomic_load(&counter->queued) && info->si_code == SI_QUEUE)
		atomic_fetch_add(&counter->queued, 1);
	else
		atomic_fetch_add(&counter->strange, 1);
}

static void counts_setup(void)
{
	struct sigaction plain = { .sa_handler = on_plain, .sa_flags = SA_RESTART };
	struct sigaction queued = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART };
	int fd = open(victim_path("counter"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	need(fd >= 0 && ftruncate(fd, 4096) == 0);
	counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(counter != MAP_FAILED);
	close(fd);
	sigfillset(&plain.sa_mask);
	sigfillset(&queued.sa_mask);
	need(sigaction(SIGUSR1, &plain, NULL) == 0 && sigaction(SIGRTMIN, &queued, NULL) == 0);
}

static void counts_check(void)
{
	expect(atomic_load(&counter->strange) == 0, "%llu signals out of order", (unsigned long long)counter->strange);
}

const struct victim_case victim_cases[] = {
	{ "forks", forks_setup, reap_all, .flags = CASE_ALTERS },
	{ "threads", threads_setup, reap_all, .flags = CASE_ALTERS },
	{ "spawns", spawns_setup, reap_all, .flags = CASE_ALTERS },
	{ "execs", execs_setup, NULL, .flags = CASE_ALTERS },
	{ "slow-execs", slow_execs_setup, NULL, .flags = CASE_ALTERS },
	{ "maps", maps_setup, reap_all, .flags = CASE_ALTERS },
	{ "remaps", remaps_setup, reap_all, .flags = CASE_ALTERS },
	{ "counts", counts_setup, counts_check },
	{ NULL },
};
