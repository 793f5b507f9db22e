/* What the guest wrote to its ephemeral disks: diskN.qcow2 in the bundle, each over its disk. */
#ifndef LM_SNAPSHOT_DISKS_H
#define LM_SNAPSHOT_DISKS_H

#include <jansson.h>

#include "machine/machine.h"

/*
 * Writes the changes and says so in the manifest's disks; what was written to other disks is on stable
 * storage afterwards. The guest stands still.
 */
int disks_save(struct machine *m, int dir, json_t *manifest, struct lm_err *err);

/*
 * Puts the changes over the disks of config. The paths, which name files by the open folder `dir`, are
 * stored in `paths`.
 */
struct disks_paths {
	char path[MACHINE_MAX_DISKS][64];
};

int disks_config(const json_t *manifest, int dir, struct machine_config *config,
		 struct disks_paths *paths, struct lm_err *err);

#endif
