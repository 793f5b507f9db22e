/* Small files of a bundle, by name in its folder. */
#ifndef LM_SNAPSHOT_FILE_H
#define LM_SNAPSHOT_FILE_H

#include <jansson.h>

#include "base/err.h"

#define FILE_TEXT_MAX (64u << 20) /* bytes; more is refused unread */

/* An empty new file for writing; -EEXIST where it is there. The descriptor or a negative errno. */
int file_create(int dir, const char *name, struct lm_err *err);
/* A regular file for reading; symbolic links are not followed. */
int file_open(int dir, const char *name, struct lm_err *err);

/* Text with a final newline, indented. */
int file_save_json(int dir, const char *name, const json_t *json, struct lm_err *err);
/* *text is the heap's, NUL-terminated. */
int file_load(int dir, const char *name, char **text, size_t *len, struct lm_err *err);
int file_parse_json(const char *name, const char *text, size_t len, json_t **out,
		    struct lm_err *err);

#endif
