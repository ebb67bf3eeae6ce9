/*
 * Runs a program to its end and prints seconds, peak resident memory in KiB and the wait status. A small launcher of
 * its own, since the kernel counts the memory of whoever calls exec as a peak of the new program (setmax_mm_hiwater_rss()
 * in fs/exec.c), and an interpreter would be the largest of them all.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct timespec a, b;
	struct rusage usage;
	pid_t pid;
	int status;

	if (argc < 2)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (posix_spawn(&pid, argv[1], NULL, NULL, argv + 1, environ) != 0)
		return 1;
	if (wait4(pid, &status, 0, &usage) != pid)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.6f %ld %d\n", (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, usage.ru_maxrss,
	       status);
	return 0;
}
