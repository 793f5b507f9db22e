#include "cmd/config_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/file_io.h"

#define FILE_MAX     (1024 * 1024)
#define NUMBER_TEXT  24
#define COMMAND	     "command"
#define IMAGE	     "image"
#define CONFIG	     "config"
#define DRY_RUN	     "dry-run"

static const struct option *find(const struct verb *verb, const char *name)
{
	for (const struct option *o = verb->options; o && o->name; o++)
		if (!strcmp(o->name, name))
			return o;
	return NULL;
}

/* ---- Reading ---- */

/* Numbers become strings once, in the file, where options can borrow them. */
static int make_text(json_t *owner, const char *key, size_t index, json_t *value, json_t **text)
{
	char digits[NUMBER_TEXT];

	*text = value;
	if (json_is_string(value))
		return 0;
	snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	*text = json_string(digits);
	if (!*text)
		return -ENOMEM;
	return key ? json_object_set_new(owner, key, *text)
		   : json_array_set_new(owner, index, *text);
}

static int take_one(const struct option *o, void *target, json_t *owner, const char *key,
		    size_t index, json_t *value, struct lm_err *err)
{
	json_t *text;

	if (!json_is_string(value) && !json_is_integer(value))
		return lm_err_set(err, -EINVAL, "\"%s\" is a string or a number", o->name);
	if (make_text(owner, key, index, value, &text))
		return lm_err_set(err, -ENOMEM, "out of memory");
	if (json_string_length(text) != strlen(json_string_value(text)))
		return lm_err_set(err, -EINVAL, "\"%s\" has a NUL in it", o->name);
	return option_take(o, target, json_string_value(text), err);
}

static int take_flag(const struct option *o, void *target, const json_t *value, struct lm_err *err)
{
	if (!json_is_boolean(value))
		return lm_err_set(err, -EINVAL, "\"%s\" is true or false", o->name);
	return json_is_true(value) ? option_take(o, target, NULL, err) : 0;
}

static int take_array(const struct option *o, void *target, json_t *array, struct lm_err *err)
{
	json_t *value;
	size_t k;

	if (!o->repeats)
		return lm_err_set(err, -EINVAL, "\"%s\" is one value, not an array", o->name);
	json_array_foreach(array, k, value) {
		int rc = take_one(o, target, array, NULL, k, value, err);

		if (rc)
			return rc;
	}
	return 0;
}

static int take_member(const struct verb *verb, void *target, json_t *file, const char *key,
		       json_t *value, struct lm_err *err)
{
	const struct option *o = find(verb, key);

	if (!o || !strcmp(key, CONFIG) || !strcmp(key, DRY_RUN))
		return lm_err_set(err, -EINVAL, "no option is called \"%.*s\"", SHOWN_MAX, key);
	if (!o->arg)
		return take_flag(o, target, value, err);
	if (json_is_array(value))
		return take_array(o, target, value, err);
	return take_one(o, target, file, key, 0, value, err);
}

static int take_command(struct config_files *files, const json_t *array, struct lm_err *err)
{
	size_t n = json_array_size(array);

	free(files->command);
	files->command = calloc(n + 1, sizeof(char *));
	if (!files->command)
		return lm_err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < n; k++) {
		const char *word = json_string_value(json_array_get(array, k));

		if (!word || strlen(word) != json_string_length(json_array_get(array, k)))
			return lm_err_set(err, -EINVAL, "\"command\" is an array of strings");
		files->command[k] = (char *)word;
	}
	return n ? 0 : lm_err_set(err, -EINVAL, "\"command\" is an array of strings");
}

static int take_file(struct config_files *files, const struct verb *verb, void *target,
		     json_t *file, struct lm_err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(file))
		return lm_err_set(err, -EINVAL, "it holds no JSON object");
	json_object_foreach(file, key, value) {
		int rc;

		if (!strcmp(key, COMMAND))
			rc = take_command(files, value, err);
		else if (strcmp(key, IMAGE))
			rc = take_member(verb, target, file, key, value, err);
		else if ((files->image = json_string_value(value)))
			rc = 0;
		else
			rc = lm_err_set(err, -EINVAL, "\"image\" is a string");
		if (rc)
			return rc;
	}
	return 0;
}

static int load(json_t **out, const char *path, struct lm_err *err)
{
	json_error_t why;
	char *text;
	size_t len;
	int rc = read_text(path, FILE_MAX, &text, &len, err);

	if (rc < 0)
		return rc;
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	free(text);
	return *out ? 0 : lm_err_set(err, -EINVAL, "line %d: %s", why.line, why.text);
}

int config_file_read(struct config_files *files, const char *path, const struct verb *verb,
		     void *target, struct lm_err *err)
{
	json_t *file = NULL;
	int rc;

	if (files->count == CONFIG_FILES_MAX)
		return lm_err_set(err, -E2BIG, "at most %d files", CONFIG_FILES_MAX);
	rc = load(&file, path, err);
	if (rc)
		return rc;
	files->file[files->count++] = file;
	return take_file(files, verb, target, file, err);
}

void config_file_operands(const struct config_files *files, struct operands *rest)
{
	static char *image[2];

	if (rest->count || rest->after_dashes)
		return;
	if (files->command) {
		rest->words = files->command;
		rest->after_dashes = true;
	} else if (files->image) {
		image[0] = (char *)files->image;
		rest->words = image;
	} else {
		return;
	}
	while (rest->words[rest->count])
		rest->count++;
}

/* ---- Printing ---- */

/* A number where writing it gives the same text again. */
static json_t *as_value(const char *text)
{
	char again[NUMBER_TEXT];
	json_int_t n = strtoll(text, NULL, 10);

	snprintf(again, sizeof(again), "%" JSON_INTEGER_FORMAT, n);
	return strcmp(again, text) ? json_string(text) : json_integer(n);
}

static void note(json_t *all, const struct option *o, json_t *value)
{
	json_t *array;

	if (!o->repeats) {
		json_object_set_new(all, o->name, value);
		return;
	}
	array = json_object_get(all, o->name);
	if (!array) {
		array = json_array();
		json_object_set_new(all, o->name, array);
	}
	json_array_append_new(array, value);
}

static void note_file(json_t *all, const struct verb *verb, json_t *file)
{
	const char *key;
	json_t *value, *one;
	size_t k;

	json_object_foreach(file, key, value) {
		const struct option *o = find(verb, key);

		if (!o || json_is_false(value))
			continue;
		if (json_is_array(value))
			json_array_foreach(value, k, one)
				note(all, o, as_value(json_string_value(one)));
		else if (json_is_true(value))
			note(all, o, json_true());
		else
			note(all, o, as_value(json_string_value(value)));
	}
}

static void note_argv(json_t *all, const struct config_files *files, const struct verb *verb,
		      char **argv)
{
	const struct option *o;
	const char *value;
	unsigned file = 0;

	for (int at = 1; argv[at] && argv[at][0] == '-' && strcmp(argv[at], "--") != 0;) {
		if (options_next(verb, argv, &at, &o, &value, NULL))
			return;
		if (!strcmp(o->name, CONFIG))
			note_file(all, verb, files->file[file++]);
		else if (strcmp(o->name, DRY_RUN) != 0)
			note(all, o, value ? as_value(value) : json_true());
	}
}

static void note_operands(json_t *all, const struct operands *rest)
{
	json_t *words = json_array();

	for (int k = 0; k < rest->count; k++)
		json_array_append_new(words, json_string(rest->words[k]));
	if (rest->after_dashes)
		json_object_set(all, COMMAND, words);
	else if (rest->count)
		json_object_set(all, IMAGE, json_array_get(words, 0));
	json_decref(words);
}

/* In the order of the table, whatever the order was in which they were given. */
static json_t *in_order(const json_t *all, const struct verb *verb)
{
	static const char *const operands[] = {IMAGE, COMMAND};
	json_t *ordered = json_object();

	for (const struct option *o = verb->options; o && o->name; o++)
		if (json_object_get(all, o->name))
			json_object_set(ordered, o->name, json_object_get(all, o->name));
	for (size_t k = 0; k < LM_ARRAY_SIZE(operands); k++)
		if (json_object_get(all, operands[k]))
			json_object_set(ordered, operands[k], json_object_get(all, operands[k]));
	return ordered;
}

int config_file_print(const struct config_files *files, const struct verb *verb, char **argv,
		      const struct operands *rest, struct lm_err *err)
{
	json_t *all = json_object(), *ordered;
	int rc;

	note_argv(all, files, verb, argv);
	note_operands(all, rest);
	ordered = in_order(all, verb);
	rc = json_dumpf(ordered, stdout, JSON_INDENT(2));
	json_decref(ordered);
	json_decref(all);
	putchar('\n');
	return rc ? lm_err_set(err, -EILSEQ, "an option is no UTF-8 text, which JSON needs") : 0;
}

void config_files_fini(struct config_files *files)
{
	for (unsigned k = 0; k < files->count; k++)
		json_decref(files->file[k]);
	free(files->command);
	*files = (struct config_files){.count = 0};
}
