/*
 * Mounts of outside, by options: mnt[MOUNTPOINT]:NAME of a dump and mnt[NAME]:PATH of a restore, dev[MAJOR/MINOR]:NAME and
 * dev[NAME]:DEVICE, and mnt[] for those that are to be found.
 */
#include "ns/mnt-parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int mnt_options_read(const rpc_criu_opts *rpc, struct mnt_options *ret, struct cr_error *err)
{
	struct mnt_options o = { .rpc = rpc };

	o.find = rpc->has_auto_ext_mnt && rpc->auto_ext_mnt;
	o.sharing = rpc->has_ext_sharing && rpc->ext_sharing;
	o.masters = rpc->has_ext_masters && rpc->ext_masters;
	for (size_t i = 0; i < rpc->external.nr; i++) {
		const char *text = rpc->external.items[i];

		if (strncmp(text, "mnt[]", 5) != 0)
			continue;
		o.find = true;
		text += 5;
		if (*text && *text != ':')
			return cr_refuse(err, -EINVAL, "option external: %.64s: after mnt[] comes a colon", rpc->external.items[i]);
		for (text += *text == ':'; *text; text++) {
			o.masters |= *text == 'm';
			o.sharing |= *text == 's';
			if (*text != 'm' && *text != 's')
				return cr_refuse(err, -EINVAL, "option external: %.64s: letters of mnt[]: are m and s",
						 rpc->external.items[i]);
		}
	}
	*ret = o;
	return 0;
}

const char *mnt_option(const struct mnt_options *o, const char *kind, const char *key)
{
	size_t kind_len = strlen(kind), len = strlen(key);

	for (size_t i = 0; len && i < o->rpc->external.nr; i++) {
		const char *text = o->rpc->external.items[i];

		if (strncmp(text, kind, kind_len) != 0 || text[kind_len] != '[')
			continue;
		text += kind_len + 1;
		if (strncmp(text, key, len) == 0 && text[len] == ']' && text[len + 1] == ':')
			return text + len + 2;
	}
	return NULL;
}

const char *mnt_option_dev(const struct mnt_options *o, unsigned int major, unsigned int minor)
{
	char key[32];

	snprintf(key, sizeof(key), "%u/%u", major, minor);
	return mnt_option(o, "dev", key);
}

int mnt_device_name(const char *source, char *ret, size_t size)
{
	size_t len = strlen(source);

	if (len < 6 || len - 5 >= size || strncmp(source, "dev[", 4) != 0 || source[len - 1] != ']')
		return -EBADMSG;
	memcpy(ret, source + 4, len - 5);
	ret[len - 5] = '\0';
	return 0;
}
