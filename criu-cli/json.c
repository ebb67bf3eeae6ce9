/* JSON on a stream; see json.h. */
#include "json.h"

#include "options/utf8.h"

void json_text(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', out);
	while (*p) {
		size_t len = utf8_len((const char *)p);

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
