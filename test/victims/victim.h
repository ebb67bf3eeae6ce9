/*
 * What all victims share. A victim sets up one situation, says that it is ready, is checkpointed and restored while it
 * waits for the word to go on, and then checks that all it set up is still so.
 *
 * Runner and victim talk through files in the case's directory only, since a pipe or a terminal between them would be
 * part of what is checkpointed: "ready", "skip" and "broken" (with the reason), "go" (made by the runner), "fails"
 * (one line per difference), "result" ("ok" once the root has run all its checks).
 *
 * Unlike the project itself, victims keep their state in file-scope variables: their memory is the subject.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct victim_case {
	const char *name;
	void (*setup)(void); /* before the checkpoint; the victim is ready when it returns */
	void (*check)(void); /* after the restore; may be NULL where comparing procfs says it all */
	const char *dump;    /* more options of the dump, as on the command line */
	const char *restore; /* and of the restore */
	/* the dump must fail with these words (separated by '|', all of them; !word: without it) in its error */
	const char *refuse;
	unsigned flags;
};

/* flags of a case */
#define CASE_MUTATES        1  /* checking alters files, so the same images cannot be restored after it */
#define CASE_NO_SETSID      2  /* starts in the runner's session */
#define CASE_MORE           4  /* also through swrk, service, leave-running and three rounds */
#define CASE_ALTERS         8  /* visible state differs by nature (a spinning thread's counters, ...): not compared */
#define CASE_KEEP_OR_REFUSE 16 /* either kept or refused with the words of .refuse, but never lost in silence */

/* A case with a network of its own, where numbers of others are not in its way: the runner makes one for these options */
#define OWN_NETWORK .dump = "--tcp-established", .restore = "--tcp-established"

extern const struct victim_case victim_cases[]; /* ends with a row without a name */

/* expect() - report a difference and go on; errno is added when @cond is about a call that failed */
#define expect(cond, ...) ((cond) ? (void)0 : victim_differs(__FILE__, __LINE__, __VA_ARGS__))
/* need() - setting up failed: no verdict about the checkpoint is possible */
#define need(cond) ((cond) ? (void)0 : victim_broken(__FILE__, __LINE__, #cond))

void victim_differs(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void victim_broken(const char *file, int line, const char *what);
_Noreturn void victim_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* victim_wait() - sleep until the runner says "go"; any process or thread may wait */
void victim_wait(void);
bool victim_gone_on(void);

/* victim_fork() - a child that runs @fn and exits; returns once the child has called victim_hold() */
pid_t victim_fork(void (*fn)(long arg), long arg);
/* victim_hold() - a child's side: tell the parent that all is set up, then wait for "go" */
void victim_hold(void);
/* victim_held() - the first half of it, for children that wait in another way */
void victim_held(void);
/* victim_forget() - for a child of a child, which is not waited for: drop what it inherited of that talk */
void victim_forget(void);
/* victim_reap() - wait for the child and expect status 0 */
void victim_reap(pid_t pid);
/* victim_asleep() - wait until a child's new program has begun and sleeps: sleep(1) */
void victim_asleep(pid_t pid);

/* victim_thread() - a thread that runs @fn; returns once it has called victim_thread_ready() */
unsigned long victim_thread(void *(*fn)(void *), void *arg);
void victim_thread_ready(void);
void victim_join(unsigned long thread);

/* victim_finish() - ready, wait, check, result, exit: for a thread that outlives the leader */
_Noreturn void victim_finish(void);
/* victim_moved() - the case's directory is seen under another name from now on (chroot) */
void victim_moved(const char *dir);
/* victim_path() - absolute name of a file in the case's directory; the last four of a thread stay valid */
const char *victim_path(const char *name);

void pattern_fill(void *p, size_t len, uint64_t seed);
bool pattern_same(const void *p, size_t len, uint64_t seed);
/* slurp() - a small file as a string; -1 and an empty string when it cannot be read */
ssize_t slurp(const char *path, char *buf, size_t size);
/* spill() - make a file of that content; returns its length */
ssize_t spill(const char *path, const void *data, size_t len);
uint64_t now_ns(int clock);
void sleep_ms(long ms);

#endif
