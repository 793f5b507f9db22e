/* Writing a picture as PNG, by libpng. */
#ifndef LM_CMD_PICTURE_H
#define LM_CMD_PICTURE_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Pixels 0x00RRGGBB, row by row. */
int picture_save(FILE *out, const uint32_t *pixels, unsigned width, unsigned height,
	     struct lm_err *err);

#endif
