/* Parsing of a verb's arguments by its table. */
#ifndef LM_CMD_OPTIONS_H
#define LM_CMD_OPTIONS_H

#include <stdbool.h>

#include "cmd/verb.h"

#define SHOWN_MAX 160 /* bytes of a word in an error: what is wrong with it matters more */

struct operands {
	char **words; /* NULL-terminated, in argv */
	int count;
	bool after_dashes; /* they follow a -- */
	bool help;	   /* --help or -h was given: nothing else is set or checked */
};

/*
 * Options end at -- or at the first other word; `--name value` and `--name=value` are the same.
 * Returns 0 or a negative errno.
 */
int options_parse(const struct verb *verb, int argc, char **argv, void *target,
		  struct operands *rest, struct lm_err *err);

/*
 * The option at argv[*at], which starts with a dash, and its value (NULL for a flag); moves *at past
 * them.
 */
int options_next(const struct verb *verb, char **argv, int *at, const struct option **o,
		 const char **value, struct lm_err *err);
/* Its parse function, with the option and the value in front of what it says. */
int option_take(const struct option *o, void *target, const char *value, struct lm_err *err);

/* The candidate nearest to the word, or NULL when none is near. Candidates end with a NULL. */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
