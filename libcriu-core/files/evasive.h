/* Devices whose path is gone. */
#ifndef CR_FILES_EVASIVE_H
#define CR_FILES_EVASIVE_H

#include "files/restore-internal.h"

/**
 * evasive_open() - open the same device by another path, if the request permits it (evasive_devices)
 * Images have no device numbers: the devices that are restored at all are known by their customary names.
 * Return: descriptor, owned by the caller; -ENOENT with @err as it was: no such permission, or no such device.
 */
int evasive_open(const struct files *fs, const img_reg_file_entry *e, uint32_t flags, struct cr_error *err);

#endif
