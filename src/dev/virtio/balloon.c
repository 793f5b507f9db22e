#include "dev/virtio/balloon.h"

#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#define PAGE_SHIFT_BALLOON VIRTIO_BALLOON_PFN_SHIFT
#define PFN_SIZE	   4
#define BATCH		   256 /* page numbers that are looked at in one go */
#define QUEUE_SIZE	   128
#define REFRESH_NS	   INT64_C(5000000000)
#define UNKNOWN		   UINT64_MAX

/* ---- Giving memory back ---- */

struct run {
	uint64_t start, end; /* guest-physical */
};

static void discard(struct virtio_balloon *b, const struct run *run)
{
	uint8_t *hva = run->end > run->start
			   ? ram_ptr(b->virtio.ram, GPA(run->start), run->end - run->start)
			   : NULL;

	if (hva)
		ram_discard(b->virtio.ram, hva, run->end - run->start);
}

/* Page numbers come one by one, mostly in a row, up or down: adds one, or gives back what there is. */
static void add_page(struct virtio_balloon *b, struct run *run, uint64_t page)
{
	uint64_t size = 1u << PAGE_SHIFT_BALLOON;

	if (!ram_ptr(b->virtio.ram, GPA(page), size))
		return; /* not RAM: nobody's loss */
	if (page == run->end && ram_ptr(b->virtio.ram, GPA(run->start), page + size - run->start)) {
		run->end += size;
	} else if (page + size == run->start && ram_ptr(b->virtio.ram, GPA(page), run->end - page)) {
		run->start = page;
	} else {
		discard(b, run);
		*run = (struct run){page, page + size};
	}
}

static void inflate(struct virtio_balloon *b, const struct vq_chain *chain)
{
	uint32_t pfn[BATCH];
	struct run run = {0, 0};
	uint64_t at = 0;
	size_t n;

	/* At most a page of numbers of a chain is looked at: Linux has 256. */
	for (unsigned k = 0; k < 4; k++, at += n) {
		n = vq_chain_read(chain, at, pfn, sizeof(pfn));
		for (size_t p = 0; p < n / PFN_SIZE; p++)
			add_page(b, &run, (uint64_t)le32toh(pfn[p]) << PAGE_SHIFT_BALLOON);
		if (n < sizeof(pfn))
			break;
	}
	discard(b, &run);
}

/* §5.5.6.7: the buffers are the free memory itself. */
static void report(struct virtio_balloon *b, struct vq_chain *chain)
{
	struct iovec *iov = vq_writable(chain);

	for (unsigned k = 0; k < chain->writable; k++) {
		ram_discard(b->virtio.ram, iov[k].iov_base, iov[k].iov_len);
		b->reported += iov[k].iov_len;
	}
}

/* ---- Statistics (§5.5.6.3) ---- */

static void take_stats(struct virtio_balloon *b, const struct vq_chain *chain)
{
	struct virtio_balloon_stat s[VIRTIO_BALLOON_S_NR * 2];
	size_t n = vq_chain_read(chain, 0, s, sizeof(s)) / sizeof(s[0]);

	for (size_t k = 0; k < n; k++) {
		unsigned tag = le16toh(s[k].tag);

		if (tag < VIRTIO_BALLOON_S_NR)
			b->stat[tag] = le64toh(s[k].val);
	}
	b->stats_chain = *chain;
	b->has_stats_chain = true;
	timer_arm(&b->refresh, clock_now(&b->virtio.loop->clock) + REFRESH_NS);
}

static void refresh(void *opaque)
{
	struct virtio_balloon *b = opaque;

	if (!b->has_stats_chain || !virtio_is_live(&b->virtio))
		return;
	b->has_stats_chain = false;
	virtio_push(&b->virtio, BALLOON_STATS, &b->stats_chain, 0);
	virtio_signal(&b->virtio, BALLOON_STATS);
}

/* ---- The device ---- */

/* Whether the chain stays here. */
static bool serve(struct virtio_balloon *b, unsigned queue, struct vq_chain *chain)
{
	switch (queue) {
	case BALLOON_INFLATE:
		inflate(b, chain);
		break;
	case BALLOON_STATS:
		if (b->has_stats_chain) /* one is enough: it gets this one back */
			break;
		take_stats(b, chain);
		return true;
	case BALLOON_REPORT:
		report(b, chain);
		break;
	}
	return false; /* pages of a deflated balloon are the guest's again by being touched */
}

static void balloon_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_balloon *b = LM_CONTAINER_OF(dev, struct virtio_balloon, virtio);
	struct vq_chain chain;

	while (virtio_pop(dev, queue, &chain) == VQ_CHAIN)
		if (!serve(b, queue, &chain))
			virtio_push(dev, queue, &chain, 0);
	virtio_signal(dev, queue);
}

/* Linux offers its buffer for statistics before it says DRIVER_OK, and does not say so again. */
static void balloon_started(struct virtio_device *dev)
{
	virtio_run_queue(dev, BALLOON_STATS);
}

static void balloon_reset(struct virtio_device *dev)
{
	struct virtio_balloon *b = LM_CONTAINER_OF(dev, struct virtio_balloon, virtio);

	timer_cancel(&b->refresh);
	b->has_stats_chain = false;
	b->config.actual = 0;
	memset(b->stat, 0xff, sizeof(b->stat));
}

/* The driver says how much is in the balloon; the rest is not its to write. */
static void config_written(struct virtio_device *dev, unsigned offset, uint32_t value, unsigned size)
{
	struct virtio_balloon *b = LM_CONTAINER_OF(dev, struct virtio_balloon, virtio);

	if (offset == offsetof(struct virtio_balloon_config, actual) && size == 4)
		b->config.actual = htole32(value);
}

/* ---- Saved state ---- */

static const struct field balloon_fields[] = {
	FIELD_STRUCT(struct virtio_balloon, virtio, virtio_device_fields),
	FIELD_BYTES(struct virtio_balloon, config),
	FIELD_NOT_SAVED(struct virtio_balloon, refresh, "armed anew"),
	FIELD_NOT_SAVED(struct virtio_balloon, stats_chain, "found again by its head"),
	FIELD_NOT_SAVED(struct virtio_balloon, has_stats_chain, "the guest gives another"),
	FIELD_NOT_SAVED(struct virtio_balloon, stat, "told anew"),
	FIELD_NOT_SAVED(struct virtio_balloon, reported, "statistics"),
	FIELD_END,
};

/* The buffer that we had goes back when the machine is saved, and comes again. */
static void balloon_pre_save(void *object)
{
	refresh(object);
}

static int balloon_loaded(void *object, struct lm_err *err)
{
	struct virtio_balloon *b = object;

	return virtio_loaded(&b->virtio, err);
}

const struct fields_section virtio_balloon_section = {
	.name = "virtio-balloon",
	.version = 1,
	.table = balloon_fields,
	.pre_save = balloon_pre_save,
	.post_load = balloon_loaded,
};

static const struct virtio_ops balloon_ops = {
    .name = "virtio-balloon",
    .id = VIRTIO_ID_BALLOON,
    .class_code = 0xff0000,
    .notify = balloon_notify,
    .started = balloon_started,
    .reset = balloon_reset,
    .config_written = config_written,
    .section = &virtio_balloon_section,
};

void virtio_balloon_init(struct virtio_balloon *b, struct ram *ram, struct event_loop *loop)
{
	struct virtio_setup setup = {
	    .ops = &balloon_ops,
	    .features = LM_BIT(VIRTIO_BALLOON_F_STATS_VQ) | LM_BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
			LM_BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) |
			LM_BIT(VIRTIO_BALLOON_F_REPORTING),
	    .queues = BALLOON_QUEUES,
	    .queue_size = QUEUE_SIZE,
	    .config = &b->config,
	    .config_size = offsetof(struct virtio_balloon_config, poison_val),
	};

	memset(b, 0, sizeof(*b));
	memset(b->stat, 0xff, sizeof(b->stat));
	timer_init(&b->refresh, loop, refresh, b);
	virtio_device_init(&b->virtio, &setup, ram, loop);
}

void virtio_balloon_fini(struct virtio_balloon *b)
{
	if (!b->virtio.loop)
		return;
	timer_cancel(&b->refresh);
	virtio_device_fini(&b->virtio);
}

void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes)
{
	b->config.num_pages = htole32((uint32_t)(bytes >> PAGE_SHIFT_BALLOON));
	virtio_config_changed(&b->virtio);
}

uint64_t virtio_balloon_target(const struct virtio_balloon *b)
{
	return (uint64_t)le32toh(b->config.num_pages) << PAGE_SHIFT_BALLOON;
}

uint64_t virtio_balloon_actual(const struct virtio_balloon *b)
{
	return LM_MIN((uint64_t)le32toh(b->config.actual) << PAGE_SHIFT_BALLOON,
		      b->virtio.ram->size);
}

bool virtio_balloon_stat(const struct virtio_balloon *b, unsigned tag, uint64_t *value)
{
	*value = tag < VIRTIO_BALLOON_S_NR ? b->stat[tag] : UNKNOWN;
	return *value != UNKNOWN;
}
