/*
 * The messages are those of the tables of facts: every field, its number, label, type and default,
 * and none that the tables do not know, save our extensions.
 */
#include "proto-test.h"

#include "../../../libcriu-proto/src/schema.h"
#include "../../../libcriu-proto/src/wire.h"

#define EXT_NUMBER_FIRST 10000

static const struct schema_msg *const img_schemas[] = {
#define ROW(msg) &schema_img_##msg,
	IMG_MESSAGES(ROW)
#undef ROW
};
static const struct schema_msg *const rpc_schemas[] = {
#define ROW(msg) &schema_rpc_##msg,
	RPC_MESSAGES(ROW)
#undef ROW
};

/* One table of facts, and what it is compared with. */
struct facts {
	const char *path;
	const char *protos; /* the proto file, or the folder that column 0 names a file of */
	const struct schema_msg *const *schemas;
	size_t nr;
	size_t first; /* column of the message name */
};

/* Messages that upstream does not have (any more), besides those that are extensions by their name. */
static const char *const not_in_facts[] = {
	"unix_cred",   "inet_datagram",  "inet_group", "xattr",  "sem_undo",      "message_queue",
	"packet_slot", "queued_message", "criu_msg",   "criu_dump_req", "criu_dump_resp_2013",
};

static bool is_extension(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, "_ext") == 0;
}

enum { COL_FIELD, COL_NUMBER, COL_LABEL, COL_TYPE, COL_DEFAULT };

static size_t split_tabs(char *line, char **ret_cols, size_t max)
{
	size_t nr = 0;

	for (char *at = line; at != NULL && nr < max; nr++) {
		ret_cols[nr] = at;
		at = strchr(at, '\t');
		if (at != NULL)
			*at++ = '\0';
	}
	return nr;
}

static const struct schema_msg *find_schema(const struct facts *facts, const char *name, size_t *ret_index)
{
	for (size_t i = 0; i < facts->nr; i++) {
		if (strcmp(facts->schemas[i]->name, name) == 0) {
			*ret_index = i;
			return facts->schemas[i];
		}
	}
	return NULL;
}

static const struct schema_field *find_field(const struct schema_msg *schema, const char *name)
{
	for (size_t i = 0; i < schema->nr; i++)
		if (strcmp(schema->fields[i].name, name) == 0)
			return &schema->fields[i];
	return NULL;
}

static const char *const kind_names[] = {
	[SCHEMA_BOOL] = "bool",     [SCHEMA_INT32] = "int32",     [SCHEMA_INT64] = "int64",
	[SCHEMA_UINT32] = "uint32", [SCHEMA_UINT64] = "uint64",   [SCHEMA_SINT32] = "sint32",
	[SCHEMA_SINT64] = "sint64", [SCHEMA_FIXED64] = "fixed64", [SCHEMA_STRING] = "string",
	[SCHEMA_BYTES] = "bytes",   [SCHEMA_ENUM] = "enum",       [SCHEMA_MESSAGE] = "message",
};

static int type_matches(const struct schema_field *field, const char *type)
{
	if (field->kind == SCHEMA_MESSAGE)
		return strcmp(field->sub->name, type) == 0;
	if (field->kind == SCHEMA_ENUM)
		return strncmp(type, "enum ", 5) == 0;
	return strcmp(kind_names[field->kind], type) == 0;
}

/* The number that the schema has as default of this field; 0 without one, as protobuf says. */
static int64_t default_of(const struct schema_msg *schema, const struct schema_field *field)
{
	if (schema->defaults == NULL)
		return 0;

	struct wire_input in = { schema->defaults, schema->defaults + 256 };
	uint64_t tag, value = 0;

	while (wire_varint(&in, &tag) && tag != 0) {
		assert_true(wire_varint(&in, &value));
		if (tag >> 3 != field->tag)
			continue;
		if (field->kind == SCHEMA_SINT32 || field->kind == SCHEMA_SINT64)
			return wire_unzigzag(value);
		if (field->kind == SCHEMA_INT32)
			return (int32_t)value;
		return (int64_t)value;
	}
	return 0;
}

/* Text of the block "@keyword @name {" up to its closing brace, in the text of a proto file. */
static const char *find_block(const char *text, const char *keyword, const char *name, size_t *ret_len)
{
	char head[160];

	snprintf(head, sizeof(head), "%s %s {", keyword, name);
	const char *start = strstr(text, head);

	if (start == NULL)
		return NULL;
	const char *end = strchr(start, '}');

	assert_non_null(end);
	*ret_len = (size_t)(end - start);
	return start;
}

static int64_t default_wanted(const struct schema_field *field, const char *text, const char *proto, const char *type)
{
	char pattern[160];
	size_t len;

	if (strcmp(text, "-") == 0)
		text = "0";
	if (strcmp(text, "true") == 0)
		return 1;
	if (strcmp(text, "false") == 0)
		return 0;
	if (field->kind != SCHEMA_ENUM)
		return strtoll(text, NULL, 10);
	if (strcmp(text, "0") == 0)
		return -1;

	const char *block = find_block(proto, "enum", type + 5, &len);

	assert_non_null(block);
	snprintf(pattern, sizeof(pattern), "\t%s = ", text);
	const char *at = strstr(block, pattern);

	assert_non_null(at);
	return strtoll(at + strlen(pattern), NULL, 10);
}

static void check_enum_value(const char *path, const char *proto, char **cols, const char *name)
{
	const char *dot = strchr(name, '.');
	char pattern[160];
	size_t len;
	const char *block = find_block(proto, "enum", dot != NULL ? dot + 1 : name, &len);

	if (block == NULL)
		fail_msg("%s: no enum %s", path, name);
	snprintf(pattern, sizeof(pattern), "\t%s = %s;", cols[COL_FIELD], cols[COL_NUMBER]);
	const char *at = strstr(block, pattern);

	if (at == NULL || (size_t)(at - block) > len)
		fail_msg("%s: enum %s has no %s", path, name, pattern + 1);
}

static void check_field(const char *path, const char *proto, const struct schema_msg *schema, char **cols)
{
	static const char *const labels[] = { "required", "optional", "repeated" };
	const struct schema_field *field = find_field(schema, cols[COL_FIELD]);
	size_t len;

	if (find_block(proto, "message", schema->name, &len) == NULL)
		fail_msg("%s: message %s is not in this file", path, schema->name);
	if (field == NULL)
		fail_msg("%s.%s: missing", schema->name, cols[COL_FIELD]);
	if (field->tag != strtoul(cols[COL_NUMBER], NULL, 10))
		fail_msg("%s.%s: number is %u", schema->name, field->name, field->tag);
	if (strcmp(labels[field->label], cols[COL_LABEL]) != 0)
		fail_msg("%s.%s: label is %s", schema->name, field->name, labels[field->label]);
	if (!type_matches(field, cols[COL_TYPE]))
		fail_msg("%s.%s: type is %s", schema->name, field->name, kind_names[field->kind]);
	if (field->kind >= SCHEMA_STRING || field->label == SCHEMA_REPEATED) {
		assert_string_equal(cols[COL_DEFAULT], "-");
		return;
	}

	int64_t wanted = default_wanted(field, cols[COL_DEFAULT], proto, cols[COL_TYPE]);

	/* Without a declared default an enum starts with the first of its values. */
	if (wanted != default_of(schema, field) && !(field->kind == SCHEMA_ENUM && strcmp(cols[COL_DEFAULT], "-") == 0))
		fail_msg("%s.%s: default is %lld", schema->name, field->name, (long long)default_of(schema, field));
}

static void check_nothing_extra(const struct facts *facts, const size_t *checked)
{
	for (size_t i = 0; i < facts->nr; i++) {
		const struct schema_msg *schema = facts->schemas[i];
		size_t ours = 0, known = 1;

		for (size_t j = 0; j < TEST_NR(not_in_facts); j++)
			known &= strcmp(schema->name, not_in_facts[j]) != 0;
		known &= !is_extension(schema->name);
		for (size_t j = 0; j < schema->nr; j++)
			ours += schema->fields[j].tag >= EXT_NUMBER_FIRST;
		if (known && checked[i] + ours != schema->nr)
			fail_msg("%s: has %u fields, %zu of them known", schema->name, schema->nr, checked[i] + ours);
	}
}

static void check_facts(const struct facts *facts)
{
	char *text = test_read_file(facts->path, NULL), *save = NULL;
	size_t *checked = calloc(facts->nr, sizeof(*checked)), rows = 0;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *all[16], path[160];
		size_t nr = split_tabs(line, all, TEST_NR(all)), index;

		if (line[0] == '#' || nr < facts->first + 6 || strcmp(all[facts->first], "message") == 0)
			continue;
		/* Hints for crit, kept as an option of protoc: nothing on the wire is of this type. */
		if (strcmp(all[0], "opts.proto") == 0)
			continue;

		const char *name = all[facts->first];
		char **cols = all + facts->first + 1;

		snprintf(path, sizeof(path), "%s%s", facts->protos, facts->first > 0 ? all[0] : "");
		char *proto = test_read_file(path, NULL);

		rows++;
		if (strcmp(cols[COL_TYPE], "enum value") == 0) {
			check_enum_value(path, proto, cols, name);
		} else {
			const struct schema_msg *schema = find_schema(facts, name, &index);

			if (schema == NULL)
				fail_msg("%s: no such message", name);
			check_field(path, proto, schema, cols);
			checked[index]++;
		}
		free(proto);
	}
	assert_true(rows > 100);
	check_nothing_extra(facts, checked);
	free(checked);
	free(text);
}

static void images_are_as_the_facts_say(void **state)
{
	struct facts facts = { .path = "test/data/images-fields.tsv",
			       .protos = "libcriu-proto/proto/images/",
			       .schemas = img_schemas,
			       .nr = TEST_NR(img_schemas),
			       .first = 1 };

	(void)state;
	check_facts(&facts);
}

static void rpc_is_as_the_facts_say(void **state)
{
	struct facts facts = { .path = "test/data/rpc-fields.tsv",
			       .protos = "libcriu-proto/proto/rpc.proto",
			       .schemas = rpc_schemas,
			       .nr = TEST_NR(rpc_schemas),
			       .first = 0 };

	(void)state;
	check_facts(&facts);
}

/* Binary search and the order of encoding depend on it. */
static void fields_ascend(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_NR(img_schemas); i++)
		for (size_t j = 1; j < img_schemas[i]->nr; j++)
			assert_true(img_schemas[i]->fields[j - 1].tag < img_schemas[i]->fields[j].tag);
	for (size_t i = 0; i < TEST_NR(rpc_schemas); i++)
		for (size_t j = 1; j < rpc_schemas[i]->nr; j++)
			assert_true(rpc_schemas[i]->fields[j - 1].tag < rpc_schemas[i]->fields[j].tag);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_are_as_the_facts_say),
		cmocka_unit_test(rpc_is_as_the_facts_say),
		cmocka_unit_test(fields_ascend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
