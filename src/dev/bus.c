#include "dev/bus.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"

/* The number of regions that start at or below address. */
static unsigned upper_bound(const struct bus *bus, uint64_t address)
{
	unsigned lo = 0, hi = bus->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (bus->region[mid]->start <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct bus_region *find(const struct bus *bus, uint64_t address)
{
	unsigned n = upper_bound(bus, address);
	struct bus_region *r;

	if (!n)
		return NULL;
	r = bus->region[n - 1];
	return address - r->start < r->size ? r : NULL;
}

static bool overlaps(const struct bus *bus, const struct bus_region *region, unsigned at)
{
	if (at > 0 && find(bus, region->start))
		return true;
	return at < bus->count && bus->region[at]->start - region->start < region->size;
}

int bus_map(struct bus *bus, struct bus_region *region)
{
	unsigned at = upper_bound(bus, region->start);

	if (!region->size || region->start + region->size - 1 < region->start)
		return -EINVAL;
	if (overlaps(bus, region, at))
		return -EEXIST;
	if (bus->count == BUS_MAX_REGIONS)
		return -ENOSPC;
	memmove(&bus->region[at + 1], &bus->region[at],
		(bus->count - at) * sizeof(bus->region[0]));
	bus->region[at] = region;
	bus->count++;
	region->mapped = true;
	return 0;
}

void bus_unmap(struct bus *bus, struct bus_region *region)
{
	if (!region->mapped)
		return;
	for (unsigned k = 0; k < bus->count; k++) {
		if (bus->region[k] != region)
			continue;
		bus->count--;
		memmove(&bus->region[k], &bus->region[k + 1],
			(bus->count - k) * sizeof(bus->region[0]));
		break;
	}
	region->mapped = false;
}

static unsigned piece_size(const struct bus_region *r, uint64_t offset, unsigned size)
{
	unsigned max = r->ops->max_size ? r->ops->max_size : 8;

	while (max > size || r->size - offset < max)
		max /= 2;
	return max;
}

uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size)
{
	uint64_t value = 0;

	for (unsigned done = 0; done < size;) {
		struct bus_region *r = find(bus, address + done);
		unsigned piece = 1;
		uint64_t v = 0xff;

		if (r) {
			uint64_t offset = address + done - r->start;

			piece = piece_size(r, offset, size - done);
			v = r->ops->read(r->opaque, offset, piece) & mask_bytes(piece);
		}
		value |= v << (8 * done);
		done += piece;
	}
	return value;
}

void bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size)
{
	for (unsigned done = 0; done < size;) {
		struct bus_region *r = find(bus, address + done);
		unsigned piece = 1;

		if (r) {
			uint64_t offset = address + done - r->start;

			piece = piece_size(r, offset, size - done);
			r->ops->write(r->opaque, offset,
				      (value >> (8 * done)) & mask_bytes(piece), piece);
		}
		done += piece;
	}
}
