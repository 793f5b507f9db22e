/* Saving, loading and printing by field tables; see fields.h. */
#include "base/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static bool is_saved(const struct field *f)
{
	return f->type != FIELD_TYPE_NOT_SAVED && f->type != FIELD_TYPE_GONE;
}

static bool is_signed(const struct field *f)
{
	return f->type >= FIELD_TYPE_I8 && f->type <= FIELD_TYPE_I64;
}

static bool is_hexadecimal(const struct field *f)
{
	return !f->unit || !strcmp(f->unit, "gpa");
}

/* How many elements are in use. */
static uint64_t used(const struct field *f, const uint8_t *object)
{
	uint64_t count = f->type == FIELD_TYPE_BYTES ? f->size : f->count;

	if (f->counter_size)
		count = LM_MIN(count, le_load(object + f->counter, f->counter_size));
	return count;
}

/* ---- Saving ---- */

static json_t *save_table(const struct field *table, const uint8_t *object);

static json_t *save_hex_number(uint64_t value)
{
	char text[20];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

static json_t *save_bytes(const uint8_t *bytes, uint64_t len)
{
	static const char digit[] = "0123456789abcdef";
	char *text = malloc(2 * len + 1);
	json_t *json;

	if (!text)
		return NULL;
	for (uint64_t k = 0; k < len; k++) {
		text[2 * k] = digit[bytes[k] >> 4];
		text[2 * k + 1] = digit[bytes[k] & 15];
	}
	json = json_stringn(text, 2 * len);
	free(text);
	return json;
}

static json_t *save_element(const struct field *f, const uint8_t *at)
{
	uint64_t value;

	if (f->type == FIELD_TYPE_STRUCT)
		return save_table(f->table, at);
	value = le_load(at, f->size);
	if (f->type == FIELD_TYPE_BOOL)
		return json_boolean(value != 0);
	if (is_signed(f))
		return json_integer(sign_extend_bytes(value, f->size));
	if (is_hexadecimal(f) || value > INT64_MAX)
		return save_hex_number(value);
	return json_integer((json_int_t)value);
}

static json_t *save_field(const struct field *f, const uint8_t *object)
{
	const uint8_t *at = object + f->offset;
	uint64_t count = used(f, object);
	json_t *array;

	if (f->type == FIELD_TYPE_BYTES)
		return save_bytes(at, count);
	if (f->type == FIELD_TYPE_STRING)
		return json_stringn((const char *)at, strnlen((const char *)at, f->size - 1));
	if (!f->array)
		return save_element(f, at);
	array = json_array();
	for (uint64_t k = 0; k < count; k++)
		if (json_array_append_new(array, save_element(f, at + k * f->size)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *save_table(const struct field *table, const uint8_t *object)
{
	json_t *out = json_object();

	for (const struct field *f = table; f->name; f++)
		if (is_saved(f) && json_object_set_new(out, f->name, save_field(f, object)) < 0) {
			json_decref(out);
			return NULL;
		}
	return out;
}

int fields_save(const struct fields_section *section, void *object, json_t **out,
		struct lm_err *err)
{
	json_t *fields;

	if (section->pre_save)
		section->pre_save(object);
	fields = save_table(section->table, object);
	*out = fields ? json_pack("{s:i, s:o}", "version", (int)section->version, "fields", fields)
		      : NULL;
	if (!*out)
		return lm_err_set(err, -ENOMEM, "%s: cannot be written as text", section->name);
	return 0;
}

/* ---- Loading ---- */

static int load_table(const struct field *table, uint8_t *object, const json_t *in,
		      unsigned version, struct lm_err *err);

static int parse_unsigned(const json_t *in, uint64_t *value, struct lm_err *err)
{
	const char *text = json_string_value(in);
	char *end;

	if (json_is_integer(in) && json_integer_value(in) >= 0) {
		*value = (uint64_t)json_integer_value(in);
		return 0;
	}
	if (!text || strncmp(text, "0x", 2) != 0 || !text[2] || strlen(text) > 18 ||
	    text[2 + strspn(text + 2, "0123456789abcdefABCDEF")])
		return lm_err_set(err, -EINVAL, "must be a number, or 0x and digits as a string");
	*value = strtoull(text, &end, 16);
	return 0;
}

static int load_unsigned(const struct field *f, uint8_t *at, const json_t *in, struct lm_err *err)
{
	uint64_t max = f->max ? f->max : mask_bytes(f->size), value = 0;
	int rc = parse_unsigned(in, &value, err);

	if (rc < 0)
		return rc;
	if (value > max)
		return lm_err_set(err, -ERANGE, "%" PRIu64 " is more than %" PRIu64, value, max);
	le_store(at, value, f->size);
	return 0;
}

static int load_signed(const struct field *f, uint8_t *at, const json_t *in, struct lm_err *err)
{
	json_int_t value = json_integer_value(in);

	if (!json_is_integer(in))
		return lm_err_set(err, -EINVAL, "must be a number");
	if (sign_extend_bytes((uint64_t)value, f->size) != value)
		return lm_err_set(err, -ERANGE, "%lld does not fit in %u bits", (long long)value,
				  8 * f->size);
	le_store(at, (uint64_t)value, f->size);
	return 0;
}

static int load_bool(uint8_t *at, const json_t *in, struct lm_err *err)
{
	if (!json_is_boolean(in))
		return lm_err_set(err, -EINVAL, "must be true or false");
	*at = json_is_true(in);
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Elements that are not in use become zero. */
static int set_count(const struct field *f, uint8_t *object, uint64_t count, struct lm_err *err)
{
	bool counted = f->counter_size && !f->configured;
	uint64_t bound = counted ? f->type == FIELD_TYPE_BYTES ? f->size : f->count
				 : used(f, object);

	if (counted ? count > bound : count != bound)
		return lm_err_set(err, -ERANGE, "has %" PRIu64 " elements, %s%" PRIu64 " expected",
				  count, counted ? "at most " : "", bound);
	if (counted) {
		le_store(object + f->counter, count, f->counter_size);
		memset(object + f->offset, 0, (size_t)f->size * f->count);
	}
	return 0;
}

static int load_bytes(const struct field *f, uint8_t *object, const json_t *in, struct lm_err *err)
{
	const char *text = json_string_value(in);
	size_t digits = json_string_length(in);
	int rc;

	if (!text || digits % 2)
		return lm_err_set(err, -EINVAL, "must be a string of pairs of digits 0-9a-f");
	rc = set_count(f, object, digits / 2, err);
	for (size_t k = 0; !rc && k < digits / 2; k++) {
		int high = hex_digit(text[2 * k]), low = hex_digit(text[2 * k + 1]);

		if (high < 0 || low < 0)
			return lm_err_set(err, -EINVAL, "must be a string of digits 0-9a-f");
		object[f->offset + k] = (uint8_t)(high << 4 | low);
	}
	return rc;
}

static int load_string(const struct field *f, uint8_t *at, const json_t *in, struct lm_err *err)
{
	const char *text = json_string_value(in);
	size_t len = json_string_length(in);

	if (!text || strlen(text) != len || len >= f->size)
		return lm_err_set(err, -EINVAL, "must be a string of at most %u bytes",
				  f->size - 1);
	memset(at, 0, f->size);
	memcpy(at, text, len);
	return 0;
}

static int load_element(const struct field *f, uint8_t *at, const json_t *in, unsigned version,
			struct lm_err *err)
{
	if (f->type == FIELD_TYPE_STRUCT)
		return load_table(f->table, at, in, version, err);
	if (f->type == FIELD_TYPE_BOOL)
		return load_bool(at, in, err);
	return is_signed(f) ? load_signed(f, at, in, err) : load_unsigned(f, at, in, err);
}

static int load_array(const struct field *f, uint8_t *object, const json_t *in, unsigned version,
		      struct lm_err *err)
{
	size_t count = json_array_size(in);
	int rc;

	if (!json_is_array(in))
		return lm_err_set(err, -EINVAL, "must be an array");
	rc = set_count(f, object, count, err);
	for (size_t k = 0; !rc && k < count; k++) {
		rc = load_element(f, object + f->offset + k * f->size, json_array_get(in, k),
				  version, err);
		if (rc < 0)
			lm_err_wrap(err, "[%zu]", k);
	}
	return rc;
}

static int load_field(const struct field *f, uint8_t *object, const json_t *in, unsigned version,
		      struct lm_err *err)
{
	if (f->type == FIELD_TYPE_BYTES)
		return load_bytes(f, object, in, err);
	if (f->type == FIELD_TYPE_STRING)
		return load_string(f, object + f->offset, in, err);
	return f->array ? load_array(f, object, in, version, err)
			: load_element(f, object + f->offset, in, version, err);
}

static const struct field *find_field(const struct field *table, const char *name,
				      unsigned version)
{
	for (const struct field *f = table; f->name; f++)
		if (!strcmp(f->name, name) && f->since <= version &&
		    (is_saved(f) || (f->type == FIELD_TYPE_GONE && version < f->until)))
			return f;
	return NULL;
}

static int refuse_unknown(const struct field *table, const json_t *in, unsigned version,
			  struct lm_err *err)
{
	/* jansson's iterator takes the object as not const but does not change it. */
	json_t *object = (json_t *)(uintptr_t)in;

	for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
		const char *name = json_object_iter_key(at);

		if (!find_field(table, name, version))
			return lm_err_set(err, -EINVAL, "unknown field \"%.60s\"", name);
	}
	return 0;
}

static int load_table(const struct field *table, uint8_t *object, const json_t *in,
		      unsigned version, struct lm_err *err)
{
	if (!json_is_object(in))
		return lm_err_set(err, -EINVAL, "must be an object with fields");
	for (const struct field *f = table; f->name; f++) {
		const json_t *value = json_object_get(in, f->name);
		int rc;

		if (!is_saved(f) || f->since > version)
			continue;
		if (!value)
			return lm_err_set(err, -EINVAL, "missing field \"%s\"", f->name);
		rc = load_field(f, object, value, version, err);
		if (rc < 0) {
			lm_err_wrap(err, "%s", f->name);
			return rc;
		}
	}
	return refuse_unknown(table, in, version, err);
}

static int load_section(const struct fields_section *section, void *object, const json_t *in,
			struct lm_err *err)
{
	const json_t *version = json_object_get(in, "version");
	json_int_t v = json_integer_value(version);
	int rc;

	if (!json_is_integer(version) || v < 1)
		return lm_err_set(err, -EINVAL, "has no version");
	if (v > section->version)
		return lm_err_set(err, -ENOTSUP,
				  "is of version %lld, this lamina knows up to version %u",
				  (long long)v, section->version);
	rc = load_table(section->table, object, json_object_get(in, "fields"), (unsigned)v, err);
	return rc < 0 || !section->post_load ? rc : section->post_load(object, err);
}

int fields_load(const struct fields_section *section, void *object, const json_t *in,
		struct lm_err *err)
{
	int rc = load_section(section, object, in, err);

	return rc < 0 ? lm_err_wrap(err, "%s", section->name), rc : 0;
}

/* ---- Printing ---- */

static void print_table(const struct field *table, const json_t *in, const char *path, FILE *out);

static void print_element(const struct field *f, const json_t *in, const char *path, FILE *out)
{
	const char *text = json_string_value(in);

	if (f->type == FIELD_TYPE_STRUCT) {
		print_table(f->table, in, path, out);
		return;
	}
	fprintf(out, "%-40s ", path);
	if (text)
		fputs(text, out);
	else if (json_is_boolean(in))
		fputs(json_is_true(in) ? "true" : "false", out);
	else
		fprintf(out, "%lld", (long long)json_integer_value(in));
	fprintf(out, "%s%s\n", f->unit ? " " : "", f->unit ? f->unit : "");
}

static void print_table(const struct field *table, const json_t *in, const char *path, FILE *out)
{
	char name[256];

	for (const struct field *f = table; f->name; f++) {
		const json_t *value = json_object_get(in, f->name);

		if (!is_saved(f) || !value)
			continue;
		snprintf(name, sizeof(name), "%s.%s", path, f->name);
		if (!json_is_array(value))
			print_element(f, value, name, out);
		for (size_t k = 0; k < json_array_size(value); k++) {
			snprintf(name, sizeof(name), "%s.%s[%zu]", path, f->name, k);
			print_element(f, json_array_get(value, k), name, out);
		}
	}
}

void fields_print(const struct fields_section *section, const json_t *saved, const char *prefix,
		  FILE *out)
{
	print_table(section->table, json_object_get(saved, "fields"), prefix, out);
}

/* ---- Coverage ---- */

void fields_coverage(const struct field *table, uint8_t *map)
{
	for (const struct field *f = table; f->name; f++) {
		memset(map + f->counter, 1, f->counter_size);
		for (uint32_t k = 0; k < f->count; k++) {
			uint8_t *at = map + f->offset + (size_t)k * f->size;

			if (f->type == FIELD_TYPE_STRUCT)
				fields_coverage(f->table, at);
			else
				memset(at, 1, f->size);
		}
	}
}
