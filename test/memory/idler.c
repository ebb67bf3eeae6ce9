/*
 * A process with much memory that only waits, and at each SIGUSR1 changes what a dump has to know of a mapping without it showing
 * in /proc/PID/maps: for the tests of what is read before a process is stopped.
 *
 * idler DIR MIB: makes DIR/idler, with the address of that mapping as 8 bytes, when it is ready.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul

static char *flagged;

static void change(int signo)
{
	static unsigned int n;

	(void)signo;
	if (madvise(flagged, PAGE, n++ % 2 ? MADV_DODUMP : MADV_DONTDUMP) < 0)
		_exit(3);
}

int main(int argc, char **argv)
{
	size_t len = argc == 3 ? strtoul(argv[2], NULL, 10) << 20 : 0;
	struct sigaction act = { .sa_handler = change };
	char path[4096], *mem;
	uint64_t at;
	int fd;

	if (!len)
		return 2;
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* neighbours that it cannot join with */
	flagged = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || flagged == MAP_FAILED)
		return 1;
	flagged += PAGE;
	if (mprotect(flagged, PAGE, PROT_READ | PROT_WRITE) < 0)
		return 1;
	memset(flagged, 1, PAGE);
	memset(mem, 7, len);
	sigaction(SIGUSR1, &act, NULL);
	at = (uintptr_t)flagged;
	snprintf(path, sizeof(path), "%s/idler", argv[1]);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, &at, sizeof(at)) != sizeof(at))
		return 1;
	close(fd);
	for (;;)
		pause();
}
