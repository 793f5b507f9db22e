/* A little NVMe driver: an admin queue and one I/O queue pair, in the memory of a small machine. */
#ifndef LM_TESTS_NVME_DRIVER_H
#define LM_TESTS_NVME_DRIVER_H

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "dev/nvme/nvme.h"

#define NV_BAR	   UINT64_C(0xc0000000)
#define NV_RAM	   (4 * MIB)
#define NV_DEVFN   8
#define NV_ENTRIES 8
#define NV_SQ(q)   (0x100000u + 0x2000u * (q))
#define NV_CQ(q)   (NV_SQ(q) + 0x1000u)
#define NV_LIST	   0x180000u
#define NV_DATA	   0x200000u
#define NV_CC	   0x00460001u /* enabled, entries of 64 and 16 bytes */

struct nv {
	struct ram ram;
	struct bus mmio, port;
	struct pci_bus bus;
	struct nvme nvme;
	uint16_t tail[2], head[2];
	bool phase[2];
	unsigned pin;
};

static inline void nv_line(void *opaque, unsigned number, bool level)
{
	((struct nv *)opaque)->pin += level;
}

static inline void nv_msi(void *opaque, uint64_t address, uint32_t data)
{
}

static inline int nv_init(struct nv *n, struct blockdev *backend)
{
	struct irq_line line[PCI_INTX_LINES];
	int rc = ram_init(&n->ram, NV_RAM, NULL);

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){nv_line, n, k};
	pci_bus_init(&n->bus, &n->mmio, &n->port, line, (struct msi_sink){nv_msi, n});
	if (!rc)
		rc = nvme_init(&n->nvme, backend, 2, &n->bus, NV_DEVFN, &n->ram, NULL);
	pci_config_write(&n->bus, NV_DEVFN, PCI_BASE_ADDRESS_0, (uint32_t)NV_BAR, 4);
	pci_config_write(&n->bus, NV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
			 2);
	return rc;
}

static inline uint8_t *nv_ptr(struct nv *n, uint64_t gpa)
{
	return ram_ptr(&n->ram, GPA(gpa), 1);
}

static inline uint32_t nv_get(struct nv *n, unsigned reg)
{
	return (uint32_t)bus_read(&n->mmio, NV_BAR + reg, 4);
}

static inline void nv_set(struct nv *n, uint64_t reg, uint32_t value)
{
	bus_write(&n->mmio, NV_BAR + reg, value, 4);
}

/* Queue memory cleared, controller enabled. */
static inline void nv_enable(struct nv *n)
{
	memset(nv_ptr(n, NV_SQ(0)), 0, 0x4000);
	memset(n->tail, 0, sizeof(n->tail));
	memset(n->head, 0, sizeof(n->head));
	n->phase[0] = n->phase[1] = true;
	nv_set(n, 0x24, (NV_ENTRIES - 1) << 16 | (NV_ENTRIES - 1));
	nv_set(n, 0x28, NV_SQ(0));
	nv_set(n, 0x2c, 0);
	nv_set(n, 0x30, NV_CQ(0));
	nv_set(n, 0x34, 0);
	nv_set(n, 0x14, NV_CC);
}

static inline void nv_submit(struct nv *n, unsigned q, const struct nvme_command *c)
{
	uint8_t *b = nv_ptr(n, NV_SQ(q) + 64u * n->tail[q]);
	const uint32_t dw[] = {c->dw10, c->dw11, c->dw12, c->dw13, c->dw14, c->dw15};

	memset(b, 0, 64);
	b[0] = c->opcode;
	b[1] = c->flags;
	le_store(b + 2, c->id, 2);
	le_store(b + 4, c->namespace, 4);
	le_store(b + 24, c->prp1, 8);
	le_store(b + 32, c->prp2, 8);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(dw); k++)
		le_store(b + 40 + 4 * k, dw[k], 4);
	n->tail[q] = (uint16_t)((n->tail[q] + 1) % NV_ENTRIES);
	nv_set(n, 0x1000 + 8 * q, n->tail[q]);
}

/* The next completion's status and dword 0; NVME_PENDING where there is none. */
static inline uint16_t nv_reap(struct nv *n, unsigned q, uint16_t *id, uint32_t *result)
{
	const uint8_t *e = nv_ptr(n, NV_CQ(q) + 16u * n->head[q]);
	uint32_t dw3 = (uint32_t)le_load(e + 12, 4);

	if ((dw3 >> 16 & 1) != n->phase[q])
		return NVME_PENDING;
	if (id)
		*id = (uint16_t)dw3;
	if (result)
		*result = (uint32_t)le_load(e, 4);
	n->head[q] = (uint16_t)((n->head[q] + 1) % NV_ENTRIES);
	n->phase[q] ^= n->head[q] == 0;
	nv_set(n, 0x1004 + 8 * q, n->head[q]);
	return (dw3 >> 17) & 0x7ff;
}

static inline void nv_create_queues(struct nv *n)
{
	nv_submit(n, 0, &(struct nvme_command){.opcode = 5, .prp1 = NV_CQ(1), .dw11 = 3,
					       .dw10 = (NV_ENTRIES - 1) << 16 | 1});
	nv_submit(n, 0, &(struct nvme_command){.opcode = 1, .prp1 = NV_SQ(1), .dw11 = 1 << 16 | 1,
					       .dw10 = (NV_ENTRIES - 1) << 16 | 1});
}

#endif
