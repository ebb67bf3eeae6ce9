/*
 * Descriptors of /dev/net/tun, linux/if_tun.h. A network device that outlives its descriptors stays where it is, with its name,
 * addresses, routes and settings, and is attached to again. One that ends with the last of them would take all of that along:
 * it is made to outlive them when the tree is ended, and no longer does when the tree is there again. A packet filter is
 * refused: the kernel does not show it.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/io.h"
#include "base/own.h"
#include "files/family.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MISC_MAJOR 10
#define TUN_MINOR  200 /* linux/miscdevice.h */

/* of the device, that who attaches to it has to name; the rest is remembered by the device or is about one queue */
#define ATTACH_FLAGS \
	(IFF_TUN | IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE)

bool file_is_tun(const struct file_facts *facts)
{
	return S_ISCHR(facts->st.st_mode) && facts->st.st_rdev == makedev(MISC_MAJOR, TUN_MINOR);
}

static bool tun_claims(const struct file_facts *facts)
{
	return file_is_tun(facts) && !(facts->flags & O_PATH);
}

/* What TUNGETIFF says is not all: "no packet information" and "no filter" are one bit there. */
static int device_flags(const char *name, uint32_t *ret)
{
	char path[64 + IFNAMSIZ], text[32], *end;
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/class/net/%s/tun_flags", name);

	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	len = fd_read_all(fd, text, sizeof(text) - 1);
	if (len < 0)
		return (int)len;
	text[len] = '\0';
	*ret = (uint32_t)strtoul(text, &end, 16);
	return end == text ? -EINVAL : 0;
}

/* ---------------------------------------------------------------- dump */

/* @nsfd: closed. Return: is it the network namespace that we are in? Where the kernel does not tell it is taken for that. */
static bool is_ours(int nsfd)
{
	autofd int fd = nsfd;
	struct stat its, own;

	return fd < 0 || fstat(fd, &its) < 0 || stat("/proc/self/ns/net", &own) < 0 ||
	       (its.st_ino == own.st_ino && its.st_dev == own.st_dev);
}

/* Return: 0; 1 an obstacle was noted; negative errno. */
static int attached_dump(struct file_table *t, struct open_file *f, const struct ifreq *ifr, img_tunfile_entry *e,
			 struct cr_error *err)
{
	struct pollfd waiting = { .fd = f->fd, .events = POLLIN };
	img_tunfile_ext *ext = pool_new(&t->pool, img_tunfile_ext);
	uint32_t flags = 0;
	int r;

	e->netdev = pool_text(&t->pool, ifr->ifr_name, strnlen(ifr->ifr_name, IFNAMSIZ));
	if (!ext || !e->netdev)
		return pool_failed(err);
	if (!is_ours(ioctl(f->fd, TUNGETDEVNETNS)))
		return file_refuse(t, f, "", "tun device %s of another network namespace", e->netdev);
	if (!((unsigned short)ifr->ifr_flags & IFF_NOFILTER))
		return file_refuse(t, f, "", "tun device %s with a packet filter", e->netdev);
	r = device_flags(e->netdev, &flags);
	if (r < 0)
		return file_refuse(t, f, "mount sysfs in its network namespace",
				   "tun device %s, of which sysfs does not tell (%s)", e->netdev, strerror(-r));
	if (poll(&waiting, 1, 0) == 1 && waiting.revents & POLLIN)
		log_warn(&t->ctx->log, "packets wait to be read from tun device %s: continuing without them",
			 e->netdev);
	ext->has_flags = true;
	ext->flags = flags & ATTACH_FLAGS;
	/* tuns_outlive() needs the descriptor */
	f->keep_fd = ext->has_passing = ext->passing = !((unsigned short)ifr->ifr_flags & IFF_PERSIST);
	e->has_detached = e->detached = (unsigned short)ifr->ifr_flags & IFF_DETACH_QUEUE;
	e->ext = ext;
	return 0;
}

static int tun_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	img_tunfile_entry *e = pool_new(&t->pool, img_tunfile_entry);
	struct ifreq ifr;
	int r;

	/* images have the path of the device under the same number */
	f->entry = file_entry_new(t, img_fd_types_TUNF, f->id, err);
	f->also = file_entry_new(t, img_fd_types_REG, f->id, err);
	if (!e || !f->entry || !f->also)
		return pool_failed(err);
	e->id = f->id;
	e->has_ns_id = f->task->ids.has_net_ns_id;
	e->ns_id = f->task->ids.net_ns_id;
	f->entry->tunf = e;
	f->facts.pos = 0;
	r = path_dump(t, f, f->id, f->facts.flags, false, &f->also->reg, err);
	if (r != 0)
		return r;
	if (!is_ours(ioctl(f->fd, SIOCGSKNS)))
		return file_refuse(t, f, "", "tun descriptor of another network namespace");
	memset(&ifr, 0, sizeof(ifr));
	if (ioctl(f->fd, TUNGETIFF, &ifr) == 0)
		return attached_dump(t, f, &ifr, e, err);
	return errno == EBADFD ? 0 : cr_fail(err, -errno, "look at a tun descriptor");
}

static bool is_passing(const img_file_entry *e)
{
	return e && e->type == img_fd_types_TUNF && e->tunf->ext && e->tunf->ext->passing;
}

/* Before anything of the tree ends: a dumper that is killed in between leaves a device too many, not one too few. */
static int tuns_outlive(struct file_table *t, struct cr_error *err)
{
	for (size_t i = 0; i < t->files.nr; i++) {
		const struct open_file *f = t->files.items[i];

		if (is_passing(f->entry) && ioctl(f->fd, TUNSETPERSIST, 1) < 0)
			return cr_fail(err, -errno, "keep tun device %s", f->entry->tunf->netdev);
	}
	return 0;
}

static void tuns_outlive_undo(struct file_table *t)
{
	for (size_t i = 0; i < t->files.nr; i++)
		if (is_passing(t->files.items[i]->entry))
			ioctl(t->files.items[i]->fd, TUNSETPERSIST, 0);
}

/* ---------------------------------------------------------------- restore */

static int tun_check(const img_file_entry *f, struct cr_error *err)
{
	const img_tunfile_entry *e = f->tunf;
	size_t len = e->netdev ? strlen(e->netdev) : 0;

	if (!e->netdev)
		return 0;
	/* a name with a % in it is a pattern for the kernel, which makes a device of the next free one */
	if (!len || len >= IFNAMSIZ || strpbrk(e->netdev, "/%"))
		return cr_refuse(err, -EBADMSG, "tun device with a name of %zu bytes", len);
	if (!e->ext || !e->ext->has_flags)
		return cr_refuse(err, -EOPNOTSUPP, "tun device %s, of a network namespace that is not restored",
				 e->netdev);
	if (e->ext->flags & ~(uint32_t)ATTACH_FLAGS || !(e->ext->flags & IFF_TUN) == !(e->ext->flags & IFF_TAP))
		return cr_refuse(err, -EBADMSG, "tun device %s with flags 0x%x", e->netdev, e->ext->flags);
	return 0;
}

static int attach(int fd, const img_tunfile_entry *e, struct cr_error *err)
{
	struct ifreq ifr;
	uint32_t now = 0;
	int r = device_flags(e->netdev, &now);

	if (r < 0) {
		cr_fail(err, r, "look for tun device %s", e->netdev);
		cr_advise(err, "make it again: ip tuntap add dev %s mode %s", e->netdev,
			  e->ext->flags & IFF_TUN ? "tun" : "tap");
		return r;
	}
	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, e->netdev, strlen(e->netdev));
	ifr.ifr_flags = (short)e->ext->flags;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return cr_fail(err, -errno, "attach to tun device %s", e->netdev);
	/* if it had gone in between this would have made one */
	r = device_flags(e->netdev, &now);
	if (r < 0 || !(now & IFF_PERSIST) || (now & ATTACH_FLAGS) != e->ext->flags)
		return cr_refuse(err, r < 0 ? r : -EINVAL, "tun device %s has flags 0x%x, it had 0x%x", e->netdev, now,
				 e->ext->flags | IFF_PERSIST);
	if (e->has_detached && e->detached) {
		ifr.ifr_flags = IFF_DETACH_QUEUE;
		if (ioctl(fd, TUNSETQUEUE, &ifr) < 0)
			return cr_fail(err, -errno, "detach from tun device %s", e->netdev);
	}
	return 0;
}

static int tun_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_tunfile_entry *e = f->entry->tunf;
	autofd int fd = -1;
	int r;

	if (!f->node)
		return cr_refuse(err, -EBADMSG, "the path of tun descriptor %u is missing", f->id);
	/* the right to attach to a device would be ours, not that of a client */
	if (fs->ctx->opts->client_is_peer)
		return cr_refuse(err, -EPERM, "tun descriptors can only be restored for root");
	fd = path_open(fs, f->node, open_flags(f->node->entry->reg->flags), err);
	if (fd < 0)
		return fd;
	r = reg_validate(fs, f->node->entry->reg, fd, false, err);
	if (r == 0 && e->netdev)
		r = attach(fd, e, err);
	return r < 0 ? r : fown_finish(take_fd(&fd), f->node->entry->reg->fown, err);
}

static const img_fown_entry *tun_fown(const struct files *fs, const img_file_entry *e)
{
	const struct restored_file *f = files_find(fs, e->id);

	return f && f->node ? f->node->entry->reg->fown : NULL;
}

const struct file_ops tun_ops = {
	.name = "tun descriptor",
	.type = img_fd_types_TUNF,
	.claims = tun_claims,
	.dump = tun_dump,
	.check = tun_check,
	.open = tun_open,
	.fown = tun_fown,
};

/* The tree runs, and has the descriptors. */
static void tuns_commit(struct files *fs)
{
	for (size_t i = 0; i < fs->files.nr; i++) {
		const struct restored_file *f = fs->files.items[i];

		if (f->fd >= 0 && is_passing(f->entry) && ioctl(f->fd, TUNSETPERSIST, 0) < 0)
			log_warn(&fs->ctx->log, "tun device %s will outlive its descriptors: %s, continuing",
				 f->entry->tunf->netdev, strerror(errno));
	}
}

const struct file_family tun_family = {
	.name = "tun",
	.outlive = tuns_outlive,
	.outlive_undo = tuns_outlive_undo,
	.commit = tuns_commit,
};
