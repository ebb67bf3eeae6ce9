/* Clients and workers of the service; see crowd.h. */
#include "crowd.h"

#include <errno.h>
#include <stdlib.h>

#define LINES_AT_ONCE 200.0

void crowd_init(struct crowd *c, const struct srv_limits *limits)
{
	*c = (struct crowd){ .limits = limits };
}

static void free_queue(struct crowd_queue *q)
{
	struct crowd_client *client = q->first;

	while (client) {
		struct crowd_client *next = client->next;

		free(client);
		client = next;
	}
}

void crowd_done(struct crowd *c)
{
	free_queue(&c->silent);
	free_queue(&c->asking);
	free(c->workers);
	for (size_t i = 0; i < CROWD_BUCKETS; i++) {
		while (c->users[i]) {
			struct crowd_user *next = c->users[i]->next;

			free(c->users[i]);
			c->users[i] = next;
		}
	}
	crowd_init(c, c->limits);
}

static struct crowd_user **user_slot(struct crowd *c, uid_t uid)
{
	struct crowd_user **at = &c->users[(uid ^ uid >> 8 ^ uid >> 16) % CROWD_BUCKETS];

	while (*at && (*at)->uid != uid)
		at = &(*at)->next;
	return at;
}

static struct crowd_user *user_get(struct crowd *c, uid_t uid, int64_t now_ms)
{
	struct crowd_user **at = user_slot(c, uid);
	struct crowd_user *user = *at;

	if (user)
		return user;
	user = malloc(sizeof(*user));
	if (!user)
		return NULL;
	*user = (struct crowd_user){ .uid = uid, .lines = LINES_AT_ONCE, .lines_ms = now_ms };
	*at = user;
	c->nr_users++;
	return user;
}

static void refill(struct crowd_user *u, int64_t now_ms)
{
	u->lines += (double)(now_ms - u->lines_ms) / 1000 * CROWD_LINES_A_SECOND;
	u->lines_ms = now_ms;
	if (u->lines > LINES_AT_ONCE)
		u->lines = LINES_AT_ONCE;
}

/* Those who have caused lines lately are kept in mind, or they would be new each time they come. */
static bool is_done_with(const struct crowd_user *u)
{
	return !u->clients && !u->workers && !u->unlogged && u->lines >= LINES_AT_ONCE;
}

static void user_put(struct crowd *c, struct crowd_user *u)
{
	struct crowd_user **at = user_slot(c, u->uid);

	if (!is_done_with(u))
		return;
	*at = u->next;
	c->nr_users--;
	free(u);
}

void crowd_settle(struct crowd *c, int64_t now_ms, void (*tell)(void *arg, uid_t uid, uint64_t nr), void *arg)
{
	for (size_t i = 0; i < CROWD_BUCKETS; i++) {
		struct crowd_user *u = c->users[i];

		while (u) {
			struct crowd_user *next = u->next;

			if (u->unlogged)
				tell(arg, u->uid, u->unlogged);
			u->unlogged = 0;
			refill(u, now_ms);
			user_put(c, u);
			u = next;
		}
	}
}

static void push(struct crowd_queue *q, struct crowd_client *client)
{
	client->next = NULL;
	client->prev = q->last;
	*(q->last ? &q->last->next : &q->first) = client;
	q->last = client;
	q->nr++;
}

static void pull(struct crowd_queue *q, struct crowd_client *client)
{
	*(client->prev ? &client->prev->next : &q->first) = client->next;
	*(client->next ? &client->next->prev : &q->last) = client->prev;
	q->nr--;
}

static void push_user(struct crowd_client *client)
{
	struct crowd_queue *q = &client->user->silent;

	client->user_next = NULL;
	client->user_prev = q->last;
	*(q->last ? &q->last->user_next : &q->first) = client;
	q->last = client;
	q->nr++;
}

static void pull_user(struct crowd_client *client)
{
	struct crowd_queue *q = &client->user->silent;

	*(client->user_prev ? &client->user_prev->user_next : &q->first) = client->user_next;
	*(client->user_next ? &client->user_next->user_prev : &q->last) = client->user_prev;
	q->nr--;
}

struct crowd_client *crowd_enter(struct crowd *c, int fd, uid_t uid, pid_t pid, bool legacy, int64_t now_ms)
{
	struct crowd_user *user = user_get(c, uid, now_ms);
	struct crowd_client *client = user ? malloc(sizeof(*client)) : NULL;

	if (!client) {
		if (user)
			user_put(c, user);
		return NULL;
	}
	*client = (struct crowd_client){ .fd = fd, .pid = pid, .legacy = legacy, .since_ms = now_ms, .user = user };
	push(&c->silent, client);
	push_user(client);
	user->clients++;
	return client;
}

static const struct crowd_user *most_silent(const struct crowd *c)
{
	const struct crowd_user *most = NULL;

	for (size_t i = 0; i < CROWD_BUCKETS; i++)
		for (const struct crowd_user *u = c->users[i]; u; u = u->next)
			if (!most || u->silent.nr > most->silent.nr)
				most = u;
	return most;
}

struct crowd_client *crowd_surplus(const struct crowd *c, const struct crowd_client *newest)
{
	const struct crowd_user *user = newest->user;
	uint32_t room = c->limits->clients;

	/* or root, who is silent for a moment too, would be the one to go when others have asked for all there is */
	if (user->uid != 0)
		room -= room / 8;
	/* what has asked is not sent away, so that the newest one may be all that is left to choose from */
	if (user->uid != 0 && user->clients > c->limits->user_clients)
		return user->silent.first;
	if (c->silent.nr + c->asking.nr > room)
		return most_silent(c)->silent.first;
	return NULL;
}

void crowd_asks(struct crowd *c, struct crowd_client *client, int64_t now_ms)
{
	if (client->asking)
		return;
	pull(&c->silent, client);
	pull_user(client);
	client->asking = true;
	client->since_ms = now_ms;
	push(&c->asking, client);
}

static bool has_place(const struct crowd *c, const struct crowd_user *u)
{
	uint32_t all = c->limits->workers;

	if (u->uid == 0)
		return c->nr_workers < all;
	return c->nr_workers < all - all / 8 && u->workers < c->limits->user_workers;
}

struct crowd_client *crowd_next(const struct crowd *c)
{
	struct crowd_client *client = c->nr_workers < c->limits->workers ? c->asking.first : NULL;

	while (client && !has_place(c, client->user))
		client = client->next;
	return client;
}

static int64_t deadline(const struct crowd *c, const struct crowd_client *client)
{
	return client->since_ms + (int64_t)c->limits->request_s * 1000;
}

struct crowd_client *crowd_late(const struct crowd *c, int64_t now_ms)
{
	if (c->silent.first && deadline(c, c->silent.first) <= now_ms)
		return c->silent.first;
	return c->asking.first && deadline(c, c->asking.first) <= now_ms ? c->asking.first : NULL;
}

int crowd_wait_ms(const struct crowd *c, int64_t now_ms)
{
	int64_t wait = INT64_MAX;

	if (c->silent.first)
		wait = deadline(c, c->silent.first) - now_ms;
	if (c->asking.first && deadline(c, c->asking.first) - now_ms < wait)
		wait = deadline(c, c->asking.first) - now_ms;
	if (wait == INT64_MAX)
		return -1;
	return wait < 0 ? 0 : wait > INT32_MAX ? INT32_MAX : (int)wait;
}

/* Out of all lists and counts; the user is still there. */
static void take_out(struct crowd *c, struct crowd_client *client)
{
	pull(client->asking ? &c->asking : &c->silent, client);
	if (!client->asking)
		pull_user(client);
	client->user->clients--;
}

void crowd_leave(struct crowd *c, struct crowd_client *client)
{
	take_out(c, client);
	user_put(c, client->user);
	free(client);
}

int crowd_reserve(struct crowd *c)
{
	size_t cap = c->cap_workers ? c->cap_workers * 2 : 16;
	void *more;

	if (c->nr_workers < c->cap_workers)
		return 0;
	more = reallocarray(c->workers, cap, sizeof(*c->workers));
	if (!more)
		return -ENOMEM;
	c->workers = more;
	c->cap_workers = cap;
	return 0;
}

void crowd_serve(struct crowd *c, struct crowd_client *client, pid_t worker, int64_t now_ms)
{
	c->workers[c->nr_workers++] = (struct crowd_worker){
		.pid = worker, .client_pid = client->pid, .since_ms = now_ms, .user = client->user
	};
	client->user->workers++;
	take_out(c, client);
	free(client);
}

static struct crowd_worker *worker_find(struct crowd *c, pid_t worker)
{
	for (size_t i = 0; i < c->nr_workers; i++)
		if (c->workers[i].pid == worker)
			return &c->workers[i];
	return NULL;
}

bool crowd_reap(struct crowd *c, pid_t worker, struct crowd_worker *ret, uid_t *ret_uid)
{
	struct crowd_worker *w = worker_find(c, worker);

	if (!w)
		return false;
	*ret = *w;
	*w = c->workers[--c->nr_workers];
	*ret_uid = ret->user->uid;
	ret->user->workers--;
	user_put(c, ret->user);
	ret->user = NULL;
	return true;
}

bool crowd_may_tell(struct crowd *c, pid_t worker, int64_t now_ms)
{
	const struct crowd_worker *w = worker_find(c, worker);

	return w && crowd_may_log(w->user, now_ms);
}

bool crowd_may_log(struct crowd_user *u, int64_t now_ms)
{
	if (u->uid == 0)
		return true;
	refill(u, now_ms);
	if (u->lines < 1) {
		u->unlogged++;
		return false;
	}
	u->lines -= 1;
	return true;
}
