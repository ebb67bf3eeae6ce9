/* Configuration files; see config.h. */
#include "options/config.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/io.h"
#include "base/own.h"
#include "base/own-proc.h"
#include "options/table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG_MAX ((size_t)1 << 20)

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int bad_line(struct cr_error *err, const char *why)
{
	return cr_refuse(err, -EINVAL, "Unsupported configuration file format: %s", why);
}

static int value_add(struct config_line *ret, size_t *used, char c, struct cr_error *err)
{
	if (*used + 1 >= sizeof(ret->value))
		return bad_line(err, "value longer than 4096 bytes");
	ret->value[(*used)++] = c;
	return 0;
}

/* A text in double quotes, in which \" is a quote. A '#' is a comment even here, so it leaves the quote open. */
static int parse_quoted(const char **p, const char *end, struct config_line *ret, struct cr_error *err)
{
	size_t used = 0;

	for ((*p)++; *p < end && **p != '"' && **p != '#'; (*p)++) {
		int r;

		if (**p == '\\' && *p + 1 < end && (*p)[1] == '"')
			(*p)++;
		r = value_add(ret, &used, **p, err);
		if (r < 0)
			return r;
	}
	if (*p == end || **p != '"')
		return bad_line(err, "quote that is not closed");
	(*p)++;
	ret->value[used] = '\0';
	return 0;
}

static int parse_word(const char **p, const char *end, struct config_line *ret, struct cr_error *err)
{
	size_t used = 0;

	for (; *p < end && !is_blank(**p) && **p != '#'; (*p)++) {
		int r;

		if (**p == '"')
			return bad_line(err, "quote within a value");
		r = value_add(ret, &used, **p, err);
		if (r < 0)
			return r;
	}
	ret->value[used] = '\0';
	return 0;
}

int config_line_parse(const char *text, size_t len, struct config_line *ret, struct cr_error *err)
{
	const char *p = text, *end = text + len;
	int r;

	ret->name = NULL;
	ret->name_len = 0;
	ret->attached = ret->has_value = false;
	ret->value[0] = '\0';
	if (memchr(text, '\0', len))
		return bad_line(err, "NUL byte");
	while (p < end && is_blank(*p))
		p++;
	if (p == end || *p == '#')
		return 0;
	ret->name = p;
	while (p < end && !is_blank(*p) && *p != '=' && *p != '#')
		p++;
	ret->name_len = (size_t)(p - ret->name);
	ret->attached = p < end && *p == '=';
	p += ret->attached;
	while (!ret->attached && p < end && is_blank(*p))
		p++;
	if (ret->attached || (p < end && *p != '#')) {
		ret->has_value = true;
		r = p < end && *p == '"' ? parse_quoted(&p, end, ret, err) : parse_word(&p, end, ret, err);
		if (r < 0)
			return r;
	}
	while (p < end && is_blank(*p))
		p++;
	return p < end && *p != '#' ? bad_line(err, "more than one value") : 0;
}

static int apply_line(struct settings *s, const struct config_line *line, enum origin from, struct cr_error *err)
{
	const struct option_row *row;
	const char *value = line->has_value ? line->value : NULL;
	bool negated;
	int r = option_match(line->name, line->name_len, &row, &negated, err);

	if (r < 0)
		return -EINVAL;
	/* as on the command line, an optional value is taken only when it is attached */
	if ((row->flags & OPTION_OPTIONAL) && !line->attached)
		value = NULL;
	return option_set(s, row, negated, value, from, err);
}

int config_apply(struct settings *s, const char *text, size_t len, const char *name, enum origin from,
		 struct cr_error *err)
{
	const char *end = text + len;
	unsigned int nr = 0;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;
		struct config_line line;
		int r = config_line_parse(text, (size_t)(stop - text), &line, err);

		nr++;
		if (r == 0 && line.name)
			r = apply_line(s, &line, from, err);
		if (r < 0)
			return cr_within(err, r, "%s line %u", name, nr);
		text = newline ? newline + 1 : end;
	}
	return 0;
}

/* A name that a client gave may be a pipe that nobody writes to: not waited for, and only regular files are read. */
int config_read(struct settings *s, int dirfd, const char *path, enum origin from, struct cr_error *err)
{
	autofd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	autobuf struct buf text = BUF_INIT(CONFIG_MAX);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (proc_is_own(fd))
		return cr_refuse(err, -EPERM, "configuration file %s: it belongs to the reader itself", path);
	r = fd_read_buf(fd, &text);
	if (r < 0)
		return cr_fail(err, r, "configuration file %s", path);
	return text.len ? config_apply(s, text.data, text.len, path, from, err) : 0;
}

int config_read_defaults(struct settings *s, const char *file, bool defaults, struct cr_error *err)
{
	/* of a set-user-id program the environment belongs to a stranger */
	const char *home = secure_getenv("HOME"), *more = secure_getenv("CRIU_CONFIG_FILE");
	char path[4096];
	int r = 0;

	if (defaults && !file) {
		r = config_read(s, AT_FDCWD, "/etc/criu/default.conf", ORIGIN_CONFIG, err);
		if (r == 0 && home && snprintf(path, sizeof(path), "%s/.criu/default.conf", home) < (int)sizeof(path))
			r = config_read(s, AT_FDCWD, path, ORIGIN_CONFIG, err);
	}
	if (r == 0 && more)
		r = config_read(s, AT_FDCWD, more, ORIGIN_CONFIG, err);
	if (r == 0 && file)
		r = config_read(s, AT_FDCWD, file, ORIGIN_CONFIG, err);
	return r;
}
