#include "dev/virtio/queue.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_ring.h>

#include "base/bits.h"
#include "base/bug.h"

/* §2.7: layout of the rings. */
#define DESC_SIZE      sizeof(struct vring_desc)
#define DESC_ALIGN     16
#define AVAIL_ALIGN    2
#define USED_ALIGN     4
#define AVAIL_FLAGS    0
#define AVAIL_IDX      2
#define AVAIL_RING     4
#define USED_IDX       2
#define USED_RING      4
#define USED_ELEM_SIZE 8
#define AVAIL_SIZE(n)  (AVAIL_RING + 2 * (uint64_t)(n) + 2)
#define USED_SIZE(n)   (USED_RING + USED_ELEM_SIZE * (uint64_t)(n) + 2)
#define USED_EVENT(n)  (AVAIL_RING + 2 * (n))
#define AVAIL_EVENT(n) (USED_RING + USED_ELEM_SIZE * (n))

/* A chain's bytes (§2.7.5.2 allows 2^32 in all; one direction stays below, as used->len needs). */
#define CHAIN_BYTES_MAX UINT64_C(0xffffffff)

/* The rings are little-endian and aligned as vq_start checked. */
static uint16_t load16(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, htole16(v), __ATOMIC_RELEASE);
}

void vq_init(struct virtqueue *vq, const struct ram *ram, uint16_t max_size)
{
	LM_BUG_ON(!is_pow2(max_size) || max_size > VQ_MAX_SIZE);
	memset(vq, 0, sizeof(*vq));
	vq->ram = ram;
	vq->max_size = max_size;
	vq_reset(vq);
}

void vq_reset(struct virtqueue *vq)
{
	*vq = (struct virtqueue){
	    .ram = vq->ram,
	    .max_size = vq->max_size,
	    .size = vq->max_size,
	    .vector = VQ_NO_VECTOR,
	};
}

static uint8_t *map_ring(const struct virtqueue *vq, uint64_t gpa, uint64_t len, uint64_t align)
{
	return gpa & (align - 1) ? NULL : ram_ptr(vq->ram, GPA(gpa), len);
}

bool vq_start(struct virtqueue *vq)
{
	vq->desc_hva = map_ring(vq, vq->desc, DESC_SIZE * vq->size, DESC_ALIGN);
	vq->avail_hva = map_ring(vq, vq->avail, AVAIL_SIZE(vq->size), AVAIL_ALIGN);
	vq->used_hva = map_ring(vq, vq->used, USED_SIZE(vq->size), USED_ALIGN);
	vq->ready = vq->desc_hva && vq->avail_hva && vq->used_hva;
	return vq->ready;
}

/* Taking chains. */

/* Guest memory is copied once; the barrier keeps the compiler from reading it again later. */
static struct vring_desc copy_desc(const uint8_t *p)
{
	struct vring_desc raw;

	memcpy(&raw, p, sizeof(raw));
	__asm__ volatile("" : "+m"(raw));
	return (struct vring_desc){
	    .addr = le64toh(raw.addr),
	    .len = le32toh(raw.len),
	    .flags = le16toh(raw.flags),
	    .next = le16toh(raw.next),
	};
}

/* A table being walked: the queue's own or an indirect one (§2.7.5.3). */
struct walk {
	const uint8_t *table;
	unsigned entries;
	unsigned budget; /* descriptors left; a chain has no more than the queue's size */
	bool in_indirect;
};

static bool add_piece(struct virtqueue *vq, struct vq_chain *c, const struct vring_desc *d)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	uint64_t *total = write ? &c->writable_len : &c->readable_len;
	uint8_t *hva;

	if (!write && c->writable)
		return false; /* §2.7.4.2: readable pieces come first */
	if (!d->len)
		return true;
	hva = ram_ptr(vq->ram, GPA(d->addr), d->len);
	if (!hva || d->len > CHAIN_BYTES_MAX - *total)
		return false;
	c->iov[c->readable + c->writable] = (struct iovec){hva, d->len};
	*total += d->len;
	if (write)
		c->writable++;
	else
		c->readable++;
	return true;
}

static bool enter_indirect(struct virtqueue *vq, struct walk *w, const struct vring_desc *d)
{
	if (!vq->indirect || w->in_indirect || d->flags & VRING_DESC_F_NEXT)
		return false;
	if (!d->len || d->len % DESC_SIZE || d->len / DESC_SIZE > vq->size)
		return false;
	w->table = ram_ptr(vq->ram, GPA(d->addr), d->len);
	w->entries = d->len / DESC_SIZE;
	w->in_indirect = true;
	return w->table != NULL;
}

/* Every step spends budget, so that loops end. */
static bool walk_chain(struct virtqueue *vq, struct vq_chain *c)
{
	struct walk w = {vq->desc_hva, vq->size, vq->size, false};
	unsigned next = c->head;

	for (;;) {
		struct vring_desc d;

		if (next >= w.entries)
			return false;
		d = copy_desc(w.table + DESC_SIZE * next);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!enter_indirect(vq, &w, &d))
				return false;
			next = 0;
			continue;
		}
		if (!w.budget-- || !add_piece(vq, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		next = d.next;
	}
}

/*
 * Whether there is an entry at next_avail. When there is none, the driver is asked to notify us,
 * and the index is read again after a full barrier: either we see its entry or it sees our wish.
 */
static bool has_available(struct virtqueue *vq, uint16_t *pending)
{
	*pending = (uint16_t)(load16(vq->avail_hva + AVAIL_IDX) - vq->next_avail);
	if (*pending)
		return true;
	if (!vq->event_idx)
		return false; /* used->flags stay 0: always notified */
	store16(vq->used_hva + AVAIL_EVENT(vq->size), vq->next_avail);
	ram_mark_dirty(vq->ram, vq->used_hva + AVAIL_EVENT(vq->size), 2);
	__sync_synchronize();
	*pending = (uint16_t)(load16(vq->avail_hva + AVAIL_IDX) - vq->next_avail);
	return *pending != 0;
}

bool vq_is_empty(const struct virtqueue *vq)
{
	return !vq->ready || vq->broken || load16(vq->avail_hva + AVAIL_IDX) == vq->next_avail;
}

enum vq_result vq_pop(struct virtqueue *vq, struct vq_chain *chain)
{
	uint16_t pending;
	unsigned slot;

	if (vq->broken)
		return VQ_BROKEN;
	if (!vq->ready || !has_available(vq, &pending))
		return VQ_EMPTY;
	slot = vq->next_avail & (vq->size - 1u);
	chain->head = load16(vq->avail_hva + AVAIL_RING + 2 * slot);
	chain->readable = chain->writable = 0;
	chain->readable_len = chain->writable_len = 0;
	if (pending > vq->size || !walk_chain(vq, chain)) {
		vq->broken = true;
		return VQ_BROKEN;
	}
	vq->next_avail++;
	return VQ_CHAIN;
}

/* Giving them back. */

void vq_fill(struct virtqueue *vq, unsigned position, uint16_t head, uint32_t written)
{
	unsigned slot = (vq->next_used + position) & (vq->size - 1u);

	if (!vq->ready || vq->broken)
		return;
	le_store(vq->used_hva + USED_RING + USED_ELEM_SIZE * slot, head, 4);
	le_store(vq->used_hva + USED_RING + USED_ELEM_SIZE * slot + 4, written, 4);
	ram_mark_dirty(vq->ram, vq->used_hva + USED_RING + USED_ELEM_SIZE * slot, USED_ELEM_SIZE);
}

void vq_publish(struct virtqueue *vq, unsigned count)
{
	if (!vq->ready || vq->broken)
		return;
	vq->next_used = (uint16_t)(vq->next_used + count);
	store16(vq->used_hva + USED_IDX, vq->next_used); /* releases the elements and the data */
	ram_mark_dirty(vq->ram, vq->used_hva + USED_IDX, 2);
}

void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	vq_fill(vq, 0, chain->head, written);
	vq_publish(vq, 1);
}

void vq_unpop(struct virtqueue *vq, unsigned count)
{
	vq->next_avail = (uint16_t)(vq->next_avail - count);
}

bool vq_wants_interrupt(struct virtqueue *vq)
{
	uint16_t old = vq->signalled;
	bool old_valid = vq->signalled_valid;

	if (!vq->ready || vq->broken)
		return false;
	/* used->idx is visible before the driver's wish is read: see has_available. */
	__sync_synchronize();
	if (!vq->event_idx)
		return !(load16(vq->avail_hva + AVAIL_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
	vq->signalled = vq->next_used;
	vq->signalled_valid = true;
	return !old_valid ||
	       vring_need_event(load16(vq->avail_hva + USED_EVENT(vq->size)), vq->next_used, old);
}

/* Pieces. */

/* Copies len bytes at `offset` of the pieces, to or from buf; the number copied. */
static size_t copy_pieces(const struct iovec *iov, unsigned count, uint64_t offset, void *to,
			  const void *from, size_t len)
{
	size_t done = 0;

	for (unsigned k = 0; k < count && done < len; k++) {
		size_t piece = iov[k].iov_len;
		uint8_t *hva = iov[k].iov_base;

		if (offset >= piece) {
			offset -= piece;
			continue;
		}
		hva += offset;
		piece = LM_MIN(piece - offset, len - done);
		if (to)
			memcpy((uint8_t *)to + done, hva, piece);
		else
			memcpy(hva, (const uint8_t *)from + done, piece);
		offset = 0;
		done += piece;
	}
	__asm__ volatile("" ::: "memory"); /* what was copied is not read from the guest again */
	return done;
}

size_t vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *buf, size_t len)
{
	return copy_pieces(chain->iov, chain->readable, offset, buf, NULL, len);
}

size_t vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *buf, size_t len)
{
	return copy_pieces(chain->iov + chain->readable, chain->writable, offset, NULL, buf, len);
}

unsigned iov_narrow(struct iovec **iov, unsigned count, uint64_t skip, uint64_t len)
{
	struct iovec *v = *iov;
	unsigned used = 0;

	while (count && skip >= v->iov_len) {
		skip -= v->iov_len;
		v++;
		count--;
	}
	*iov = v;
	if (count) {
		v->iov_base = (uint8_t *)v->iov_base + skip;
		v->iov_len -= skip;
	}
	for (; used < count && len; used++) {
		v[used].iov_len = LM_MIN(v[used].iov_len, len);
		len -= v[used].iov_len;
	}
	return used;
}

/* Saved state. */

const struct field virtqueue_fields[] = {
	FIELD(struct virtqueue, size, ""),
	FIELD(struct virtqueue, vector, ""),
	FIELD(struct virtqueue, desc, "gpa"),
	FIELD(struct virtqueue, avail, "gpa"),
	FIELD(struct virtqueue, used, "gpa"),
	FIELD(struct virtqueue, ready, NULL),
	FIELD(struct virtqueue, event_idx, NULL),
	FIELD(struct virtqueue, indirect, NULL),
	FIELD(struct virtqueue, next_avail, ""),
	FIELD(struct virtqueue, next_used, ""),
	FIELD(struct virtqueue, signalled, ""),
	FIELD(struct virtqueue, signalled_valid, NULL),
	FIELD(struct virtqueue, broken, NULL),
	FIELD_NOT_SAVED(struct virtqueue, budget, "set with each notification"),
	FIELD_NOT_SAVED(struct virtqueue, ram, "wiring"),
	FIELD_NOT_SAVED(struct virtqueue, max_size, "configuration"),
	FIELD_NOT_SAVED(struct virtqueue, desc_hva, "from desc"),
	FIELD_NOT_SAVED(struct virtqueue, avail_hva, "from avail"),
	FIELD_NOT_SAVED(struct virtqueue, used_hva, "from used"),
	FIELD_END,
};

const struct field vq_chain_fields[] = {
	FIELD(struct vq_chain, head, ""),
	FIELD_NOT_SAVED(struct vq_chain, readable, "from the descriptors"),
	FIELD_NOT_SAVED(struct vq_chain, writable, "from the descriptors"),
	FIELD_NOT_SAVED(struct vq_chain, readable_len, "from the descriptors"),
	FIELD_NOT_SAVED(struct vq_chain, writable_len, "from the descriptors"),
	FIELD_NOT_SAVED(struct vq_chain, iov, "from the descriptors"),
	FIELD_END,
};

int vq_loaded(struct virtqueue *vq, struct lm_err *err)
{
	if (!is_pow2(vq->size) || vq->size > vq->max_size)
		return lm_err_set(err, -EINVAL, "a queue has %u entries, at most %u expected",
				  vq->size, vq->max_size);
	if (vq->ready && !vq_start(vq))
		return lm_err_set(err, -EINVAL, "a queue's rings are not in RAM");
	return 0;
}

bool vq_chain_find(struct virtqueue *vq, struct vq_chain *chain)
{
	*chain = (struct vq_chain){.head = chain->head};
	return vq->ready && walk_chain(vq, chain);
}
