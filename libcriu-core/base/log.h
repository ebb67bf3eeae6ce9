/*
 * Log lines of the library go to an observer; the library never prints. One event, one line: lower case, no
 * final stop. Container runtimes quote lines that contain "Error" from our log files: the front end adds that
 * word to lines of CR_LOG_ERROR, and no message text may contain it.
 */
#ifndef CR_BASE_LOG_H
#define CR_BASE_LOG_H

/* The numbers are those of log_level in the RPC options. */
enum cr_log_level { CR_LOG_ERROR = 1, CR_LOG_WARN = 2, CR_LOG_INFO = 3, CR_LOG_DEBUG = 4 };

struct cr_log {
	void (*line)(void *arg, enum cr_log_level level, const char *text); /* NULL: nobody listens */
	void *arg;
	int level; /* lines above it are not even formatted */
};

void cr_log(const struct cr_log *log, enum cr_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) cr_log(log, CR_LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  cr_log(log, CR_LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  cr_log(log, CR_LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...)                                     \
	do {                                                    \
		if ((log)->level >= CR_LOG_DEBUG)               \
			cr_log(log, CR_LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
