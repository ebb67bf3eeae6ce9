/* Memory of another process. Addresses are the target's; all or nothing. */
#ifndef CR_INFECT_REMOTE_MEM_H
#define CR_INFECT_REMOTE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** remote_read(), remote_write() - through the target's own permissions. Return: 0; -EFAULT not (all) there; negative errno. */
int remote_read(pid_t pid, uint64_t at, void *ret, size_t len);
int remote_write(pid_t pid, uint64_t at, const void *data, size_t len);

/** remote_force_write() - through /proc/PID/mem, which writes to read-only and executable memory, too */
int remote_force_write(pid_t pid, uint64_t at, const void *data, size_t len);

#endif
