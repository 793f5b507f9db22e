/* What a disk looks like to the guest. */
#ifndef LM_MACHINE_DISK_H
#define LM_MACHINE_DISK_H

enum disk_interface {
	DISK_VIRTIO, /* virtio-blk */
	DISK_NVME,   /* a controller of its own */
	DISK_SATA,   /* a port of the AHCI controller, behind the CD-ROMs */
};

#endif
