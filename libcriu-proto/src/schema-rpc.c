/*
 * Tables of the messages that go over the socket.
 */
#include "schema-define.h"

#define DEFINE(msg) SCHEMA_DEFINE(rpc_##msg, #msg)

RPC_MESSAGES(DEFINE)
