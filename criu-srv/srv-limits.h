/* What the service gives at most, and how long it waits. */
#ifndef CRIU_SRV_SRV_LIMITS_H
#define CRIU_SRV_SRV_LIMITS_H

#include "options/settings.h"

#include <stdint.h>

struct srv_limits {
	uint32_t message_bytes;
	uint32_t workers, user_workers; /* clients served at a time, in all and of one user other than root */
	uint32_t clients, user_clients; /* connections that have not asked yet; the same */
	uint32_t request_s, idle_s, notify_s, stop_s;
};

static inline void limits_from(const struct settings *s, struct srv_limits *ret)
{
	*ret = (struct srv_limits){
		.message_bytes = s->has_max_message ? (uint32_t)s->max_message : 1 << 20,
		.workers = s->has_max_workers ? (uint32_t)s->max_workers : 256,
		.user_workers = s->has_max_user_workers ? (uint32_t)s->max_user_workers : 64,
		.clients = s->has_max_clients ? (uint32_t)s->max_clients : 16384,
		.user_clients = s->has_max_user_clients ? (uint32_t)s->max_user_clients : 1024,
		.request_s = s->has_request_timeout ? (uint32_t)s->request_timeout : 60,
		.idle_s = s->has_idle_timeout ? (uint32_t)s->idle_timeout : 3600,
		.notify_s = s->has_notify_timeout ? (uint32_t)s->notify_timeout : 120,
		.stop_s = s->has_stop_timeout ? (uint32_t)s->stop_timeout : 30,
	};
}

#endif
