#include "cmd/disk_option.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "cmd/options.h"

/* A property with its value, or NULL where it had none. */
typedef int property_fn(struct disk_config *d, const char *value, struct lm_err *err);

static int choose(const char *value, const char *const *words, unsigned count, const char *what,
		  unsigned *out, struct lm_err *err)
{
	for (unsigned k = 0; value && k < count; k++) {
		if (strcmp(value, words[k]))
			continue;
		*out = k;
		return 0;
	}
	return lm_err_set(err, -EINVAL, "the choices are %s", what);
}

static int set_ro(struct disk_config *d, const char *value, struct lm_err *err)
{
	d->read_only = true;
	return 0;
}

static int set_ephemeral(struct disk_config *d, const char *value, struct lm_err *err)
{
	d->ephemeral = true;
	return 0;
}

static int set_format(struct disk_config *d, const char *value, struct lm_err *err)
{
	if (value && image_format_parse(value, &d->format))
		return 0;
	return lm_err_set(err, -EINVAL, "the choices are raw and qcow2");
}

static int set_interface(struct disk_config *d, const char *value, struct lm_err *err)
{
	static const char *const words[] = {[DISK_VIRTIO] = "virtio",
					    [DISK_NVME] = "nvme",
					    [DISK_SATA] = "sata"};
	unsigned k = 0;
	int rc = choose(value, words, LM_ARRAY_SIZE(words), "virtio, nvme and sata", &k, err);

	d->interface = k;
	return rc;
}

static int set_cache(struct disk_config *d, const char *value, struct lm_err *err)
{
	static const char *const words[] = {[BLOCK_CACHE_AUTO] = "auto",
					    [BLOCK_CACHE_DIRECT] = "direct",
					    [BLOCK_CACHE_HOST] = "host"};
	unsigned k = 0;
	int rc = choose(value, words, LM_ARRAY_SIZE(words), "auto, direct and host", &k, err);

	d->cache = k;
	return rc;
}

static int set_backing(struct disk_config *d, const char *value, struct lm_err *err)
{
	static const char *const words[] = {"deny", "allow"};
	unsigned k = 0;
	int rc = choose(value, words, LM_ARRAY_SIZE(words), "allow and deny", &k, err);

	d->allow_backing = k;
	return rc;
}

static int set_serial(struct disk_config *d, const char *value, struct lm_err *err)
{
	if (!value || !*value || strlen(value) > BLOCK_ID_SIZE)
		return lm_err_set(err, -EINVAL, "a serial number has 1 to %d bytes", BLOCK_ID_SIZE);
	d->serial = value;
	return 0;
}

static const struct property {
	const char *name;
	bool takes_value;
	property_fn *set;
} properties[] = {
    {"ro", false, set_ro},
    {"ephemeral", false, set_ephemeral},
    {"format", true, set_format},
    {"if", true, set_interface},
    {"serial", true, set_serial},
    {"cache", true, set_cache},
    {"backing", true, set_backing},
};

/* Ends the word at `text` with a NUL, commas halved in place; the next word, or NULL. */
static char *cut_word(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == ',' && text[1] != ',') {
			*to = 0;
			return text + 1;
		}
		if (*text == ',')
			text++;
		*to++ = *text;
	}
	*to = 0;
	return NULL;
}

static int set_property(struct disk_config *d, char *word, struct lm_err *err)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(properties); k++) {
		const struct property *p = &properties[k];
		int rc;

		if (strcmp(p->name, word))
			continue;
		if (p->takes_value != (value != NULL))
			return lm_err_set(err, -EINVAL, "\"%s\" takes %s value", word,
					  p->takes_value ? "a" : "no");
		rc = p->set(d, value, err);
		return rc < 0 && value ? lm_err_wrap(err, "%s=%.*s", word, SHOWN_MAX, value) : rc;
	}
	return lm_err_set(err, -EINVAL,
			  "no such property of a disk: \"%.*s\" (a comma in a file's name is "
			  "written twice)",
			  SHOWN_MAX, word);
}

int disk_option_parse(const char *value, struct disk_config *out, char **storage,
		      struct lm_err *err)
{
	char *word = strdup(value), *rest;
	int rc = 0;

	*out = (struct disk_config){0};
	*storage = word;
	if (!word)
		return lm_err_set(err, -ENOMEM, "out of memory");
	rest = cut_word(word);
	out->path = word;
	while (!rc && rest) {
		word = rest;
		rest = cut_word(word);
		rc = set_property(out, word, err);
	}
	if (!rc && !*out->path)
		rc = lm_err_set(err, -ENOENT, "%s", strerror(ENOENT));
	if (!rc && out->read_only && out->ephemeral)
		rc = lm_err_set(err, -EINVAL, "a disk is either ro or ephemeral");
	return rc;
}
