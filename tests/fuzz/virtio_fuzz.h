/*
 * The hostile driver: an input is a list of operations on one device behind the PCI transport,
 * with enough order in them (a proper start-up, mostly valid descriptors) to get past the gates.
 */
#ifndef LM_TESTS_VIRTIO_FUZZ_H
#define LM_TESTS_VIRTIO_FUZZ_H

#include <stdlib.h>

#include "fuzz.h"
#include "../unit/virtio_driver.h"

#define FUZZ_QUEUE_SIZE 16

struct virtio_fuzz {
	struct driver d;
	unsigned queues; /* that the device has */
	/* One operation of the device's environment. */
	void (*event)(void *opaque, struct fuzz_input *in);
	/* After every input, with the device reset. */
	void (*check)(void *opaque);
	void *opaque;
};

static inline void fuzz_require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* Addresses worth trying: mostly good memory, its ends, rings, holes, anything. */
static inline uint64_t fuzz_address(struct fuzz_input *in)
{
	unsigned kind = (unsigned)fuzz_take(in, 1);
	uint64_t low = fuzz_take(in, 2);

	if (kind < 160)
		return DRV_DATA + low;
	if (kind < 190)
		return DRV_DESC(0) + low;
	if (kind < 205)
		return DRV_RAM - (low & 0xff);
	if (kind < 215)
		return RAM_HOLE_VGA_START - (low & 0xff);
	if (kind < 225)
		return DRV_BAR + low;
	if (kind < 235)
		return UINT64_MAX - (low & 0xff);
	return fuzz_take(in, 8);
}

static inline uint32_t fuzz_length(struct fuzz_input *in)
{
	unsigned kind = (unsigned)fuzz_take(in, 1);

	if (kind < 200)
		return (uint32_t)(fuzz_take(in, 1) * 4);
	if (kind < 240)
		return (uint32_t)(fuzz_take(in, 2) & ~511u);
	return (uint32_t)fuzz_take(in, 4);
}

static inline uint16_t fuzz_flags(struct fuzz_input *in)
{
	unsigned kind = (unsigned)fuzz_take(in, 1);

	return kind < 220 ? kind & 3 : (uint16_t)kind & 7;
}

static inline void fuzz_desc(struct virtio_fuzz *f, struct fuzz_input *in)
{
	unsigned q = (unsigned)fuzz_take(in, 1) % f->queues;
	unsigned n = (unsigned)fuzz_take(in, 1) % FUZZ_QUEUE_SIZE;
	uint64_t address = fuzz_address(in);
	uint32_t len = fuzz_length(in);
	uint16_t flags = fuzz_flags(in);

	drv_desc(&f->d, q, n, address, len, flags, (uint16_t)(fuzz_take(in, 1) % 18));
}

/* Header, data and status of the block device's shape, which suits others as well. */
static inline void fuzz_request(struct virtio_fuzz *f, struct fuzz_input *in)
{
	unsigned q = (unsigned)fuzz_take(in, 1) % f->queues;
	unsigned n = (unsigned)fuzz_take(in, 1) % (FUZZ_QUEUE_SIZE - 2);
	uint8_t *header = drv_ptr(&f->d, DRV_DATA + 64 * n);
	uint8_t shape = (uint8_t)fuzz_take(in, 1);

	le_store(header, fuzz_take(in, 1) & 15, 4);
	le_store(header + 8, shape & 1 ? fuzz_take(in, 1) : fuzz_take(in, 8), 8);
	drv_desc(&f->d, q, n, DRV_DATA + 64 * n, 16, VRING_DESC_F_NEXT, (uint16_t)(n + 1));
	drv_desc(&f->d, q, n + 1, DRV_DATA + 0x1000, shape & 2 ? 512 : 16,
		 VRING_DESC_F_NEXT | (shape & 4 ? VRING_DESC_F_WRITE : 0), (uint16_t)(n + 2));
	drv_desc(&f->d, q, n + 2, DRV_DATA + 0x3000, 1, VRING_DESC_F_WRITE, 0);
	drv_offer(&f->d, q, (uint16_t)n);
	drv_kick(&f->d, q);
}

static inline void fuzz_start(struct virtio_fuzz *f, struct fuzz_input *in)
{
	uint64_t features = fuzz_take(in, 8) & drv_offered(&f->d);

	drv_negotiate(&f->d, features | DRV_VERSION_1);
	for (unsigned q = 0; q < f->queues; q++)
		drv_queue(&f->d, q, FUZZ_QUEUE_SIZE);
	drv_ok(&f->d);
}

static inline void fuzz_bar_write(struct virtio_fuzz *f, struct fuzz_input *in)
{
	uint64_t offset = fuzz_take(in, 2) & 0x3fff;
	unsigned size = 1u << (fuzz_take(in, 1) & 3);

	bus_write(&f->d.mmio, DRV_BAR + offset, fuzz_take(in, 8), size);
}

static inline void fuzz_common_write(struct virtio_fuzz *f, struct fuzz_input *in)
{
	unsigned offset = (unsigned)fuzz_take(in, 1) & 63;
	unsigned size = 1u << (fuzz_take(in, 1) & 3);
	uint64_t value = fuzz_take(in, 1) < 128 ? fuzz_take(in, 2) : fuzz_address(in);

	drv_set(&f->d, offset, value, size);
}

static inline void fuzz_scribble(struct virtio_fuzz *f, struct fuzz_input *in)
{
	uint64_t at = DRV_DESC(0) + fuzz_take(in, 3) % (0x4000 * f->queues);

	le_store(drv_ptr(&f->d, at), fuzz_take(in, 2), 2);
}

static inline void fuzz_config(struct virtio_fuzz *f, struct fuzz_input *in)
{
	unsigned offset = (unsigned)fuzz_take(in, 1) & 0xfc;

	pci_config_write(&f->d.bus, DRV_DEVFN, offset, (uint32_t)fuzz_take(in, 4), 4);
	pci_config_read(&f->d.bus, DRV_DEVFN, offset, 4);
	/* Where the fuzzer has lost the BARs, they are put back. */
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_BASE_ADDRESS_1, (uint32_t)DRV_MSIX, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_BASE_ADDRESS_4, (uint32_t)DRV_BAR, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_BASE_ADDRESS_5, 0, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static inline void fuzz_timers(struct virtio_fuzz *f)
{
	f->d.loop.clock.virtual_ns++;
	loop_run_timers(&f->d.loop);
}

/* One chain, or enough of the same to use up a notification's budget. */
static inline void fuzz_offer(struct virtio_fuzz *f, struct fuzz_input *in)
{
	unsigned q = (unsigned)fuzz_take(in, 1) % f->queues;
	uint16_t head = (uint16_t)(fuzz_take(in, 1) % 18);
	unsigned count = fuzz_take(in, 1) < 200 ? 1 : FUZZ_QUEUE_SIZE;

	for (unsigned k = 0; k < count; k++)
		drv_offer(&f->d, q, head);
	drv_kick(&f->d, q);
}

static inline void fuzz_step(struct virtio_fuzz *f, struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 16) {
	case 0:
		fuzz_start(f, in);
		break;
	case 1:
		fuzz_common_write(f, in);
		break;
	case 2:
		fuzz_bar_write(f, in);
		break;
	case 3:
		bus_read(&f->d.mmio, DRV_BAR + (fuzz_take(in, 2) & 0x3fff),
			 1u << (fuzz_take(in, 1) & 3));
		break;
	case 4:
		fuzz_scribble(f, in);
		break;
	case 5:
		fuzz_config(f, in);
		break;
	case 6:
		fuzz_timers(f);
		break;
	case 7:
		bus_write(&f->d.mmio, DRV_MSIX + (fuzz_take(in, 2) & 0xfff), fuzz_take(in, 8),
			  1u << (fuzz_take(in, 1) & 3));
		break;
	case 8:
	case 9:
		fuzz_request(f, in);
		break;
	case 10:
	case 11:
		fuzz_desc(f, in);
		break;
	case 13:
	case 14:
		fuzz_offer(f, in);
		break;
	case 12:
	case 15:
		if (f->event)
			f->event(f->opaque, in);
		break;
	}
}

static inline void fuzz_attach(struct virtio_fuzz *f, struct virtio_device *dev)
{
	drv_attach(&f->d, dev);
	f->queues = dev->queue_count;
	for (unsigned q = 0; q < f->queues; q++)
		f->d.size[q] = FUZZ_QUEUE_SIZE;
}

/* Every input starts from the same state: what a machine has after power-on. */
static inline void fuzz_drive(struct virtio_fuzz *f, struct fuzz_input *in)
{
	pci_bus_reset(&f->d.bus);
	fuzz_require(f->d.vp.dev->status == 0, "reset did not clear the status");
	fuzz_require(f->d.vp.dev->in_flight == 0, "requests in flight after a reset");
	memset(drv_ptr(&f->d, DRV_DESC(0)), 0, 0x4000u * f->queues);
	memset(drv_ptr(&f->d, DRV_DATA), 0, 0x11000);
	memset(f->d.avail, 0, sizeof(f->d.avail));
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_BASE_ADDRESS_1, (uint32_t)DRV_MSIX, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_BASE_ADDRESS_4, (uint32_t)DRV_BAR, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	fuzz_start(f, in);
	while (in->p < in->end)
		fuzz_step(f, in);
	if (f->check)
		f->check(f->opaque);
}

#endif
