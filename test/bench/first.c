/*
 * Subject of the row lazy-first-instruction: first MIB, in the directory given as working directory. Memory of that size with
 * random bytes in it, and a page of the shared file "board": as soon as its first word is set, it writes the time into the
 * second one, and sleeps.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t len = argc == 2 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	int fd = open("board", O_RDWR | O_CLOEXEC);
	volatile uint64_t *board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t *p = mmap(NULL, len ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		 x = 88172645463325252u;
	struct timespec now;

	if (!len || fd < 0 || board == MAP_FAILED || p == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
	close(open("ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	while (!board[0])
		;
	clock_gettime(CLOCK_MONOTONIC, &now);
	board[1] = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	/* one word of each page, so that it is seen that all of it comes */
	for (size_t i = 0; i < len / 8; i += 512)
		x ^= p[i];
	board[2] = x | 1;
	for (;;)
		pause();
}
