/*
 * What somebody who breaks in has dumped and then forges: a process with an open file, one that sends signals, and a
 * directory of its own.
 *
 *	prey FILE    says "ready" by closing standard output, then waits
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fds[2];

	if (argc != 2 || open(argv[1], O_RDONLY) != 3 || pipe(fds) < 0)
		return 1;
	if (fcntl(fds[0], F_SETOWN, getpid()) < 0 || fcntl(fds[0], F_SETSIG, 12) < 0)
		return 2;
	if (dup2(0, 1) < 0)
		return 3;
	for (;;)
		pause();
}
