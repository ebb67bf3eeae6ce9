/*
 * Requests as a client may send them: whatever decodes must encode, decode and encode to the same
 * bytes again. Requests of the first generation come out as today's.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const uint8_t *data, size_t size, enum rpc_generation generation)
{
	struct proto_buf first = proto_buf_of(8 << 20), second = proto_buf_of(8 << 20);
	struct proto_error err = { 0 };
	rpc_criu_req *req = NULL, *again = NULL;

	if (rpc_req_decode(data, size, generation, NULL, &req, &err) < 0) {
		if (err.code >= 0 || err.text[0] == '\0')
			abort();
		return;
	}
	if (rpc_req_encode(req, &first, NULL) < 0)
		abort();
	if (rpc_req_decode(first.data, first.len, RPC_GENERATION_TODAY, NULL, &again, NULL) < 0)
		abort();
	if (rpc_req_encode(again, &second, NULL) < 0)
		abort();
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	rpc_req_free(again);
	rpc_req_free(req);
	proto_buf_done(&second);
	proto_buf_done(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	round_trip(data, size, RPC_GENERATION_TODAY);
	round_trip(data, size, RPC_GENERATION_FIRST);
	(void)rpc_req_is_whole(data, size);
	return 0;
}
