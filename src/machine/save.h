/*
 * The machine's state as a snapshot or a migration carries it: one section a device, vCPU or clock, in
 * a fixed order (guest memory and disks go their own way).
 */
#ifndef LM_MACHINE_SAVE_H
#define LM_MACHINE_SAVE_H

#include <jansson.h>

#include "base/fields.h"
#include "machine/machine.h"

/* A section of this machine, named after the device and its place: "virtio-blk@03.0", "vcpu0". */
struct machine_part {
	char name[48];
	const struct fields_section *section;
	void *object;
};

#define MACHINE_MAX_PARTS 256

/*
 * In the order in which they are loaded. The number of parts, or -ENOTSUP with the device that cannot
 * be saved.
 */
int machine_parts(struct machine *m, struct machine_part parts[MACHINE_MAX_PARTS],
		  struct lm_err *err);

/* From a task (machine_when_still). *out, for json_decref, is an object of sections by name. */
int machine_save(struct machine *m, json_t **out, struct lm_err *err);

/*
 * Into a machine created with `restoring` and the same devices that has not run; its memory is in
 * place. A section too many or too few is an error that names it. After a failure the machine can
 * only be destroyed. The clock stands at the saved time until machine_run.
 */
int machine_load(struct machine *m, const json_t *in, struct lm_err *err);

#endif
