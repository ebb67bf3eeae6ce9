/* Processes that have used up what they may have: a dump needs a little memory in each. */
#include "victim.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE 4096ul

static struct rlimit limit_was;
static int limit_kind;

static unsigned long status_kb(const char *line)
{
	char text[4096];
	const char *at;

	need(slurp("/proc/self/status", text, sizeof(text)) > 0);
	at = strstr(text, line);
	need(at != NULL);
	return strtoul(at + strlen(line), NULL, 10);
}

static void limit_to(int kind, unsigned long bytes, bool hard)
{
	struct rlimit l;

	need(getrlimit((__rlimit_resource_t)kind, &l) == 0);
	l.rlim_cur = bytes;
	if (hard)
		l.rlim_max = l.rlim_cur;
	need(setrlimit((__rlimit_resource_t)kind, &l) == 0);
	need(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	limit_kind = kind;
	limit_was = l;
}

/* The limit becomes what is used now; @hard: for good. */
static void use_up(int kind, const char *line, bool hard)
{
	limit_to(kind, status_kb(line) * 1024, hard);
}

static void check_limit(void)
{
	struct rlimit l;

	expect(getrlimit((__rlimit_resource_t)limit_kind, &l) == 0 && l.rlim_cur == limit_was.rlim_cur &&
	       l.rlim_max == limit_was.rlim_max, "limit %d is %lu of %lu, was %lu of %lu", limit_kind, l.rlim_cur, l.rlim_max,
	       limit_was.rlim_cur, limit_was.rlim_max);
	expect(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED, "there is room now");
}

static void set_up_space(void) { use_up(RLIMIT_AS, "VmSize:", false); }
static void set_up_space_hard(void) { use_up(RLIMIT_AS, "VmSize:", true); }
static void set_up_data(void) { use_up(RLIMIT_DATA, "VmData:", true); }
/* less than is used already: what is there stays, and nothing comes any more */
static void set_up_data_exceeded(void)
{
	limit_to(RLIMIT_DATA, PAGE, false);
}
static void set_up_data_hard(void)
{
	limit_to(RLIMIT_DATA, PAGE, true);
}

/* --- as another user, whose limits are not root's to change without CAP_SYS_RESOURCE */

static pid_t kid;

static void user_without_room(long hard)
{
	need(setresgid(3333, 3333, 3333) == 0 && setresuid(3333, 3333, 3333) == 0);
	use_up(RLIMIT_AS, "VmSize:", hard);
	victim_hold();
	check_limit();
}

static void set_up_space_user(void) { kid = victim_fork(user_without_room, false); }
static void check_kid(void) { victim_reap(kid); }

/* --- many threads: less than a place for each will do */

#define NR_THREADS 40
static unsigned long threads[NR_THREADS];

static void *waiting_thread(void *arg)
{
	victim_thread_ready();
	victim_wait();
	return arg;
}

static void set_up_space_threads(void)
{
	struct rlimit l;

	for (int i = 0; i < NR_THREADS; i++)
		threads[i] = victim_thread(waiting_thread, NULL);
	need(getrlimit(RLIMIT_AS, &l) == 0);
	l.rlim_cur = l.rlim_max = (status_kb("VmSize:") + 256) * 1024;
	need(setrlimit(RLIMIT_AS, &l) == 0);
}

static void check_threads(void)
{
	for (int i = 0; i < NR_THREADS; i++)
		victim_join(threads[i]);
}

/* --- the number of mappings: neighbours that differ in what they allow */

static char *space;
static size_t space_pages;

static void use_up_maps(size_t left)
{
	char text[32];
	size_t i;

	need(slurp("/proc/sys/vm/max_map_count", text, sizeof(text)) > 0);
	space_pages = strtoul(text, NULL, 10) + 1000;
	space = mmap(NULL, space_pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	need(space != MAP_FAILED);
	for (i = 0; i < space_pages; i += 2)
		if (mprotect(space + i * PAGE, PAGE, PROT_READ) < 0)
			break;
	need(i < space_pages && errno == ENOMEM);
	/* each of those taken away joins three to one */
	for (; left > 1; left -= 2) {
		i -= 2;
		need(mprotect(space + i * PAGE, PAGE, PROT_NONE) == 0);
	}
}

static void set_up_maps(void) { use_up_maps(0); }
static void set_up_maps_left(void) { use_up_maps(6); }

const struct victim_case victim_cases[] = {
	{ "space", set_up_space, check_limit },
	{ "space-hard", set_up_space_hard, check_limit, .refuse = "RLIMIT_AS|prlimit --pid",
	  .flags = CASE_KEEP_OR_REFUSE },
	{ "space-user", set_up_space_user, check_kid, .refuse = "RLIMIT_AS|prlimit --pid",
	  .flags = CASE_KEEP_OR_REFUSE },
	{ "space-threads", set_up_space_threads, check_threads },
	{ "data", set_up_data, check_limit, .refuse = "RLIMIT_DATA|prlimit --pid", .flags = CASE_KEEP_OR_REFUSE },
	{ "data-exceeded", set_up_data_exceeded, check_limit },
	{ "data-hard", set_up_data_hard, check_limit, .refuse = "RLIMIT_DATA|prlimit --pid",
	  .flags = CASE_KEEP_OR_REFUSE },
	{ "maps", set_up_maps, .refuse = "vm.max_map_count|mappings" },
	{ "maps-left", set_up_maps_left },
	{ NULL },
};
