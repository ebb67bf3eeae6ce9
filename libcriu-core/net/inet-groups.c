#include "net/inet-groups.h"

#include "base/buf.h"
#include "base/io.h"
#include "files/dump-internal.h"
#include "net/inet-options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX    (16u << 20)
#define LINE_MAX_   256
#define SOURCES_MAX 1024

static size_t addr_len(int family)
{
	return family == AF_INET ? 4 : 16;
}

/* ----------------------------------------------------------------- parsing */

/* The next line of @text without its end, NUL terminated; longer ones are cut */
static bool next_line(const char **text, size_t *left, char ret[static LINE_MAX_])
{
	const char *end;
	size_t len, keep;

	if (!*left)
		return false;
	end = memchr(*text, '\n', *left);
	len = end ? (size_t)(end - *text) : *left;
	keep = len < LINE_MAX_ - 1 ? len : LINE_MAX_ - 1;
	memcpy(ret, *text, keep);
	ret[keep] = '\0';
	len += end ? 1 : 0;
	*text += len;
	*left -= len;
	return true;
}

static struct inet_group_seen *group_add(struct inet_group_seen_vec *v, int family, unsigned int ifindex,
					 const char *dev)
{
	struct inet_group_seen *g = inet_group_seen_vec_add(v);

	if (!g)
		return NULL;
	g->family = family;
	g->ifindex = ifindex;
	snprintf(g->dev, sizeof(g->dev), "%s", dev);
	return g;
}

/* A line for each device, "4\teth0      :     1      V3", and below it one for each group, "\t\t\t\t010000E0     1 0:00000000\t\t0",
 * the address as a number of the machine's own byte order; igmp_mc_seq_show() in net/ipv4/igmp.c. */
int igmp_parse(const char *text, size_t len, struct inet_group_seen_vec *ret)
{
	char line[LINE_MAX_], dev[IFNAMSIZ] = "";
	unsigned int ifindex = 0;

	while (next_line(&text, &len, line)) {
		struct inet_group_seen *g;
		uint32_t addr;
		char *end;

		if (line[0] != '\t') {
			ifindex = (unsigned int)strtoul(line, &end, 10);
			if (end == line || sscanf(end, " %15[^: \t]", dev) != 1)
				ifindex = 0;
			continue;
		}
		addr = (uint32_t)strtoul(line, &end, 16);
		if (!ifindex || end == line)
			continue;
		g = group_add(ret, AF_INET, ifindex, dev);
		if (!g)
			return -ENOMEM;
		memcpy(g->addr, &addr, 4);
	}
	return 0;
}

static int hex_bytes(const char *text, uint8_t ret[static 16])
{
	for (size_t i = 0; i < 16; i++) {
		char digits[3] = { text[2 * i], text[2 * i + 1], 0 }, *end;

		ret[i] = (uint8_t)strtoul(digits, &end, 16);
		if (end != digits + 2)
			return -EINVAL;
	}
	return 0;
}

/* "1    lo              ff020000000000000000000000000001     1 0000000C 0"; igmp6_mc_seq_show() in net/ipv6/mcast.c */
int igmp6_parse(const char *text, size_t len, struct inet_group_seen_vec *ret)
{
	char line[LINE_MAX_];

	while (next_line(&text, &len, line)) {
		char dev[IFNAMSIZ], addr[33], *end;
		unsigned int ifindex = (unsigned int)strtoul(line, &end, 10);
		uint8_t bytes[16];
		struct inet_group_seen *g;

		if (end == line || sscanf(end, "%15s %32[0-9a-f]", dev, addr) != 2 || strlen(addr) != 32 ||
		    hex_bytes(addr, bytes) < 0)
			continue;
		g = group_add(ret, AF_INET6, ifindex, dev);
		if (!g)
			return -ENOMEM;
		memcpy(g->addr, bytes, sizeof(bytes));
	}
	return 0;
}

int inet_groups_read(struct inet_group_seen_vec *ret, struct cr_error *err)
{
	static const struct {
		const char *path;
		int (*parse)(const char *, size_t, struct inet_group_seen_vec *);
	} lists[] = { { "/proc/self/net/igmp", igmp_parse }, { "/proc/self/net/igmp6", igmp6_parse } };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		autobuf struct buf text = BUF_INIT(LIST_MAX);
		int r = file_read_buf(AT_FDCWD, lists[i].path, &text);

		if (r == -ENOENT) /* a kernel without IPv6 */
			continue;
		if (r == 0 && text.len)
			r = lists[i].parse(text.data, text.len, ret);
		if (r < 0)
			return cr_fail(err, r, "read %s", lists[i].path);
	}
	return 0;
}

/* -------------------------------------------------------------------- dump */

static void group_address(int family, const uint8_t *addr, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)family;
	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)ret)->sin_addr, addr, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ret)->sin6_addr, addr, 16);
}

static const uint8_t *address_bytes(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)sa)->sin_addr
					: (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr;
}

static int level_of(int family)
{
	return family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

static int add_group(struct file_table *t, const struct inet_group_seen *g, const struct group_filter *filter,
		     img_inet_sk_entry *e, struct cr_error *err)
{
	img_inet_sk_ext *ext = inet_ext(t, e, err);
	size_t len = addr_len(g->family);
	img_inet_group *at;
	void *items;

	if (!ext)
		return -ENOMEM;
	items = ext->groups.items;
	at = pool_vec_add(&t->pool, &items, &ext->groups.nr, sizeof(*at));
	if (!at)
		return pool_failed(err);
	ext->groups.items = items;
	at->dev = pool_text(&t->pool, g->dev, strlen(g->dev));
	at->group = (struct proto_bytes){ (const uint8_t *)pool_text(&t->pool, (const char *)g->addr, len), len };
	at->mode = filter->gf_fmode;
	if (filter->gf_numsrc) {
		uint8_t *sources = pool_alloc(&t->pool, filter->gf_numsrc * len);

		for (size_t i = 0; sources && i < filter->gf_numsrc; i++)
			memcpy(sources + i * len, address_bytes(&filter->gf_slist[i]), len);
		at->sources = (struct proto_bytes){ sources, filter->gf_numsrc * len };
	}
	return at->dev && at->group.data && (at->sources.data || !at->sources.len) ? 0 : pool_failed(err);
}

/* EADDRNOTAVAIL: it is not in the group; ip_mc_gsfget() in net/ipv4/igmp.c, ip6_mc_msfget() in net/ipv6/mcast.c */
static int ask_group(int fd, const struct inet_group_seen *g, struct group_filter *filter, size_t room)
{
	socklen_t len = (socklen_t)GROUP_FILTER_SIZE(room);

	memset(filter, 0, GROUP_FILTER_SIZE(0));
	filter->gf_interface = g->ifindex;
	filter->gf_numsrc = (uint32_t)room;
	group_address(g->family, g->addr, &filter->gf_group);
	return getsockopt(fd, level_of(g->family), MCAST_MSFILTER, filter, &len) < 0 ? -errno : 0;
}

int inet_groups_dump(struct file_table *t, struct open_file *f, const struct inet_group_seen_vec *seen,
		     img_inet_sk_entry *e, struct cr_error *err)
{
	struct group_filter *filter = malloc(GROUP_FILTER_SIZE(SOURCES_MAX));
	int r = filter ? 0 : pool_failed(err);

	for (size_t i = 0; r == 0 && i < seen->nr; i++) {
		const struct inet_group_seen *g = &seen->items[i];

		if (g->family == AF_INET6 && e->family == AF_INET)
			continue;
		if (ask_group(f->fd, g, filter, 0) < 0)
			continue;
		if (filter->gf_numsrc > SOURCES_MAX)
			r = cr_refuse(err, -E2BIG, "%u sources of a multicast group", filter->gf_numsrc);
		else if (filter->gf_numsrc)
			r = ask_group(f->fd, g, filter, filter->gf_numsrc);
		if (r == 0)
			r = add_group(t, g, filter, e, err);
	}
	free(filter);
	return r;
}

/* ----------------------------------------------------------------- restore */

int inet_groups_check(const img_inet_sk_entry *e, struct cr_error *err)
{
	for (size_t i = 0; e->ext && i < e->ext->groups.nr; i++) {
		const img_inet_group *g = &e->ext->groups.items[i];

		if ((g->group.len != 4 && (g->group.len != 16 || e->family != AF_INET6)) || !g->dev || !g->dev[0] ||
		    strlen(g->dev) >= IFNAMSIZ || g->mode > MCAST_INCLUDE || g->sources.len % g->group.len ||
		    g->sources.len / g->group.len > SOURCES_MAX)
			return cr_refuse(err, -EBADMSG, "socket %u: multicast group %zu makes no sense", e->id, i);
	}
	return 0;
}

/* With sources alone the first of them joins the group; without any the group was joined for all but none. */
static int join(int fd, const img_inet_group *g, uint32_t ifindex, struct cr_error *err)
{
	int family = g->group.len == 4 ? AF_INET : AF_INET6;
	struct group_source_req one = { .gsr_interface = ifindex };
	struct group_req all = { .gr_interface = ifindex };
	int what = g->mode == MCAST_INCLUDE ? MCAST_JOIN_SOURCE_GROUP : MCAST_BLOCK_SOURCE;

	group_address(family, g->group.data, &all.gr_group);
	group_address(family, g->group.data, &one.gsr_group);
	if (g->mode == MCAST_EXCLUDE && setsockopt(fd, level_of(family), MCAST_JOIN_GROUP, &all, sizeof(all)) < 0)
		return cr_fail(err, -errno, "join a multicast group on %s", g->dev);
	for (size_t i = 0; i < g->sources.len; i += g->group.len) {
		group_address(family, g->sources.data + i, &one.gsr_source);
		if (setsockopt(fd, level_of(family), what, &one, sizeof(one)) < 0)
			return cr_fail(err, -errno, "source of a multicast group on %s", g->dev);
	}
	return 0;
}

int inet_groups_restore(int fd, const img_inet_sk_entry *e, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && e->ext && i < e->ext->groups.nr; i++) {
		const img_inet_group *g = &e->ext->groups.items[i];
		uint32_t ifindex = if_nametoindex(g->dev);

		r = ifindex ? join(fd, g, ifindex, err) : cr_fail(err, -ENODEV, "multicast group on %s", g->dev);
	}
	return r;
}
