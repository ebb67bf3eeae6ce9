/*
 * What somebody who breaks in has dumped and then forges: a process with an open file, one that sends signals, and a
 * socket at which it listens, under the abstract name "criu-prey" and its pid.
 *
 *	prey FILE    says "ready" by closing standard output, then waits
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fds[2], sock;

	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "criu-prey%d", (int)getpid());
	if (argc != 2 || open(argv[1], O_RDONLY) != 3 || pipe(fds) < 0)
		return 1;
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fcntl(fds[0], F_SETOWN, getpid()) < 0 || fcntl(fds[0], F_SETSIG, 12) < 0)
		return 2;
	if (sock < 0 || bind(sock, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(sock, 5) < 0)
		return 4;
	if (dup2(0, 1) < 0)
		return 3;
	for (;;)
		pause();
}
