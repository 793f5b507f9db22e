/*
 * The PC board: which devices there are, where they answer, and how their interrupts are wired. The
 * addresses are those of dev/chipset/layout.h.
 */
#ifndef LM_MACHINE_PC_H
#define LM_MACHINE_PC_H

#include "dev/acpi/pm.h"
#include "dev/ahci/ahci.h"
#include "dev/bus.h"
#include "dev/chardev.h"
#include "dev/chipset/debugcon.h"
#include "dev/chipset/fw_cfg.h"
#include "dev/chipset/i8042.h"
#include "dev/chipset/lpc.h"
#include "dev/chipset/ioapic.h"
#include "dev/chipset/pic.h"
#include "dev/chipset/pit.h"
#include "dev/chipset/pvpanic.h"
#include "dev/chipset/rtc.h"
#include "dev/chipset/testdev.h"
#include "dev/chipset/uart.h"
#include "dev/chipset/watchdog.h"
#include "dev/nvme/nvme.h"
#include "dev/pci_host.h"
#include "dev/vga/vga.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "dev/virtio/fs.h"
#include "dev/virtio/pci_transport.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"
#include "isa/x86/cpu.h"
#include "machine/firmware.h"
#include "machine/disk.h"
#include "mem/io.h"

#define PC_UARTS     2 /* COM1 and COM2 */
#define PC_MAX_DISKS 16
#define PC_MAX_NETS  8
#define PC_MAX_VIRTIO 32 /* one a PCI slot */
#define PC_MAX_SHARES 8

/* What the guest does to the board as a whole. Called under the device lock, on any thread. */
struct pc_ops {
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void (*panicked)(void *opaque);
	void (*debug_exit)(void *opaque, uint32_t status);
	void (*watchdog)(void *opaque); /* the guest's watchdog was not fed in time */
	void *opaque;
};

struct pc_config {
	struct pc_ops ops;
	struct chardev *serial;                 /* COM1 */
	struct console_port_setup port[CONSOLE_MAX_PORTS]; /* virtio-console, port 0 is hvc0 */
	unsigned ports;
	struct blockdev *disk[PC_MAX_DISKS];
	enum disk_interface disk_interface[PC_MAX_DISKS];
	unsigned disks;
	struct netdev *net[PC_MAX_NETS];
	unsigned net_pairs[PC_MAX_NETS]; /* queue pairs */
	unsigned nets;
	struct vsockdev *vsock; /* NULL: none */
	uint64_t vsock_cid;
	struct blockdev *cdrom[AHCI_PORTS];
	unsigned cdroms;
	bool boot_cdrom;               /* firmware tries CD-ROMs before disks */
	struct fsdev *share[PC_MAX_SHARES];
	unsigned shares;
	bool balloon;
	bool watchdog;
	bool test_devices;
	struct firmware_files firmware; /* code is NULL for direct boots */
	struct chardev *debug;          /* what firmware says on its debug port, or NULL */
	bool serial_console;            /* firmware's screen on COM1 too */
	uint64_t entropy_seed; /* deterministic machines; 0: the host's generator */
};

struct pc_net {
	struct virtio_net net;
	struct virtio_pci pci;
};

struct pc_vsock {
	struct virtio_vsock vsock;
	struct virtio_pci pci;
};

/* What the interface has; the rest is unused. */
struct pc_disk {
	enum disk_interface interface;
	struct blockdev *backend; /* not owned */
	struct virtio_blk blk;
	struct virtio_pci pci;
	struct nvme nvme;
	unsigned port; /* SATA */
};

struct pc_share {
	struct virtio_fs fs;
	struct virtio_pci pci;
};

struct pc_balloon {
	struct virtio_balloon balloon;
	struct virtio_pci pci;
};

struct pc {
	struct ram *ram;
	struct x86_system *sys;
	struct event_loop *loop;
	struct pc_ops ops;
	struct bus mmio, port;
	struct mem_io io; /* for the engine */

	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart[PC_UARTS];
	struct i8042 kbc;
	struct fw_cfg fw_cfg;
	struct pvpanic pvpanic;
	struct acpi_pm pm;
	struct debugcon debugcon;
	struct testdev *testdev; /* NULL without --test-devices */
	struct pci_host pci;
	uint32_t intx_levels;    /* INTA# to INTD# of bus 0 */

	struct virtio_console console;
	struct virtio_pci console_pci;
	struct virtio_rng rng;
	struct virtio_pci rng_pci;
	struct pc_disk *disk[PC_MAX_DISKS];
	unsigned disks;
	struct pc_net *net[PC_MAX_NETS];
	unsigned nets;
	struct pc_vsock *vsock; /* NULL: none */
	struct pc_share *share[PC_MAX_SHARES];
	unsigned shares;
	struct pc_balloon *balloon; /* or NULL */
	struct watchdog *watchdog;  /* or NULL */
	struct firmware firmware;
	struct ahci *ahci;       /* with firmware, CD-ROMs or SATA disks, else NULL */
	unsigned ahci_ports;     /* in use */
	struct lpc lpc;          /* with firmware */
	struct virtio_device *virtio[PC_MAX_VIRTIO]; /* all of them */
	unsigned virtios;
	struct vga *vga;         /* with firmware, else NULL */
	uint64_t rsdp;           /* of the ACPI tables in guest memory */
};

/* Builds the board around ram, sys (io, pic_ack, eoi are set here) and loop. */
int pc_init(struct pc *pc, const struct pc_config *config, struct ram *ram, struct x86_system *sys,
	    struct event_loop *loop, struct lm_err *err);
/* Power-on state of every device; ACPI tables written anew. vCPUs parked, under the device lock. */
int pc_reset(struct pc *pc, struct lm_err *err);
/* Waits until no device has work with others in flight. vCPUs parked, under the device lock. */
void pc_drain(struct pc *pc);
void pc_fini(struct pc *pc);

#endif
