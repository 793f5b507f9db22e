/*
 * The machine that arrives. What the source says is checked as a snapshot bundle is: it may be hostile,
 * even where it has the key.
 */
#ifndef LM_MIGRATION_TARGET_H
#define LM_MIGRATION_TARGET_H

#include "machine/machine.h"
#include "migration/wire.h"

struct target {
	struct wire wire;
	json_t *manifest;
	struct machine_config config; /* strings are the manifest's; the engine is the caller's to set */
	char *const *command;	      /* owned */
};

/* Takes fd over, and learns what is to come; target_close also on failure. */
int target_open(struct target *t, int fd, const struct wire_key *key, bool write_disks,
		struct lm_err *err);
/*
 * Makes the machine and receives it. 0: it is ours, its source runs it no more, and machine_run lets
 * it go on. `t` must outlive the machine.
 */
int target_receive(struct target *t, struct machine **out, struct lm_err *err);
/* Tells the source, as long as that is of use, why nothing becomes of it. */
void target_refuse(struct target *t, const struct lm_err *why);
void target_close(struct target *t);

#endif
