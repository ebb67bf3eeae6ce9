/* The table of kinds. */
#include "files/file-ops.h"

#include "base/array.h"
#include "files/family.h"
#include "files/refused.h"

extern const struct file_ops regular_ops, pipe_ops, fifo_ops, eventfd_ops, memfd_ops, tty_ops, signalfd_ops,
	timerfd_ops, epoll_ops, inotify_ops, fanotify_ops, pidfd_ops, message_queue_ops, bpf_map_ops, tun_ops, unix_ops, socket_ops,
	inet_ops, netlink_ops, packet_ops;
extern const struct file_family inet_family, packet_family;
extern const struct file_family unix_family, tty_family, epoll_family, pidfd_family,
	inotify_family, fanotify_family, bpf_family, tun_family;

static const struct file_ops *const kinds[] = {
	&regular_ops,   &pipe_ops,          &fifo_ops,       &eventfd_ops,     &memfd_ops,   &tty_ops,
	&signalfd_ops,  &timerfd_ops,       &epoll_ops,      &unix_ops,        &inotify_ops, &fanotify_ops,
	&io_uring_ops,  &perf_ops,          &bpf_ops, &bpf_map_ops, &tun_ops,        &userfaultfd_ops, &pidfd_ops,   &namespace_file_ops,
	&secretmem_ops, &message_queue_ops, &anon_other_ops, &device_ops,      &socket_ops,
	&inet_ops,      &netlink_ops,       &packet_ops,
};

const struct file_ops *file_ops_for(const struct file_facts *facts)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i]->claims(facts))
			return kinds[i];
	return NULL;
}

const struct file_ops *file_ops_of_type(img_fd_types type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i]->type == type && (kinds[i]->open || kinds[i]->arrive))
			return kinds[i];
	return NULL;
}

const struct file_ops *file_ops_at(unsigned int i)
{
	return i < ARRAY_LEN(kinds) ? kinds[i] : NULL;
}

static const struct file_family *const families[] = {
	&unix_family,
	&tty_family,
	&epoll_family,
	&pidfd_family,
	&inotify_family,
	&fanotify_family,
	&inet_family,
	&packet_family,
	&bpf_family,
	&tun_family,
};

const struct file_family *file_family_at(unsigned int i)
{
	return i < ARRAY_LEN(families) ? families[i] : NULL;
}
