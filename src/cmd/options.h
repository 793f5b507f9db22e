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

/* The candidate nearest to the word, or NULL when none is near. Candidates end with a NULL. */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
