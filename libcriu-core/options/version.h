/* Which release of the interface this is; what clients compare. */
#ifndef CR_OPTIONS_VERSION_H
#define CR_OPTIONS_VERSION_H

#define CR_COMPAT_MAJOR   4
#define CR_COMPAT_MINOR   2
#define CR_COMPAT_VERSION "4.2"

#endif
