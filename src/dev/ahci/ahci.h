/*
 * SATA controller (AHCI 1.3.1) with disks and CD-ROM drives, one a port: what every firmware, boot
 * loader and installer of the last fifteen years has a driver for.
 *
 * - ahci.c: the PCI function (as Intel's ICH9, 8086:2922) and its registers;
 * - ahci_command.c: command lists: what the guest wants, where its memory is, what it is told;
 * - ata.c: commands of disks (ATA8-ACS); atapi.c: those of CD-ROM drives (MMC-6, SPC-4);
 * - ata_identify.c: what the drives say of themselves.
 *
 * A port works on one command at a time, since there is no native command queueing. Commands are
 * copied from guest memory once. Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_AHCI_AHCI_H
#define LM_DEV_AHCI_AHCI_H

#include <sys/uio.h>

#include "base/fields.h"
#include "dev/blockdev.h"
#include "dev/pci.h"
#include "mem/ram.h"

#define AHCI_PORTS    6
#define AHCI_SLOTS    32
#define AHCI_SEGMENTS 256 /* of a command; drivers use up to 168 */
#define AHCI_NO_SLOT  0xff

#define ATA_REPLY_MAX 4096 /* bytes of an answer that is not from the medium */

/* Status and error registers (ATA8-ACS §6). */
#define ATA_ERR	      0x01
#define ATA_DRQ	      0x08
#define ATA_DSC	      0x10
#define ATA_DRDY      0x40
#define ATA_BSY	      0x80
#define ATA_GOOD      (ATA_DRDY | ATA_DSC)
#define ATA_ABRT      0x04
#define ATA_IDNF      0x10
#define ATA_UNC	      0x40

struct ahci;

/* The command that a port works on, from its FIS (SATA 3.0 §10.3.4) and header. */
struct ahci_command {
	uint8_t command, device, control;
	bool is_command; /* the C bit: not a write to the control register */
	uint16_t features, count;
	uint64_t lba;
	uint8_t packet[16];
	uint64_t header;   /* guest address of the command header, for the byte count */
	uint64_t prdt;	   /* and of the first segment */
	uint32_t segments;
};

struct ahci_port {
	struct ahci *ahci;
	struct blockdev *backend; /* NULL: nothing is connected */
	bool cdrom;
	/* Registers (AHCI 1.3.1 §3.3). */
	uint64_t list, fis;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, ci;
	bool signature_waits; /* the drive's first FIS, for which reception is off */
	bool soft_reset;      /* SRST is set */
	bool stopped;	      /* by an error, until ST is cleared */
	/* CD-ROM: what REQUEST SENSE will tell. */
	uint8_t sense_key, sense_code, sense_qualifier;
	bool medium_locked;
	/* The command in flight. */
	uint8_t slot; /* AHCI_NO_SLOT: none */
	bool running; /* ahci_port_run is on the stack */
	struct ahci_command c;
	struct block_request block;
	struct iovec iov[AHCI_SEGMENTS];
	unsigned iov_count;
	uint64_t requests, errors;
};

struct ahci {
	struct pci_device pci;
	struct ram *ram;
	uint32_t ghc, is;
	struct ahci_port port[AHCI_PORTS];
};

int ahci_init(struct ahci *ahci, struct pci_bus *bus, uint8_t devfn, struct ram *ram,
	      struct lm_err *err);
/* Before the guest runs. The backend stays the caller's. */
void ahci_connect(struct ahci *ahci, unsigned port, struct blockdev *backend, bool cdrom);
/* Requests in flight are done. */
void ahci_drain(struct ahci *ahci);

extern const struct fields_section ahci_section;

/* ---- For the files of this folder ---- */

/* Registers changed: interrupts follow. */
void ahci_update_irq(struct ahci *ahci);
#define PORT_IS_D2H   0x00000001u
#define PORT_IS_PIO   0x00000002u
#define PORT_IS_HBFS  0x20000000u /* host bus fatal error: a bad address */
#define PORT_IS_TFES  0x40000000u /* task file error */
#define PORT_CMD_ST   0x0001u
#define PORT_CMD_FRE  0x0010u

/* Starts what is in the command list. */
void ahci_port_run(struct ahci_port *p);
/* The drive says what it is, as after a reset. */
void ahci_send_signature(struct ahci_port *p);

/* Ends the command in flight. */
void ahci_done(struct ahci_port *p, uint8_t status, uint8_t error);
/* The same after an answer of `len` bytes by PIO or packet; as much of it as there is room. */
void ahci_reply(struct ahci_port *p, const void *bytes, uint32_t len);
/* Blocks between the medium and the guest's memory; ends the command itself. Range checked here. */
void ahci_transfer(struct ahci_port *p, enum block_op op, uint64_t offset, uint64_t len);
/* FLUSH: the same without data. */
void ahci_flush(struct ahci_port *p);

/* The drives: one command each; how errors of the medium are told. */
void ata_execute(struct ahci_port *p);
void atapi_execute(struct ahci_port *p);
void ata_medium_error(struct ahci_port *p);
void atapi_medium_error(struct ahci_port *p);

#define ATA_IDENTIFY_SIZE 512
void ata_identify(const struct ahci_port *p, uint8_t id[ATA_IDENTIFY_SIZE]);
void atapi_identify(const struct ahci_port *p, uint8_t id[ATA_IDENTIFY_SIZE]);

#endif
