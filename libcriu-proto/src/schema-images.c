/*
 * Tables of the image messages.
 */
#include "schema-define.h"

#define DEFINE(msg) SCHEMA_DEFINE(img_##msg, #msg)

IMG_MESSAGES(DEFINE)
