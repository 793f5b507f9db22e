/* Raising exceptions (SDM vol. 3A ch. 6). */
#include "isa/x86/fault.h"

static _Noreturn void throw_fault(struct x86_cpu *c)
{
	longjmp(c->unwind, 1);
}

void x86_raise(struct x86_cpu *c, enum x86_vector vector)
{
	c->fault = (struct x86_fault){ .vector = (uint8_t)vector };
	throw_fault(c);
}

void x86_raise_error(struct x86_cpu *c, enum x86_vector vector, uint32_t error)
{
	c->fault = (struct x86_fault){ .vector = (uint8_t)vector, .has_error = true, .error = error };
	throw_fault(c);
}

void x86_raise_pf(struct x86_cpu *c, gva_t gva, uint32_t error)
{
	c->fault = (struct x86_fault){
		.vector = VEC_PF, .has_error = true, .error = error, .address = gva.v,
	};
	throw_fault(c);
}

static bool is_undefined(const struct x86_state *s, unsigned guard)
{
	if (guard & (GUARD_MMX | GUARD_SSE) && s->cr0 & CR0_EM)
		return true;
	if (guard & GUARD_SSE && !(s->cr4 & CR4_OSFXSR))
		return true;
	return guard & GUARD_AVX &&
	       (!(s->cr4 & CR4_OSXSAVE) ||
		(s->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX));
}

static bool is_unavailable(const struct x86_state *s, unsigned guard)
{
	if (guard & GUARD_WAIT)
		return s->cr0 & CR0_MP && s->cr0 & CR0_TS;
	return s->cr0 & CR0_TS || (guard & GUARD_X87 && s->cr0 & CR0_EM);
}

/*
 * Pending x87 exceptions are #MF whatever CR0.NE says: with NE = 0 a PC routes FERR# to the PIC,
 * which lamina does not model.
 */
void x86_guard_raise(struct x86_cpu *c, const struct insn *i)
{
	const struct x86_state *s = &c->s;

	if (is_undefined(s, i->guard))
		x86_raise(c, VEC_UD);
	if (is_unavailable(s, i->guard))
		x86_raise(c, VEC_NM);
	if (i->guard & GUARD_MF && s->fpu.fsw & FSW_ES)
		x86_raise(c, VEC_MF);
}
