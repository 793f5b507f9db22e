#include "isa/x86/flags.h"

static uint32_t lazy_arith(const struct lazy_flags *lf)
{
	uint64_t top = lf->carries >> (lf->bits - 2);
	uint32_t f = 0;

	if (top & 2)
		f |= FLAG_CF;
	if ((top >> 1 ^ top) & 1)
		f |= FLAG_OF;
	if (lf->carries & 8)
		f |= FLAG_AF;
	if (!lf->result)
		f |= FLAG_ZF;
	if ((int64_t)lf->result < 0)
		f |= FLAG_SF;
	if (!__builtin_parity((unsigned)(lf->result & 0xff)))
		f |= FLAG_PF;
	return f;
}

uint32_t flags_arith(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return lazy_arith(&c->lf);
	return (uint32_t)c->s.rflags & FLAGS_ARITH;
}

uint64_t flags_get(struct x86_cpu *c)
{
	if (c->lf.valid) {
		c->s.rflags = (c->s.rflags & ~(uint64_t)FLAGS_ARITH) | lazy_arith(&c->lf);
		c->lf.valid = false;
	}
	return c->s.rflags;
}
