/* The machine's side of a snapshot: what must be done while the guest stands still. */
#ifndef LM_SNAPSHOT_SAVE_H
#define LM_SNAPSHOT_SAVE_H

#include <jansson.h>

#include "machine/machine.h"

/*
 * From a task (machine_when_still): writes state, memory and changed disks into the folder, which is
 * empty. *manifest, for json_decref, is what the machine knows for the manifest; bundle_commit, best
 * in another process, does the rest when the guest runs again.
 */
int snapshot_save(struct machine *m, int dir, json_t **manifest, struct lm_err *err);

#endif
