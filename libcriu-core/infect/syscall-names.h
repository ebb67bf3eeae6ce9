/* Names of system calls for error messages. */
#ifndef CR_INFECT_SYSCALL_NAMES_H
#define CR_INFECT_SYSCALL_NAMES_H

/** syscall_name() - NULL if it is none that programs use; @ret_args: number of its arguments, unchanged then */
const char *syscall_name(unsigned int nr, unsigned int *ret_args);

#endif
