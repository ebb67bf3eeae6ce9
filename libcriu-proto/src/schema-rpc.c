/*
 * Tables of the messages that go over the socket.
 */
#include "schema-define.h"

#define DEFINE(msg) SCHEMA_DEFINE(rpc_##msg, #msg)

/* NOLINTNEXTLINE(bugprone-sizeof-expression): of a member that is a pointer, its own size is meant */
RPC_MESSAGES(DEFINE)
