/*
 * Running programs inside a stopped process. Two mappings are made there by remote system calls: code (r-x, filled through
 * /proc/PID/mem) and data (rw-); never one that is both, which PR_SET_MDWE and security modules forbid. In the data area
 * lie the arena with the program, and for each thread that runs at the same time a stack and the signal frame through
 * which the blob goes back by itself if we die (pie/blob.c).
 */
#ifndef CR_INFECT_PARASITE_H
#define CR_INFECT_PARASITE_H

#include "base/error.h"
#include "base/own.h"
#include "infect/program.h"
#include "infect/task.h"
#include "infect/way-back.h"

#include <stddef.h>
#include <stdint.h>

struct parasite;
struct xstate_layout;

/* What is the same for all processes of a dump, and outlives each parasite. All zero is fine. */
struct infect_aid {
	struct way_cache ways;
	struct cr_leftovers *leftovers; /* NULL: nobody looks there */
};

/*
 * Each step is begun and then continued until it is done. So several processes can be at it at the same time: while the
 * tracer serves one, others run. The functions without _begin do both.
 */

/**
 * parasite_infect_begin() - map ourselves into a frozen process
 * @layout:       of the extended state, outlives *ret
 * @aid:          NULL: without ways back and notes
 * @data_size:    bytes of the arena: programs, questions and answers; rounded up to pages
 * @max_routines: of the program
 * Return: 0, *ret is owned by the caller; negative errno, nothing is left in the process.
 */
int parasite_infect_begin(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t data_size,
			  uint32_t max_routines, struct parasite **ret, struct cr_error *err);
int parasite_infect(struct task *t, const struct xstate_layout *layout, struct infect_aid *aid, size_t data_size,
		    uint32_t max_routines, struct parasite **ret, struct cr_error *err);

enum { PARASITE_DONE = 0, PARASITE_GOES_ON = 1 };

/**
 * parasite_continue() - wait for what the process does for us at the moment, and begin what comes after it
 * Return: PARASITE_DONE the step is done, nothing of the process runs; PARASITE_GOES_ON; negative errno, the step has
 * failed: that of the first operation that failed, explained, if it was a run.
 */
int parasite_continue(struct parasite *p, struct cr_error *err);

/** parasite_program() - the program to fill once the process is infected; its arena is our copy of the data area */
struct program *parasite_program(struct parasite *p);

/**
 * parasite_run_begin() - upload the arena, run routine routines[i] on threads[i], all at a time (in batches if there are
 * many), and read the arena back: answers are in the local arena then. May be done several times.
 * Both arrays stay as they are until it is done. The threads are stopped with their own registers and masks then, also
 * after a failure.
 * Return: 0, negative errno.
 */
int parasite_run_begin(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr,
		       struct cr_error *err);
int parasite_run(struct parasite *p, struct thread *const *threads, const uint32_t *routines, size_t nr,
		 struct cr_error *err);

/** parasite_note_descriptor() - for who cleans up after us: a userfaultfd that a routine makes and another one closes. -1: no more */
void parasite_note_descriptor(struct parasite *p, int fd);

/**
 * parasite_mend() - put back, in a copy that was made of the process's memory meanwhile, what we have changed in there
 * @copy: its pid. Our own mappings stay in it. Return: 0, negative errno.
 */
int parasite_mend(const struct parasite *p, pid_t copy, struct cr_error *err);

/** parasite_cure_begin() - remove the mappings. Return: 0, negative errno. */
int parasite_cure_begin(struct parasite *p, struct cr_error *err);
int parasite_cure(struct parasite *p, struct cr_error *err);

/** parasite_free() - end what was begun, cure if that was not done, and free; NULL and half-built are fine */
void parasite_free(struct parasite *p);
DEFINE_SLOT(struct parasite, parasite_free)

#endif
