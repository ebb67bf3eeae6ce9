/*
 * Names that a restorer makes for a moment: a restorer that is killed right before it removes one leaves none. The killing is
 * done by unlinkat() itself, in whichever process calls it.
 */
#include "files/restore-internal.h"

#include "base/own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTENT     "what is in it"
#define PATIENCE_MS 3000

int __real_unlinkat(int dirfd, const char *path, int flags);
int __wrap_unlinkat(int dirfd, const char *path, int flags);

static pid_t doomed;

int __wrap_unlinkat(int dirfd, const char *path, int flags)
{
	if (doomed)
		kill(doomed, SIGKILL);
	return __real_unlinkat(dirfd, path, flags);
}

struct place {
	char path[40];
	int images;
};

static struct place place_make(void)
{
	struct place p = { .path = "/tmp/test-names-XXXXXX" };
	char path[80];

	assert_non_null(mkdtemp(p.path));
	snprintf(path, sizeof(path), "%s/images", p.path);
	assert_int_equal(mkdir(path, 0700), 0);
	p.images = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p.images >= 0);
	return p;
}

static const char *in_place(const struct place *p, const char *name)
{
	static char path[4][300];
	static unsigned int next;
	char *at = path[next++ % 4];

	snprintf(at, sizeof(path[0]), "%s/%s", p->path, name);
	return at;
}

/* Names beside the images; "" when there are none. */
static const char *names_in(const struct place *p)
{
	static char text[500];
	DIR *d = opendir(p->path);

	assert_non_null(d);
	text[0] = '\0';
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' || strncmp(e->d_name, ".cr-", 4) == 0)
			if (strcmp(e->d_name, "images") != 0)
				snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", e->d_name);
	closedir(d);
	return text;
}

static void place_done(struct place *p)
{
	DIR *d = fdopendir(p->images);

	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlinkat(p->images, e->d_name, 0);
	closedir(d);
	rmdir(in_place(p, "images"));
	assert_int_equal(rmdir(p->path), 0);
}

static void write_ghost(const struct place *p, mode_t mode)
{
	autofree_by(image_set_free) struct image_set *set = NULL;
	img_timeval atim = { .tv_sec = 1000, .tv_usec = 12 }, mtim = { .tv_sec = 2000, .tv_usec = 999999 };
	img_ghost_file_ext ext = { .has_atim_nsec = true, .atim_nsec = 7, .has_mtim_nsec = true, .mtim_nsec = 999 };
	img_ghost_file_entry e = { .mode = mode,
				   .uid = getuid(),
				   .gid = getgid(),
				   .atim = &atim,
				   .mtim = &mtim,
				   .ext = &ext,
				   .symlnk_target = S_ISLNK(mode) ? (char *)"nowhere" : NULL };
	img_remap_file_path_entry remap = {
		.orig_id = 5, .remap_id = 1, .has_remap_type = true, .remap_type = img_remap_type_GHOST
	};
	img_inventory_entry inv = { .img_version = 2 };
	struct image_writer *w;

	assert_int_equal(image_set_create(p->images, &set, NULL), 0);
	assert_int_equal(image_write_single(set, IMG_REMAP_FPATH, 0, &remap, NULL), 0);
	assert_int_equal(image_writer_open(set, IMG_GHOST_FILE, 1, &w, NULL), 0);
	assert_int_equal(image_write(w, &e, NULL), 0);
	if (S_ISREG(mode))
		assert_int_equal(image_write_raw(w, CONTENT, strlen(CONTENT), NULL), 0);
	assert_int_equal(image_writer_close(w, true, NULL), 0);
	assert_int_equal(image_set_commit(set, &inv, NULL), 0);
}

/* Return: a descriptor of the ghost, made under @name */
static int make_ghost(const struct place *p, const char *name, uint32_t flags, struct cr_error *err)
{
	autofree_by(image_set_free) struct image_set *set = NULL;
	struct files fs = { .root_fd = -1 };
	img_reg_file_entry reg = { .name = (char *)name, .flags = flags };
	struct ghost_source *g;
	int r = image_set_open(p->images, &set, err);

	fs.set = set;
	if (r == 0)
		r = ghosts_read(&fs, err);
	g = r == 0 ? map_find(&fs.ghost_by_id, 2) : NULL;
	if (r == 0)
		r = g ? ghost_open(&fs, g, &reg, flags, err) : -ENOENT;
	ghost_sources_done(&fs);
	ghost_source_vec_done(&fs.ghosts);
	map_done(&fs.ghost_by_id);
	pool_done(&fs.pool);
	return r;
}

static void test_ghost(void **state)
{
	struct place p = place_make();
	struct cr_error err = { 0 };
	char text[40] = "", link[300] = "";
	struct stat st;
	int fd;

	(void)state;
	write_ghost(&p, S_IFREG | 0640);
	fd = make_ghost(&p, in_place(&p, "gone/deep/name"), O_RDWR, &err);
	if (fd < 0)
		fail_msg("%s", err.text);
	assert_int_equal(read(fd, text, sizeof(text) - 1), strlen(CONTENT));
	assert_string_equal(text, CONTENT);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_mtim.tv_nsec, 999999999);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	assert_true(readlink(text, link, sizeof(link) - 1) > 0);
	assert_non_null(strstr(link, "/gone/deep/name (deleted)"));
	close(fd);
	assert_string_equal(names_in(&p), "");
	place_done(&p);
}

static void test_times(void **state)
{
	static const mode_t modes[] = { S_IFREG | 0600, S_IFDIR | 0700, S_IFIFO | 0600, S_IFLNK | 0777 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		struct place p = place_make();
		struct cr_error err = { 0 };
		struct stat st;
		int fd;

		write_ghost(&p, modes[i]);
		fd = make_ghost(&p, in_place(&p, "name"), O_PATH, &err);
		if (fd < 0)
			fail_msg("mode 0%o: %s", modes[i], err.text);
		assert_int_equal(fstat(fd, &st), 0);
		if (st.st_mode != modes[i] || st.st_atim.tv_sec != 1000 || st.st_atim.tv_nsec != 12007 ||
		    st.st_mtim.tv_sec != 2000 || st.st_mtim.tv_nsec != 999999999)
			fail_msg("mode 0%o: 0%o, %ld.%09ld, %ld.%09ld", modes[i], st.st_mode, st.st_atim.tv_sec,
				 st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
		close(fd);
		place_done(&p);
	}
}

/* --------------------------------------------------------------- killed */

/* Runs in a process that unlinkat() kills. */
typedef int (*work_fn)(const struct place *p, struct cr_error *err);

static void die_at_work(const struct place *p, work_fn work, const char *left)
{
	struct timespec tick = { 0, 1000000 };
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		doomed = getpid();
		struct cr_error err = { 0 };

		work(p, &err);
		print_error("it was not killed: %s\n", err.text);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	/* what goes on behind it takes a moment */
	for (int ms = 0; ms < PATIENCE_MS && strcmp(names_in(p), left) != 0; ms++)
		nanosleep(&tick, NULL);
	assert_string_equal(names_in(p), left);
}

static int ghost_work(const struct place *p, struct cr_error *err)
{
	return make_ghost(p, in_place(p, "name"), O_RDWR, err);
}

static int deep_ghost_work(const struct place *p, struct cr_error *err)
{
	return make_ghost(p, in_place(p, "gone/deep/name"), O_RDWR, err);
}

static void test_killed_at_ghost(void **state)
{
	static const mode_t modes[] = { S_IFREG | 0600, S_IFDIR | 0700, S_IFIFO | 0600, S_IFLNK | 0777 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		struct place p = place_make();

		write_ghost(&p, modes[i]);
		die_at_work(&p, ghost_work, "");
		die_at_work(&p, deep_ghost_work, "");
		place_done(&p);
	}
}

static int taken_ghost_work(const struct place *p, struct cr_error *err)
{
	return make_ghost(p, in_place(p, "taken"), O_RDWR, err);
}

static void test_killed_at_taken_name(void **state)
{
	struct place p = place_make();

	(void)state;
	write_ghost(&p, S_IFREG | 0600);
	close(open(in_place(&p, "taken"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	die_at_work(&p, taken_ghost_work, "taken ");
	unlink(in_place(&p, "taken"));
	place_done(&p);
}

static int link_work(const struct place *p, struct cr_error *err)
{
	struct files fs = { .root_fd = -1 };
	img_reg_file_entry reg = { .name = (char *)in_place(p, "name") },
			   link_reg = { .name = (char *)in_place(p, "link_remap.1") };
	img_file_entry entry = { .reg = &reg }, link_entry = { .reg = &link_reg };
	struct restored_file link = { .entry = &link_entry }, f = { .entry = &entry, .link = &link };

	return path_open(&fs, &f, O_RDONLY, err);
}

/* The link that the dump made has to stay: the images still need it. */
static void test_killed_at_link(void **state)
{
	struct place p = place_make();

	(void)state;
	close(open(in_place(&p, "link_remap.1"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	die_at_work(&p, link_work, "link_remap.1 ");
	unlink(in_place(&p, "link_remap.1"));
	place_done(&p);
}

static int commit_work(const struct place *p, struct cr_error *err)
{
	img_reg_file_entry reg[2] = { { .name = (char *)in_place(p, "link_remap.1") },
				      { .name = (char *)in_place(p, "link_remap.2") } };
	img_file_entry entry[2] = { { .reg = &reg[0] }, { .reg = &reg[1] } };
	struct restored_file link[2] = { { .entry = &entry[0] }, { .entry = &entry[1] } };
	struct restored_file f[2] = { { .link = &link[0] }, { .link = &link[1] } };
	struct restored_file *all[2] = { &f[0], &f[1] };
	struct files fs = { .root_fd = -1, .files = { .items = all, .nr = 2, .cap = 2 } };

	(void)err;
	files_commit(&fs);
	return 0;
}

/* At the end of a restore either none of these links is gone or all are. */
static void test_killed_at_commit(void **state)
{
	struct place p = place_make();

	(void)state;
	close(open(in_place(&p, "link_remap.1"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	close(open(in_place(&p, "link_remap.2"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	die_at_work(&p, commit_work, "");
	place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ghost),           cmocka_unit_test(test_times),
		cmocka_unit_test(test_killed_at_ghost), cmocka_unit_test(test_killed_at_taken_name),
		cmocka_unit_test(test_killed_at_link),  cmocka_unit_test(test_killed_at_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
