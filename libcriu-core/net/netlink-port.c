#include "net/netlink-port.h"

#include "files/dump-internal.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/own.h"
#include "net/netlink-answers.h"
#include "procfs/scan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/connector.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TABLE_OWNER 7 /* NFTA_TABLE_OWNER of linux/netfilter/nf_tables.h, Linux 5.12 */
#define TRIES       5
#define LIST_MAX    ((size_t)8 << 20)

/* The first two columns are the number and the port: seq_show() in net/netfilter/nfnetlink_queue.c and nfnetlink_log.c */
bool netfilter_queue_find(const char *text, size_t len, uint32_t port, uint64_t *ret_number)
{
	const char *end = text + len;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t line = newline ? (size_t)(newline - text) : (size_t)(end - text);
		struct scan s = SCAN_INIT(text, line);
		uint64_t number, at;

		scan_blanks(&s);
		if (scan_dec(&s, &number) == 0) {
			scan_blanks(&s);
			if (scan_dec(&s, &at) == 0 && at == port) {
				*ret_number = number;
				return true;
			}
		}
		text += line + 1;
	}
	return false;
}

static void warn_unknown(struct file_table *t, const struct open_file *f, const char *what, int code)
{
	log_warn(&t->ctx->log,
		 "pid %d: fd %d: cannot tell whether this netfilter socket has %s (%s), continuing as if not",
		 f->task->host_pid, f->fd_there, what, strerror(code));
}

/* Return: 0; 1 an obstacle was noted; negative errno. */
static int look_for_queue(struct file_table *t, struct open_file *f, uint32_t port, const char *name, const char *what,
			  struct cr_error *err)
{
	autobuf struct buf text = BUF_INIT(LIST_MAX);
	char path[64];
	uint64_t number;
	int r;

	snprintf(path, sizeof(path), "/proc/net/netfilter/%s", name);
	r = file_read_buf(AT_FDCWD, path, &text);
	if (r == -EACCES)
		warn_unknown(t, f, what, EACCES);
	else if (r < 0 && r != -ENOENT) /* without that part of the kernel there is none */
		return cr_fail(err, r, "read %s", path);
	return r == 0 && netfilter_queue_find(text.data, text.len, port, &number)
		       ? file_refuse(t, f, "", "netlink socket that is sent packets by %s %" PRIu64, what, number)
		       : 0;
}

/* ------------------------------------------------------------------- tables */

static void parse_table(const struct nlmsghdr *head, uint32_t port, struct owned_table *ret)
{
	const struct rtattr *name = NULL;
	struct rtattr *a = (struct rtattr *)((char *)NLMSG_DATA(head) + NLMSG_ALIGN(sizeof(struct nfgenmsg)));
	int left = (int)head->nlmsg_len - (int)NLMSG_SPACE(sizeof(struct nfgenmsg));
	uint32_t owner = 0;

	for (; left > 0 && RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == NFTA_TABLE_NAME)
			name = a;
		else if (a->rta_type == TABLE_OWNER && RTA_PAYLOAD(a) >= sizeof(owner))
			memcpy(&owner, RTA_DATA(a), sizeof(owner));
	}
	if (ret->found || ntohl(owner) != port)
		return;
	ret->found = true;
	snprintf(ret->name, sizeof(ret->name), "%.*s", name ? (int)RTA_PAYLOAD(name) : 0,
		 name ? (const char *)RTA_DATA(name) : "");
}

int nft_owner_parse(const void *packet, size_t len, uint32_t port, struct owned_table *ret)
{
	const struct nlmsghdr *head = packet;
	/* signed: the last message may be followed by less than it is rounded up to */
	ssize_t left = (ssize_t)len;

	for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
		if (head->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EAGAIN;
		if (head->nlmsg_type == NLMSG_DONE)
			return 1;
		if (head->nlmsg_type == NLMSG_ERROR)
			return netlink_error(head);
		if (head->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE))
			parse_table(head, port, ret);
	}
	return 0;
}

static int ask_tables(int fd, uint32_t port, struct owned_table *ret)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg family;
	} msg = { .head = { .nlmsg_len = sizeof(msg),
			    .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		  .family = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 } };
	char buf[32768] __attribute__((aligned(8)));
	int r = send(fd, &msg, sizeof(msg), 0) < 0 ? -errno : 0;

	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		r = n < 0 ? -errno : nft_owner_parse(buf, (size_t)n, port, ret);
	}
	return r;
}

/* Tables that end with the socket, rules and all. Return: 0; 1 an obstacle was noted. */
static int look_for_tables(struct file_table *t, struct open_file *f, uint32_t port)
{
	struct owned_table table = { 0 };
	int r = -EAGAIN;

	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		autofd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
		struct timeval limit = { .tv_sec = 5 };

		r = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0
			    ? -errno
			    : ask_tables(fd, port, &table);
	}
	if (table.found)
		return file_refuse(t, f, "", "netlink socket that owns the table %s of nf_tables", table.name);
	/* EINVAL, EOPNOTSUPP: there is no nf_tables in this kernel */
	if (r < 0 && r != -EINVAL && r != -EOPNOTSUPP)
		warn_unknown(t, f, "tables of nf_tables", -r);
	return 0;
}

/* ----------------------------------------------------------------- connector */

static bool has_joined(const img_netlink_sk_entry *e, uint32_t group)
{
	uint32_t word = (group - 1) / 32, bit = (group - 1) % 32;
	const struct proto_u32_vec *words = word ? &e->ext->more_groups : &e->groups;

	word -= word ? 1 : 0;
	return word < words->nr && words->items[word] >> bit & 1;
}

int netlink_port_dump(struct file_table *t, struct open_file *f, const img_netlink_sk_entry *e, struct cr_error *err)
{
	int r;

	if (e->protocol == NETLINK_CONNECTOR && has_joined(e, CN_IDX_PROC))
		return file_refuse(t, f, "",
				   "netlink socket for events of processes, of which nothing shows which it wants");
	if (e->protocol != NETLINK_NETFILTER || !e->portid)
		return 0;
	r = look_for_queue(t, f, e->portid, "nfnetlink_queue", "queue", err);
	if (r == 0)
		r = look_for_queue(t, f, e->portid, "nfnetlink_log", "log group", err);
	return r == 0 ? look_for_tables(t, f, e->portid) : r;
}
