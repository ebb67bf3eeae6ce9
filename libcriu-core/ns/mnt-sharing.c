/*
 * How mounts propagate: groups of peers, and masters that are groups, too. All mounts are made private, so that nothing
 * spreads while they are mounted; then the widest mount of each group, that shows all that others of it show, becomes the first
 * of a new group, or a slave of one, or joins one of outside, and the others join it (MOVE_MOUNT_SET_GROUP, Linux 5.15).
 */
#include "ns/mnt-parts.h"

#include "kernel/mount-calls.h"

#include <errno.h>
#include <string.h>

/* Mounts with a group, by group; the widest first. */
struct groups {
	const struct mnt_mounts *list;
	size_t *items, nr;
};

static int compare(const void *x, const void *y, void *arg)
{
	const struct mnt_mounts *list = arg;
	size_t a = *(const size_t *)x, b = *(const size_t *)y;
	const img_mnt_entry *ea = list->items[a].e, *eb = list->items[b].e;
	size_t la = strlen(ea->root), lb = strlen(eb->root);

	if (ea->shared_id != eb->shared_id)
		return ea->shared_id < eb->shared_id ? -1 : 1;
	if (la != lb)
		return la < lb ? -1 : 1;
	/* the root of the namespace, which has to be there before */
	return (list->items[a].parent >= 0) - (list->items[b].parent >= 0);
}

static int groups_init(const struct mnt_mounts *list, struct groups *ret, struct cr_error *err)
{
	*ret = (struct groups){ .list = list, .items = malloc(list->nr * sizeof(size_t) + 1) };
	if (!ret->items)
		return cr_fail(err, -ENOMEM, "groups of mounts");
	for (size_t i = 0; i < list->nr; i++)
		if (list->items[i].e->shared_id)
			ret->items[ret->nr++] = i;
	qsort_r(ret->items, ret->nr, sizeof(size_t), compare, (void *)list);
	return 0;
}

/* The first of a group; -1: it is none of the namespace's. */
static int first_of(const struct groups *g, uint32_t id)
{
	size_t low = 0, high = g->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (g->list->items[g->items[mid]].e->shared_id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < g->nr && g->list->items[g->items[low]].e->shared_id == id ? (int)g->items[low] : -1;
}

static bool is_wider(const img_mnt_entry *a, const img_mnt_entry *b)
{
	return a->root_dev == b->root_dev && mnt_below(b->root, a->root);
}

bool mnt_shared_outside(const struct mnt_mounts *list, size_t i)
{
	const struct mnt_mount *m = &list->items[i];

	return mnt_is_given(m) && m->e->shared_id && !m->e->internal_sharing;
}

bool mnt_master_outside(const struct mnt_mounts *list, size_t i)
{
	uint32_t master = list->items[i].e->master_id;

	for (size_t k = 0; master && k < list->nr; k++)
		if (list->items[k].e->shared_id == master)
			return false;
	return master != 0;
}

/* Return: 0; -EBADMSG with a sentence about mount @i */
static int check_one(const struct groups *g, size_t i, struct cr_error *err)
{
	const struct mnt_mount *m = &g->list->items[i];
	int first = m->e->shared_id ? first_of(g, m->e->shared_id) : -1;
	int master = m->e->master_id ? first_of(g, m->e->master_id) : -1;
	const img_mnt_entry *f = first >= 0 ? g->list->items[first].e : NULL;
	uint32_t up = m->e->master_id;

	if (f && (!is_wider(f, m->e) || f->master_id != m->e->master_id))
		return cr_refuse(err, -EBADMSG, "no mount of its peer group %u shows all that the others show",
				 m->e->shared_id);
	if (master >= 0 && !is_wider(g->list->items[master].e, m->e))
		return cr_refuse(err, -EBADMSG, "no mount of its master group %u shows what it shows", m->e->master_id);
	if (m->e->master_id && master < 0 && !mnt_is_given(m) && (!f || !mnt_is_given(&g->list->items[first])))
		return cr_refuse(err, -EBADMSG, "its master group %u is not that of any mount", m->e->master_id);
	for (size_t n = 0; up; n++) {
		int next = first_of(g, up);

		if (n > g->nr)
			return cr_refuse(err, -EBADMSG, "its master group %u is its own slave", m->e->master_id);
		up = next >= 0 ? g->list->items[next].e->master_id : 0;
	}
	return 0;
}

int mnt_sharing_check(const struct mnt_mounts *list, size_t *ret_which, struct cr_error *err)
{
	struct groups g;
	int r = groups_init(list, &g, err);

	for (size_t i = 0; r == 0 && i < list->nr; i++) {
		*ret_which = i;
		if (list->items[i].e->shared_id || list->items[i].e->master_id)
			r = check_one(&g, i, err);
	}
	free(g.items);
	return r;
}

static int join(int from, int to, struct cr_error *err)
{
	int r;

	if (mount_join_group(from, to) == 0)
		return 0;
	r = cr_fail(err, -errno, "join its peer group (MOVE_MOUNT_SET_GROUP)");
	cr_advise(err, "this needs Linux 5.15 or later");
	return r;
}

static int become(int fd, uint64_t what, struct cr_error *err)
{
	return mount_change(fd, 0, 0, what) < 0 ? cr_fail(err, -errno, "change its propagation (mount_setattr)") : 0;
}

/* The first of a group, or one that has a master and no peers: @master: first of the group it is a slave of, -1: outside, or none */
static int make_first(const struct mnt_mounts *list, size_t i, int master, struct cr_error *err)
{
	const struct mnt_mount *m = &list->items[i];
	int r = 0;

	if (m->peers >= 0 && mnt_shared_outside(list, i))
		return join(m->peers, m->fd, err);
	if (m->e->master_id) {
		r = join(master >= 0 ? list->items[master].fd : m->peers, m->fd, err);
		if (r == 0)
			r = become(m->fd, MS_SLAVE, err);
	}
	return r == 0 && m->e->shared_id ? become(m->fd, MS_SHARED, err) : r;
}

/* Return: 1 it is done; 0 not yet: its master, or the first of its group, comes before */
static int make_one(const struct groups *g, size_t i, const bool *done, struct cr_error *err)
{
	const struct mnt_mount *m = &g->list->items[i];
	int first = m->e->shared_id ? first_of(g, m->e->shared_id) : (int)i;
	int master = m->e->master_id ? first_of(g, m->e->master_id) : -1, r;

	if ((master >= 0 && !done[master]) || (first != (int)i && !done[first]))
		return 0;
	if (first == (int)i)
		r = make_first(g->list, i, master, err);
	else
		r = join(g->list->items[first].fd, m->fd, err);
	return r < 0 ? cr_within(err, r, "mount at %.200s", m->e->mountpoint) : 1;
}

int mnt_sharing_make(const struct mnt_mounts *list, struct cr_error *err)
{
	autofree bool *done = calloc(list->nr, sizeof(*done));
	struct groups g;
	size_t left = 0;
	int r = done ? groups_init(list, &g, err) : cr_fail(err, -ENOMEM, "groups of mounts");

	if (r < 0)
		return r;
	for (size_t i = 0; i < list->nr; i++) {
		const img_mnt_entry *e = list->items[i].e;

		done[i] = !e->shared_id && !e->master_id;
		left += !done[i];
	}
	/* masters come before their slaves: each round does at least the next generation of them */
	for (size_t before = left + 1; r >= 0 && left && left < before;) {
		before = left;
		for (size_t i = 0; r >= 0 && i < list->nr; i++) {
			if (done[i])
				continue;
			r = make_one(&g, i, done, err);
			done[i] = r > 0;
			left -= done[i];
		}
	}
	free(g.items);
	if (r >= 0 && left)
		r = cr_refuse(err, -EBADMSG, "groups of mounts that are slaves of each other");
	for (size_t i = 0; r >= 0 && i < list->nr; i++)
		if (list->items[i].e->flags & MS_UNBINDABLE)
			r = become(list->items[i].fd, MS_UNBINDABLE, err);
	return r < 0 ? r : 0;
}
