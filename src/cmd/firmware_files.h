/* Where firmware lies on this host: by name (seabios, ovmf), or a file. */
#ifndef LM_CMD_FIRMWARE_FILES_H
#define LM_CMD_FIRMWARE_FILES_H

#include "base/err.h"
#include "machine/firmware.h"

#define FIRMWARE_NAMES "seabios|ovmf|FILE"

/* Storage for the strings of `files`. */
struct firmware_choice {
	struct firmware_files files;
	char path[4096], vars[4096], template[4096];
};

/* value: NAME or FILE, with ",vars=FILE" behind it where variables shall be kept. */
int firmware_choose(struct firmware_choice *choice, const char *value, struct lm_err *err);

#endif
