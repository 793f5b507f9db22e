/* The value of --disk: a file name and properties, separated by commas. */
#ifndef LM_CMD_DISK_OPTION_H
#define LM_CMD_DISK_OPTION_H

#include "base/err.h"
#include "machine/machine.h"

#define DISK_SYNTAX                                                                                \
	"FILE[,ro][,ephemeral][,format=raw|qcow2][,if=virtio|nvme|sata][,serial=TEXT]"                       \
	"[,cache=auto|direct|host][,backing=allow]"

/*
 * FILE[,PROPERTY...]; a comma within a value is written twice. *storage is a heap string that out's
 * strings point into, the caller's in any case. Only the words are looked at, not the file.
 */
int disk_option_parse(const char *value, struct disk_config *out, char **storage,
		      struct lm_err *err);

#endif
