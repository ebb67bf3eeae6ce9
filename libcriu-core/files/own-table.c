/* Our own descriptor table; see own-table.h. */
#include "files/own-table.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

void own_table_grow(uint64_t nr)
{
	struct rlimit rl;
	int low = open("/", O_PATH | O_CLOEXEC), high;

	if (low < 0)
		return;
	nr += (uint64_t)low;
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && nr >= rl.rlim_cur)
		nr = rl.rlim_cur ? rl.rlim_cur - 1 : 0;
	/* a duplicate at a high number makes the kernel grow the table to it, and it never shrinks */
	high = nr < INT_MAX ? fcntl(low, F_DUPFD_CLOEXEC, (int)nr) : -1;
	if (high >= 0)
		close(high);
	close(low);
}
