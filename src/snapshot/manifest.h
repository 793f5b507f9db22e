/*
 * The manifest's part about the machine: what it is made from, so that one with the same devices can
 * be made again, and the disks that it refers to.
 */
#ifndef LM_SNAPSHOT_MANIFEST_H
#define LM_SNAPSHOT_MANIFEST_H

#include <jansson.h>

#include "isa/x86/model.h"
#include "machine/machine.h"

/* A new object with "machine", "cpu" and "disks". The machine stands still. */
int manifest_describe(struct machine *m, json_t **out, struct lm_err *err);

/*
 * The other way: everything in config but the engine. Strings are borrowed from the manifest; the
 * command's and its environment's words are arrays of the heap, for free. Numbers are checked.
 */
int manifest_config(const json_t *manifest, struct machine_config *config, struct lm_err *err);

/* Whether the model offers the guest what it had. */
int manifest_check_cpu(const json_t *manifest, const struct x86_model *model, struct lm_err *err);

/*
 * Whether the files that the manifest's disks refer to are what they were: the same file with the
 * same size and time of change, or at least the same contents, of which samples are compared. Disks
 * that the guest writes to are refused without `write`: a manifest may name any file.
 */
int manifest_check_disks(const json_t *manifest, bool write, struct lm_err *err);
/* Adds the samples' checksums to a new manifest; reads files, so not while the guest waits. */
int manifest_add_samples(json_t *manifest, struct lm_err *err);

#endif
