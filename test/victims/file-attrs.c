/* What a file has beside its content, where it is made again: extended attributes, access control lists, times of memory files. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"

/* linux/posix_acl_xattr.h; the numbers are little endian, as here */
static const struct {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} of[5];
} acl = { 2, { { 1, 6, ~0u }, { 2, 4, 1234 }, { 4, 4, ~0u }, { 0x10, 4, ~0u }, { 0x20, 0, ~0u } } };

static int file, dir, mem;
static bool has_user, has_acl, has_security, mem_user, mem_security;

/* Return: the file system has such attributes */
static bool put(int fd, const char *name, const void *value, size_t len)
{
	if (fsetxattr(fd, name, value, len, 0) == 0)
		return true;
	need(errno == EOPNOTSUPP || errno == EPERM);
	return false;
}

static void expect_attr(bool there, int fd, const char *name, const void *value, size_t len)
{
	char buf[128];

	expect(!there || (fgetxattr(fd, name, buf, sizeof(buf)) == (ssize_t)len && memcmp(buf, value, len) == 0),
	       "attribute %s is lost, or is another", name);
}

static uint64_t hint = RWH_WRITE_LIFE_LONG;

static void set_up_unlinked(void)
{
	need((file = open(victim_path("file"), O_RDWR | O_CREAT, 0640)) >= 0 && write(file, "text", 4) == 4);
	need(mkdir(victim_path("dir"), 0750) == 0 && (dir = open(victim_path("dir"), O_RDONLY | O_DIRECTORY)) >= 0);
	has_user = put(file, "user.victim", "a value", 7) && put(file, "user.empty", "", 0) && put(dir, "user.victim", "dir", 3);
	has_acl = put(file, ACL, &acl, sizeof(acl));
	has_security = put(file, "security.victim", "label", 5);
	if (!has_user && !has_acl && !has_security)
		victim_skip("no extended attributes here");
	need(fcntl(file, F_SET_RW_HINT, &hint) == 0);
	need(unlink(victim_path("file")) == 0 && rmdir(victim_path("dir")) == 0);
}

static void check_unlinked(void)
{
	uint64_t now = 0;
	struct stat st;

	expect(fcntl(file, F_GET_RW_HINT, &now) == 0 && now == hint, "the hint of how long data lives is %lu",
	       (unsigned long)now);
	expect_attr(has_user, file, "user.victim", "a value", 7);
	expect_attr(has_user, file, "user.empty", "", 0);
	expect_attr(has_user, dir, "user.victim", "dir", 3);
	expect_attr(has_acl, file, ACL, &acl, sizeof(acl));
	expect_attr(has_security, file, "security.victim", "label", 5);
	expect(fstat(file, &st) == 0 && (st.st_mode & 07777) == 0640, "mode is %o", st.st_mode);
}

static void set_up_memory(void)
{
	struct timespec ts[2] = { { 1000, 1 }, { 2000, 123456789 } };

	need((mem = memfd_create("attributes", MFD_ALLOW_SEALING)) >= 0 && write(mem, "text", 4) == 4);
	mem_user = put(mem, "user.victim", "in memory", 9);
	mem_security = put(mem, "security.victim", "label", 5);
	need(futimens(mem, ts) == 0);
	need(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

static void check_memory(void)
{
	struct stat st;

	expect(fstat(mem, &st) == 0 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 123456789, "written at %ld.%09ld",
	       st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	expect(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 1, "read at %ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec);
	expect_attr(mem_user, mem, "user.victim", "in memory", 9);
	expect_attr(mem_security, mem, "security.victim", "label", 5);
	expect(fcntl(mem, F_GET_SEALS) == F_SEAL_WRITE, "seals are %x", fcntl(mem, F_GET_SEALS));
}

const struct victim_case victim_cases[] = {
	{ "unlinked", set_up_unlinked, check_unlinked, .flags = CASE_MORE },
	{ "memory-file", set_up_memory, check_memory, .flags = CASE_MORE },
	{ NULL },
};
