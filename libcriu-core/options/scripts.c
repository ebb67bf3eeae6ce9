/* Action scripts; see scripts.h. */
#include "options/scripts.h"

#include "base/spawn.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN_VARIABLES 3

struct own_env {
	char action[96], images[64], init[64];
};

static bool is_own(const char *entry)
{
	return strncmp(entry, "CRTOOLS_SCRIPT_ACTION=", 22) == 0 || strncmp(entry, "CRTOOLS_IMAGE_DIR=", 18) == 0 ||
	       strncmp(entry, "CRTOOLS_INIT_PID=", 17) == 0;
}

/* The environment with our variables in it; pointers into @own and environ. NULL: no memory. */
static char **env_with(const struct scripts *s, const char *action, struct own_env *own)
{
	size_t nr = 0, used = 0;
	char **env;

	while (environ && environ[nr])
		nr++;
	env = calloc(nr + OWN_VARIABLES + 1, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < nr; i++)
		if (!is_own(environ[i]))
			env[used++] = environ[i];
	snprintf(own->action, sizeof(own->action), "CRTOOLS_SCRIPT_ACTION=%s", action);
	snprintf(own->images, sizeof(own->images), "CRTOOLS_IMAGE_DIR=/proc/%d/fd/%d", (int)getpid(), s->images_dirfd);
	env[used++] = own->action;
	env[used++] = own->images;
	if (s->init_pid > 0) {
		snprintf(own->init, sizeof(own->init), "CRTOOLS_INIT_PID=%d", (int)s->init_pid);
		env[used++] = own->init;
	}
	return env;
}

static int run_one(struct scripts *s, const char *path, char **env, const char *action, const struct cr_log *log)
{
	int status = 0, r;
	pid_t pid = -1;

	r = program_start(path, false, NULL, (char *[]){ (char *)path, NULL }, env, &pid);
	if (r < 0) {
		log_error(log, "action script %s at %s: %s", path, action, strerrordesc_np(-r));
		return r;
	}
	do {
		r = waitpid(pid, &status, 0) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0 || status) {
		log_error(log, "action script %s at %s: wait status 0x%x", path, action, r < 0 ? 0 : status);
		s->status |= r < 0 ? 0 : status;
		return -ECANCELED;
	}
	return 0;
}

int scripts_run(struct scripts *s, const char *action, pid_t pid, const struct cr_log *log)
{
	char **env;
	struct own_env own;
	int failed = 0;

	if (pid > 0)
		s->init_pid = pid;
	s->status = 0;
	if (!s->list->nr)
		return 0;
	env = env_with(s, action, &own);
	if (!env)
		return -ENOMEM;
	for (size_t i = s->list->nr; i-- > 0;)
		if (run_one(s, s->list->items[i], env, action, log) < 0)
			failed = -ECANCELED;
	free(env);
	return failed;
}
