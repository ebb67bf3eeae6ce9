/*
 * Answers as a client reads them: whatever decodes must encode, decode and encode to the same
 * bytes again; an answer to a dump also for a client of the first generation.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_first_generation(const rpc_criu_resp *resp)
{
	struct proto_buf buf = proto_buf_of(1000);
	rpc_criu_msg *msg = NULL;

	if (rpc_resp_encode(resp, RPC_GENERATION_FIRST, &buf, NULL) == 0) {
		if (rpc_legacy_decode(buf.data, buf.len, NULL, &msg, NULL) < 0)
			abort();
		if (msg->dump_resp->success != resp->success)
			abort();
	} else if (resp->type == rpc_criu_req_type_DUMP) {
		abort();
	}
	rpc_legacy_free(msg);
	proto_buf_done(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proto_buf first = proto_buf_of(8 << 20), second = proto_buf_of(8 << 20);
	rpc_criu_resp *resp = NULL, *again = NULL;

	if (rpc_resp_decode(data, size, NULL, &resp, NULL) < 0)
		return 0;
	if (rpc_resp_encode(resp, RPC_GENERATION_TODAY, &first, NULL) < 0)
		abort();
	if (rpc_resp_decode(first.data, first.len, NULL, &again, NULL) < 0)
		abort();
	if (rpc_resp_encode(again, RPC_GENERATION_TODAY, &second, NULL) < 0)
		abort();
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	check_first_generation(resp);
	rpc_resp_free(again);
	rpc_resp_free(resp);
	proto_buf_done(&second);
	proto_buf_done(&first);
	return 0;
}
