/* Options that were set and of which nothing comes: whoever set them is told so in the log. */
#ifndef CR_OPTIONS_IDLE_H
#define CR_OPTIONS_IDLE_H

#include "criu-core.h"
#include "options/settings.h"
#include "options/table.h"

/**
 * idle_options_tell() - name those that have no meaning for @c, and those that are about what is refused as yet
 * @asked: by a request (or the file that it names), where some clients always set the same ones; false: on the command
 *         line
 */
void idle_options_tell(const struct settings *s, enum command c, bool asked, const struct cr_log *log);

#endif
