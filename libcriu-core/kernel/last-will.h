/*
 * What is to be done if this process is killed before it is through with something that the kernel offers for one object at a time
 * only, and that must not be done by half.
 */
#ifndef CR_KERNEL_LAST_WILL_H
#define CR_KERNEL_LAST_WILL_H

struct last_will;

/**
 * last_will_make() - from now on @fn is called if the calling thread ends, be it by SIGKILL, before last_will_revoke()
 * @fn: runs in a process of its own that shares our memory and descriptors; must not allocate, since whoever held a lock of the
 *      allocator is dead by then
 * Return: to be revoked by the same thread; NULL where no process can be had: nobody will do it then.
 */
struct last_will *last_will_make(void (*fn)(void *arg), void *arg);

/** last_will_revoke() - @fn will not be called. @will may be NULL. */
void last_will_revoke(struct last_will *will);

#endif
