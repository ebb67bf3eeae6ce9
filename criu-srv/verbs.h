/* The requests, one row each: what may follow it, what it needs, who carries it out. */
#ifndef CRIU_SRV_VERBS_H
#define CRIU_SRV_VERBS_H

#include "session.h"

/* Exit codes of a worker, as clients that wait for it know them. */
enum { WORKER_DONE = 0, WORKER_FAILED = 1, WORKER_ILLEGAL = 255 };

/* Carries out one request and answers it. Return: exit code if it is the last one; WORKER_DONE: another may follow. */
typedef int verb_fn(struct worker *w, const rpc_criu_req *req);

struct verb {
	rpc_criu_req_type type;
	const char *name; /* for people */
	bool keep_open;   /* another request may follow, if the client says so */
	bool series;      /* when it was carried out, another of its kind follows, or a DUMP */
	enum peer_need need;
	verb_fn *run;
};

/** verb_find() - NULL: no client may ask for that type */
const struct verb *verb_find(rpc_criu_req_type type);

/** verb_refuse() - the answer to a request that cannot even be begun: type EMPTY and the reason. Return: WORKER_ILLEGAL */
int verb_refuse(struct worker *w, const struct cr_error *err);

verb_fn verb_dump, verb_restore;                                /* verbs.c */
verb_fn verb_check, verb_features, verb_version, verb_wait_pid; /* verbs-ask.c */
verb_fn verb_cpuinfo;                                           /* verbs-cpuinfo.c */
verb_fn verb_pre_dump, verb_page_server;                        /* verbs-memory.c */

/** verb_prepare() - options, directories, log, rights and policy of a request that is carried out by the engine */
int verb_prepare(struct session *n, enum command command, struct cr_error *err);

/** verb_target() - whom a dump is about: the process that the request names, or else the client */
int verb_target(struct session *n, struct cr_error *err);

/** verb_check_rights() - may this process do such things at all? Return: 0; negative errno with @err filled */
int verb_check_rights(const struct session *n, struct cr_error *err);

/** verb_log_stats() - print the statistics if the request says so */
void verb_log_stats(struct session *n, bool restore);

#endif
