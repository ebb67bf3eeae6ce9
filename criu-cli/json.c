/* JSON on a stream; see json.h. */
#include "json.h"

#include <string.h>

/* Length of the UTF-8 sequence at @p, 0 if it is none: no overlong forms, no surrogates. */
static size_t utf8_len(const unsigned char *p)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 :
		     p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return len;
}

void json_text(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', out);
	while (*p) {
		size_t len = utf8_len(p);

		if (len == 0) {
			fputs("\\ufffd", out);
			p++;
			continue;
		}
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
		else
			fwrite(p, 1, len, out);
		p += len;
	}
	fputc('"', out);
}

void json_obstacles(FILE *out, const struct obstacles *list)
{
	fputc('[', out);
	for (size_t i = 0; list && i < list->nr; i++) {
		const struct obstacle *o = &list->items[i];

		fprintf(out, "%s{\"pid\":%d,\"comm\":", i ? "," : "", (int)o->pid);
		json_text(out, o->comm);
		fputs(",\"where\":", out);
		json_text(out, o->where);
		fputs(",\"what\":", out);
		json_text(out, o->what);
		fputs(",\"advice\":", out);
		json_text(out, o->advice);
		fputc('}', out);
	}
	fputc(']', out);
}
