/* The table of requests; see verbs.h. */
#include "verbs.h"

#include "base/array.h"

#define TYPE(name) rpc_criu_req_type_##name, #name

static const struct verb verbs[] = {
	{ TYPE(DUMP), false, false, PEER_NEED_DUMP, verb_dump },
	{ TYPE(RESTORE), false, false, PEER_NEED_RESTORE, verb_restore },
	{ TYPE(CHECK), false, false, PEER_NEED_PROBE, verb_check },
	{ TYPE(PRE_DUMP), false, true, PEER_NEED_DUMP, verb_pre_dump },
	{ TYPE(SINGLE_PRE_DUMP), false, false, PEER_NEED_DUMP, verb_pre_dump },
	{ TYPE(PAGE_SERVER), true, false, PEER_NEED_FILES, verb_page_server },
	{ TYPE(PAGE_SERVER_CHLD), true, false, PEER_NEED_FILES, verb_page_server },
	{ TYPE(CPUINFO_DUMP), true, false, PEER_NEED_FILES, verb_cpuinfo },
	{ TYPE(CPUINFO_CHECK), true, false, PEER_NEED_FILES, verb_cpuinfo },
	{ TYPE(FEATURE_CHECK), true, false, PEER_NEED_PROBE, verb_features },
	{ TYPE(VERSION), true, false, PEER_NEED_NOTHING, verb_version },
	{ TYPE(WAIT_PID), false, false, PEER_NEED_NOTHING, verb_wait_pid },
};

const struct verb *verb_find(rpc_criu_req_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].type == type)
			return &verbs[i];
	return NULL;
}
