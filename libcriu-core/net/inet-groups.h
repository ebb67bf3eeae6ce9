/*
 * Multicast groups that IP sockets have joined. No list of a socket's groups is to be had, but whether it is in a certain
 * group can be asked, and /proc/net/igmp and igmp6 list those that anybody is in.
 */
#ifndef CR_NET_INET_GROUPS_H
#define CR_NET_INET_GROUPS_H

#include "base/array.h"
#include "base/error.h"
#include "files/file-ops.h"

#include <net/if.h>
#include <netinet/in.h>

struct inet_group_seen {
	int family;
	uint32_t ifindex;
	char dev[IFNAMSIZ];
	uint8_t addr[16]; /* 4 bytes of it for AF_INET */
};

DEFINE_VEC(inet_group_seen_vec, struct inet_group_seen)

/** igmp_parse(), igmp6_parse() - text of the files; what makes no sense is passed over. Return: 0 or -ENOMEM. */
int igmp_parse(const char *text, size_t len, struct inet_group_seen_vec *ret);
int igmp6_parse(const char *text, size_t len, struct inet_group_seen_vec *ret);

/** inet_groups_read() - all groups of our own network namespace */
int inet_groups_read(struct inet_group_seen_vec *ret, struct cr_error *err);

/** inet_groups_dump() - those that f->fd is in, into the member ext of @e. Return: 0 or negative errno. */
int inet_groups_dump(struct file_table *t, struct open_file *f, const struct inet_group_seen_vec *seen,
		     img_inet_sk_entry *e, struct cr_error *err);

/** inet_groups_check() - of an image. Pure. Return: 0; -EBADMSG. */
int inet_groups_check(const img_inet_sk_entry *e, struct cr_error *err);

/** inet_groups_restore() - join them */
int inet_groups_restore(int fd, const img_inet_sk_entry *e, struct cr_error *err);

#endif
