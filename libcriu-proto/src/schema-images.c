/*
 * Tables of the image messages.
 */
#include "schema-define.h"

#define DEFINE(msg) SCHEMA_DEFINE(img_##msg, #msg)

/* NOLINTNEXTLINE(bugprone-sizeof-expression): of a member that is a pointer, its own size is meant */
IMG_MESSAGES(DEFINE)
