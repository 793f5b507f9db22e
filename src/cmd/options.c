#include "cmd/options.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"

#define WORD_MAX    32 /* longer words are like no candidate */
#define OPTIONS_MAX 64

/* Edit distance (Damerau-Levenshtein with adjacent swaps only); both words are below WORD_MAX. */
static unsigned word_distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t i = 0; i <= la; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			best = LM_MIN(best, d[i - 1][j] + 1);
			best = LM_MIN(best, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = LM_MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	}
	return d[la][lb];
}

const char *nearest_word(const char *word, const char *const *candidates)
{
	const char *best = NULL;
	unsigned best_distance = (unsigned)LM_MAX(strlen(word) / 3, 1) + 1;

	if (strlen(word) >= WORD_MAX)
		return NULL;
	for (; *candidates; candidates++) {
		unsigned distance;

		if (strlen(*candidates) >= WORD_MAX)
			continue;
		/* A beginning of at least two letters counts as near, whatever is missing. */
		if (strlen(word) >= 2 && !strncmp(word, *candidates, strlen(word)))
			return *candidates;
		distance = word_distance(word, *candidates);
		if (distance < best_distance) {
			best_distance = distance;
			best = *candidates;
		}
	}
	return best;
}

static int unknown_option(const struct verb *verb, const char *word, size_t len, struct lm_err *err)
{
	const char *names[OPTIONS_MAX] = {"help"};
	char name[WORD_MAX] = "";
	const char *near;
	unsigned n = 1;

	for (const struct option *o = verb->options; o && o->name && n < OPTIONS_MAX - 1; o++)
		names[n++] = o->name;
	names[n] = NULL;
	if (len > 2 && len - 2 < sizeof(name))
		memcpy(name, word + 2, len - 2);
	near = word[1] == '-' && *name ? nearest_word(name, names) : NULL;
	if (near && !strcmp(near, name)) /* of those in the table values are checked elsewhere */
		return lm_err_set(err, -EINVAL, "--%s takes no value", near);
	if (near)
		return lm_err_set(err, -EINVAL, "unknown option %.*s; did you mean --%s?", (int)len,
				  word, near);
	return lm_err_set(err, -EINVAL, "unknown option %.*s; lamina %s --help lists them",
			  (int)LM_MIN(len, SHOWN_MAX), word, verb->name);
}

static const struct option *find_letter(const struct verb *verb, char letter)
{
	for (const struct option *o = verb->options; o && o->name; o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

/* The option that a word names: --name, --name=value or -x. */
static const struct option *find_option(const struct verb *verb, const char *word, size_t len)
{
	const char *name = word + 2;

	if (len == 2 && word[1] != '-')
		return find_letter(verb, word[1]);
	if (len <= 2 || word[1] != '-')
		return NULL;
	len -= 2;
	for (const struct option *o = verb->options; o && o->name; o++)
		if (strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

int options_next(const struct verb *verb, char **argv, int *at, const struct option **out,
		 const char **value, struct lm_err *err)
{
	const char *word = argv[(*at)++];
	const char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct option *o = find_option(verb, word, len);

	if (!o)
		return unknown_option(verb, word, len, err);
	if (!o->arg && equals)
		return lm_err_set(err, -EINVAL, "--%s takes no value", o->name);
	*out = o;
	*value = equals ? equals + 1 : NULL;
	if (!o->arg || equals)
		return 0;
	*value = argv[*at];
	if (!*value)
		return lm_err_set(err, -EINVAL, "--%s needs a value: --%s %s", o->name, o->name,
				  o->arg);
	(*at)++;
	return 0;
}

int option_take(const struct option *o, void *target, const char *value, struct lm_err *err)
{
	if (!o->parse(target, value, err))
		return 0;
	if (!value)
		return lm_err_wrap(err, "--%s", o->name);
	/* Its end matters least when it is long. */
	return lm_err_wrap(err, "--%s %.*s%s", o->name, SHOWN_MAX, value,
			   strlen(value) > SHOWN_MAX ? "..." : "");
}

static bool asks_for_help(char **argv)
{
	for (argv++; *argv && strcmp(*argv, "--"); argv++)
		if (!strcmp(*argv, "--help") || !strcmp(*argv, "-h"))
			return true;
	return false;
}

int options_parse(const struct verb *verb, int argc, char **argv, void *target,
		  struct operands *rest, struct lm_err *err)
{
	int at = 1;

	memset(rest, 0, sizeof(*rest));
	rest->help = asks_for_help(argv);
	if (rest->help)
		return 0;
	while (argv[at] && argv[at][0] == '-' && argv[at][1]) {
		const struct option *o;
		const char *value;
		int ret;

		if (!strcmp(argv[at], "--")) {
			rest->after_dashes = true;
			at++;
			break;
		}
		ret = options_next(verb, argv, &at, &o, &value, err);
		if (!ret)
			ret = option_take(o, target, value, err);
		if (ret)
			return ret;
	}
	rest->words = argv + at;
	rest->count = argc - at;
	if (rest->count && !verb->operands)
		return lm_err_set(err, -EINVAL, "unexpected \"%.*s\"; lamina %s takes options only",
				  SHOWN_MAX, argv[at], verb->name);
	return 0;
}
