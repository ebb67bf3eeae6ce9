/*
 * The journal of systemd, without its library. Entries with fields go to /run/systemd/journal/socket in the native
 * protocol, one datagram each: lines NAME=value. Plain text goes through a stream that the journal gives to a program at
 * /run/systemd/journal/stdout, or already is standard error: then a line may begin with its priority, "<6>".
 * systemd documents both: "Native Journal Protocol" (systemd.io), sd-daemon(3), JOURNAL_STREAM in systemd.exec(5).
 */
#ifndef CRIU_SRV_JOURNAL_H
#define CRIU_SRV_JOURNAL_H

#include "base/buf.h"

#include <stdbool.h>

struct cr_error;

/** journal_is_stream() - does JOURNAL_STREAM, "device:inode", name @fd? @text: its value, may be NULL */
bool journal_is_stream(const char *text, int fd);

/** journal_open() - a datagram socket to the journal. Return: descriptor; negative errno: there is none here. */
int journal_open(void);

/** journal_open_stream() - a stream of lines with priorities in front. Return: descriptor; negative errno. */
int journal_open_stream(void);

/** journal_field() - append NAME=value; control bytes of the value become blanks. Return: 0; negative errno of the buffer. */
int journal_field(struct buf *b, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** journal_send() - one entry. Return: 0; negative errno. It never waits: a journal that does not read loses the entry. */
int journal_send(int fd, const struct buf *b);

#endif
