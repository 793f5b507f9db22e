/*
 * A verb's options as a JSON file: `--config FILE` reads one, `--dry-run` prints one. Members are
 * called as the options are: a string or number each, true for a flag, an array where an option may be
 * repeated; "image" and "command" stand for the operands.
 */
#ifndef LM_CMD_CONFIG_FILE_H
#define LM_CMD_CONFIG_FILE_H

#include <jansson.h>

#include "cmd/options.h"

#define CONFIG_FILES_MAX 8

/* The files that were read: options borrow their strings. */
struct config_files {
	json_t *file[CONFIG_FILES_MAX];
	unsigned count;
	char **command; /* heap, NULL-terminated; the strings are the files' */
	const char *image;
};

/* Takes all options of a file as if they stood on the command line. */
int config_file_read(struct config_files *files, const char *path, const struct verb *verb,
		     void *target, struct lm_err *err);
/* Operands that the command line does not have are the files'. */
void config_file_operands(const struct config_files *files, struct operands *rest);
/* Prints what argv and the files that it names say together; they have been parsed without error. */
int config_file_print(const struct config_files *files, const struct verb *verb, char **argv,
		      const struct operands *rest, struct lm_err *err);
void config_files_fini(struct config_files *files);

#endif
