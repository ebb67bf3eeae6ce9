/* criu-srv: the service alone */
#include "srv.h"

#include "base/error.h"
#include "options/privilege.h"
#include "options/process.h"
#include "options/request.h"
#include "options/version.h"

#include <errno.h>
#include <stdio.h>

static void usage(FILE *out)
{
	fputs("Usage:\n"
	      "  criu-srv service [-d] [--address PATH] [--legacy-address[=PATH]] [--pidfile FILE] [-o FILE] [-v[N]] "
	      "[-W DIR]\n"
	      "                   [--status-fd FD] [--[no-]journal] [--user-mode] [--config FILE]\n"
	      "                   [--max-message BYTES] [--max-workers N] [--max-user-workers N] [--max-clients N]\n"
	      "                   [--max-user-clients N] [--request-timeout S] [--idle-timeout S] [--notify-timeout "
	      "S]\n"
	      "                   [--stop-timeout S]\n"
	      "  criu-srv swrk FD\n"
	      "  criu-srv --help | --version\n",
	      out);
}

int main(int argc, char **argv)
{
	autosettings struct settings s;
	struct cr_error err = { 0 };
	enum command command;
	struct args args;
	int r;

	settings_init(&s);
	if (process_begin() < 0)
		return 1;
	r = privilege_begin(argc, argv, &err);
	if (r == 0)
		r = args_read(argc, argv, &s, &args, &err);
	if (s.want_version)
		return printf("Version: %s\nImplementation: criu-core\n", CR_COMPAT_VERSION) > 0 ? 0 : 1;
	if (s.want_help) {
		usage(stdout);
		return 0;
	}
	command = r == 0 && args.nr_words ? command_find(args.words[0]) : 0;
	if (r == 0 && (command & (COMMAND_SERVICE | COMMAND_SWRK)))
		r = settings_check(&s, command, &err);
	else if (r == 0)
		r = cr_refuse(&err, -EINVAL, "service or swrk is needed");
	if (r == 0)
		r = privilege_wake(0, &err);
	if (r < 0) {
		fprintf(stderr, "criu-srv: %s\n", err.text);
		usage(stdout);
		return 1;
	}
	return srv_run(&s, &args);
}
