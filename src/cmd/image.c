/* lamina image: making, copying, looking at and checking disk images. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/image.h"
#include "backend/image_copy.h"
#include "backend/qcow2.h"
#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/progress.h"
#include "cmd/values.h"
#include "cmd/verb.h"

#define STATUS_DAMAGED 2 /* as qemu-img check says it */
#define STATUS_LEAKS   3

struct image_args {
	enum image_format format, source_format, backing_format;
	const char *backing;
	uint64_t cluster_size;
	bool allow_backing, json, shrink, repair;
};

/* ---- Options ---- */

static int parse_format_word(const char *value, enum image_format *out, struct lm_err *err)
{
	if (image_format_parse(value, out))
		return 0;
	return lm_err_set(err, -EINVAL, "the choices are raw and qcow2");
}

static int parse_format(void *target, const char *value, struct lm_err *err)
{
	return parse_format_word(value, &((struct image_args *)target)->format, err);
}

static int parse_source_format(void *target, const char *value, struct lm_err *err)
{
	return parse_format_word(value, &((struct image_args *)target)->source_format, err);
}

static int parse_backing_format(void *target, const char *value, struct lm_err *err)
{
	return parse_format_word(value, &((struct image_args *)target)->backing_format, err);
}

static int parse_backing(void *target, const char *value, struct lm_err *err)
{
	((struct image_args *)target)->backing = value;
	return 0;
}

static int parse_cluster_size(void *target, const char *value, struct lm_err *err)
{
	uint64_t *size = &((struct image_args *)target)->cluster_size;
	int rc = value_size(value, size, err);

	if (!rc && (!is_pow2(*size) || *size < LM_BIT(QCOW2_MIN_BITS) ||
		    *size > LM_BIT(QCOW2_MAX_BITS)))
		return lm_err_set(err, -EINVAL, "a cluster size is a power of two from 512 to 2M");
	return rc;
}

static int parse_allow_backing(void *target, const char *value, struct lm_err *err)
{
	((struct image_args *)target)->allow_backing = true;
	return 0;
}

static int parse_json(void *target, const char *value, struct lm_err *err)
{
	((struct image_args *)target)->json = true;
	return 0;
}

static int parse_shrink(void *target, const char *value, struct lm_err *err)
{
	((struct image_args *)target)->shrink = true;
	return 0;
}

static int parse_repair(void *target, const char *value, struct lm_err *err)
{
	((struct image_args *)target)->repair = true;
	return 0;
}

/* Options, then exactly `count` operands. Positive where help was printed. */
static int parse(const struct verb *self, int argc, char **argv, struct image_args *args,
		 struct operands *rest, int count, struct lm_err *err)
{
	int rc = options_parse(self, argc, argv, args, rest, err);

	if (rc < 0)
		return rc;
	if (rest->help) {
		print_help(self);
		return 1;
	}
	if (rest->count == count)
		return 0;
	return lm_err_set(err, -EINVAL, "usage: lamina %s [OPTION...] %s", self->name,
			  self->operands);
}

static int open_image(struct image **out, const char *path, const struct image_args *args,
		      bool writable, struct lm_err *err)
{
	struct image_options o = {
	    .path = path,
	    .format = args->format,
	    .writable = writable,
	    .allow_backing = args->allow_backing,
	    .no_check = args->repair,
	};
	int rc = image_open(out, &o, err);

	return rc < 0 ? lm_err_wrap(err, "image %s", path) : 0;
}

static int close_image(struct image *img, const char *path, int status, struct lm_err *err)
{
	int rc = image_close(img);

	if (rc < 0 && status >= 0)
		return lm_err_errno(err, rc, "image %s: cannot write it", path);
	return status;
}

/* ---- create ---- */

/* The disk of the backing file, which is so checked as well. */
static int size_of_backing(const struct image_args *args, const char *path, uint64_t *size,
			   struct lm_err *err)
{
	const char *slash = strrchr(path, '/');
	struct image_args how = {.format = args->backing_format, .allow_backing = true};
	char name[4096];
	struct image *img;
	int n = *args->backing == '/' || !slash
		    ? snprintf(name, sizeof(name), "%s", args->backing)
		    : snprintf(name, sizeof(name), "%.*s/%s", (int)(slash - path), path,
			       args->backing);
	int rc;

	if (n < 0 || (size_t)n >= sizeof(name))
		return lm_err_set(err, -ENAMETOOLONG, "--backing: the name is too long");
	rc = open_image(&img, name, &how, false, err);
	if (rc < 0)
		return rc;
	*size = img->size;
	return image_close(img);
}

static int create_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct image_args args = {0};
	struct operands rest;
	struct image_create_options o;
	uint64_t size = 0;
	int rc = options_parse(self, argc, argv, &args, &rest, err);

	if (rc < 0 || rest.help)
		return rc < 0 ? rc : print_help(self);
	if (rest.count < 1 || rest.count > 2 || (rest.count == 1 && !args.backing))
		return lm_err_set(err, -EINVAL, "usage: lamina image create [OPTION...] %s",
				  self->operands);
	if (args.backing && !args.backing_format)
		return lm_err_set(err, -EINVAL, "--backing needs --backing-format");
	if (args.backing)
		rc = size_of_backing(&args, rest.words[0], &size, err);
	if (!rc && rest.count == 2)
		rc = value_size(rest.words[1], &size, err);
	if (rc < 0)
		return rc;
	o = (struct image_create_options){
	    .path = rest.words[0],
	    .format = args.format,
	    .size = size,
	    .cluster_size = (unsigned)args.cluster_size,
	    .backing = args.backing,
	    .backing_format = args.backing_format,
	};
	rc = image_create(&o, err);
	return rc < 0 ? lm_err_wrap(err, "image %s", o.path) : 0;
}

static const struct option create_options[] = {
    {"format", "raw|qcow2", "the new image's format", "by the name", parse_format},
    {"cluster-size", "SIZE", "of a qcow2 image", "64K", parse_cluster_size},
    {"backing", "FILE", "what the qcow2 image is based on; SIZE may be left out", NULL,
     parse_backing},
    {"backing-format", "raw|qcow2", "its format", NULL, parse_backing_format},
    {NULL},
};

static const struct verb create_verb = {
    .name = "image create",
    .summary = "make a new, empty image",
    .operands = "FILE [SIZE]",
    .options = create_options,
    .run = create_main,
};

/* ---- convert ---- */

static int convert_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct image_args args = {0}, source;
	struct progress bar = {.what = "copying"};
	struct image_progress progress = {progress_tell, &bar};
	struct image_create_options to;
	struct operands rest;
	struct image *from;
	int rc = parse(self, argc, argv, &args, &rest, 2, err);

	if (rc)
		return rc < 0 ? rc : 0;
	source = args;
	source.format = args.source_format;
	rc = open_image(&from, rest.words[0], &source, false, err);
	if (rc < 0)
		return rc;
	to = (struct image_create_options){
	    .path = rest.words[1],
	    .format = args.format ? args.format : image_format_of_name(rest.words[1]),
	    .size = from->size,
	    .cluster_size = (unsigned)args.cluster_size,
	};
	rc = image_copy(from, &to, &progress, err);
	progress_end(&bar);
	image_close(from);
	return rc < 0 ? lm_err_wrap(err, "image %s", to.path) : 0;
}

static const struct option convert_options[] = {
    {"format", "raw|qcow2", "the new image's format", "by the name", parse_format},
    {"cluster-size", "SIZE", "of a qcow2 image", "64K", parse_cluster_size},
    {"source-format", "raw|qcow2", "the format of FROM", "by name and content",
     parse_source_format},
    {"allow-backing", NULL, "FROM may name other files that it is based on", NULL,
     parse_allow_backing},
    {NULL},
};

static const struct verb convert_verb = {
    .name = "image convert",
    .summary = "copy an image into a new one, in the same or another format",
    .operands = "FROM TO",
    .options = convert_options,
    .run = convert_main,
};

/* ---- info ---- */

static json_t *describe_qcow2(const struct qcow2_header *h)
{
	json_t *o = json_pack("{s:i, s:i, s:i, s:i, s:s, s:b, s:b}", "version", (int)h->version,
			      "cluster-size", 1 << h->cluster_bits, "refcount-bits",
			      1 << h->refcount_order, "snapshots", (int)h->snapshots, "compression",
			      h->compression == QCOW2_ZSTD ? "zstd" : "zlib", "dirty",
			      (int)((h->incompatible & QCOW2_DIRTY) != 0), "corrupt",
			      (int)((h->incompatible & QCOW2_CORRUPT) != 0));

	if (*h->backing)
		json_object_set_new(o, "backing", json_stringn_nocheck(h->backing,
								       strlen(h->backing)));
	if (*h->backing_format)
		json_object_set_new(o, "backing-format",
				    json_stringn_nocheck(h->backing_format,
							 strlen(h->backing_format)));
	return o;
}

static json_t *describe(const char *path, struct image *img, const struct qcow2_header *h)
{
	struct stat st;
	json_t *o = json_pack("{s:s, s:s, s:I}", "file", path, "format", img->ops->name, "size",
			      (json_int_t)img->size);

	if (o && fstat(img->file.fd, &st) == 0)
		json_object_set_new(o, "used", json_integer((json_int_t)st.st_blocks * 512));
	if (o && h)
		json_object_update_new(o, describe_qcow2(h));
	return o;
}

static void print_info(const json_t *o)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)o, key, value) {
		if (json_is_string(value))
			printf("%-15s %s\n", key, json_string_value(value));
		else if (json_is_boolean(value))
			printf("%-15s %s\n", key, json_is_true(value) ? "yes" : "no");
		else if (!strcmp(key, "size") || !strcmp(key, "used"))
			printf("%-15s %" JSON_INTEGER_FORMAT " (%s)\n", key,
			       json_integer_value(value),
			       size_format((uint64_t)json_integer_value(value)).text);
		else
			printf("%-15s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
	}
}

static int info_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct image_args args = {0};
	struct operands rest;
	struct image *img;
	json_t *o;
	int rc = parse(self, argc, argv, &args, &rest, 1, err);

	if (rc)
		return rc < 0 ? rc : 0;
	args.repair = true; /* what is marked as damaged can be looked at */
	rc = image_open(&img, &(struct image_options){.path = rest.words[0],
						      .format = args.format,
						      .no_check = true,
						      .ignore_backing = true}, err);
	if (rc < 0)
		return lm_err_wrap(err, "image %s", rest.words[0]);
	o = describe(rest.words[0], img, qcow2_header_of(img));
	if (!o)
		rc = lm_err_set(err, -ENOMEM, "no memory, or a name that is not UTF-8");
	else if (args.json)
		json_dumpf(o, stdout, JSON_INDENT(1)), putchar('\n');
	else
		print_info(o);
	json_decref(o);
	image_close(img);
	return rc;
}

static const struct option info_options[] = {
    {"format", "raw|qcow2", "the image's format", "by name and content", parse_format},
    {"json", NULL, "print JSON", NULL, parse_json},
    {NULL},
};

static const struct verb info_verb = {
    .name = "image info",
    .summary = "tell format, size and properties of an image",
    .operands = "FILE",
    .options = info_options,
    .run = info_main,
};

/* ---- resize ---- */

static int new_size(const char *text, uint64_t old, uint64_t *size, struct lm_err *err)
{
	int rc = value_size(text + (*text == '+'), size, err);

	if (!rc && *text == '+' && __builtin_add_overflow(*size, old, size))
		*size = UINT64_MAX;
	if (!rc && (!*size || *size % 512 || *size > INT64_MAX))
		return lm_err_set(err, -EINVAL, "a disk's size is a positive multiple of 512");
	return rc;
}

static int resize_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct image_args args = {.allow_backing = true};
	struct operands rest;
	struct image *img;
	uint64_t size;
	int rc = parse(self, argc, argv, &args, &rest, 2, err);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = open_image(&img, rest.words[0], &args, true, err);
	if (rc < 0)
		return rc;
	rc = new_size(rest.words[1], img->size, &size, err);
	if (!rc && size < img->size && !args.shrink)
		rc = lm_err_set(err, -EINVAL,
				"that is smaller than it is; say --shrink to throw away what is "
				"behind");
	if (!rc)
		rc = img->ops->resize(img, size, err);
	if (rc < 0)
		lm_err_wrap(err, "image %s", rest.words[0]);
	return close_image(img, rest.words[0], rc, err);
}

static const struct option resize_options[] = {
    {"format", "raw|qcow2", "the image's format", "by the name", parse_format},
    {"shrink", NULL, "make it smaller: the end of the disk is lost", NULL, parse_shrink},
    {NULL},
};

static const struct verb resize_verb = {
    .name = "image resize",
    .summary = "change the size of an image's disk",
    .operands = "FILE SIZE|+SIZE",
    .options = resize_options,
    .run = resize_main,
};

/* ---- check ---- */

static int report(const struct qcow2_check *c, bool repair)
{
	bool clean = !c->errors && !c->leaks;

	printf("%" PRIu64 " errors, %" PRIu64 " leaked clusters, %" PRIu64 " data clusters, %" PRIu64
	       " compressed\n",
	       c->errors, c->leaks, c->allocated, c->compressed);
	if (c->bitmaps)
		puts("it has bitmaps, whose clusters are counted as leaked");
	if (repair)
		printf("%" PRIu64 " refcounts repaired\n", c->repaired);
	if (clean || (repair && c->repaired == c->errors + c->leaks))
		return 0;
	return c->errors ? STATUS_DAMAGED : STATUS_LEAKS;
}

static int check_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct image_args args = {.allow_backing = true};
	struct qcow2_check result;
	struct operands rest;
	struct image *img;
	int rc = parse(self, argc, argv, &args, &rest, 1, err);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = image_open(&img, &(struct image_options){.path = rest.words[0],
						      .format = args.format,
						      .writable = args.repair,
						      .no_check = true,
						      .ignore_backing = true}, err);
	if (rc < 0)
		return lm_err_wrap(err, "image %s", rest.words[0]);
	rc = qcow2_check(img, args.repair, stdout, &result, err);
	if (rc < 0)
		lm_err_wrap(err, "image %s", rest.words[0]);
	else
		rc = report(&result, args.repair);
	return close_image(img, rest.words[0], rc, err);
}

static const struct option check_options[] = {
    {"format", "raw|qcow2", "the image's format", "by name and content", parse_format},
    {"repair", NULL, "make refcounts what they should be", NULL, parse_repair},
    {NULL},
};

static const char *const check_paragraphs[] = {
    "Compares what refers to each cluster with the refcounts. The status is 0 for a sound image, 2 "
    "for a damaged one, 3 where clusters are only lost to use.",
    NULL,
};

static const struct verb check_verb = {
    .name = "image check",
    .summary = "check a qcow2 image",
    .operands = "FILE",
    .paragraphs = check_paragraphs,
    .options = check_options,
    .run = check_main,
};

/* ---- The verb ---- */

static const struct verb *const subverbs[] = {
    &create_verb, &convert_verb, &info_verb, &resize_verb, &check_verb, NULL,
};

static int image_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	const char *names[LM_ARRAY_SIZE(subverbs)] = {NULL}, *near;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return argc < 2 ? lm_err_set(err, -EINVAL, "usage: lamina image %s ...",
					     self->operands)
				: print_help(self);
	for (unsigned k = 0; subverbs[k]; k++) {
		names[k] = strchr(subverbs[k]->name, ' ') + 1;
		if (!strcmp(names[k], argv[1]))
			return subverbs[k]->run(subverbs[k], argc - 1, argv + 1, err);
	}
	near = nearest_word(argv[1], names);
	return lm_err_set(err, -EINVAL, "lamina image: unknown \"%.*s\"; %s%s%s", SHOWN_MAX, argv[1],
			  near ? "did you mean \"" : "lamina image --help lists what there is",
			  near ? near : "", near ? "\"?" : "");
}

const struct verb image_verb = {
    .name = "image",
    .summary = "make, copy, resize, check and describe disk images",
    .operands = "create|convert|info|resize|check",
    .subverbs = subverbs,
    .run = image_main,
};
