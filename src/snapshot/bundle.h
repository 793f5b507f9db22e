/*
 * A snapshot bundle: a folder that holds all of a stopped machine that does not lie elsewhere.
 *
 *	manifest.json   what it is: format and version, the machine, its CPU, disks, checksums
 *	checksum        of manifest.json
 *	state.json      sections of device and vCPU state (machine/save.h)
 *	memory          guest memory, sparse: byte k is byte k of RAM
 *	diskN.qcow2     what the guest wrote to an ephemeral disk (backend/block.h)
 *
 * It appears under its name all at once or not at all: it is written under another name beside it, made
 * durable, and renamed. What a killed writer leaves behind is under that other name, and unlocked;
 * whoever writes the next bundle there removes it.
 */
#ifndef LM_SNAPSHOT_BUNDLE_H
#define LM_SNAPSHOT_BUNDLE_H

#include <jansson.h>

#include "base/err.h"

#define BUNDLE_FORMAT  "lamina-snapshot"
#define BUNDLE_VERSION 1

#define BUNDLE_MANIFEST "manifest.json"
#define BUNDLE_CHECKSUM "checksum"
#define BUNDLE_STATE    "state.json"
#define BUNDLE_MEMORY   "memory"

struct bundle_writer {
	int parent;     /* the folder in which it will appear */
	int dir;        /* where it is being written; locked */
	char *name;     /* in parent */
	char *temporary;
};

/* -EEXIST where `path` is there: a bundle is never overwritten. */
int bundle_create(struct bundle_writer *w, const char *path, struct lm_err *err);
/*
 * Adds checksums of all files and the manifest (its format and version are put in), makes everything
 * durable and gives the folder its name. The writer is finished, well or not.
 */
int bundle_commit(struct bundle_writer *w, json_t *manifest, struct lm_err *err);
/* Removes what was written. */
void bundle_abort(struct bundle_writer *w);

struct bundle {
	int dir;
	json_t *manifest;
	json_t *state;
};

/* Reads and checks manifest and state. Memory is not looked at. */
int bundle_open(struct bundle *b, const char *path, struct lm_err *err);
void bundle_close(struct bundle *b);

/* Compares all files with their checksums. */
int bundle_verify(const struct bundle *b, struct lm_err *err);

#endif
