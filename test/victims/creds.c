/* Credentials: ids, groups, capabilities, securebits and what hangs on them; tasks that are not root's. */
#include "victim.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct creds {
	uid_t uid[4];
	gid_t gid[4];
	int nr_groups;
	gid_t groups[64];
	struct __user_cap_data_struct caps[2];
	uint64_t bounding, ambient;
	int securebits, nnp, keepcaps, dumpable;
};

static struct creds was;
static pid_t kids[8];
static int nr_kids;

static void get_creds(struct creds *c)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };

	memset(c, 0, sizeof(*c));
	getresuid(&c->uid[0], &c->uid[1], &c->uid[2]);
	getresgid(&c->gid[0], &c->gid[1], &c->gid[2]);
	c->uid[3] = (uid_t)setfsuid((uid_t)-1);
	c->gid[3] = (gid_t)setfsgid((gid_t)-1);
	c->nr_groups = getgroups(64, c->groups);
	syscall(SYS_capget, &head, c->caps);
	for (int cap = 0; cap < 64; cap++) {
		c->bounding |= (uint64_t)(prctl(PR_CAPBSET_READ, cap) == 1) << cap;
		c->ambient |= (uint64_t)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) << cap;
	}
	c->securebits = prctl(PR_GET_SECUREBITS);
	c->nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	c->keepcaps = prctl(PR_GET_KEEPCAPS);
	c->dumpable = prctl(PR_GET_DUMPABLE);
}

static void expect_creds(const struct creds *old)
{
	struct creds now;

	get_creds(&now);
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = { "real", "effective", "saved", "fs" };
		expect(now.uid[i] == old->uid[i], "%s uid was %u, is %u", names[i], old->uid[i], now.uid[i]);
		expect(now.gid[i] == old->gid[i], "%s gid was %u, is %u", names[i], old->gid[i], now.gid[i]);
	}
	expect(now.nr_groups == old->nr_groups && !memcmp(now.groups, old->groups, sizeof(now.groups)),
	       "%d groups, were %d", now.nr_groups, old->nr_groups);
	expect(!memcmp(now.caps, old->caps, sizeof(now.caps)), "capabilities: e %x p %x i %x, were e %x p %x i %x",
	       now.caps[0].effective, now.caps[0].permitted, now.caps[0].inheritable, old->caps[0].effective,
	       old->caps[0].permitted, old->caps[0].inheritable);
	expect(now.bounding == old->bounding, "bounding set was %lx, is %lx", old->bounding, now.bounding);
	expect(now.ambient == old->ambient, "ambient set was %lx, is %lx", old->ambient, now.ambient);
	expect(now.securebits == old->securebits, "securebits were %x, are %x", old->securebits, now.securebits);
	expect(now.nnp == old->nnp, "no_new_privs was %d, is %d", old->nnp, now.nnp);
	expect(now.keepcaps == old->keepcaps, "keepcaps was %d, is %d", old->keepcaps, now.keepcaps);
	expect(now.dumpable == old->dumpable, "dumpable was %d, is %d", old->dumpable, now.dumpable);
}

static void check(void)
{
	expect_creds(&was);
	for (int i = 0; i < nr_kids; i++)
		victim_reap(kids[i]);
}

static void set_caps(uint32_t effective, uint32_t permitted, uint32_t inheritable)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { effective, permitted, inheritable }, { 0 } };

	need(syscall(SYS_capset, &head, data) == 0);
}

static void set_up_ids(void)
{
	need(setresgid(2000, 2001, 2002) == 0);
	setfsgid(2003);
	need(setresuid(0, 0, 1002) == 0);
	setfsuid(1003);
	get_creds(&was);
}

static void set_up_groups(void)
{
	gid_t groups[50];

	for (unsigned i = 0; i < 50; i++)
		groups[i] = i * 70001 % 100000;
	need(setgroups(50, groups) == 0);
	get_creds(&was);
}

static void set_up_no_groups(void)
{
	need(setgroups(0, NULL) == 0);
	get_creds(&was);
}

/* what a daemon does that keeps two capabilities without root; dumpable is 0 afterwards, so procfs belongs to root */
static void set_up_caps(void)
{
	uint32_t two = 1u << CAP_NET_BIND_SERVICE | 1u << CAP_DAC_READ_SEARCH;

	need(prctl(PR_SET_KEEPCAPS, 1) == 0);
	need(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) == 0 && prctl(PR_CAPBSET_DROP, CAP_MKNOD) == 0);
	need(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 && setresuid(1000, 1000, 1000) == 0);
	set_caps(1u << CAP_NET_BIND_SERVICE, two, two);
	need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0);
	get_creds(&was);
}

/* what could be handed down to programs, and is not */
static void set_up_inheritable(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	need(syscall(SYS_capget, &head, data) == 0);
	data[0].inheritable = data[0].permitted;
	need(syscall(SYS_capset, &head, data) == 0);
	get_creds(&was);
	need(!was.ambient);
}

static void set_up_securebits(void)
{
	need(prctl(PR_SET_SECUREBITS,
		   SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS) == 0);
	need(setresuid(1000, 1000, 1000) == 0);
	get_creds(&was);
	need(was.caps[0].effective != 0);
}

static void set_up_nnp(void)
{
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	get_creds(&was);
}

static void set_up_not_dumpable(void)
{
	need(prctl(PR_SET_DUMPABLE, 0) == 0);
	get_creds(&was);
}

static void become(uid_t uid)
{
	need(setgroups(1, &uid) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
}

static void user_child(long uid)
{
	struct creds mine;

	if (uid)
		become((uid_t)uid);
	if (uid % 2)
		need(prctl(PR_SET_DUMPABLE, 1) == 0);
	get_creds(&mine);
	victim_hold();
	expect_creds(&mine);
}

static void set_up_mixed(void)
{
	for (long uid = 1000; uid < 1004; uid++)
		kids[nr_kids++] = victim_fork(user_child, uid);
	kids[nr_kids++] = victim_fork(user_child, 0);
	get_creds(&was);
}

static void set_up_user(void)
{
	become(4242);
	kids[nr_kids++] = victim_fork(user_child, 0);
	get_creds(&was);
}

static void set_up_without_setpcap(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	need(prctl(PR_CAPBSET_DROP, CAP_SETPCAP) == 0 && syscall(SYS_capget, &head, data) == 0);
	data[0].effective &= ~(1u << CAP_SETPCAP);
	data[0].permitted &= ~(1u << CAP_SETPCAP);
	need(syscall(SYS_capset, &head, data) == 0 && prctl(PR_SET_KEEPCAPS, 1) == 0);
	get_creds(&was);
	need(was.keepcaps);
}

static mode_t mask_was = 0137;
static void set_up_umask(void)
{
	umask(mask_was);
}

static void check_umask(void)
{
	mode_t now = umask(0);
	expect(now == mask_was, "umask was %o, is %o", mask_was, now);
}

const struct victim_case victim_cases[] = {
	{ "ids", set_up_ids, check, .flags = CASE_MORE },
	{ "groups", set_up_groups, check },
	{ "no-groups", set_up_no_groups, check },
	{ "capabilities", set_up_caps, check, .flags = CASE_MORE },
	{ "inheritable", set_up_inheritable, check },
	{ "securebits", set_up_securebits, check },
	{ "no-new-privs", set_up_nnp, check },
	{ "not-dumpable", set_up_not_dumpable, check, .flags = CASE_MORE },
	{ "users-mixed", set_up_mixed, check, .flags = CASE_MORE },
	{ "user", set_up_user, check, .flags = CASE_MORE },
	{ "keepcaps-without-setpcap", set_up_without_setpcap, check },
	{ "umask", set_up_umask, check_umask },
	{ 0 },
};
