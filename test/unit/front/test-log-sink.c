/* The form of log files. */
#include "options/log-sink.h"

#include "front/front.h"

#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/criu-log-XXXXXX";

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/log", dir);
	unlink(path);
	return rmdir(dir);
}

static void read_log(char *ret, size_t size)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", dir);
	f = fopen(path, "r");
	assert_non_null(f);
	ret[fread(ret, 1, size - 1, f)] = '\0';
	fclose(f);
}

static void write_lines(int level, char *ret, size_t size)
{
	autosink struct log_sink s;
	struct cr_error err = { 0 };
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY);

	log_sink_init(&s, "dump");
	log_sink_line(&s, CR_LOG_INFO, "early info");
	log_sink_line(&s, CR_LOG_WARN, "early warning");
	assert_int_equal(log_sink_open(&s, dirfd, "log", level, &err), 0);
	close(dirfd);
	log_sink_line(&s, CR_LOG_DEBUG, "detail");
	log_sink_line(&s, CR_LOG_ERROR, "it\nfailed\x1b");
	log_sink_line(&s, CR_LOG_ERROR, "again");
	assert_string_equal(s.first_error, "Error (dump): it?failed?\n");
	read_log(ret, size);
}

/* What can be done stands behind the error, whole or not at all. */
static void test_advice(void **state)
{
	autosink struct log_sink s;
	char text[LOG_FIRST_ERROR];

	(void)state;
	log_sink_init(&s, "dump");
	log_sink_advise(&s, "--nothing-has-failed", 500);
	assert_string_equal(s.first_error, "");
	log_sink_line(&s, CR_LOG_ERROR, "it failed");
	log_sink_advise(&s, "", 500);
	assert_string_equal(s.first_error, "Error (dump): it failed\n");
	log_sink_advise(&s, "--option", strlen("Error (dump): it failed (try: --option)\n") - 1);
	assert_string_equal(s.first_error, "Error (dump): it failed\n");
	log_sink_advise(&s, "--option", strlen("Error (dump): it failed (try: --option)\n"));
	assert_string_equal(s.first_error, "Error (dump): it failed (try: --option)\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_sink_advise(&s, text, SIZE_MAX);
	assert_string_equal(s.first_error, "Error (dump): it failed (try: --option)\n");
}

static void test_plain(void **state)
{
	char text[4096];

	(void)state;
	write_lines(2, text, sizeof(text));
	assert_string_equal(text, "Warn  (dump): early warning\nError (dump): it?failed?\nError (dump): again\n");
}

static void test_times(void **state)
{
	char text[4096];
	regex_t re;

	(void)state;
	write_lines(4, text, sizeof(text));
	assert_int_equal(regcomp(&re,
				 "^\\(00\\.000000\\) early info\n\\(00\\.000000\\) Warn  \\(dump\\): early warning\n"
				 "\\([0-9]{2}\\.[0-9]{6}\\) detail\n\\([0-9]{2}\\.[0-9]{6}\\) Error \\(dump\\): "
				 "it\\?failed\\?\n",
				 REG_EXTENDED),
			 0);
	assert_int_equal(regexec(&re, text, 0, NULL, 0), 0);
	regfree(&re);
}

static void test_silent(void **state)
{
	char text[4096];
	struct stat st;
	char path[64];

	(void)state;
	write_lines(0, text, sizeof(text));
	assert_string_equal(text, "");
	snprintf(path, sizeof(path), "%s/log", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* A line may be longer than fits: it is cut, and still one line. */
static void test_long(void **state)
{
	autosink struct log_sink s;
	struct cr_error err = { 0 };
	char text[8192], big[4000];
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY);

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_sink_init(&s, "dump");
	assert_int_equal(log_sink_open(&s, dirfd, "log", 4, &err), 0);
	close(dirfd);
	log_sink_line(&s, CR_LOG_ERROR, big);
	assert_int_equal(strlen(s.first_error), 1023);
	assert_int_equal(s.first_error[1022], '\n');
	read_log(text, sizeof(text));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

/* The line is sent to clients as a text of protobuf: characters stay whole, and other bytes do not get through. */
static void test_utf8(void **state)
{
	autosink struct log_sink s;
	char big[2000] = "a";

	(void)state;
	log_sink_init(&s, "dump");
	log_sink_line(&s, CR_LOG_ERROR, "caf\xc3\xa9 \xff\xc3");
	assert_string_equal(s.first_error, "Error (dump): caf\xc3\xa9 ??\n");
	log_sink_done(&s);
	for (size_t i = 1; i + 2 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa9", 2);
	log_sink_init(&s, "dump");
	log_sink_line(&s, CR_LOG_ERROR, big);
	assert_true(strlen(s.first_error) >= 1021 && strlen(s.first_error) <= 1023);
	assert_memory_equal(s.first_error + strlen(s.first_error) - 3, "\xc3\xa9\n", 3);
}

static void test_many_early(void **state)
{
	autosink struct log_sink s;
	char big[1000];

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_sink_init(&s, "dump");
	for (int i = 0; i < 10000; i++)
		log_sink_line(&s, CR_LOG_INFO, big);
	assert_true(s.early.len <= 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_advice), cmocka_unit_test(test_plain), cmocka_unit_test(test_times),
		cmocka_unit_test(test_silent), cmocka_unit_test(test_long),  cmocka_unit_test(test_many_early),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
