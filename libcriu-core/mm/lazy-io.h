/*
 * The calls of a pager: memory of another process through its userfaultfd, seen from the side that answers. A mapping may
 * change at any moment; the kernel then refuses to put anything into the process until the message about it has been read
 * (mmap_changing in fs/userfaultfd.c), so that an answer is never about memory that is not there any more.
 */
#ifndef CR_MM_LAZY_IO_H
#define CR_MM_LAZY_IO_H

#include "base/error.h"
#include "mm/mm.h"

#include <stdbool.h>
#include <stdint.h>

struct uffd_msg;

enum lazy_answer {
	LAZY_DONE,  /* all of it */
	LAZY_AGAIN, /* the mappings are changing: messages are to be read first */
	LAZY_OVER,  /* the address space has ended: exit, exec */
};

/** lazy_setup() - the features that a pager of processes that know nothing of it needs. Return: 0, negative errno */
int lazy_setup(int uffd, struct cr_error *err);

/** lazy_watch() - be asked for the pages of a range that are not there. Return: 0, negative errno */
int lazy_watch(int uffd, const struct mm_range *range);

/**
 * lazy_put() - put pages in place and wake who waits for them
 * A page that is there already stays as it is; one that no mapping has is left out.
 * @ret_done: bytes from @at on that are settled; written in every case
 * Return: enum lazy_answer; -ENOMEM memory is short; -EFAULT @bytes cannot be read; negative errno
 */
int lazy_put(int uffd, uint64_t at, const void *bytes, uint64_t len, uint64_t *ret_done);

/**
 * lazy_find_guard() - the first guard pages of a range: they count as missing, and would be lost to what is put there
 * @pagemap: /proc/PID/pagemap of the address space
 * Return: false: there are none, or the kernel does not tell (before 6.15)
 */
bool lazy_find_guard(int pagemap, uint64_t start, uint64_t end, struct mm_range *ret);

/** lazy_zero() - the page at @at is empty. Return: as lazy_put() */
int lazy_zero(int uffd, uint64_t at);

/** lazy_poison() - whoever touches the page at @at gets SIGBUS. Return: as lazy_put(); -EOPNOTSUPP before Linux 6.6 */
int lazy_poison(int uffd, uint64_t at);

/** lazy_wake() - let those who wait for pages of a range try again */
void lazy_wake(int uffd, uint64_t start, uint64_t len);

/** lazy_wake_all() - all who wait for any page */
void lazy_wake_all(int uffd);

/** lazy_is_over() - has the address space ended? false where the kernel cannot say (before 5.13) */
bool lazy_is_over(int uffd);

/** lazy_read() - messages that wait. Return: how many, 0 none; negative errno */
int lazy_read(int uffd, struct uffd_msg *ret, unsigned int max);

#endif
