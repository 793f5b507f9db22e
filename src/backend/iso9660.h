/*
 * Writes a small CD image: a few files in one folder, with ISO 9660 names (ECMA-119, level 1) and Joliet
 * names, which is what systems of today show.
 */
#ifndef LM_BACKEND_ISO9660_H
#define LM_BACKEND_ISO9660_H

#include <stddef.h>

#include "base/err.h"

#define ISO_FILES_MAX 8
#define ISO_NAME_MAX  64 /* of Joliet: UCS-2 characters; here ASCII */

struct iso_file {
	const char *name;
	const void *data;
	size_t size; /* below 4 GiB */
};

/* Into fd, which is empty. label: up to 32 of A-Z, a-z, 0-9 and _. */
int iso_write(int fd, const char *label, const struct iso_file *files, unsigned count,
	      struct lm_err *err);

#endif
