/*
 * Which calls bring descriptors to their numbers. The kernel always hands out the lowest free number, so every number is
 * known in advance, and a plan is data that a test can run on a model of a table.
 */
#ifndef CR_FILES_PLACEMENT_H
#define CR_FILES_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct place_want {
	int fd;        /* final number; ascending over the array */
	uint32_t file; /* same number: same open file description */
};

enum place_kind {
	PLACE_TAKE,  /* fetch @file from the coordinator: it arrives at @fd, close-on-exec */
	PLACE_DUP,   /* duplicate @from to exactly @fd, which is free */
	PLACE_PLUG,  /* occupy @fd, the lowest free number, with a duplicate of the service descriptor */
	PLACE_CLOSE, /* close @fd to @last */
};

struct place_step {
	enum place_kind kind;
	int fd, from, last;
	size_t want; /* TAKE, DUP: which one this serves */
	bool final;  /* TAKE, DUP: @fd is the final number (its flags are to be set) */
};

/** place_service() - the lowest number that is not wanted */
int place_service(const struct place_want *want, size_t nr);

/**
 * place_plan() - steps from a table that holds only @service to one that holds all wanted and @service
 * @emit: called per step in order
 * Return: 0; -ENOMEM; -EINVAL if @want is not ascending.
 */
int place_plan(const struct place_want *want, size_t nr, int service,
	       void (*emit)(void *arg, const struct place_step *s), void *arg);

#endif
