/*
 * Configuration files: of a request (with the table of policy in front of them, as for a client who is not root) and of the
 * command line. One byte says which, the rest is the file. What a client may not say must not be there afterwards.
 */
#include "criu-srv/policy.h"

#include "base/error.h"
#include "options/config.h"
#include "options/request.h"
#include "options/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* `close N` acts at once; the descriptors of the fuzzer are not its to close. */
int __wrap_option_set_close(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err);
int __wrap_option_set_close(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err)
{
	int64_t fd;

	(void)s;
	(void)row;
	return number_parse(value ? value : "", 3, INT32_MAX, &fd) < 0 ? cr_refuse(err, -EINVAL, "close") : 0;
}

static void check_rights(const struct settings *s)
{
	for (size_t i = 0; i < option_table_len; i++) {
		const struct option_row *row = &option_table[i];
		enum policy_class class = policy_of(row);

		if (s->origin[i] == ORIGIN_REQUEST_CONFIG && row->at != OPTION_NOWHERE && option_is_set(s, row) &&
		    (class == POLICY_NONE || class == POLICY_ROOT || class == POLICY_SPAWNED))
			abort();
	}
	if (s->scripts.nr || s->rpc.exec_cmd.nr || s->libdir)
		abort();
}

/* Through a real file, as a request names one. */
static int by_request(struct settings *s, const uint8_t *data, size_t size, struct cr_error *err)
{
	char path[64];
	rpc_criu_opts opts = { .images_dir_fd = -1, .config_file = path };
	int fd = memfd_create("config", MFD_CLOEXEC), r;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = settings_merge_request(s, &opts, err);
	close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_gate gate;
	struct cr_error err = { 0 };
	struct settings s;
	bool request, trusted;
	int r;

	if (size < 1)
		return 0;
	request = data[0] & 1;
	trusted = data[0] & 2;
	settings_init(&s);
	policy_gate_init(&gate, true, trusted);
	if (request)
		s.gate = &gate.gate;
	r = request ? by_request(&s, data + 1, size - 1, &err)
		    : config_apply(&s, (const char *)data + 1, size - 1, "file", ORIGIN_CONFIG, &err);
	if (r > 0 || (r < 0) != (err.code < 0) || (r < 0 && !err.text[0]))
		abort();
	if (request && !trusted)
		check_rights(&s);
	if (r == 0)
		settings_check(&s, COMMAND_DUMP << (data[0] >> 2) % 10, &err);
	settings_done(&s);
	return 0;
}
