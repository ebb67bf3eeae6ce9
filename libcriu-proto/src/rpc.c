/*
 * Requests and answers, of every generation of the protocol.
 */
#include "proto/rpc.h"

#include <errno.h>

#include "arena.h"
#include "decode.h"
#include "encode.h"
#include "fail.h"
#include "wire.h"

const struct proto_limits rpc_limits_default = {
	.message = 1024 * 1024,
	.string = 4096,
	.count = 100 * 1000,
	.memory = 64 * 1024 * 1024,
};

static const struct proto_limits *or_default(const struct proto_limits *limits)
{
	return limits != NULL ? limits : &rpc_limits_default;
}

/* Value of the last varint field @number of a message, if the message is whole and has one. */
static bool peek_varint(struct wire_input in, unsigned int number, uint64_t *ret_value)
{
	bool found = false;
	uint64_t tag;

	while (in.at < in.end) {
		if (!wire_varint(&in, &tag))
			return false;
		if (tag == ((uint64_t)number << 3 | WIRE_VARINT)) {
			if (!wire_varint(&in, ret_value))
				return false;
			found = true;
		} else if (!wire_skip(&in, tag & 7)) {
			return false;
		}
	}
	return found;
}

bool rpc_req_is_whole(const void *bytes, size_t len)
{
	struct wire_input in = { bytes, (const uint8_t *)bytes + len };
	uint64_t type;

	return peek_varint(in, rpc_criu_req_type_tag, &type);
}

/* What a request of the first generation says in today's words; log_level was 2 when not given. */
static rpc_criu_opts opts_of_first(const rpc_criu_dump_req *dump)
{
	return (rpc_criu_opts){
		.images_dir_fd = dump->images_dir_fd,
		.has_pid = dump->has_pid,
		.pid = dump->pid,
		.has_leave_running = dump->has_leave_running,
		.leave_running = dump->leave_running,
		.has_ext_unix_sk = dump->has_ext_unix_sk,
		.ext_unix_sk = dump->ext_unix_sk,
		.has_tcp_established = dump->has_tcp_established,
		.tcp_established = dump->tcp_established,
		.has_evasive_devices = dump->has_evasive_devices,
		.evasive_devices = dump->evasive_devices,
		.has_shell_job = dump->has_shell_job,
		.shell_job = dump->shell_job,
		.has_file_locks = dump->has_file_locks,
		.file_locks = dump->file_locks,
		.has_log_level = dump->has_log_level,
		.log_level = dump->log_level,
	};
}

/*
 * By way of the wire: the answer is then one block of memory with today's defaults in it, like any
 * other request.
 */
static int decode_first(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_req **ret_req,
			struct proto_error *err)
{
	rpc_criu_msg *msg = NULL;
	int r = rpc_legacy_decode(bytes, len, limits, &msg, err);

	if (r < 0)
		return r;
	if (msg->type != rpc_criu_msg_type_DUMPREQ || msg->dump_req == NULL) {
		rpc_legacy_free(msg);
		return fail_at(err, -EBADMSG, NULL, "criu_msg.dump_req: required field is missing");
	}

	rpc_criu_opts opts = opts_of_first(msg->dump_req);
	rpc_criu_req req = { .type = rpc_criu_req_type_DUMP, .opts = &opts };
	struct proto_buf buf = proto_buf_of(4096);
	void *decoded = NULL;

	r = rpc_req_encode(&req, &buf, err);
	if (r == 0)
		r = decode_message(&schema_rpc_criu_req, buf.data, buf.len, limits, &decoded, err);
	if (r == 0)
		*ret_req = decoded;
	proto_buf_done(&buf);
	rpc_legacy_free(msg);
	return r;
}

int rpc_req_decode(const void *bytes, size_t len, enum rpc_generation generation, const struct proto_limits *limits,
		   rpc_criu_req **ret_req, struct proto_error *err)
{
	void *req = NULL;
	int r;

	limits = or_default(limits);
	if (generation == RPC_GENERATION_FIRST)
		return decode_first(bytes, len, limits, ret_req, err);
	r = decode_message(&schema_rpc_criu_req, bytes, len, limits, &req, err);
	if (r == 0)
		*ret_req = req;
	return r;
}

int rpc_req_encode(const rpc_criu_req *req, struct proto_buf *buf, struct proto_error *err)
{
	return encode_message(&schema_rpc_criu_req, req, buf, err);
}

void rpc_req_free(rpc_criu_req *req)
{
	arena_free(req);
}

int rpc_resp_decode(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_resp **ret_resp,
		    struct proto_error *err)
{
	void *resp = NULL;
	int r = decode_message(&schema_rpc_criu_resp, bytes, len, or_default(limits), &resp, err);

	if (r == 0)
		*ret_resp = resp;
	return r;
}

static int encode_resp_first(const rpc_criu_resp *resp, struct proto_buf *buf, struct proto_error *err)
{
	rpc_criu_dump_resp_2013 dump = { .success = resp->success };
	rpc_criu_msg msg = { .type = rpc_criu_msg_type_DUMPRESP, .dump_resp = &dump };

	/* EMPTY says that a request was no good, which they knew by success alone */
	if (resp->type != rpc_criu_req_type_DUMP && (resp->type != rpc_criu_req_type_EMPTY || resp->success))
		return fail_at(err, -EINVAL, NULL, "criu_resp.type: %d is unknown to clients of the first generation",
			       (int)resp->type);
	if (resp->dump != NULL) {
		dump.has_restored = resp->dump->has_restored;
		dump.restored = resp->dump->restored;
	}
	return rpc_legacy_encode(&msg, buf, err);
}

int rpc_resp_encode(const rpc_criu_resp *resp, enum rpc_generation generation, struct proto_buf *buf,
		    struct proto_error *err)
{
	if (generation == RPC_GENERATION_FIRST)
		return encode_resp_first(resp, buf, err);
	return encode_message(&schema_rpc_criu_resp, resp, buf, err);
}

void rpc_resp_free(rpc_criu_resp *resp)
{
	arena_free(resp);
}

int rpc_legacy_decode(const void *bytes, size_t len, const struct proto_limits *limits, rpc_criu_msg **ret_msg,
		      struct proto_error *err)
{
	void *msg = NULL;
	int r = decode_message(&schema_rpc_criu_msg, bytes, len, or_default(limits), &msg, err);

	if (r == 0)
		*ret_msg = msg;
	return r;
}

int rpc_legacy_encode(const rpc_criu_msg *msg, struct proto_buf *buf, struct proto_error *err)
{
	return encode_message(&schema_rpc_criu_msg, msg, buf, err);
}

void rpc_legacy_free(rpc_criu_msg *msg)
{
	arena_free(msg);
}
