/*
 * A thread that runs a new program ends all others of its process and waits until they are gone; those that are traced go
 * when their tracer has waited for them. A tracer that is about to seize one more thread of that process waits for the new
 * program meanwhile: ptrace_attach() takes signal->cred_guard_mutex, which execve() holds; BUGS of ptrace(2). Neither
 * would ever go on. Any thread of the tracer may wait: here is one that does so if a seizure takes long.
 */
#ifndef CR_INFECT_EXEC_GUARD_H
#define CR_INFECT_EXEC_GUARD_H

#include "infect/task.h"

struct exec_guard;

/** exec_guard_new() - starts the thread. Return: NULL if there can be none: then nobody guards. */
struct exec_guard *exec_guard_new(void);
/** exec_guard_free() - ends it; NULL is fine */
void exec_guard_free(struct exec_guard *g);

/** exec_guard_begin(), exec_guard_end() - around the seizure of one more thread of @task, whose list stays as it is; NULL is fine */
void exec_guard_begin(struct exec_guard *g, const struct task *task);
void exec_guard_end(struct exec_guard *g);

#endif
