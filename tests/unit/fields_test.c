/* Field tables: what is saved comes back, and what a hostile file may hold is refused by name. */
#include <string.h>

#include "fields_sample.h"
#include "check.h"

static struct sample filled(void)
{
	struct sample s;

	memset(&s, 0, sizeof(s));
	s.flag = true;
	s.index = 5;
	s.word = 0xffff;
	s.dword = UINT32_MAX;
	s.address = UINT64_MAX;
	s.when = INT64_MIN;
	s.delta = -7;
	s.colour = BLUE;
	s.group.inner = UINT64_C(1) << 63;
	s.table[2] = 0x80000000;
	memcpy(s.bytes, "\0\x01\xfe\xff!", 5);
	memcpy(s.fifo, "abc", 3);
	s.fifo_count = 3;
	s.pair = (struct pair){ 1, -128 };
	s.pairs[1] = (struct pair){ 2, 127 };
	s.list[0] = (struct pair){ 3, 4 };
	s.list_count = 1;
	s.lanes = 2;
	s.lane[1] = 99;
	strcpy(s.name, "seven77");
	s.newer = 9;
	s.derived = 1 << 5;
	return s;
}

static json_t *saved(struct sample *s)
{
	json_t *json = NULL;

	CHECK_EQ(fields_save(&sample_section, s, &json, NULL), 0);
	return json;
}

static void comes_back(void)
{
	struct sample in = filled(), out;
	json_t *json = saved(&in), *again;
	char *text = json_dumps(json, 0);
	struct lm_err err = { 0 };

	again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	memset(&out, 0, sizeof(out));
	out.lanes = 2;
	memset(out.list, 0x55, sizeof(out.list)); /* elements not in use become zero */
	CHECK_EQ(fields_load(&sample_section, &out, again, &err), 0);
	CHECK(!memcmp(&in, &out, sizeof(in)));
	if (err.code)
		fprintf(stderr, "%s\n", err.text);
	free(text);
	json_decref(json);
	json_decref(again);
}

/* The section with fields[name] replaced (NULL: removed) is refused in these words. */
static void refused(const char *name, json_t *value, const char *words)
{
	struct sample s = filled();
	json_t *json = saved(&s), *fields = json_object_get(json, "fields");
	struct lm_err err = { 0 };

	if (value)
		json_object_set_new(fields, name, value);
	else
		json_object_del(fields, name);
	CHECK(fields_load(&sample_section, &s, json, &err) < 0);
	CHECK(!strcmp(err.text, words));
	if (strcmp(err.text, words))
		fprintf(stderr, "  got:  %s\n  want: %s\n", err.text, words);
	json_decref(json);
}

static json_t *json_of(const char *text)
{
	return json_loads(text, JSON_DECODE_ANY, NULL);
}

static void hostile_values(void)
{
	refused("word", NULL, "sample: missing field \"word\"");
	refused("more", json_true(), "sample: unknown field \"more\"");
	refused("older", json_true(), "sample: unknown field \"older\"");
	refused("wire", json_integer(1), "sample: unknown field \"wire\"");
	refused("index", json_integer(8), "sample: index: 8 is more than 7");
	refused("index", json_integer(-1),
		"sample: index: must be a number, or 0x and digits as a string");
	refused("colour", json_integer(3), "sample: colour: 3 is more than 2");
	refused("word", json_of("\"0x10000\""), "sample: word: 65536 is more than 65535");
	refused("word", json_of("\"0x12 \""),
		"sample: word: must be a number, or 0x and digits as a string");
	refused("word", json_of("\"0x00000000000000001\""),
		"sample: word: must be a number, or 0x and digits as a string");
	refused("word", json_of("1.5"),
		"sample: word: must be a number, or 0x and digits as a string");
	refused("delta", json_integer(INT64_C(1) << 31),
		"sample: delta: 2147483648 does not fit in 32 bits");
	refused("when", json_of("\"0x1\""), "sample: when: must be a number");
	refused("flag", json_integer(1), "sample: flag: must be true or false");
	refused("bytes", json_of("\"00112233\""),
		"sample: bytes: has 4 elements, 5 expected");
	refused("bytes", json_of("\"001122334G\""),
		"sample: bytes: must be a string of digits 0-9a-f");
	refused("fifo", json_of("\"00112233445566778899\""),
		"sample: fifo: has 10 elements, at most 8 expected");
	refused("table", json_of("[1, 2]"), "sample: table: has 2 elements, 3 expected");
	refused("table", json_of("[1, 2, 4294967296]"),
		"sample: table: [2]: 4294967296 is more than 4294967295");
	refused("table", json_of("{}"), "sample: table: must be an array");
	refused("list", json_of("[0,0,0,0,0]"),
		"sample: list: has 5 elements, at most 4 expected");
	refused("lane", json_of("[1,2,3]"), "sample: lane: has 3 elements, 2 expected");
	refused("lane", json_of("[1]"), "sample: lane: has 1 elements, 2 expected");
	refused("pairs", json_of("[{\"left\":1,\"right\":2},{\"left\":1}]"),
		"sample: pairs: [1]: missing field \"right\"");
	refused("pair", json_of("[]"), "sample: pair: must be an object with fields");
	refused("name", json_of("\"eight888\""),
		"sample: name: must be a string of at most 7 bytes");
	refused("index", json_integer(6), "sample: index 6 has no flag");
}

static void versions(void)
{
	struct sample s = filled();
	json_t *json = saved(&s), *fields = json_object_get(json, "fields");
	struct lm_err err = { 0 };

	json_object_set_new(json, "version", json_integer(3));
	CHECK(fields_load(&sample_section, &s, json, &err) < 0);
	CHECK(!strcmp(err.text, "sample: is of version 3, this lamina knows up to version 2"));
	/* Version 1 had "older" and not "newer", which keeps its reset value. */
	json_object_set_new(json, "version", json_integer(1));
	CHECK(fields_load(&sample_section, &s, json, &err) < 0);
	CHECK(!strcmp(err.text, "sample: unknown field \"newer\""));
	json_object_del(fields, "newer");
	json_object_set_new(fields, "older", json_integer(1));
	s.newer = 77;
	CHECK_EQ(fields_load(&sample_section, &s, json, &err), 0);
	CHECK_EQ(s.newer, 77);
	json_object_del(json, "version");
	CHECK(fields_load(&sample_section, &s, json, &err) < 0);
	CHECK(!strcmp(err.text, "sample: has no version"));
	json_decref(json);
}

static void printing(void)
{
	struct sample s = filled();
	json_t *json = saved(&s);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fields_print(&sample_section, json, "sample", out);
	fclose(out);
	CHECK(strstr(text, "sample.when                              -9223372036854775808 ns\n"));
	CHECK(strstr(text, "sample.pairs[1].left                     0x2\n"));
	CHECK(strstr(text, "sample.fifo                              616263\n"));
	free(text);
	json_decref(json);
}

static void coverage(void)
{
	uint8_t map[sizeof(struct sample)] = { 0 };

	fields_coverage(sample_fields, map);
	CHECK(map[offsetof(struct sample, list_count)]);
	CHECK(map[offsetof(struct sample, fifo_count)]);
	CHECK(map[offsetof(struct sample, pairs[1].right)]);
	CHECK(map[offsetof(struct sample, wire)]);
	CHECK(!map[offsetof(struct sample, pair.right) + 1]); /* padding */
}

int main(void)
{
	comes_back();
	hostile_values();
	versions();
	printing();
	coverage();
	return check_done();
}
