/* The window at 0xa0000: planes, latches and write modes (IBM VGA technical reference). */
#include "base/bits.h"
#include "dev/vga/vga.h"

#define SEQ_MAP_MASK   2
#define SEQ_MODE       4
#define SEQ_CHAIN4     0x08
#define GC_SET_RESET   0
#define GC_ENABLE_SR   1
#define GC_COMPARE     2
#define GC_ROTATE      3
#define GC_READ_MAP    4
#define GC_MODE	       5
#define GC_MISC	       6
#define GC_DONT_CARE   7
#define GC_BIT_MASK    8
#define MODE_ODD_EVEN  0x10
#define MODE_READ1     0x08

#define BANK_SIZE (64 * KIB)

/* GC_MISC bits 2-3: where the window is. */
static const struct {
	uint32_t start, size;
} maps[4] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };

/* The address within the mapped window; false outside of it. */
static bool locate(const struct vga *vga, uint32_t *address)
{
	unsigned map = vga->graphics[GC_MISC] >> 2 & 3;

	if (*address - maps[map].start >= maps[map].size)
		return false;
	*address -= maps[map].start;
	return true;
}

static uint32_t expand(unsigned planes)
{
	uint32_t v = 0;

	for (unsigned k = 0; k < 4; k++)
		v |= planes >> k & 1 ? 0xffu << (8 * k) : 0;
	return v;
}

static uint8_t *byte_at(const struct vga *vga, uint64_t at)
{
	return at < VGA_MEMORY ? &vga->memory[at] : NULL;
}

/* ---- DISPI modes of 8 bits a pixel and more: memory in banks of 64 KiB ---- */

static bool is_banked(const struct vga *vga)
{
	return vga_dispi_on(vga) && vga->dispi[DISPI_BPP] >= 8;
}

static uint8_t *banked(const struct vga *vga, uint32_t address)
{
	if (address >= BANK_SIZE)
		return NULL;
	return byte_at(vga, vga->dispi[DISPI_BANK] * BANK_SIZE + address);
}

/* ---- Modes in which an address is a byte of one plane ---- */

static bool one_plane(const struct vga *vga, uint32_t address, unsigned *plane, uint64_t *at)
{
	if (vga->sequencer[SEQ_MODE] & SEQ_CHAIN4) {
		*plane = address & 3;
		*at = address;
		return true;
	}
	if (!(vga->graphics[GC_MODE] & MODE_ODD_EVEN))
		return false;
	*plane = (vga->graphics[GC_READ_MAP] & 2) | (address & 1);
	*at = (uint64_t)(address & ~1u) << 1 | *plane;
	return true;
}

/* ---- All planes at once ---- */

static uint32_t load_planes(const struct vga *vga, uint32_t address)
{
	const uint8_t *p = byte_at(vga, 4ull * address);

	return p ? (uint32_t)le_load(p, 4) : 0;
}

static uint8_t read_planes(struct vga *vga, uint32_t address)
{
	uint32_t differ;

	vga->latch = load_planes(vga, address);
	if (!(vga->graphics[GC_MODE] & MODE_READ1))
		return (uint8_t)(vga->latch >> (8 * (vga->graphics[GC_READ_MAP] & 3)));
	differ = (vga->latch ^ expand(vga->graphics[GC_COMPARE])) &
		 expand(vga->graphics[GC_DONT_CARE]);
	differ |= differ >> 16;
	return (uint8_t) ~(differ | differ >> 8);
}

static uint32_t rotate(const struct vga *vga, uint8_t v)
{
	unsigned n = vga->graphics[GC_ROTATE] & 7;

	return (uint8_t)(v >> n | v << (8 - n)) * 0x01010101u;
}

static uint32_t combine(const struct vga *vga, uint32_t v)
{
	switch (vga->graphics[GC_ROTATE] >> 3 & 3) {
	case 1:
		return v & vga->latch;
	case 2:
		return v | vga->latch;
	case 3:
		return v ^ vga->latch;
	default:
		return v;
	}
}

/* What the four planes get; bits outside `bits` come from the latches. */
static uint32_t planes_for(const struct vga *vga, uint8_t v, uint32_t bits)
{
	uint32_t set = expand(vga->graphics[GC_SET_RESET]);
	uint32_t enabled = expand(vga->graphics[GC_ENABLE_SR]), out;

	switch (vga->graphics[GC_MODE] & 3) {
	case 0:
		out = combine(vga, (rotate(vga, v) & ~enabled) | (set & enabled));
		break;
	case 1:
		return vga->latch;
	case 2:
		out = combine(vga, expand(v));
		break;
	default:
		bits &= rotate(vga, v);
		out = combine(vga, set);
		break;
	}
	return (out & bits) | (vga->latch & ~bits);
}

static void write_planes(struct vga *vga, uint32_t address, uint8_t v)
{
	uint32_t mask = expand(vga->sequencer[SEQ_MAP_MASK]);
	uint32_t bits = vga->graphics[GC_BIT_MASK] * 0x01010101u;
	uint32_t out = planes_for(vga, v, bits);
	uint8_t *p = byte_at(vga, 4ull * address);

	if (p)
		le_store(p, (le_load(p, 4) & ~mask) | (out & mask), 4);
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint32_t address = (uint32_t)offset;
	const uint8_t *p;
	unsigned plane;
	uint64_t at;

	if (is_banked(vga)) {
		p = banked(vga, address);
		return p ? *p : 0xff;
	}
	if (!locate(vga, &address))
		return 0xff;
	if (!one_plane(vga, address, &plane, &at))
		return read_planes(vga, address);
	p = byte_at(vga, at);
	return p ? *p : 0xff;
}

static void memory_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;
	uint32_t address = (uint32_t)offset;
	uint8_t *p;
	unsigned plane;
	uint64_t at;

	if (is_banked(vga)) {
		p = banked(vga, address);
	} else if (!locate(vga, &address)) {
		return;
	} else if (!one_plane(vga, address, &plane, &at)) {
		write_planes(vga, address, (uint8_t)value);
		return;
	} else {
		p = vga->sequencer[SEQ_MAP_MASK] >> plane & 1 ? byte_at(vga, at) : NULL;
	}
	if (p)
		*p = (uint8_t)value;
}

const struct bus_ops vga_memory_ops = { memory_read, memory_write, 1 };
