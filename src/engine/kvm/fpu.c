/*
 * x87, SSE and AVX registers and the kernel's XSAVE image in the standard format (api.rst §4.42;
 * SDM vol. 1 §13.4).
 */
#include <errno.h>

#include "engine/kvm/kvm.h"

#define OFFSET_ST        32u
#define OFFSET_XMM       160u
#define OFFSET_XSTATE_BV 512u
#define OFFSET_AVX       576u
#define FCW_INITIAL      0x037fu
#define FSW_TOP_SHIFT    11

static unsigned physical(const struct x86_fpu *f, unsigned n)
{
	return ((f->fsw >> FSW_TOP_SHIFT) + n) & 7;
}

static void get_x87(struct x86_fpu *f, const uint8_t *image)
{
	f->fcw = (uint16_t)le_load(image, 2);
	f->fsw = (uint16_t)le_load(image + 2, 2);
	f->ftw = image[4];
	f->fop = (uint16_t)le_load(image + 6, 2);
	f->fip = le_load(image + 8, 8);
	f->fdp = le_load(image + 16, 8);
	f->fcs = f->fds = 0;
	for (unsigned n = 0; n < 8; n++)
		f->st[physical(f, n)] = (struct f80){
			.sig = le_load(image + OFFSET_ST + 16 * n, 8),
			.se = (uint16_t)le_load(image + OFFSET_ST + 16 * n + 8, 2),
		};
}

static void put_x87(const struct x86_fpu *f, uint8_t *image)
{
	le_store(image, f->fcw, 2);
	le_store(image + 2, f->fsw, 2);
	image[4] = f->ftw;
	le_store(image + 6, f->fop, 2);
	le_store(image + 8, f->fip, 8);
	le_store(image + 16, f->fdp, 8);
	for (unsigned n = 0; n < 8; n++) {
		le_store(image + OFFSET_ST + 16 * n, f->st[physical(f, n)].sig, 8);
		le_store(image + OFFSET_ST + 16 * n + 8, f->st[physical(f, n)].se, 2);
	}
}

/* The low (half 0) or high (half 1) 16 bytes of the vector registers; NULL: zeros. */
static void get_halves(struct x86_state *s, const uint8_t *from, unsigned half)
{
	for (unsigned r = 0; r < 16; r++) {
		if (from)
			memcpy(s->vec[r].b + 16 * half, from + 16 * r, 16);
		else
			memset(s->vec[r].b + 16 * half, 0, 16);
	}
}

static void put_halves(const struct x86_state *s, uint8_t *to, unsigned half)
{
	for (unsigned r = 0; r < 16; r++)
		memcpy(to + 16 * r, s->vec[r].b + 16 * half, 16);
}

static uint64_t components(const struct kvm_vcpu *v)
{
	return XCR0_X87 | XCR0_SSE | (model_has(&v->c->sys->model, F_AVX) ? XCR0_AVX : 0);
}

/* A host without XSAVE fills in the legacy region only. */
static uint64_t components_saved(const struct kvm_vcpu *v, const uint8_t *image)
{
	if (!model_has(&v->c->sys->model, F_XSAVE))
		return components(v);
	return le_load(image + OFFSET_XSTATE_BV, 8);
}

int kvm_fpu_save(struct kvm_vcpu *v)
{
	struct x86_state *s = &v->c->s;
	struct kvm_xsave area;
	const uint8_t *image = (const uint8_t *)area.region;
	uint64_t saved;

	if (ioctl(v->fd, KVM_GET_XSAVE, &area))
		return -errno;
	saved = components_saved(v, image);
	s->mxcsr = area.region[6];
	if (saved & XCR0_X87)
		get_x87(&s->fpu, image);
	else
		s->fpu = (struct x86_fpu){ .fcw = FCW_INITIAL };
	get_halves(s, saved & XCR0_SSE ? image + OFFSET_XMM : NULL, 0);
	get_halves(s, saved & components(v) & XCR0_AVX ? image + OFFSET_AVX : NULL, 1);
	return 0;
}

int kvm_fpu_load(const struct kvm_vcpu *v)
{
	const struct x86_state *s = &v->c->s;
	struct kvm_xsave area = { 0 };
	uint8_t *image = (uint8_t *)area.region;

	put_x87(&s->fpu, image);
	area.region[6] = s->mxcsr;
	put_halves(s, image + OFFSET_XMM, 0);
	if (components(v) & XCR0_AVX)
		put_halves(s, image + OFFSET_AVX, 1);
	le_store(image + OFFSET_XSTATE_BV, components(v), 8);
	return ioctl(v->fd, KVM_SET_XSAVE, &area) ? -errno : 0;
}
