#include "tree-sim.h"

#include <errno.h>

static bool group_exists(const struct sim *s, uint32_t pgid, uint32_t sid)
{
	for (int i = 0; i < s->nr; i++)
		if (s->p[i].used && s->p[i].pgid == pgid && (!sid || s->p[i].sid == sid))
			return true;
	return false;
}

int sim_fork(struct sim *s, int n, uint32_t pid, bool sibling)
{
	struct sim_proc *f = &s->p[n];

	for (int i = 0; i < s->nr; i++)
		if (s->p[i].used && s->p[i].pid == pid)
			return -EEXIST;
	if (s->nr == SIM_MAX || (sibling && f->parent < 0))
		return -EAGAIN;
	s->p[s->nr] = (struct sim_proc){
		.pid = pid, .sid = f->sid, .pgid = f->pgid, .parent = sibling ? f->parent : n, .used = true
	};
	return s->nr++;
}

/* setsid(2): not for a group leader, nor while a group of that number exists */
int sim_setsid(struct sim *s, int n)
{
	if (group_exists(s, s->p[n].pid, 0))
		return -EPERM;
	s->p[n].sid = s->p[n].pgid = s->p[n].pid;
	return 0;
}

/* setpgid(2): oneself or a child, in the caller's session, no session leader, the group in the same session */
int sim_setpgid(struct sim *s, int n, int target, uint32_t pgid)
{
	struct sim_proc *t = &s->p[target];

	if (!pgid)
		pgid = t->pid;
	if (target != n && t->parent != n)
		return -ESRCH;
	if (t->sid != s->p[n].sid || t->sid == t->pid)
		return -EPERM;
	if (pgid != t->pid && !group_exists(s, pgid, t->sid))
		return -EPERM;
	t->pgid = pgid;
	return 0;
}

static void drop(struct sim *s, int n)
{
	s->p[n].used = false;
	for (int i = 0; i < s->nr; i++)
		if (s->p[i].used && s->p[i].parent == n)
			drop(s, i);
}

/* The nearest subreaper above takes the children; find_new_reaper() in kernel/exit.c */
int sim_exit(struct sim *s, int n)
{
	int reaper = s->p[n].parent;

	while (reaper >= 0 && !s->p[reaper].subreaper)
		reaper = s->p[reaper].parent;
	if (reaper < 0 && s->root_is_init)
		reaper = 0;
	for (int i = 0; i < s->nr; i++) {
		if (!s->p[i].used || s->p[i].parent != n)
			continue;
		if (reaper < 0)
			drop(s, i);
		else
			s->p[i].parent = reaper;
	}
	s->p[n].zombie = true;
	return 0;
}

int sim_reap(struct sim *s, int parent, int child)
{
	if (!s->p[child].used || s->p[child].parent != parent)
		return -ECHILD;
	if (!s->p[child].zombie)
		return -EAGAIN;
	s->p[child].used = false;
	return 0;
}
