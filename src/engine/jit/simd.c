#include "engine/jit/simd.h"

#include <string.h>

#include "base/bits.h"

/* FXSAVE64's area (SDM vol. 1 table 10-2). */
struct fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t rest[352];
} __attribute__((aligned(16)));

static unsigned top(uint16_t fsw)
{
	return fsw >> 11 & 7;
}

static void x87_to_host(const struct x86_fpu *f)
{
	struct fxsave area = { .fcw = f->fcw, .fsw = f->fsw, .ftw = f->ftw, .fop = f->fop };

	__asm__ volatile("stmxcsr %0" : "=m"(area.mxcsr));
	for (unsigned k = 0; k < 8; k++) {
		const struct f80 *r = &f->st[(top(f->fsw) + k) & 7];

		memcpy(area.st[k], &r->sig, 8);
		memcpy(area.st[k] + 8, &r->se, 2);
	}
	__asm__ volatile("fxrstor64 %0"
			 :
			 : "m"(area)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* The host's instruction and data pointers mean nothing to the guest. */
static void x87_from_host(struct x86_fpu *f)
{
	struct fxsave area;

	__asm__ volatile("fxsave64 %0; fninit" : "=m"(area));
	f->fcw = area.fcw;
	f->fsw = area.fsw;
	f->ftw = area.ftw;
	f->fop = 0;
	f->fip = f->fdp = 0;
	for (unsigned k = 0; k < 8; k++) {
		struct f80 *r = &f->st[(top(f->fsw) + k) & 7];

		*r = (struct f80){ 0 };
		memcpy(&r->sig, area.st[k], 8);
		memcpy(&r->se, area.st[k] + 8, 2);
	}
}

void simd_leave_home(struct x86_state *s, struct jit_state *js)
{
	x87_to_host(&s->fpu);
	js->mxcsr = s->mxcsr;
	/* Without AVX upper halves stay in the state page: what works with them is the interpreter's. */
	js->in_use = jit_host()->avx ? 0 : XCR0_AVX;
	for (unsigned k = 0; k < 16; k++) {
		memcpy(js->ymm[k], s->vec[k].q, sizeof(js->ymm[k]));
		if (s->vec[k].q[2] | s->vec[k].q[3])
			js->in_use = XCR0_AVX;
	}
}

void simd_come_home(struct x86_state *s, const struct jit_state *js)
{
	x87_from_host(&s->fpu);
	s->mxcsr = js->mxcsr;
	for (unsigned k = 0; k < 16; k++) {
		memcpy(s->vec[k].q, js->ymm[k], sizeof(js->ymm[k]));
		if (!(js->in_use & XCR0_AVX))
			s->vec[k].q[2] = s->vec[k].q[3] = 0;
	}
}
