/* What all victims share: the talk with the runner, children, threads, patterns. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char case_dir[PATH_MAX];
static const struct victim_case *running;
static int hold_fd = -1;
static bool differs;
static atomic_int threads_ready;

const char *victim_path(const char *name)
{
	static _Thread_local char paths[4][PATH_MAX + 300];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", case_dir, name);
	return path;
}

void victim_moved(const char *dir)
{
	snprintf(case_dir, sizeof(case_dir), "%s", dir);
}

static void tell(const char *name, const char *text)
{
	int fd = open(victim_path(name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		_exit(98);
	close(fd);
}

void victim_differs(const char *file, int line, const char *fmt, ...)
{
	int saved = errno;
	char text[700];
	const char *base = strrchr(file, '/');
	int n = snprintf(text, sizeof(text), "%s:%d: pid %d: ", base ? base + 1 : file, line, (int)getpid());
	va_list ap;

	va_start(ap, fmt);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 40, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(text) - 60)
		n = (int)sizeof(text) - 60;
	snprintf(text + n, sizeof(text) - (size_t)n, " (errno %d)\n", saved);
	tell("fails", text);
	differs = true;
}

void victim_broken(const char *file, int line, const char *what)
{
	char text[700];

	snprintf(text, sizeof(text), "%s:%d: %s: %s\n", file, line, what, strerror(errno));
	tell("broken", text);
	_exit(99);
}

void victim_skip(const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tell("skip", text);
	_exit(77);
}

bool victim_gone_on(void)
{
	return access(victim_path("go"), F_OK) == 0;
}

void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* A hundred of them that look a hundred times a second are half of a processor that others need. */
void victim_wait(void)
{
	long ms = 4;

	while (!victim_gone_on()) {
		sleep_ms(ms);
		ms = ms < 32 ? ms + 1 : 32;
	}
}

pid_t victim_fork(void (*fn)(long arg), long arg)
{
	int fds[2];
	char byte = 0;

	need(pipe2(fds, O_CLOEXEC) == 0);
	pid_t pid = fork();
	need(pid >= 0);
	if (pid == 0) {
		if (hold_fd >= 0)
			close(hold_fd);
		close(fds[0]);
		hold_fd = fds[1];
		differs = false;
		fn(arg);
		_exit(differs);
	}
	close(fds[1]);
	/* a byte, and then the end of file: by then the child has closed its end, and is at rest */
	ssize_t n;
	size_t got = 0;
	while ((n = read(fds[0], &byte, 1)) > 0 || (n < 0 && errno == EINTR))
		got += n > 0;
	close(fds[0]);
	errno = ECHILD;
	need(got == 1);
	return pid;
}

void victim_held(void)
{
	if (hold_fd < 0)
		return;
	need(write(hold_fd, "", 1) == 1);
	close(hold_fd);
	hold_fd = -1;
}

void victim_forget(void)
{
	if (hold_fd >= 0)
		close(hold_fd);
	hold_fd = -1;
}

void victim_hold(void)
{
	victim_held();
	victim_wait();
}

void victim_reap(pid_t pid)
{
	int status = 0;
	pid_t got;

	while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	expect(got == pid, "waitpid(%d) gives %d", (int)pid, (int)got);
	expect(got != pid || status == 0, "child %d ends with status %#x", (int)pid, (unsigned)status);
}

void victim_asleep(pid_t pid)
{
	char path[32], where[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/wchan", (int)pid);
	/* a kernel that does not tell says 0: then some time has to do */
	for (int i = 0; i < 200 && !strstr(where, "nanosleep"); i++) {
		sleep_ms(10);
		slurp(path, where, sizeof(where));
	}
}

void victim_thread_ready(void)
{
	atomic_fetch_add(&threads_ready, 1);
}

unsigned long victim_thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int before = atomic_load(&threads_ready);

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	errno = pthread_create(&thread, &attr, fn, arg);
	need(errno == 0);
	pthread_attr_destroy(&attr);
	while (atomic_load(&threads_ready) == before)
		sleep_ms(1);
	return thread;
}

void victim_join(unsigned long thread)
{
	errno = pthread_join(thread, NULL);
	expect(errno == 0, "pthread_join");
}

void pattern_fill(void *p, size_t len, uint64_t seed)
{
	unsigned char *b = p;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			seed = seed * 6364136223846793005u + 1442695040888963407u;
		b[i] = (unsigned char)(seed >> (i % 8 * 8));
	}
}

bool pattern_same(const void *p, size_t len, uint64_t seed)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (b[i] != (unsigned char)(seed >> (i % 8 * 8)))
			return false;
	}
	return true;
}

ssize_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = -1;

	buf[0] = 0;
	if (fd < 0)
		return -1;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = 0;
	return n < 0 ? -1 : (ssize_t)len;
}

ssize_t spill(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	need(fd >= 0);
	need(write(fd, data, len) == (ssize_t)len);
	close(fd);
	return (ssize_t)len;
}

uint64_t now_ns(int clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void victim_finish(void)
{
	/* the runner looks once the name is there, and must not find a descriptor that is about to be closed */
	tell("almost", "");
	need(rename(victim_path("almost"), victim_path("ready")) == 0);
	victim_wait();
	if (running->check)
		running->check();
	if (!differs)
		tell("result", "ok");
	else
		tell("result", "differs");
	_exit(differs);
}

static void list_cases(void)
{
	for (const struct victim_case *c = victim_cases; c->name; c++)
		printf("%s\t%s\t%s\t%s\t%u\n", c->name, c->dump ? c->dump : "", c->restore ? c->restore : "",
		       c->refuse ? c->refuse : "", c->flags);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--cases") == 0) {
		list_cases();
		return 0;
	}
	if (argc < 2 || !getcwd(case_dir, sizeof(case_dir))) {
		fprintf(stderr, "usage: %s --cases | CASE\n", argv[0]);
		return 2;
	}
	for (running = victim_cases; running->name; running++)
		if (strcmp(running->name, argv[1]) == 0)
			break;
	if (!running->name) {
		fprintf(stderr, "%s: no case named %s\n", argv[0], argv[1]);
		return 2;
	}
	umask(022);
	running->setup();
	victim_finish();
}
