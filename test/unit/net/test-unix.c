/* Pure parts of UNIX sockets: what UNIX_DIAG tells, addresses in words, what images may say. */
#include "base/array.h"
#include "net/sock-opts.h"
#include "net/unix-internal.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>

#include <cmocka.h>

/* ------------------------------------------------------------------ packets */

struct packet {
	_Alignas(8) char data[2048];
	size_t len;
	struct nlmsghdr *head; /* of the message that is being made */
};

static void begin(struct packet *p, uint16_t type, uint16_t flags)
{
	p->head = (struct nlmsghdr *)(p->data + p->len);
	*p->head = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type, .nlmsg_flags = flags };
	p->len += NLMSG_HDRLEN;
}

static void put(struct packet *p, const void *data, size_t len)
{
	memcpy(p->data + p->len, data, len);
	p->len += NLMSG_ALIGN(len);
	p->head->nlmsg_len = (uint32_t)(p->data + p->len - (char *)p->head);
}

static void attr(struct packet *p, uint16_t type, const void *data, size_t len)
{
	struct rtattr a = { .rta_len = (unsigned short)RTA_LENGTH(len), .rta_type = type };

	put(p, &a, sizeof(a));
	put(p, data, len);
}

static void socket_message(struct packet *p, uint32_t ino, uint8_t type, uint8_t state)
{
	struct unix_diag_msg m = {
		.udiag_family = AF_UNIX, .udiag_type = type, .udiag_state = state, .udiag_ino = ino
	};

	begin(p, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI);
	put(p, &m, sizeof(m));
}

static void test_parse(void **state)
{
	struct packet p = { .len = 0 };
	struct unix_facts f = { 0 };
	struct unix_diag_rqlen rqlen = { 2, 17 }, unread = { 300, 768 };
	struct unix_diag_vfs vfs = { .udiag_vfs_ino = 99, .udiag_vfs_dev = 0x800001 };
	uint32_t icons[] = { 12, 0 }, peer = 31;
	uint8_t shut = 2;

	(void)state;
	socket_message(&p, 30, SOCK_STREAM, 10);
	attr(&p, UNIX_DIAG_RQLEN, &rqlen, sizeof(rqlen));
	attr(&p, UNIX_DIAG_ICONS, icons, sizeof(icons));
	attr(&p, UNIX_DIAG_VFS, &vfs, sizeof(vfs));
	socket_message(&p, 12, SOCK_SEQPACKET, 1);
	attr(&p, UNIX_DIAG_PEER, &peer, sizeof(peer));
	attr(&p, UNIX_DIAG_SHUTDOWN, &shut, sizeof(shut));
	attr(&p, UNIX_DIAG_RQLEN, &unread, sizeof(unread));
	assert_int_equal(unix_diag_parse(p.data, p.len, &f, NULL), 0);
	begin(&p, NLMSG_DONE, NLM_F_MULTI);
	assert_int_equal(unix_diag_parse(p.head, NLMSG_HDRLEN, &f, NULL), 1);

	assert_int_equal(f.all.nr, 2);
	assert_int_equal(f.all.items[0].ino, 30);
	assert_int_equal(f.all.items[0].rqueue, 2);
	assert_int_equal(f.all.items[0].wqueue, 17);
	assert_int_equal(f.all.items[0].nr_icons, 2);
	assert_int_equal(f.icons.items[f.all.items[0].first_icon], 12);
	assert_int_equal(f.all.items[0].vfs_ino, 99);
	assert_int_equal(f.all.items[0].vfs_dev, 0x800001);
	assert_int_equal(f.all.items[1].peer, 31);
	assert_int_equal(f.all.items[1].shutdown, 2);
	assert_int_equal(f.all.items[1].rqueue, 300);
	assert_int_equal(f.all.items[1].type, SOCK_SEQPACKET);
	unix_facts_done(&f);
}

/* Whatever is cut off, nothing behind the end is read. */
static void test_cut(void **state)
{
	struct packet p = { .len = 0 };
	uint32_t icons[] = { 1, 2, 3, 4 };

	(void)state;
	socket_message(&p, 30, SOCK_STREAM, 10);
	attr(&p, UNIX_DIAG_ICONS, icons, sizeof(icons));
	for (size_t len = 0; len <= p.len; len++) {
		struct unix_facts f = { 0 };
		char *copy = malloc(len + 1);

		memcpy(copy, p.data, len);
		unix_diag_parse(copy, len, &f, NULL);
		assert_int_equal(f.all.nr, len == p.len);
		unix_facts_done(&f);
		free(copy);
	}
}

static void test_errors(void **state)
{
	struct packet p = { .len = 0 };
	struct unix_facts f = { 0 };
	int code = -ENOENT;
	struct cr_error err = { 0 };

	(void)state;
	begin(&p, NLMSG_ERROR, 0);
	put(&p, &code, sizeof(code));
	assert_int_equal(unix_diag_parse(p.data, p.len, &f, &err), -ENOENT);
	p.len = 0;
	begin(&p, NLMSG_DONE, NLM_F_DUMP_INTR);
	assert_int_equal(unix_diag_parse(p.data, p.len, &f, &err), -EAGAIN);
	p.len = 0;
	begin(&p, SOCK_DIAG_BY_FAMILY, 0);
	put(&p, "short", 6);
	assert_int_equal(unix_diag_parse(p.data, p.len, &f, &err), -EBADMSG);
	unix_facts_done(&f);
}

/* -------------------------------------------------------------------- words */

static struct proto_bytes bytes(const char *data, size_t len)
{
	return (struct proto_bytes){ (const uint8_t *)data, len };
}

static void test_names(void **state)
{
	struct sockaddr_un sa;
	char text[32], whole[UNIX_NAME_MAX];
	size_t head = offsetof(struct sockaddr_un, sun_path);

	(void)state;
	unix_name_text(bytes("/run/x\0", 7), text, sizeof(text));
	assert_string_equal(text, "/run/x");
	unix_name_text(bytes("\0a\0b\n", 5), text, sizeof(text));
	assert_string_equal(text, "@a?b?");
	unix_name_text(bytes("", 0), text, sizeof(text));
	assert_string_equal(text, "");
	unix_name_text(bytes("/0123456789", 12), text, 5);
	assert_string_equal(text, "/012");

	assert_int_equal(unix_address(bytes("\0abc", 4), -1, &sa), head + 4);
	assert_memory_equal(sa.sun_path, "\0abc", 4);
	assert_int_equal(unix_address(bytes("/run/x\0", 7), -1, &sa), head + 7);
	/* the NUL behind a path of full length does not fit, and need not */
	memset(whole, 'x', sizeof(whole) - 1);
	whole[sizeof(whole) - 1] = '\0';
	assert_int_equal(unix_address(bytes(whole, sizeof(whole)), -1, &sa), sizeof(sa));
	assert_int_equal(unix_address(bytes("/run/x\0", 7), 41, &sa), head + sizeof("/proc/self/fd/41"));
	assert_string_equal(sa.sun_path, "/proc/self/fd/41");
}

static void test_external(void **state)
{
	static const struct {
		const char *list[2];
		bool all, allowed, listed;
	} cases[] = {
		{ { NULL }, false, false, false },
		{ { NULL }, true, true, false },
		{ { "unix[7]" }, false, true, true },
		{ { "unix[8]" }, false, false, false },
		{ { "unix[8]" }, true, false, false }, /* a list leaves nothing to the general word */
		{ { "unix[8]", "unix[7]" }, true, true, true },
		{ { "unix[7" }, false, false, false },
		{ { "unix[7]x" }, false, false, false },
		{ { "file[7]" }, true, true, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rpc_criu_opts o = { .has_ext_unix_sk = true, .ext_unix_sk = cases[i].all };
		bool listed;

		o.external.items = (char **)cases[i].list;
		o.external.nr = (cases[i].list[0] != NULL) + (cases[i].list[1] != NULL);
		if (unix_external_allowed(&o, 7, &listed) != cases[i].allowed || listed != cases[i].listed)
			fail_msg("case %zu", i);
	}
}

/* ------------------------------------------------------------------- images */

static void test_check(void **state)
{
	const struct {
		const char *what;
		img_unix_sk_entry e;
		bool bad;
	} cases[] = {
		{ "fine", { .ino = 1, .peer = 2, .type = SOCK_STREAM, .state = 1 }, false },
		{ "type", { .ino = 1, .type = 77, .state = 1 }, true },
		{ "state", { .ino = 1, .type = SOCK_STREAM, .state = 2 }, true },
		{ "own peer", { .ino = 1, .peer = 1, .type = SOCK_STREAM, .state = 1 }, true },
		{ "no inode", { .type = SOCK_STREAM, .state = 1 }, true },
		{ "flags", { .ino = 1, .type = SOCK_STREAM, .state = 1, .uflags = 4 }, true },
		{ "shutdown",
		  { .ino = 1, .type = SOCK_STREAM, .state = 1, .has_shutdown = true, .shutdown = (img_sk_shutdown)4 },
		  true },
		{ "NUL in a path",
		  { .ino = 1, .type = SOCK_DGRAM, .state = 7, .name = { (const uint8_t *)"/a\0b", 4 } },
		  true },
		{ "NUL in a name",
		  { .ino = 1, .type = SOCK_DGRAM, .state = 7, .name = { (const uint8_t *)"\0a\0b", 4 } },
		  false },
		{ "relative directory", { .ino = 1, .type = SOCK_DGRAM, .state = 7, .name_dir = (char *)"a/b" }, true },
		{ "long", { .ino = 1, .type = SOCK_DGRAM, .state = 7, .name = { (const uint8_t *)"", 110 } }, true },
		{ "root",
		  { .ino = 1, .type = SOCK_DGRAM, .state = 7, .ext = &(img_unix_sk_ext){ .name_root = (char *)"x" } },
		  true },
		{ "mode",
		  { .ino = 1,
		    .type = SOCK_DGRAM,
		    .state = 7,
		    .file_perms = &(img_file_perms_entry){ .mode = 0x100000 } },
		  true },
		{ "service with a peer",
		  { .ino = 1, .peer = 2, .type = SOCK_SEQPACKET, .state = 7, .uflags = 2 },
		  true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_unix_sk_entry e = cases[i].e;
		img_fown_entry fown = { 0 };
		img_sk_opts_entry opts = { .so_sndbuf = 4608, .so_rcvbuf = 4608 };
		img_file_entry f = { .type = img_fd_types_UNIXSK, .id = 5, .usk = &e };
		char room[112] = { 0 };

		e.id = 5;
		e.fown = &fown;
		e.opts = &opts;
		if (e.name.len == 110)
			e.name.data = (const uint8_t *)room;
		if ((unix_check(&f, NULL) < 0) != cases[i].bad)
			fail_msg("%s", cases[i].what);
	}
}

static void test_options(void **state)
{
	uint64_t more[] = { (uint64_t)SO_PEEK_OFF << 32 | 3, (uint64_t)9999 << 32 };
	img_sk_opts_ext ext = { .more = { more, 1 } };
	img_sk_opts_entry o = { .so_sndbuf = 1, .so_rcvbuf = 1, .ext = &ext };
	img_sk_opts_entry bad;

	(void)state;
	assert_int_equal(sock_opts_check(&o, 1, NULL), 0);
	ext.more.nr = 2;
	assert_int_equal(sock_opts_check(&o, 1, NULL), -EBADMSG);
	ext.more.nr = 0;
	bad = o, bad.so_rcv_tmo_usec = 1000000;
	assert_int_equal(sock_opts_check(&bad, 1, NULL), -EBADMSG);
	bad = o, bad.so_sndbuf = UINT32_MAX;
	assert_int_equal(sock_opts_check(&bad, 1, NULL), -EBADMSG);
	bad = o, bad.so_filter.nr = 5000;
	assert_int_equal(sock_opts_check(&bad, 1, NULL), -EBADMSG);
	bad = o, bad.so_bound_dev = (char *)"a name that is too long";
	assert_int_equal(sock_opts_check(&bad, 1, NULL), -EBADMSG);
	ext = (img_sk_opts_ext){ .has_mode = true, .mode = 07777, .has_uid = true, .has_gid = true, .gid = UINT32_MAX - 1 };
	assert_int_equal(sock_opts_check(&o, 1, NULL), 0);
	ext.mode = 010000;
	assert_int_equal(sock_opts_check(&o, 1, NULL), -EBADMSG);
	ext.mode = 0, ext.uid = UINT32_MAX;
	assert_int_equal(sock_opts_check(&o, 1, NULL), -EBADMSG);
}

/* Sockets for datagrams that were made as pairs; who is connected to whom, by index, and what waits in the first. */
static void test_turned(void **state)
{
	static const struct {
		const char *what, *names;  /* of each socket, 0: none */
		int peers[4], first_waits; /* -1: nobody */
		int r, left, by;           /* .left of socket @left is @by; -1: of nobody */
		bool alone;                /* the first */
	} cases[] = {
		{ "a pair", "00", { 1, 0 }, 1, 0, -1, -1, false },
		{ "by name", "0s", { 1, -1 }, 0, 0, -1, -1, false },
		{ "to nobody", "00", { -1, 0 }, 1, 0, 0, 1, false },
		{ "to a service", "00s", { 2, 0, -1 }, 0, 0, 0, 1, false },
		{ "heard", "0s", { 1, -1 }, 1, 0, 1, 0, false },
		{ "of one gone", "0", { -1 }, 1, 0, -1, -1, true },
		{ "two of one", "000", { -1, 0, 0 }, 0, -EBADMSG, -1, -1, false },
		{ "a chain", "000", { 1, 2, -1 }, 0, -EBADMSG, -1, -1, false },
		{ "a circle", "000", { 1, 2, 0 }, 0, -EBADMSG, -1, -1, false },
		{ "a pair and a third", "000", { 1, 0, 0 }, 0, -EBADMSG, -1, -1, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		img_sk_packet_ext from = { .from = { (const uint8_t *)"s", strchr(cases[i].names, 's') ? 1 : 0 } };
		img_sk_packet_entry packet = { .ext = &from };
		struct queued q = { .entry = &packet };
		struct restored_file file = { 0 };
		struct restored_sock socks[4];
		img_unix_sk_entry e[4];
		struct unix_set set = { 0 };
		size_t nr = strlen(cases[i].names);

		for (size_t k = 0; k < nr; k++) {
			e[k] = (img_unix_sk_entry){ .ino = (uint32_t)k + 1, .type = SOCK_DGRAM };
			e[k].name = (struct proto_bytes){ (const uint8_t *)"s", cases[i].names[k] == 's' };
			socks[k] = (struct restored_sock){ .file = &file, .e = &e[k] };
			socks[k].peer = cases[i].peers[k] < 0 ? NULL : &socks[cases[i].peers[k]];
			*restored_sock_vec_add(&set.socks) = &socks[k];
		}
		socks[0].first = cases[i].first_waits ? &q : NULL;
		if (unix_turned_find(&set, NULL) != cases[i].r)
			fail_msg("%s", cases[i].what);
		for (size_t k = 0; k < nr && !cases[i].r; k++)
			if (socks[k].left != ((int)k == cases[i].left ? &socks[cases[i].by] : NULL) ||
			    socks[k].alone != (k == 0 && cases[i].alone))
				fail_msg("%s: socket %zu", cases[i].what, k);
		restored_sock_vec_done(&set.socks);
	}
}

/* A process with pid and ids of somebody else makes a pair; afterwards its descriptors are ours. */
static int pair_of_owner(void *arg)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, arg) < 0 ? -errno : 0;
}

static void test_owner(void **state)
{
	img_unix_cred cred = { .has_pid = true, .pid = 31999, .has_uid = true, .uid = 71, .has_gid = true, .gid = 72 };
	int *fds = owner_memory(2 * sizeof(*fds));
	struct ucred got = { 0 };
	socklen_t len = sizeof(got);

	(void)state;
	assert_non_null(fds);
	assert_int_equal(as_owner(&cred, pair_of_owner, fds), 0);
	assert_int_equal(getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &got, &len), 0);
	assert_int_not_equal(got.pid, getpid());
	if (geteuid() == 0) {
		assert_int_equal(got.uid, 71);
		assert_int_equal(got.gid, 72);
	}
	close(fds[0]);
	close(fds[1]);
	owner_memory_done(fds, 2 * sizeof(*fds));
}

/* For a client, whose file system identity this process has, nothing is made in anybody else's name. */
static void test_owner_for_client(void **state)
{
	img_unix_cred root = { .has_pid = true, .pid = 31998, .has_uid = true, .has_gid = true };
	const img_unix_cred *creds[] = { NULL, &root, &(img_unix_cred){ 0 } };
	int *fds = owner_memory(2 * sizeof(*fds));

	(void)state;
	assert_non_null(fds);
	if (geteuid() != 0)
		skip();
	setfsgid(72);
	setfsuid(71);
	for (size_t i = 0; i < ARRAY_LEN(creds); i++) {
		struct ucred got = { 0 };
		socklen_t len = sizeof(got);

		assert_int_equal(as_owner(creds[i], pair_of_owner, fds), 0);
		assert_int_equal(getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &got, &len), 0);
		assert_int_equal(got.uid, 71);
		assert_int_equal(got.gid, 72);
		close(fds[0]);
		close(fds[1]);
	}
	setfsuid(0);
	setfsgid(0);
	owner_memory_done(fds, 2 * sizeof(*fds));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),    cmocka_unit_test(test_cut),   cmocka_unit_test(test_errors),
		cmocka_unit_test(test_names),    cmocka_unit_test(test_check), cmocka_unit_test(test_options),
		cmocka_unit_test(test_external), cmocka_unit_test(test_owner), cmocka_unit_test(test_owner_for_client),
		cmocka_unit_test(test_turned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
