/* Directories of tasks: what is gone, what this kernel does not have, what does not fit */
#include "procfs/proc-dir.h"

#include "base/buf.h"
#include "procfs/sample.h"

#include <fcntl.h>
#include <unistd.h>

static void own(void **state)
{
	autoprocdir struct proc_dir d = PROC_DIR_NONE, t = PROC_DIR_NONE, below = PROC_DIR_NONE;
	autobuf struct buf text = BUF_INIT(65536);
	struct cr_error err = { 0 };
	int procfd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char small[4];

	(void)state;
	assert_int_equal(proc_dir_open(AT_FDCWD, getpid(), &d, &err), 0);
	assert_int_equal(proc_dir_open_task(AT_FDCWD, getpid(), getpid(), &t, &err), 0);
	assert_int_equal(proc_dir_open(procfd, getpid(), &below, &err), 0);
	close(procfd);
	assert_int_equal(fcntl(d.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(t.pid, getpid());
	assert_int_equal(proc_read_buf(&below, "comm", &text, &err), 0);
	assert_int_equal(text.data[text.len - 1], '\n');
	assert_int_equal(proc_read_small(&d, "comm", small, sizeof(small), &err), -EFBIG);
	assert_int_equal(proc_open(&d, "no-such-file", O_RDONLY, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no-such-file"));
	assert_int_equal(proc_base_read_buf(AT_FDCWD, "no-such-file", &text, &err), -ENOENT);
}

static void gone(void **state)
{
	struct proc_dir d = PROC_DIR_NONE;
	struct cr_error err = { 0 };

	(void)state;
	assert_int_equal(proc_dir_open(AT_FDCWD, 0x7fffffff, &d, &err), -ESRCH);
	assert_int_equal(proc_dir_open_task(AT_FDCWD, getpid(), 0x7fffffff, &d, &err), -ESRCH);
	assert_int_equal(d.fd, -1);
	proc_dir_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own),
		cmocka_unit_test(gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
