/*
 * Types of the members that nanopb has no fitting type for: counted arrays of any length, and
 * bytes. The structs that nanopb generates include this file; see proto/nanopb.options.
 *
 * Who encodes may let a member point at memory of his own: encoding reads it and no more. What
 * was decoded belongs to the decoded entry and goes with it.
 */
#ifndef PROTO_VEC_H
#define PROTO_VEC_H

#include <stddef.h>
#include <stdint.h>

/* @data NULL: the field is absent. Present and empty is a pointer to anything with @len 0. */
struct proto_bytes {
	const uint8_t *data;
	size_t len;
};

/* A field that is not there and one with no element are the same: @nr 0. */
#define PROTO_VEC(name, element)   \
	struct name {              \
		element *items;    \
		size_t nr;         \
	}

PROTO_VEC(proto_u32_vec, uint32_t);
PROTO_VEC(proto_i32_vec, int32_t);
PROTO_VEC(proto_u64_vec, uint64_t);
PROTO_VEC(proto_str_vec, char *);

PROTO_VEC(rpc_cgroup_root_vec, struct _rpc_cgroup_root);
PROTO_VEC(rpc_criu_veth_pair_vec, struct _rpc_criu_veth_pair);
PROTO_VEC(rpc_ext_mount_map_vec, struct _rpc_ext_mount_map);
PROTO_VEC(rpc_inherit_fd_vec, struct _rpc_inherit_fd);
PROTO_VEC(rpc_join_namespace_vec, struct _rpc_join_namespace);
PROTO_VEC(rpc_unix_sk_vec, struct _rpc_unix_sk);

PROTO_VEC(img_aa_namespace_vec, struct _img_aa_namespace);
PROTO_VEC(img_aa_policy_vec, struct _img_aa_policy);
PROTO_VEC(img_aio_ring_entry_vec, struct _img_aio_ring_entry);
PROTO_VEC(img_cg_controller_entry_vec, struct _img_cg_controller_entry);
PROTO_VEC(img_cg_member_entry_vec, struct _img_cg_member_entry);
PROTO_VEC(img_cg_set_entry_vec, struct _img_cg_set_entry);
PROTO_VEC(img_cgroup_dir_entry_vec, struct _img_cgroup_dir_entry);
PROTO_VEC(img_cgroup_prop_entry_vec, struct _img_cgroup_prop_entry);
PROTO_VEC(img_cpuinfo_ppc64_entry_vec, struct _img_cpuinfo_ppc64_entry);
PROTO_VEC(img_cpuinfo_s390_entry_vec, struct _img_cpuinfo_s390_entry);
PROTO_VEC(img_cpuinfo_x86_entry_vec, struct _img_cpuinfo_x86_entry);
PROTO_VEC(img_eventpoll_tfd_entry_vec, struct _img_eventpoll_tfd_entry);
PROTO_VEC(img_fanotify_mark_entry_vec, struct _img_fanotify_mark_entry);
PROTO_VEC(img_xattr_vec, struct _img_xattr);
PROTO_VEC(img_inet_datagram_vec, struct _img_inet_datagram);
PROTO_VEC(img_inet_group_vec, struct _img_inet_group);
PROTO_VEC(img_packet_slot_vec, struct _img_packet_slot);
PROTO_VEC(img_inotify_wd_entry_vec, struct _img_inotify_wd_entry);
PROTO_VEC(img_message_queue_vec, struct _img_message_queue);
PROTO_VEC(img_mnt_socket_ext_vec, struct _img_mnt_socket_ext);
PROTO_VEC(img_netns_id_vec, struct _img_netns_id);
PROTO_VEC(img_packet_mclist_vec, struct _img_packet_mclist);
PROTO_VEC(img_posix_timer_entry_vec, struct _img_posix_timer_entry);
PROTO_VEC(img_queued_message_vec, struct _img_queued_message);
PROTO_VEC(img_rlimit_entry_vec, struct _img_rlimit_entry);
PROTO_VEC(img_sa_entry_vec, struct _img_sa_entry);
PROTO_VEC(img_scm_entry_vec, struct _img_scm_entry);
PROTO_VEC(img_seccomp_filter_vec, struct _img_seccomp_filter);
PROTO_VEC(img_sem_undo_vec, struct _img_sem_undo);
PROTO_VEC(img_siginfo_entry_vec, struct _img_siginfo_entry);
PROTO_VEC(img_sysctl_entry_vec, struct _img_sysctl_entry);
PROTO_VEC(img_uid_gid_extent_vec, struct _img_uid_gid_extent);
PROTO_VEC(img_user_desc_t_vec, struct _img_user_desc_t);
PROTO_VEC(img_vma_entry_vec, struct _img_vma_entry);

#endif
