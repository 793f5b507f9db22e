/* What machine.h has of memory and its balloon, and the watchdog's bite. */
#include <errno.h>

#include "base/log.h"
#include "machine/machine_impl.h"

#define KEEP_MIN (32 * MIB) /* less, and Linux kills its init */

void machine_memory(const struct machine *m, struct machine_memory *out)
{
	const struct virtio_balloon *b = m->pc.balloon ? &m->pc.balloon->balloon : NULL;

	*out = (struct machine_memory){.resident = ram_resident(&m->ram), .has_balloon = b != NULL};
	if (!b)
		return;
	out->target = virtio_balloon_target(b);
	out->ballooned = virtio_balloon_actual(b);
	out->reported = b->reported;
	if (!virtio_balloon_stat(b, VIRTIO_BALLOON_S_MEMTOT, &out->total))
		out->total = 0;
	if (!virtio_balloon_stat(b, VIRTIO_BALLOON_S_MEMFREE, &out->free))
		out->free = 0;
	if (!virtio_balloon_stat(b, VIRTIO_BALLOON_S_AVAIL, &out->available))
		out->available = 0;
	if (!virtio_balloon_stat(b, VIRTIO_BALLOON_S_CACHES, &out->caches))
		out->caches = 0;
}

int machine_balloon(struct machine *m, uint64_t keep, struct lm_err *err)
{
	if (!m->pc.balloon)
		return lm_err_set(err, -ENODEV, "the machine has no balloon (--balloon on)");
	if (keep < LM_MIN(KEEP_MIN, m->ram.size) || keep > m->ram.size)
		return lm_err_set(err, -ERANGE, "the guest keeps at least 32M, and at most its %llu MiB",
				  (unsigned long long)(m->ram.size / MIB));
	virtio_balloon_set_target(&m->pc.balloon->balloon, m->ram.size - keep);
	return 0;
}
