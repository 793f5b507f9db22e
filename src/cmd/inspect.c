#include "cmd/inspect.h"

#include <stdio.h>

#include "cmd/values.h"
#include "snapshot/bundle.h"

/* A name as one word of plain characters, as bundles come from elsewhere. */
static void print_plain(const char *text)
{
	for (; *text; text++)
		putchar(*text >= ' ' && *text < 127 ? *text : '?');
}

static void print_text(const char *label, const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text)
		return;
	printf("%-10s ", label);
	print_plain(text);
	putchar('\n');
}

static void print_disk(const json_t *disk)
{
	const char *path = json_string_value(json_object_get(disk, "path"));
	const char *changes = json_string_value(json_object_get(disk, "changes"));

	printf("%-10s ", "disk");
	print_plain(path ? path : "?");
	if (json_is_true(json_object_get(disk, "read_only")))
		fputs(", read-only", stdout);
	if (changes) {
		fputs(", with changes in ", stdout);
		print_plain(changes);
	}
	putchar('\n');
}

static void print_manifest(const struct bundle *b)
{
	const json_t *m = json_object_get(b->manifest, "machine");
	const json_t *model = json_object_get(json_object_get(b->manifest, "cpu"), "model");
	json_int_t memory = json_integer_value(json_object_get(m, "memory"));
	json_int_t data = json_integer_value(json_object_get(b->manifest, "memory_data"));
	json_t *disk;
	size_t k;

	print_text("created", b->manifest, "created");
	print_text("by lamina", b->manifest, "lamina");
	print_text("engine", m, "engine");
	print_text("CPU model", model, "name");
	printf("%-10s %lld\n", "vCPUs", (long long)json_integer_value(json_object_get(m, "cpus")));
	printf("%-10s %s, of which data: %s\n", "memory", size_format((uint64_t)memory).text,
	       size_format((uint64_t)data).text);
	print_text("kernel", m, "kernel");
	json_array_foreach(json_object_get(b->manifest, "disks"), k, disk)
		print_disk(disk);
	printf("%-10s %zu sections in " BUNDLE_STATE "\n", "state", json_object_size(b->state));
}

/* Values as they stand in the file; objects and arrays by their paths. */
static void print_value(const char *path, const json_t *value)
{
	char longer[512];
	const char *name;
	json_t *inner;
	size_t k;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, name, inner) {
			snprintf(longer, sizeof(longer), "%s.%.100s", path, name);
			print_value(longer, inner);
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, k, inner) {
			snprintf(longer, sizeof(longer), "%s[%zu]", path, k);
			print_value(longer, inner);
		}
	} else {
		print_plain(path);
		putchar(' ');
		if (json_is_string(value))
			print_plain(json_string_value(value));
		else if (json_is_boolean(value))
			fputs(json_is_true(value) ? "true" : "false", stdout);
		else
			printf("%lld", (long long)json_integer_value(value));
		putchar('\n');
	}
}

static void print_state(const struct bundle *b)
{
	const char *name;
	json_t *section;

	json_object_foreach(b->state, name, section)
		print_value(name, json_object_get(section, "fields"));
}

int inspect_bundle(const char *path, bool verify, bool state, struct lm_err *err)
{
	struct bundle b;
	int ret = bundle_open(&b, path, err);

	if (!ret && verify) {
		ret = bundle_verify(&b, err);
		if (ret)
			bundle_close(&b);
	}
	if (ret) {
		lm_err_wrap(err, "%s", path);
		return ret;
	}
	print_manifest(&b);
	if (state)
		print_state(&b);
	if (verify)
		puts("checksums  all files are as they were written");
	bundle_close(&b);
	return 0;
}
