/*
 * XSAVE, XRSTOR and their kin (SDM vol. 1 ch. 13; sem/xsave.c is the reference). The host's own
 * instruction works on an image of ours in the standard format: guests must not see the host's
 * pointers and XINUSE, nor reach components that they do not have. Helpers; see helper.h.
 */
#include "engine/jit/helper.h"
#include "isa/x86/sem/simd.h"

#define OFFSET_FOP       6u
#define OFFSET_FIP       8u
#define OFFSET_MXCSR     24u
#define OFFSET_ST        32u
#define OFFSET_XMM       160u
#define OFFSET_HEADER    512u
#define OFFSET_AVX       576u
#define AREA_SIZE        832u
#define XCOMP_BV_COMPACT (UINT64_C(1) << 63)
#define ALL_COMPONENTS   (XCR0_X87 | XCR0_SSE | XCR0_AVX)

/* ---- The host's registers and the image ---- */

static uint64_t word_at(const uint8_t *b, unsigned offset)
{
	return *(const uint64_t *)(b + offset);
}

static void set_word(uint8_t *b, unsigned offset, uint64_t value)
{
	*(uint64_t *)(b + offset) = value;
}

static void store_image(uint8_t *image)
{
	__asm__ volatile("xsave64 (%0)"
			 :
			 : "r"(image), "a"((uint32_t)ALL_COMPONENTS), "d"(0)
			 : "memory");
	set_word(image, 0, word_at(image, 0) & UINT64_C(0x000000ffffffffff)); /* no FOP */
	set_word(image, OFFSET_FIP, 0);
	set_word(image, OFFSET_FIP + 8, 0);
	for (unsigned k = 0; k < 8; k++) {
		unsigned high = OFFSET_ST + 16 * k + 8;

		set_word(image, high, word_at(image, high) & 0xffff);
	}
}

/* Components in `load` from the image, the others in `rfbm` to their initial configuration. */
static void load_image(uint8_t *image, uint64_t rfbm, uint64_t load)
{
	for (unsigned k = 0; k < 64; k += 8)
		set_word(image, OFFSET_HEADER + k, 0);
	set_word(image, OFFSET_HEADER, load);
	__asm__ volatile("xrstor64 (%0)" : : "r"(image), "a"((uint32_t)rfbm), "d"(0) : "memory");
}

static bool any_set(const uint8_t *b, unsigned from, unsigned to)
{
	uint64_t any = 0;

	for (unsigned k = from; k < to; k += 8)
		any |= word_at(b, k);
	return any;
}

/* By value and not by the host's XINUSE, as the interpreter does it. */
static uint64_t in_use(const uint8_t *image)
{
	uint64_t components = 0;

	if (word_at(image, 0) != FCW_INITIAL || any_set(image, OFFSET_ST, OFFSET_XMM))
		components |= XCR0_X87;
	if (any_set(image, OFFSET_XMM, OFFSET_XMM + 256))
		components |= XCR0_SSE;
	if (any_set(image, OFFSET_AVX, AREA_SIZE))
		components |= XCR0_AVX;
	return components;
}

/* ---- The guest's area: 64-byte aligned, on up to two pages ---- */

struct area {
	uint8_t *part[2];
	unsigned first; /* bytes on the first page */
};

static bool find_area(struct jit *j, unsigned size, bool write, struct area *a)
{
	uint64_t gva = j->js->work;

	if (gva & 63)
		return false;
	a->first = (unsigned)(PAGE_SIZE - (gva & PAGE_MASK));
	a->part[0] = helper_host(j, gva, write);
	a->part[1] = size > a->first ? helper_host(j, gva + a->first, write) : a->part[0];
	return a->part[0] && a->part[1];
}

static uint8_t *area_at(const struct area *a, unsigned offset)
{
	return offset < a->first ? a->part[0] + offset : a->part[1] + (offset - a->first);
}

static void area_write(const struct area *a, const uint8_t *image, unsigned from, unsigned to)
{
	for (unsigned k = from; k < to; k += 8)
		*(uint64_t *)area_at(a, k) = word_at(image, k);
}

static void area_read(const struct area *a, uint8_t *image, unsigned from, unsigned to)
{
	for (unsigned k = from; k < to; k += 8)
		set_word(image, k, *(const uint64_t *)area_at(a, k));
}

/* ---- XSAVE, XSAVEOPT, XSAVEC, XSAVES ---- */

static bool enabled(const struct x86_cpu *c)
{
	return c->s.cr4 & CR4_OSXSAVE && !(c->s.cr0 & CR0_TS);
}

static uint64_t requested(const struct jit *j)
{
	const uint64_t *gpr = j->js->gpr;

	return j->c->s.xcr0 & ((uint32_t)gpr[RAX] | gpr[RDX] << 32);
}

static unsigned size_for(uint64_t layout)
{
	return layout & XCR0_AVX ? AREA_SIZE : OFFSET_AVX;
}

static void write_components(const struct area *a, const uint8_t *image, uint64_t save, bool mxcsr)
{
	if (save & XCR0_X87) {
		area_write(a, image, 0, OFFSET_MXCSR);
		area_write(a, image, OFFSET_ST, OFFSET_XMM);
	}
	if (mxcsr) {
		*(uint64_t *)area_at(a, OFFSET_MXCSR) =
			(uint32_t)word_at(image, OFFSET_MXCSR) | (uint64_t)MXCSR_MASK << 32;
	}
	if (save & XCR0_SSE)
		area_write(a, image, OFFSET_XMM, OFFSET_XMM + 256);
	if (save & XCR0_AVX)
		area_write(a, image, OFFSET_AVX, AREA_SIZE);
}

static bool done(struct jit *j)
{
	j->js->rip += helper_length(j->js);
	return true;
}

static bool save_standard(struct jit *j, bool optimised)
{
	uint64_t rfbm = requested(j), used, *header;
	struct area a;

	if (!enabled(j->c) || !find_area(j, size_for(rfbm), true, &a))
		return false;
	store_image(j->js->xsave);
	used = in_use(j->js->xsave);
	write_components(&a, j->js->xsave, optimised ? rfbm & used : rfbm,
			 rfbm & (XCR0_SSE | XCR0_AVX));
	header = (uint64_t *)area_at(&a, OFFSET_HEADER);
	*header = (*header & ~rfbm) | (rfbm & used);
	return done(j);
}

bool helper_xsave(struct jit *j)
{
	return save_standard(j, false);
}

bool helper_xsaveopt(struct jit *j)
{
	return save_standard(j, true);
}

/* XSAVES is the same, since no supervisor component exists. */
bool helper_xsavec(struct jit *j)
{
	uint64_t rfbm = requested(j), save;
	struct area a;

	if (!enabled(j->c))
		return false;
	store_image(j->js->xsave);
	save = rfbm & in_use(j->js->xsave);
	if ((uint32_t)word_at(j->js->xsave, OFFSET_MXCSR) != MXCSR_INITIAL)
		save |= rfbm & XCR0_SSE;
	if (!find_area(j, size_for(save), true, &a))
		return false;
	write_components(&a, j->js->xsave, save, save & XCR0_SSE);
	*(uint64_t *)area_at(&a, OFFSET_HEADER) = save;
	*(uint64_t *)area_at(&a, OFFSET_HEADER + 8) = rfbm | XCOMP_BV_COMPACT;
	return done(j);
}

/* ---- XRSTOR, XRSTORS ---- */

/* What the reference raises #GP for is left to it. */
static bool header_valid(const struct x86_cpu *c, const uint8_t *image, bool must_compact)
{
	uint64_t bv = word_at(image, OFFSET_HEADER), comp = word_at(image, OFFSET_HEADER + 8);

	if (!(comp & XCOMP_BV_COMPACT))
		return !must_compact && !comp && !(bv & ~c->s.xcr0) &&
		       !word_at(image, OFFSET_HEADER + 16);
	comp &= ~XCOMP_BV_COMPACT;
	return !(comp & ~c->s.xcr0) && !(bv & ~comp) &&
	       !any_set(image, OFFSET_HEADER + 16, OFFSET_AVX);
}

static uint32_t live_mxcsr(void)
{
	uint32_t now;

	__asm__ volatile("stmxcsr %0" : "=m"(now));
	return now;
}

/* XRSTOR in the standard format takes MXCSR with SSE or AVX; the compacted one has it in SSE. */
static uint32_t mxcsr_to_load(const uint8_t *image, uint64_t rfbm)
{
	bool compacted = word_at(image, OFFSET_HEADER + 8) & XCOMP_BV_COMPACT;

	if (!compacted || word_at(image, OFFSET_HEADER) & rfbm & XCR0_SSE)
		return (uint32_t)word_at(image, OFFSET_MXCSR);
	return rfbm & XCR0_SSE ? MXCSR_INITIAL : live_mxcsr();
}

static bool restore(struct jit *j, bool must_compact)
{
	uint64_t rfbm = requested(j), load;
	uint8_t *image = j->js->xsave;
	struct area a;
	uint32_t mxcsr;

	if (!enabled(j->c) || !find_area(j, OFFSET_AVX, false, &a))
		return false;
	area_read(&a, image, 0, OFFSET_AVX);
	load = rfbm & word_at(image, OFFSET_HEADER);
	mxcsr = mxcsr_to_load(image, rfbm);
	if (!header_valid(j->c, image, must_compact) ||
	    (rfbm & (XCR0_SSE | XCR0_AVX) && mxcsr & ~MXCSR_MASK))
		return false;
	if (load & XCR0_AVX) {
		if (!find_area(j, AREA_SIZE, false, &a))
			return false;
		area_read(&a, image, OFFSET_AVX, AREA_SIZE);
	}
	set_word(image, OFFSET_MXCSR, mxcsr);
	load_image(image, rfbm, load);
	return done(j);
}

bool helper_xrstor(struct jit *j)
{
	return restore(j, false);
}

bool helper_xrstors(struct jit *j)
{
	return restore(j, true);
}
