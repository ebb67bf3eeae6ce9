/* Mappings that were read before a task was stopped: when they count, and when it is noticed that they should not have. */
#include "mm/smaps-before.h"

#include "base/array.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const struct {
	const char *name, *smaps, *maps;
	bool same;
} cases[] = {
	{ "nothing", "", "", true },
	{ "one", "1000-2000 r\nRss: 1\nVmFlags: rd\n", "1000-2000 r\n", true },
	{ "two", "1000-2000 r\nRss: 1\na000-b000 w\nRss: 2\n", "1000-2000 r\na000-b000 w\n", true },
	{ "one more now", "1000-2000 r\nRss: 1\n", "1000-2000 r\na000-b000 w\n", false },
	{ "one less now", "1000-2000 r\nRss: 1\na000-b000 w\nRss: 2\n", "1000-2000 r\n", false },
	{ "longer", "1000-2000 r\nRss: 1\n", "1000-3000 r\n", false },
	{ "a name more", "1000-2000 r\nRss: 1\n", "1000-2000 r x\n", false },
	{ "cut short", "1000-2000 r\nRss: 1\na000-b000", "1000-2000 r\na000-b000 w\n", false },
};

static void test_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (smaps_same_headers(cases[i].smaps, strlen(cases[i].smaps), cases[i].maps, strlen(cases[i].maps)) !=
		    cases[i].same)
			fail_msg("%s", cases[i].name);
}

#define SIZE ((size_t)24 << 20)

enum order { TOUCH = 1, ADVISE, LOCK, UNMAP };

/* A process that does to its memory what it is told, and answers each time */
struct child {
	pid_t pid;
	int to, from;
	struct proc_dir dir;
};

static void obey(int in, int out)
{
	char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), order;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &order, 1) == 1) {
		if (order == TOUCH)
			memset(at, 1, SIZE);
		if (order == ADVISE)
			madvise(at, SIZE, MADV_DONTDUMP);
		if (order == LOCK)
			syscall(SYS_mlock, at, 4096); /* the sanitizers have mlock() do nothing */
		if (order == UNMAP)
			munmap(at, 4096);
		if (write(out, &order, 1) != 1)
			break;
	}
	_exit(0);
}

static void tell(const struct child *c, char order)
{
	assert_int_equal(write(c->to, &order, 1), 1);
	assert_int_equal(read(c->from, &order, 1), 1);
}

static void start(struct child *c)
{
	struct cr_error err = { 0 };
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	c->pid = fork();
	if (c->pid == 0)
		obey(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	c->to = in[1];
	c->from = out[0];
	tell(c, TOUCH);
	assert_int_equal(proc_dir_open(AT_FDCWD, c->pid, &c->dir, &err), 0);
}

static void end(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->to);
	close(c->from);
	proc_dir_close(&c->dir);
}

static int refuse(void *arg, pid_t pid)
{
	*(pid_t *)arg = pid;
	return -1;
}

static void test_live(void **state)
{
	static const struct {
		char order;
		bool found, same;
	} orders[] = { { 0, true, true }, { ADVISE, true, false }, { LOCK, false, false }, { UNMAP, false, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		struct child c;
		struct smaps_before *b;
		struct cr_error err = { 0 };
		const char *text;
		size_t len = 0;

		start(&c);
		b = smaps_before_read(c.pid, NULL, NULL);
		assert_non_null(b);
		if (orders[i].order)
			tell(&c, orders[i].order);
		text = smaps_before_find(b, c.pid, &c.dir, &len);
		assert_int_equal(text != NULL, orders[i].found);
		for (enum smaps_of of = SMAPS_OF_COPY; text && of <= SMAPS_OF_TASK_ALONE; of++)
			assert_int_equal(smaps_same_flags(text, len, &c.dir, of, &err), orders[i].same);
		/* of what has gone since, the task alone has to show all, and what became of one that has a copy does not matter */
		if (text && orders[i].same) {
			tell(&c, UNMAP);
			assert_int_equal(smaps_same_flags(text, len, &c.dir, SMAPS_OF_TASK_ALONE, &err), 0);
			assert_int_equal(smaps_same_flags(text, len, &c.dir, SMAPS_OF_TASK, &err), 1);
		}
		smaps_before_free(b);
		end(&c);
	}
}

static void test_forbidden(void **state)
{
	struct child c;
	struct smaps_before *b;
	pid_t asked = 0;
	size_t len;

	(void)state;
	start(&c);
	b = smaps_before_read(c.pid, refuse, &asked);
	assert_non_null(b);
	assert_int_equal(asked, c.pid);
	assert_null(smaps_before_find(b, c.pid, &c.dir, &len));
	smaps_before_free(b);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_forbidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
