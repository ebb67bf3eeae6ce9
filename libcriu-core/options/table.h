/*
 * The one table of options: a row gives the command line's long and short name, the name in configuration files, the
 * RPC field, the place in struct settings, kind, range, the commands it is for, and the help text.
 */
#ifndef CR_OPTIONS_TABLE_H
#define CR_OPTIONS_TABLE_H

#include "options/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cr_error;

enum option_kind {
	OPTION_FLAG,    /* bool */
	OPTION_INT,     /* int32_t within min...max */
	OPTION_UINT,    /* uint32_t within min...max */
	OPTION_WORD,    /* int32_t out of words[] */
	OPTION_TEXT,    /* char *, not empty */
	OPTION_TEXTS,   /* struct proto_str_vec */
	OPTION_ITEMS,   /* vector of structs; set() knows the grammar */
	OPTION_MESSAGE, /* pointer to a message; on the wire only */
	OPTION_SPECIAL, /* no place of its own: set() does it, or whoever scans the command line did */
};

enum option_flag {
	OPTION_NEGATABLE = 1 << 0,    /* has a --no-NAME form */
	OPTION_OPTIONAL = 1 << 1,     /* value may be left out, and is attached if given */
	OPTION_ONLY_TRUE = 1 << 2,    /* a request's false does not switch off what a file switched on */
	OPTION_AFTER_CONFIG = 1 << 3, /* a request's value beats the configuration file that it names */
	OPTION_HIDDEN = 1 << 4,       /* left out of --help */
	OPTION_REPLACED = 1 << 5,     /* on the wire only: turned into other rows by the merge, never checked itself */
	OPTION_DORMANT = 1 << 6,      /* about namespaces that a dump or restore refuses as yet: see idle.h */
	OPTION_TLS = 1 << 7,          /* a part of --tls */
};

enum option_group {
	OPTION_GROUP_GENERAL,
	OPTION_GROUP_DUMP_RESTORE,
	OPTION_GROUP_RESOURCES,
	OPTION_GROUP_NAMESPACES,
	OPTION_GROUP_MEMORY,
	OPTION_GROUP_CHECK,
	OPTION_GROUP_DAEMON,
	OPTION_GROUPS
};

#define OPTION_NOWHERE UINT16_MAX

struct option_word {
	const char *text; /* NULL ends the list */
	int32_t value;
};

struct option_row {
	const char *name;  /* long name, also in configuration files; NULL: exists on the wire only */
	const char *rpc;   /* field of criu_opts; NULL: not on the wire */
	const char *value; /* what --help calls the value; NULL: takes none */
	const char *help;
	char letter;   /* short name, 0: none */
	uint8_t kind;  /* enum option_kind */
	uint8_t flags; /* enum option_flag */
	uint8_t group;
	uint16_t valid;   /* enum command bits: has a meaning for these */
	uint16_t later;   /* of these, commands that refuse it: not supported yet */
	uint16_t has, at; /* offsets in struct settings; has is OPTION_NOWHERE where NULL or emptiness tells,
				  at where the row has no place of its own */
	uint16_t size;    /* OPTION_ITEMS: bytes of an element */
	int64_t min, max;
	const struct option_word *words;
	/* parse @value (NULL: none was given) into @s; -EINVAL with @err filled. NULL: the kind decides. */
	int (*set)(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err);
	/* why this value cannot be honoured for @c: the end of a sentence that begins with the option; NULL: it can */
	const char *(*refuse)(const struct settings *s, enum command c);
};

extern const struct option_row option_table[];
extern const size_t option_table_len;
extern const char *const option_group_names[OPTION_GROUPS];

/** option_find() - by long name; NULL: no such row */
const struct option_row *option_find(const char *name);
/** option_find_letter() - by short name; NULL: no such row */
const struct option_row *option_find_letter(char letter);

/**
 * option_match() - by long name as typed: exact, a unique beginning, or the "no-" form of a negatable row
 * @ret_negated: whether the "no-" form was meant
 * Return: 0; -ENOENT no option begins like that; -ENOTUNIQ more than one does. @err names it.
 */
int option_match(const char *typed, size_t len, const struct option_row **ret_row, bool *ret_negated,
		 struct cr_error *err);

/**
 * option_set() - take over one setting
 * @value: NULL if none was given
 * Return: 0; -EINVAL not a value for it; -ENOMEM. @err names the option.
 */
int option_set(struct settings *s, const struct option_row *row, bool negated, const char *value, enum origin from,
	       struct cr_error *err);

/** option_copy() - take the value of a row over from other settings, which must outlive @s: texts and lists are shared */
void option_copy(struct settings *s, const struct settings *from, const struct option_row *row);

/** option_is_set() - has the row a value other than "off", wherever it came from? */
bool option_is_set(const struct settings *s, const struct option_row *row);

/* Grammar of single options; see grammar.c. All return 0, -EINVAL with @err filled, or -ENOMEM. */
typedef int option_set_fn(struct settings *s, const struct option_row *row, const char *value, struct cr_error *err);
option_set_fn option_set_verbosity, option_set_ghost_limit, option_set_cpu_cap, option_set_unix_sk, option_set_external,
	option_set_inherit_fd, option_set_ext_mount, option_set_veth, option_set_join_ns, option_set_empty_ns,
	option_set_cgroups, option_set_cgroup_root, option_set_close, option_set_removed, option_set_enable_fs,
	option_set_legacy_address;

/** number_parse() - a whole decimal number, sign allowed. Return: 0, -EINVAL, -ERANGE. */
int number_parse(const char *text, int64_t min, int64_t max, int64_t *ret);

#endif
