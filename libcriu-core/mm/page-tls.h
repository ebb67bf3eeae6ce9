/*
 * TLS for connections of page servers, by a program of its own (criu-tls): the libraries that it takes would cost each start of
 * criu more than a small dump does, and keys and the parsing of certificates stay out of a process with our rights.
 */
#ifndef CR_MM_PAGE_TLS_H
#define CR_MM_PAGE_TLS_H

#include "base/error.h"
#include "proto/rpc.h"

#include <sys/types.h>

struct page_conn;

enum page_tls_role {
	PAGE_TLS_CALLS,  /* the other side must be the host of ps.address, if there is one and the options do not waive it */
	PAGE_TLS_SERVES, /* it must have a certificate of the authority */
};

/** page_tls_check() - can certificates, key and lists be read? Return: 0; negative errno with the file named */
int page_tls_check(const rpc_criu_opts *o, struct cr_error *err);

/**
 * page_tls_begin() - put TLS between a fresh connection and us, and find out who the other side is
 * Return: 0; -EACCES it is nobody we trust, or does not trust us; negative errno. The connection is to be closed in any case.
 */
int page_tls_begin(struct page_conn *c, const rpc_criu_opts *o, enum page_tls_role role, struct cr_error *err);

/** page_tls_end() - wait until the process has said goodbye; the connection to it is closed */
void page_tls_end(pid_t pid);

#endif
