/* --share, -v and --rootfs: folders of the host in the guest. */
#ifndef LM_CMD_SHARES_H
#define LM_CMD_SHARES_H

#include "machine/machine.h"

#define SHARE_SYNTAX  "HOST:GUEST[:ro][:OPTION...]"
#define ROOTFS_SYNTAX "DIR[:rw][:OPTION...]"

/* The backing of a machine_config's shares. */
struct shares {
	char *text[MACHINE_MAX_SHARES]; /* heap: the options, cut into their parts */
	const char *guest[MACHINE_MAX_SHARES]; /* where, in the guest; NULL for the root */
	unsigned count;
	const char *rootfs; /* tag of the share that is the guest's root, or NULL */
	bool rootfs_writable;
};

/* Both add to config->share. */
int shares_add(struct shares *s, struct machine_config *config, const char *value,
	       struct lm_err *err);
int shares_add_rootfs(struct shares *s, struct machine_config *config, const char *value,
		      struct lm_err *err);
void shares_fini(struct shares *s);

/* What the default guest needs to know, as words of its kernel command line (guest/PROTOCOL.md). */
int shares_words(const struct shares *s, const struct machine_config *config, char *words,
		 size_t size, struct lm_err *err);

#endif
