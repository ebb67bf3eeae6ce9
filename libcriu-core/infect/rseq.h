/* Restartable sequences of a stopped thread, rseq(2): registration, and the critical section it was stopped in. */
#ifndef CR_INFECT_RSEQ_H
#define CR_INFECT_RSEQ_H

#include <stdint.h>
#include <sys/types.h>

struct cr_error;
struct tracee_rseq;

/** rseq_read() - @ip: where the thread was stopped, 0: in no section for sure. No registration and a kernel without the request give zeroes. */
int rseq_read(pid_t tid, uint64_t ip, struct tracee_rseq *ret, struct cr_error *err);

/** rseq_write_cs() - put the pointer to the critical section back into the area. Return: 0, negative errno. */
int rseq_write_cs(pid_t tid, const struct tracee_rseq *r);

#endif
