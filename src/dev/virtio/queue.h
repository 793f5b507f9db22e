/*
 * Split virtqueues, device side (virtio 1.2 §2.7), with indirect descriptors and event index.
 *
 * The rings are in guest memory and change under our hands: every index and descriptor is read
 * once, checked, then used. A driver that breaks the rules gets VQ_BROKEN, and nothing more comes
 * out of that queue until reset.
 *
 * One thread at a time (the lock of virtio_device.io); the driver's vCPUs run concurrently.
 */
#ifndef LM_DEV_VIRTIO_QUEUE_H
#define LM_DEV_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/fields.h"
#include "mem/ram.h"

#define VQ_MAX_SIZE  256 /* entries; also the limit of a chain, as §2.7.5.3.1 says of drivers */
#define VQ_NO_VECTOR 0xffff

struct virtqueue {
	const struct ram *ram;
	uint16_t max_size; /* power of two, at most VQ_MAX_SIZE */

	/* The driver's choice; fixed while ready. Guest-physical addresses. */
	uint16_t size;
	uint16_t vector;
	uint64_t desc, avail, used;
	bool ready;
	bool event_idx, indirect; /* negotiated */

	/* Running state. Indexes count modulo 65536. */
	uint16_t next_avail; /* entry of the available ring that is looked at next */
	uint16_t next_used;  /* used->idx */
	uint16_t signalled;  /* next_used at the last interrupt decision */
	bool signalled_valid;
	bool broken;
	uint16_t budget; /* virtio.c: chains that this notification may still take */

	/* Host addresses of the rings; valid while ready, derived again after a restore. */
	const uint8_t *desc_hva, *avail_hva;
	uint8_t *used_hva;
};

/* A chain of descriptors: first what the device may read, then what it may write. */
struct vq_chain {
	uint16_t head;
	uint16_t readable, writable;	     /* pieces in iov */
	uint64_t readable_len, writable_len; /* bytes, each at most 4 GiB */
	struct iovec iov[VQ_MAX_SIZE];
};

enum vq_result { VQ_EMPTY, VQ_CHAIN, VQ_BROKEN };

void vq_init(struct virtqueue *vq, const struct ram *ram, uint16_t max_size);
/* Not ready, addresses and indexes zero, size at its maximum. */
void vq_reset(struct virtqueue *vq);
/*
 * The driver enabled the queue, or a snapshot was restored: checks the driver's choice (§2.7:
 * alignment, all of each ring in RAM) and maps the rings; false where they are unusable.
 */
bool vq_start(struct virtqueue *vq);

/*
 * Takes the next chain. VQ_EMPTY has asked the driver to notify us of the next one. Zero-length
 * pieces are left out of iov.
 */
enum vq_result vq_pop(struct virtqueue *vq, struct vq_chain *chain);
/* Whether vq_pop would give VQ_EMPTY; asks the driver for nothing. */
bool vq_is_empty(const struct virtqueue *vq);
/* Gives a chain back, `written` bytes of its writable part filled. */
void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);
/*
 * The same for several chains that the driver must see together: vq_fill each, the first with
 * position 0, then vq_publish their number.
 */
void vq_fill(struct virtqueue *vq, unsigned position, uint16_t head, uint32_t written);
void vq_publish(struct virtqueue *vq, unsigned count);
/* Takes back the last `count` of vq_pop's chains, of which none was given back: they come again. */
void vq_unpop(struct virtqueue *vq, unsigned count);
/* After one or more vq_push: whether the driver wants an interrupt (§2.7.7). */
bool vq_wants_interrupt(struct virtqueue *vq);

/* Copies from the readable part at `offset`, or to the writable part; the bytes copied. */
size_t vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *buf, size_t len);
size_t vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *buf, size_t len);

static inline struct iovec *vq_readable(struct vq_chain *chain)
{
	return chain->iov;
}

static inline struct iovec *vq_writable(struct vq_chain *chain)
{
	return chain->iov + chain->readable;
}

/*
 * Narrows *iov (count pieces) to [skip, skip + len) of its bytes by changing the pieces in place;
 * returns the new count and moves *iov to the first piece. Too long a range is cut.
 */
unsigned iov_narrow(struct iovec **iov, unsigned count, uint64_t skip, uint64_t len);

/*
 * A chain that the device holds, as a snapshot has it: found again by its head. False where the
 * driver has changed its descriptors to what is no chain.
 */
extern const struct field vq_chain_fields[];
bool vq_chain_find(struct virtqueue *vq, struct vq_chain *chain);

/* What a snapshot holds of a queue; vq_loaded checks it and maps the rings. */
extern const struct field virtqueue_fields[];
int vq_loaded(struct virtqueue *vq, struct lm_err *err);

#endif
