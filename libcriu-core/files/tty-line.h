/*
 * What is in the queues of a pseudo terminal: bytes that the slave has written and nobody has read at the master, and
 * bytes that were written to the master and nobody has read at the slave. The kernel lets nobody look at them without
 * taking them, so they are taken and put back, by a process that finishes even if this one is killed.
 */
#ifndef CR_FILES_TTY_LINE_H
#define CR_FILES_TTY_LINE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TTY_QUEUE_MAX ((size_t)64 << 10) /* tty_buffer.c holds 8 KiB for a pty, n_tty.c 4 KiB more */
#define TTY_LINES_MAX ((size_t)32 << 10) /* each has a byte at least, or was ended by an end-of-file character */

/* How output of a slave is held back; tty_info_ext.output_stopped */
enum tty_stop { TTY_RUNS = 0, TTY_STOPPED_BY_CHARACTER = 1, TTY_STOPPED_BY_CALL = 2 };

struct tty_queues {
	size_t nr_output, nr_input, nr_lines;
	bool by_lines; /* input: of a slave in canonical mode; lines[] tells the lengths of those that are complete */
	enum tty_stop stop;
	uint32_t lines[TTY_LINES_MAX];
	unsigned char output[TTY_QUEUE_MAX]; /* as the master will read it */
	unsigned char input[TTY_QUEUE_MAX];  /* as the slave will read it */
};

/**
 * tty_queues_peek() - what is in both queues; they hold the same afterwards
 * @master: a description of the master, which waits for nobody (O_NONBLOCK) while a full queue is filled again
 * @slave:  a description of our own, open for reading and writing with O_NONBLOCK
 * @ret:    large; from the heap
 * Packet mode must have no news for the master (POLLPRI), since there is no way to put them back.
 * Return: 0; -ENOBUFS more than there can be; -ETIMEDOUT, -EIO it could not be put back.
 */
int tty_queues_peek(int master, int slave, struct tty_queues *ret, struct cr_error *err);

/** tty_queues_fill() - the same content into a terminal with empty queues, whose termios(3) are set already. As above. */
int tty_queues_fill(int master, int slave, const struct tty_queues *q, struct cr_error *err);

#endif
