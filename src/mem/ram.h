/*
 * Guest-physical memory: RAM in one memfd, mapped shared, seen through a few ranges.
 *
 * The PC's layout leaves two holes: the legacy VGA window [640 KiB, 768 KiB) and the PCI window
 * below 4 GiB. Everything that is in no range is device space (mem/io.h).
 *
 * Windows are memory beside RAM that instructions reach as directly: read-only firmware, and video
 * memory, which the guest moves about. They are not for DMA, and code runs from read-only ones alone.
 *
 * Threads: ranges are fixed after ram_init. RAM bytes may be read and written by any thread at
 * any time, as on a real machine; use the accessors of this header or copies, never assume that
 * two reads of guest memory return the same value.
 */
#ifndef LM_MEM_RAM_H
#define LM_MEM_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/err.h"
#include "mem/addr.h"
#include "mem/code_map.h"
#include "mem/dirty.h"

#define RAM_HOLE_VGA_START UINT64_C(0xa0000)
#define RAM_HOLE_VGA_END   UINT64_C(0xc0000)
/* RAM above this continues at 4 GiB: what firmware for a Q35 board leaves below its PCI Express window. */
#define RAM_LOW_MAX        UINT64_C(0xb0000000)
#define RAM_HIGH_START     (4 * GIB)
#define RAM_MIN            (2 * MIB)
#define RAM_MAX            (UINT64_C(1) << 40)
#define RAM_MAX_RANGES     4
#define RAM_MAX_WINDOWS    4
#define RAM_WINDOW_HIDDEN  LM_BIT(63)

struct ram_range {
	uint64_t start; /* guest-physical, page-aligned */
	uint64_t size;  /* bytes */
	uint8_t *hva;   /* host address of `start` */
};

struct ram_window {
	uint64_t start; /* guest-physical, page-aligned, or RAM_WINDOW_HIDDEN; atomic */
	uint64_t size;  /* bytes, a multiple of the page size */
	uint8_t *hva;
	bool read_only; /* writes go the way of device memory (mem/io.h) */
};

struct ram {
	int fd;        /* memfd, or -1: anonymous memory, as the host denies memfd_create, or an image */
	int image_fd;  /* of ram_map_image; -1: none */
	uint64_t size; /* bytes of RAM in all */
	uint8_t *base; /* the whole mapping; offset = position in the memfd */
	struct ram_range range[RAM_MAX_RANGES];
	unsigned count;
	struct ram_window window[RAM_MAX_WINDOWS];
	unsigned windows;
	struct code_map code; /* which pages hold translated code */
	struct dirty_map dirty; /* which pages were written */
};

/* Bytes; must be a multiple of 4 KiB within [RAM_MIN, RAM_MAX]. */
int ram_init(struct ram *ram, uint64_t size, struct lm_err *err);
void ram_fini(struct ram *ram);

/*
 * The host address of [gpa, gpa + len), or NULL unless all of it lies in one RAM range. The
 * pointer stays valid until ram_fini.
 */
static inline uint8_t *ram_ptr(const struct ram *ram, gpa_t gpa, uint64_t len)
{
	for (unsigned k = 0; k < ram->count; k++) {
		const struct ram_range *r = &ram->range[k];
		uint64_t offset = gpa.v - r->start;

		if (offset < r->size && len <= r->size - offset)
			return r->hva + offset;
	}
	return NULL;
}

/*
 * A window of zeros, hidden, owned by ram; before the machine runs. Size is rounded up to pages.
 * NULL with err where the host has no memory.
 */
struct ram_window *ram_add_window(struct ram *ram, uint64_t size, bool read_only,
				  struct lm_err *err);

/* The vCPUs' TLBs may still have it where it was: whoever moves it has them flushed. Any thread. */
static inline void ram_window_move(struct ram_window *w, uint64_t start)
{
	__atomic_store_n(&w->start, start, __ATOMIC_RELEASE);
}

/* The window at gpa, which is not RAM, and the host address there; NULL where there is none. */
static inline const struct ram_window *ram_window_at(const struct ram *ram, gpa_t gpa,
						     uint8_t **hva)
{
	for (unsigned k = 0; k < ram->windows; k++) {
		const struct ram_window *w = &ram->window[k];
		uint64_t offset = gpa.v - __atomic_load_n(&w->start, __ATOMIC_ACQUIRE);

		if (offset < w->size) {
			*hva = w->hva + offset;
			return w;
		}
	}
	return NULL;
}

/* Copies; false (and nothing copied) unless all of [gpa, gpa + len) is RAM. May span ranges. */
bool ram_read(const struct ram *ram, gpa_t gpa, void *buf, uint64_t len);
bool ram_write(struct ram *ram, gpa_t gpa, const void *buf, uint64_t len);

/* [p, p + len), host addresses inside RAM, was written, by whomever, where no code is. */
static inline void ram_mark_dirty(const struct ram *ram, const void *p, uint64_t len)
{
	if (LM_UNLIKELY(ram->dirty.on))
		dirty_mark(&ram->dirty, (uint64_t)((const uint8_t *)p - ram->base), len);
}

/*
 * [p, p + len), host addresses inside RAM, was written by a device: translated code there is stale,
 * and the pages are dirty.
 */
void ram_note_write(struct ram *ram, const void *p, uint64_t len);

/*
 * Gives the whole pages of [p, p + len), host addresses inside RAM, back to the host: their content
 * is lost, and they read as zeros from here on. Where the host cannot do that nothing happens.
 */
void ram_discard(struct ram *ram, void *p, uint64_t len);
/* Bytes of RAM that the host has given us so far, less what it got back; 0 where that is not known. */
uint64_t ram_resident(const struct ram *ram);

/* Highest RAM address below 4 GiB and bytes of RAM above 4 GiB, for e820 and CMOS. */
uint64_t ram_low_top(const struct ram *ram);
uint64_t ram_high_size(const struct ram *ram);

#endif
