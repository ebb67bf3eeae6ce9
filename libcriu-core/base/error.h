/*
 * Errors: a code, a sentence, a hint. Storage is fixed, so running out of memory cannot lose the message.
 * Whoever detects a failure records it once; callers add only context in front; only front ends print.
 */
#ifndef CR_BASE_ERROR_H
#define CR_BASE_ERROR_H

#define CR_ERROR_TEXT 512
#define CR_ERROR_HINT 160

struct cr_error {
	int code;                 /* negative errno of the root cause, 0 while clean */
	char text[CR_ERROR_TEXT]; /* widest context first: "dump pid 41: fd 7: open fdinfo: Permission denied" */
	char hint[CR_ERROR_HINT]; /* what the operator can do about it; may be empty */
};

/**
 * cr_fail() - record a failure
 * @err:  where to; NULL is allowed, then only the code is returned
 * @code: negative errno; its strerror text is appended to the sentence
 * @fmt:  what failed, on which object; printf-like
 *
 * Return: @code, so that callers can `return cr_fail(...)`. A failure already recorded is replaced.
 */
int cr_fail(struct cr_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** cr_refuse() - as cr_fail(), for a sentence that is complete without the errno text */
int cr_refuse(struct cr_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** cr_within() - put context in front of a recorded failure: "pid 41: " + text. Return: @code; nothing is done if it is >= 0. */
int cr_within(struct cr_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** cr_advise() - set the hint, unless one is set already (the innermost advice is the most specific). */
void cr_advise(struct cr_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** cr_error_clear() - back to the clean state */
void cr_error_clear(struct cr_error *err);

#endif
