#include "engine/jit/simd.h"

#include <string.h>

#include "base/bits.h"

/* Offsets in the area (SDM vol. 1 table 13-1 and §13.4.1). */
#define AREA_FCW   0
#define AREA_FSW   2
#define AREA_FTW   4
#define AREA_FOP   6
#define AREA_MXCSR 24
#define AREA_ST    32
#define AREA_XMM   160
#define AREA_BV    512
#define AREA_YMM   576

static unsigned top(uint16_t fsw)
{
	return fsw >> 11 & 7;
}

void simd_to_area(const struct x86_state *s, uint8_t *area)
{
	memset(area + AREA_BV, 0, 64);
	memset(area, 0, AREA_ST);
	le_store(area + AREA_FCW, s->fpu.fcw, 2);
	le_store(area + AREA_FSW, s->fpu.fsw, 2);
	area[AREA_FTW] = s->fpu.ftw;
	le_store(area + AREA_FOP, s->fpu.fop, 2);
	le_store(area + AREA_MXCSR, s->mxcsr, 4);
	for (unsigned k = 0; k < 8; k++) {
		const struct f80 *r = &s->fpu.st[(top(s->fpu.fsw) + k) & 7];

		memcpy(area + AREA_ST + 16 * k, &r->sig, 8);
		memcpy(area + AREA_ST + 16 * k + 8, &r->se, 2);
	}
	for (unsigned k = 0; k < 16; k++) {
		memcpy(area + AREA_XMM + 16 * k, &s->vec[k].q[0], 16);
		memcpy(area + AREA_YMM + 16 * k, &s->vec[k].q[2], 16);
	}
	area[AREA_BV] = XCR0_X87 | XCR0_SSE | XCR0_AVX;
}

static void x87_from_area(struct x86_state *s, const uint8_t *area, bool in_use)
{
	struct x86_fpu *f = &s->fpu;

	f->fcw = in_use ? (uint16_t)le_load(area + AREA_FCW, 2) : 0x37f;
	f->fsw = in_use ? (uint16_t)le_load(area + AREA_FSW, 2) : 0;
	f->ftw = in_use ? area[AREA_FTW] : 0;
	f->fop = 0; /* the host's pointers mean nothing to the guest */
	f->fip = f->fdp = 0;
	for (unsigned k = 0; k < 8; k++) {
		struct f80 *r = &f->st[(top(f->fsw) + k) & 7];

		*r = (struct f80){ 0 };
		if (in_use) {
			memcpy(&r->sig, area + AREA_ST + 16 * k, 8);
			memcpy(&r->se, area + AREA_ST + 16 * k + 8, 2);
		}
	}
}

void simd_from_area(struct x86_state *s, const uint8_t *area)
{
	uint64_t bv = le_load(area + AREA_BV, 8);

	x87_from_area(s, area, bv & XCR0_X87);
	s->mxcsr = (uint32_t)le_load(area + AREA_MXCSR, 4);
	memset(s->vec, 0, sizeof(s->vec));
	for (unsigned k = 0; k < 16; k++) {
		if (bv & XCR0_SSE)
			memcpy(&s->vec[k].q[0], area + AREA_XMM + 16 * k, 16);
		if (bv & XCR0_AVX)
			memcpy(&s->vec[k].q[2], area + AREA_YMM + 16 * k, 16);
	}
}
