/*
 * Verbs and their options as tables: parsing, --help, the manual page and shell completion all come
 * from them.
 */
#ifndef LM_CMD_VERB_H
#define LM_CMD_VERB_H

#include <stdbool.h>

#include "base/err.h"

struct option {
	const char *name;     /* without the two dashes */
	const char *arg;      /* what follows: FILE..., words between |, other; NULL for a flag */
	const char *help;     /* no full stop */
	const char *fallback; /* the default as help shows it; NULL for none */
	/*
	 * Stores into the verb's target. A value is borrowed from argv, NULL for a flag. The error
	 * says what is wrong and what to do; the parser puts option and value in front.
	 */
	int (*parse)(void *target, const char *value, struct lm_err *err);
	char letter; /* -X is the same; 0 for none */
	bool repeats; /* each time adds one; else the last one counts */
};

struct verb {
	const char *name;
	const char *summary;	       /* one line, no full stop */
	const char *operands;	       /* as in a synopsis; NULL for none */
	const char *const *paragraphs; /* NULL-terminated description; NULL for none */
	const struct option *options;  /* ended by a NULL name; NULL for none */
	const struct verb *const *subverbs; /* NULL-terminated, with their full names; NULL for none */
	bool statuses;		       /* help ends with the table of exit statuses */
	bool hidden;		       /* in neither help nor completion */
	/*
	 * argv[0] is the verb. Returns the exit status of the process, or a negative errno with err
	 * set, for which main prints err and exits with STATUS_ERROR.
	 */
	int (*run)(const struct verb *self, int argc, char **argv, struct lm_err *err);
};

/* NULL-terminated, in the order of help (main.c). */
extern const struct verb *const verbs[];

/* By name, hidden ones too, or NULL. */
const struct verb *verb_find(const char *name);

extern const struct verb run_verb, ps_verb, pause_verb, resume_verb, stop_verb, balloon_verb, screenshot_verb, sendkeys_verb, image_verb, doctor_verb, help_verb, completion_verb, man_verb,
	net_slirp_verb;
extern const struct verb snapshot_verb, restore_verb, clone_verb;
extern const struct verb migrate_verb, receive_verb;

#endif
