/*
 * A program that asks to be dumped itself and tells what it reads on the connection afterwards. Messages are written by
 * hand, as bytes, in the words of either generation.
 *
 * self-dump swrk CRIU IMAGES OUT | self-dump service SOCKET IMAGES OUT | self-dump legacy SOCKET IMAGES OUT
 *
 * OUT gets one line for each packet, in hexadecimal, then "end" when the connection is at its end; it is opened for each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *path, const char *text)
{
	FILE *f = fopen(path, "a");

	if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f) != 0)
		_exit(3);
}

/* The worker must not be below the program that it dumps. */
static int spawn_worker(const char *criu)
{
	int fds[2];
	char number[16];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		_exit(3);
	snprintf(number, sizeof(number), "%d", fds[1]);
	pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() == 0) {
			close(fds[0]);
			execl(criu, "criu", "swrk", number, (char *)NULL);
			_exit(3);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	close(fds[1]);
	return fds[0];
}

static int connect_to(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	if (strlen(path) >= sizeof(sa.sun_path))
		_exit(3);
	memcpy(sa.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		_exit(3);
	return fd;
}

/* Field numbers are below 16 and values below 128, so each is a byte. */
static size_t request(int legacy, int dir, unsigned char *b)
{
	/* type DUMP, then the message in field 2: images_dir_fd, log_level 4 */
	const unsigned char first[] = { 0x08, 1, 0x12, 4, 0x40, (unsigned char)dir, 0x48, 4 };
	const unsigned char today[] = { 0x08, 1, 0x12, 4, 0x08, (unsigned char)dir, 0x48, 4 };

	memcpy(b, legacy ? first : today, sizeof(first));
	return sizeof(first);
}

int main(int argc, char **argv)
{
	unsigned char packet[2048];
	char line[2 * sizeof(packet) + 1];
	int sock, dir;
	ssize_t len;

	if (argc != 5)
		return 2;
	dir = open(argv[3], O_RDONLY | O_DIRECTORY);
	if (dir < 0 || dir > 127)
		return 2;
	sock = strcmp(argv[1], "swrk") == 0 ? spawn_worker(argv[2]) : connect_to(argv[2]);
	len = (ssize_t)request(strcmp(argv[1], "legacy") == 0, dir, packet);
	if (send(sock, packet, (size_t)len, 0) != len)
		return 2;
	while ((len = recv(sock, packet, sizeof(packet), 0)) > 0) {
		for (ssize_t i = 0; i < len; i++)
			snprintf(line + 2 * i, 3, "%02x", packet[i]);
		tell(argv[4], line);
	}
	tell(argv[4], len == 0 ? "end" : "error");
	for (;;)
		pause();
}
