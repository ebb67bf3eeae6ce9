/* JSON on a stream: the few forms that results need. */
#ifndef CRIU_CLI_JSON_H
#define CRIU_CLI_JSON_H

#include "base/obstacle.h"

#include <stdio.h>

/** json_text() - a quoted string; bytes that are not UTF-8 come out as U+FFFD, since paths and names may hold any */
void json_text(FILE *out, const char *text);
/** json_obstacles() - an array */
void json_obstacles(FILE *out, const struct obstacles *list);

#endif
