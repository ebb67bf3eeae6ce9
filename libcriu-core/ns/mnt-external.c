/*
 * Mounts of outside, by options: mnt[MOUNTPOINT]:NAME of a dump and mnt[NAME]:PATH of a restore, dev[MAJOR/MINOR]:NAME and
 * dev[NAME]:DEVICE, and mnt[] for those that are to be found.
 */
#include "ns/mnt.h"

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
			return cr_refuse(err, -EINVAL, "option external: %.64s: after mnt[] comes a colon",
					 rpc->external.items[i]);
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

#define IDLE "is about mount namespaces, and the tree has none of its own, continuing without it"

void mnt_options_idle(struct cr_context *ctx)
{
	const rpc_criu_opts *o = ctx->opts->rpc;
	const struct {
		const char *name;
		bool set;
	} options[] = {
		{ "root", o->root != NULL },
		{ "skip_mnt", o->skip_mnt.nr != 0 },
		{ "enable_fs", o->enable_fs.nr != 0 },
		{ "auto_ext_mnt", o->has_auto_ext_mnt && o->auto_ext_mnt },
		{ "ext_sharing", o->has_ext_sharing && o->ext_sharing },
		{ "ext_masters", o->has_ext_masters && o->ext_masters },
	};
	size_t nr = 0, first = 0;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].set)
			log_warn(&ctx->log, "option %s " IDLE, options[i].name);
	for (size_t i = o->external.nr; i-- > 0;)
		if (strncmp(o->external.items[i], "mnt[", 4) == 0 || strncmp(o->external.items[i], "dev[", 4) == 0) {
			first = i;
			nr++;
		}
	/* one line for all of them: a list may have a hundred thousand */
	if (nr)
		log_warn(&ctx->log, "option external: %.64s " IDLE, o->external.items[first]);
}
