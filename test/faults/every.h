/* What subjects of this folder share: a step that is made over and over until the runner says "go". */
#ifndef EVERY_H
#define EVERY_H

#include "victim.h"

#include <sys/wait.h>

static inline void every(void (*step)(long round))
{
	victim_held();
	for (long round = 0; !victim_gone_on(); round++)
		step(round);
}

static inline void reap_all(void)
{
	int status;
	pid_t pid;

	while ((pid = wait(&status)) > 0)
		expect(status == 0, "child %d: status %x", (int)pid, status);
}

#endif
