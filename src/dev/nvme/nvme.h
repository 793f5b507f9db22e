/*
 * NVMe controller (NVM Express 1.4) with one namespace on a struct blockdev: kernels of clouds have
 * its driver built in.
 *
 * - nvme.c: the PCI function, registers, queues and completions;
 * - nvme_admin.c: admin commands; nvme_io.c: those of the namespace, and where the guest's memory is.
 *
 * Commands and lists of pages are copied from guest memory once. Under the device lock. Owned by the
 * board.
 */
#ifndef LM_DEV_NVME_NVME_H
#define LM_DEV_NVME_NVME_H

#include <sys/uio.h>

#include "base/fields.h"
#include "dev/blockdev.h"
#include "dev/msix.h"
#include "dev/pci.h"
#include "event/loop.h"
#include "mem/ram.h"

#define NVME_MAX_IO_QUEUES 8
#define NVME_QUEUES	   (NVME_MAX_IO_QUEUES + 1) /* queue 0 is the admin queue */
#define NVME_MAX_ENTRIES   1024
#define NVME_REQUESTS	   256
#define NVME_PAGE	   4096
#define NVME_MDTS	   8 /* a command moves 2^8 pages at most */
#define NVME_MAX_DATA	   ((uint64_t)NVME_PAGE << NVME_MDTS)
#define NVME_SEGMENTS	   257 /* pages of the most data, the first one not aligned */
#define NVME_RANGES	   256
#define NVME_MAX_EVENTS	   4
#define NVME_FEATURES	   16

/* Status codes (§4.6.1): type in bits 8 to 10, code below; 0 is success. */
#define NVME_INVALID_OPCODE    0x001
#define NVME_INVALID_FIELD     0x002
#define NVME_TRANSFER_ERROR    0x004
#define NVME_INVALID_NAMESPACE 0x00b
#define NVME_INVALID_PRP       0x013
#define NVME_WRITE_PROTECTED   0x020
#define NVME_LBA_RANGE	       0x080
#define NVME_INVALID_CQ	       0x100
#define NVME_INVALID_QUEUE     0x101
#define NVME_INVALID_SIZE      0x102
#define NVME_TOO_MANY_EVENTS   0x105
#define NVME_INVALID_VECTOR    0x108
#define NVME_INVALID_LOG       0x109
#define NVME_NOT_SAVEABLE      0x10d
#define NVME_QUEUE_DELETION    0x10c
#define NVME_WRITE_FAULT       0x280
#define NVME_READ_ERROR	       0x281
#define NVME_PENDING	       0xffff /* not a status: the completion comes later */
#define NVME_DNR	       0x4000 /* do not retry */

struct nvme;

/* A command as it was copied; little-endian fields in host order (§4.2). */
struct nvme_command {
	uint8_t opcode, flags; /* FUSE and PSDT */
	uint16_t id;
	uint32_t namespace;
	uint64_t prp1, prp2;
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};

struct nvme_sq {
	uint64_t base;
	uint16_t size; /* entries; 0: there is no such queue */
	uint16_t head, tail;
	uint16_t cq;
};

struct nvme_cq {
	uint64_t base;
	uint16_t size;
	uint16_t head, tail;
	uint16_t vector;
	bool phase, interrupts;
};

struct nvme_range {
	uint64_t offset, len;
};

struct nvme_request {
	struct block_request block;
	struct nvme *nvme;
	struct nvme_request *next; /* free, or waiting for room in its completion queue */
	uint16_t sq, id;
	uint16_t status;
	uint32_t result; /* dword 0 of the completion */
	bool busy;	 /* not free */
	bool dropped;	 /* its queue is gone: no completion */
	unsigned iov_count;
	struct iovec iov[NVME_SEGMENTS];
	unsigned range, ranges; /* dataset management: done and all */
	struct nvme_range list[NVME_RANGES];
};

struct nvme {
	struct pci_device pci;
	struct msix msix;
	struct ram *ram;
	struct blockdev *backend; /* not owned */
	unsigned io_queues;	  /* offered */

	uint32_t cc, csts, aqa, intms;
	uint64_t asq, acq;
	uint32_t feature[NVME_FEATURES];
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	uint16_t event[NVME_MAX_EVENTS]; /* commands that wait for events, which never come */
	unsigned events;

	bool disabling;	   /* CC.EN was cleared, requests are in flight */
	bool shutting;	   /* a flush for CC.SHN is in flight */
	bool working;	   /* nvme_work is on the stack */
	unsigned in_flight; /* requests that the backend has */
	uint64_t requests, errors, bad_doorbells;
	struct block_request shutdown;
	struct nvme_request *free, *waiting;
	struct nvme_request request[NVME_REQUESTS];
};

/* io_queues: 1 to NVME_MAX_IO_QUEUES. The backend stays the caller's. */
int nvme_init(struct nvme *nvme, struct blockdev *backend, unsigned io_queues, struct pci_bus *bus,
	      uint8_t devfn, struct ram *ram, struct lm_err *err);
/* Nothing is in flight afterwards; for the first, unless the machine waits after an error. */
void nvme_drain(struct nvme *nvme);
void nvme_fini(struct nvme *nvme);

extern const struct fields_section nvme_section;

/* ---- For the other files of the device ---- */

/* Gives a request back with its status; the completion is posted when there is room. */
void nvme_complete(struct nvme_request *req);
/* What queues do: created with checked parameters, deleted with what is in flight. */
uint16_t nvme_create_sq(struct nvme *nvme, const struct nvme_command *c);
uint16_t nvme_create_cq(struct nvme *nvme, const struct nvme_command *c);
uint16_t nvme_delete_sq(struct nvme *nvme, unsigned id);
uint16_t nvme_delete_cq(struct nvme *nvme, unsigned id);

/* A status, or NVME_PENDING where nvme_complete is called later, or was. */
uint16_t nvme_admin(struct nvme_request *req, const struct nvme_command *c);
uint16_t nvme_io(struct nvme_request *req, const struct nvme_command *c);

/* req->iov becomes the guest's memory of len bytes (§4.3). */
uint16_t nvme_map(struct nvme_request *req, const struct nvme_command *c, uint64_t len);
/* The same, and copies to or from it. */
uint16_t nvme_give(struct nvme_request *req, const struct nvme_command *c, const void *data,
		   uint64_t len);
uint16_t nvme_take(struct nvme_request *req, const struct nvme_command *c, void *data, uint64_t len);

#endif
