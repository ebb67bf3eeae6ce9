/* Memory files with odd names, and in a pid namespace in which none can be executed. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

static int fd, plain;
static char *memory;

/* ------------------------------- named as images name shared anonymous memory, which is there as well */

static void set_up_zero(void)
{
	need((fd = memfd_create("/dev/zero", MFD_ALLOW_SEALING)) >= 0 && write(fd, "content", 7) == 7);
	need(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0 && fchmod(fd, 0640) == 0);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED);
	strcpy(memory, "shared");
}

static void check_zero(void)
{
	char text[8] = "";
	struct stat st;

	expect(fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), "seals are 0x%x",
	       (unsigned)fcntl(fd, F_GET_SEALS));
	expect(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640, "mode is 0%o", st.st_mode);
	expect(pread(fd, text, 7, 0) == 7 && strcmp(text, "content") == 0, "content is '%s'", text);
	expect(strcmp(memory, "shared") == 0, "shared memory has '%s'", memory);
}

/* --------------------------------------------------------------- vm.memfd_noexec, Linux 6.3 */

static void set_up_noexec(void)
{
	int sysctl = open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC);

	if (sysctl < 0 || write(sysctl, "2", 1) != 1)
		victim_skip("vm.memfd_noexec: %s", strerror(errno));
	close(sysctl);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED);
	strcpy(memory, "shared");
	need((plain = memfd_create("plain", 0)) >= 0 && write(plain, "content", 7) == 7);
	need((fd = memfd_create("sealed", MFD_NOEXEC_SEAL)) >= 0 && write(fd, "content", 7) == 7);
	need(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
}

static void check_noexec(void)
{
	char text[8] = "";

	expect(fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_SEAL | F_SEAL_EXEC), "seals are 0x%x",
	       (unsigned)fcntl(fd, F_GET_SEALS));
	expect(fcntl(plain, F_GET_SEALS) == F_SEAL_EXEC, "seals are 0x%x", (unsigned)fcntl(plain, F_GET_SEALS));
	expect(pread(plain, text, 7, 0) == 7 && strcmp(text, "content") == 0, "content is '%s'", text);
	expect(strcmp(memory, "shared") == 0, "shared memory has '%s'", memory);
}

const struct victim_case victim_cases[] = {
	{ "zero", set_up_zero, check_zero, .flags = CASE_MORE },
	{ "noexec", set_up_noexec, check_noexec },
	{ NULL },
};
