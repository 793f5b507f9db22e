/* The board's disks (pc.h): for the files of this folder. */
#ifndef LM_MACHINE_PC_DISK_H
#define LM_MACHINE_PC_DISK_H

#include "machine/pc.h"

struct pc_disk_counts {
	uint64_t requests, errors;
};

/* SATA disks after pc->ahci is there. */
int pc_add_disk(struct pc *pc, struct blockdev *backend, enum disk_interface interface,
		struct lm_err *err);
void pc_disk_drain(struct pc_disk *d);
/* Nothing is in flight afterwards; d is freed. */
void pc_disk_free(struct pc_disk *d);
/* As boot orders of firmware name it, with a newline; the length. */
unsigned pc_disk_path(const struct pc *pc, const struct pc_disk *d, char *to, size_t size);
struct pc_disk_counts pc_disk_counts(const struct pc *pc, const struct pc_disk *d);
/* pc.c: the next free slot. */
int pc_add_virtio(struct pc *pc, struct virtio_pci *vp, struct virtio_device *dev,
		  struct lm_err *err);

#endif
