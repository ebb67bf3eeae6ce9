/* Ownership: every resource has a destructor that runs when its variable leaves scope. */
#ifndef CR_BASE_OWN_H
#define CR_BASE_OWN_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define autofree_by(fn) __attribute__((cleanup(fn##_slot)))
#define DEFINE_SLOT(type, fn)                  \
	static inline void fn##_slot(type **p) \
	{                                      \
		fn(*p);                        \
	}

static inline void own_free_slot(void *p)
{
	free(*(void **)p);
}

static inline void own_close_slot(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void own_fclose_slot(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define autofree __attribute__((cleanup(own_free_slot)))
#define autofd   __attribute__((cleanup(own_close_slot)))
#define autofile __attribute__((cleanup(own_fclose_slot)))

/* Hand over: the variable forgets, the value goes on. */
#define take_ptr(pp)                                 \
	({                                           \
		__typeof__(*(pp)) take_tmp_ = *(pp); \
		*(pp) = NULL;                        \
		take_tmp_;                           \
	})

static inline int take_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

#endif
