/* The board's disks: which controller, which place, and how firmware names them. */
#include "machine/pc_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"

static unsigned queues(const struct pc *pc, unsigned most)
{
	return LM_MIN(pc->sys->cpu_count, most);
}

static int add_nvme(struct pc *pc, struct pc_disk *d, struct blockdev *backend, struct lm_err *err)
{
	int slot = pci_bus_free_slot(&pc->pci.bus, 1);

	if (slot < 0)
		return lm_err_set(err, -ENOSPC, "no PCI slot left for an NVMe controller");
	return nvme_init(&d->nvme, backend, queues(pc, NVME_MAX_IO_QUEUES), &pc->pci.bus,
			 PCI_DEVFN_OF(slot, 0), pc->ram, err);
}

static int add_sata(struct pc *pc, struct pc_disk *d, struct blockdev *backend, struct lm_err *err)
{
	if (pc->ahci_ports == AHCI_PORTS)
		return lm_err_set(err, -ENOSPC, "the SATA controller has %d ports for CD-ROMs and disks",
				  AHCI_PORTS);
	d->port = pc->ahci_ports++;
	ahci_connect(pc->ahci, d->port, backend, false);
	return 0;
}

static int add_virtio_disk(struct pc *pc, struct pc_disk *d, struct blockdev *backend,
			   struct lm_err *err)
{
	virtio_blk_init(&d->blk, backend, queues(pc, BLK_MAX_QUEUES), pc->ram, pc->loop);
	return pc_add_virtio(pc, &d->pci, &d->blk.virtio, err);
}

int pc_add_disk(struct pc *pc, struct blockdev *backend, enum disk_interface interface,
		struct lm_err *err)
{
	static int (*const add[])(struct pc *, struct pc_disk *, struct blockdev *,
				  struct lm_err *) = {
		[DISK_VIRTIO] = add_virtio_disk,
		[DISK_NVME] = add_nvme,
		[DISK_SATA] = add_sata,
	};
	struct pc_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return lm_err_set(err, -ENOMEM, "no memory for a disk");
	d->interface = interface;
	d->backend = backend;
	pc->disk[pc->disks++] = d;
	return add[interface](pc, d, backend, err);
}

void pc_disk_drain(struct pc_disk *d)
{
	if (d->interface == DISK_NVME)
		nvme_drain(&d->nvme); /* the others are in the lists of their kind */
}

void pc_disk_free(struct pc_disk *d)
{
	dirty_fini(&d->blk.writes);
	if (d->interface == DISK_VIRTIO)
		virtio_device_fini(&d->blk.virtio);
	else if (d->interface == DISK_NVME)
		nvme_fini(&d->nvme);
	free(d);
}

unsigned pc_disk_path(const struct pc *pc, const struct pc_disk *d, char *to, size_t size)
{
	switch (d->interface) {
	case DISK_NVME:
		return (unsigned)snprintf(to, size, "/pci@i0cf8/*@%x/namespace@1,0\n",
					  d->nvme.pci.devfn >> 3);
	case DISK_SATA:
		return (unsigned)snprintf(to, size, "/pci@i0cf8/pci8086,2922@%x/drive@%x/disk@0\n",
					  pc->ahci->pci.devfn >> 3, d->port);
	case DISK_VIRTIO:
		break;
	}
	return (unsigned)snprintf(to, size, "/pci@i0cf8/scsi@%x/disk@0,0\n", d->pci.pci.devfn >> 3);
}

struct pc_disk_counts pc_disk_counts(const struct pc *pc, const struct pc_disk *d)
{
	switch (d->interface) {
	case DISK_NVME:
		return (struct pc_disk_counts){ d->nvme.requests, d->nvme.errors };
	case DISK_SATA:
		return (struct pc_disk_counts){ pc->ahci->port[d->port].requests,
						pc->ahci->port[d->port].errors };
	case DISK_VIRTIO:
		break;
	}
	return (struct pc_disk_counts){ d->blk.requests, d->blk.errors };
}
