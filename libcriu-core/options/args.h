/*
 * Command lines: options and words in any order, long options by a unique beginning, "--" ends the options.
 * Not getopt_long(): that keeps its state in globals and prints its complaints itself.
 */
#ifndef CR_OPTIONS_ARGS_H
#define CR_OPTIONS_ARGS_H

#include "options/settings.h"

struct cr_error;

#define ARGS_WORDS_MAX 3

struct args {
	const char *words[ARGS_WORDS_MAX]; /* the command and what belongs to it */
	int nr_words;
	char **rest; /* behind "--" */
	int nr_rest;
	const char *config_file; /* of --config; NULL: none was named */
	bool default_config;     /* no --no-default-config */
};

/**
 * args_read() - configuration files, then the command line, into @s
 * @argv: with the program's name first; its texts must outlive @s
 * Return: 0; -EINVAL or -ENOMEM with @err filled. With want_help or want_version in @s nothing else counts.
 */
int args_read(int argc, char **argv, struct settings *s, struct args *ret, struct cr_error *err);

/** command_find() - 0: no such command */
enum command command_find(const char *word);
/** command_name() - the word for one bit */
const char *command_name(enum command c);

#endif
