/*
 * --user-data and --ssh-key: what cloud-init in a guest reads at its first boot, as the disk that its
 * NoCloud source looks for: a CD image with the label "cidata", made in memory.
 */
#ifndef LM_CMD_SEED_H
#define LM_CMD_SEED_H

#include "machine/machine.h"

#define SEED_KEYS_MAX 32

struct seed {
	char *user_data; /* heap; NULL: none */
	size_t user_data_size;
	char *keys[SEED_KEYS_MAX]; /* heap: lines as in authorized_keys */
	unsigned key_count;
	int fd; /* of the image; 0 before */
	char path[32];
};

int seed_user_data(struct seed *s, const char *path, struct lm_err *err);
int seed_ssh_key(struct seed *s, const char *path, struct lm_err *err);

/* Adds the disk to config where there is something to say; name: of the machine. */
int seed_attach(struct seed *s, struct machine_config *config, const char *name, struct lm_err *err);
void seed_fini(struct seed *s);

#endif
