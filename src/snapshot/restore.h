/* A machine from a bundle. */
#ifndef LM_SNAPSHOT_RESTORE_H
#define LM_SNAPSHOT_RESTORE_H

#include "machine/machine.h"
#include "snapshot/bundle.h"
#include "snapshot/disks.h"

struct restore {
	struct bundle bundle;
	struct machine_config config; /* its strings are the manifest's; the engine is the caller's to set */
	char *const *command;	      /* owned, as the next */
	const char *const *command_env;
	struct disks_paths changes;
};

/*
 * Reads the bundle, and checks that the disks are there as they were. Without write_disks a machine
 * that writes to files outside of the bundle is refused.
 */
int restore_open(struct restore *r, const char *path, bool write_disks, struct lm_err *err);
/*
 * Makes the machine, ready to run. Its memory is read from the bundle as it is needed: the bundle may
 * be removed, but must not be changed while the machine lives. `r` must outlive the machine.
 */
int restore_create(struct restore *r, struct machine **out, struct lm_err *err);
void restore_close(struct restore *r);

#endif
