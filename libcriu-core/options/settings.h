/*
 * Everything that was asked for, from wherever it came: built-in defaults, configuration files, a command line, a
 * request. The part that exists on the wire is kept as the decoded message, so that the engine reads one struct.
 */
#ifndef CR_OPTIONS_SETTINGS_H
#define CR_OPTIONS_SETTINGS_H

#include "base/pool.h"
#include "proto/rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_error;

/* As bits, since an option is valid for a set of commands. */
enum command {
	COMMAND_DUMP = 1 << 0,
	COMMAND_PRE_DUMP = 1 << 1,
	COMMAND_RESTORE = 1 << 2,
	COMMAND_LAZY_PAGES = 1 << 3,
	COMMAND_CHECK = 1 << 4,
	COMMAND_PAGE_SERVER = 1 << 5,
	COMMAND_SERVICE = 1 << 6,
	COMMAND_CPUINFO = 1 << 7,
	COMMAND_DEDUP = 1 << 8,
	COMMAND_SWRK = 1 << 9,
	COMMAND_EXEC = 1 << 10,
	COMMAND_SHOW = 1 << 11,
	COMMAND_ALL = (1 << 12) - 1,
};

/* Where a value came from; later ones win. */
enum origin {
	ORIGIN_DEFAULT = 0,
	ORIGIN_CONFIG, /* default configuration files, CRIU_CONFIG_FILE, --config */
	ORIGIN_COMMAND_LINE,
	ORIGIN_REQUEST,
	ORIGIN_REQUEST_CONFIG /* the file that a request names */
};

#define SETTINGS_ROWS_MAX 160

/* cpu_cap bits, as on the wire */
enum {
	CPU_CAP_FPU = 1,
	CPU_CAP_CPU = 2,
	CPU_CAP_INS = 4,
	CPU_CAP_IMAGE = 8,
	CPU_CAP_DEFAULT = CPU_CAP_FPU | CPU_CAP_INS,
	CPU_CAP_EVERY = CPU_CAP_FPU | CPU_CAP_CPU | CPU_CAP_INS,
};

/* An optional number or switch that has no field on the wire. */
#define SETTING(type, name) \
	bool has_##name;    \
	type name

struct option_row;
struct settings;

/*
 * Who may set what by a request and by the file that it names. Asked before a value is taken over, since some options act
 * as soon as they are set: once for the option, and for each of its texts, of which a list may have a hundred thousand.
 * @off: false, zero, an empty text, or the "no-" form. Return: 0; negative errno with @err filled: the request is refused.
 */
struct option_gate {
	int (*allow)(const struct option_gate *gate, const struct option_row *row, bool off, struct cr_error *err);
	int (*allow_text)(const struct option_gate *gate, const struct option_row *row, const char *text,
			  struct cr_error *err);
};

struct settings {
	rpc_criu_opts rpc;              /* effective options; log_level is always present */
	const struct option_gate *gate; /* asked for what comes from a request; NULL: everything may be set; borrowed */

	SETTING(bool, detached); /* restore-detached and daemon are one variable */
	SETTING(bool, exec);     /* --exec-cmd: the words behind -- are a command */
	SETTING(bool, log_pid);
	SETTING(bool, ghost_fiemap);
	SETTING(bool, allow_uprobes);
	SETTING(bool, page_server);
	SETTING(bool, stream);
	SETTING(bool, checksums);
	SETTING(bool, extra);
	SETTING(bool, experimental);
	SETTING(bool, all);
	SETTING(bool, deprecated);
	SETTING(bool, json);
	SETTING(int32_t, file_validation);
	SETTING(int32_t, inject_stage);
	SETTING(int32_t, port);
	SETTING(int32_t, ps_socket);
	SETTING(int32_t, status_fd); /* of this process; the one on the wire is of the client */
	SETTING(bool, journal);
	/* limits of the service, apart from whether they are there: nine times two would be half padding */
	bool has_max_message, has_max_workers, has_max_user_workers, has_max_clients, has_max_user_clients;
	bool has_request_timeout, has_idle_timeout, has_notify_timeout, has_stop_timeout;
	int32_t max_message; /* bytes */
	int32_t max_workers, max_user_workers;
	int32_t max_clients, max_user_clients;                               /* connections that have not asked yet */
	int32_t request_timeout, idle_timeout, notify_timeout, stop_timeout; /* seconds */
	char *work_dir, *pidfile, *libdir, *address, *legacy_address, *feature;
	struct proto_str_vec scripts; /* --action-script, in the order given */
	bool want_help, want_version, want_man;

	uint8_t origin[SETTINGS_ROWS_MAX]; /* enum origin of each row of the table */
	struct pool arena;                 /* what the pointers above point to, but for those borrowed from a request */
};

/** settings_init() - built-in defaults. @s is to be given to settings_done(). */
void settings_init(struct settings *s);

/**
 * settings_init_from() - a copy that can be changed on its own
 * @base: must outlive the copy: texts are shared with it
 * Return: 0 or -ENOMEM; @s is to be given to settings_done() either way.
 */
int settings_init_from(struct settings *s, const struct settings *base);

void settings_done(struct settings *s);

static inline void settings_done_slot(struct settings *s)
{
	settings_done(s);
}

#define autosettings __attribute__((cleanup(settings_done_slot)))

#endif
