/*
 * The processor itself: CPUID, MSRs, time-stamp counter, HLT, segment bases, hypercalls, and what is
 * always undefined (SDM vol. 2, the same names).
 */
#include "isa/x86/kvm_pv.h"
#include "isa/x86/msr.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

static void write_edx_eax(struct x86_cpu *c, uint64_t value)
{
	gpr_write(c, RAX, value, 4);
	gpr_write(c, RDX, value >> 32, 4);
}

void cpu_cpuid(struct x86_cpu *c, const struct insn *i)
{
	struct cpuid_regs r = x86_cpuid(c, (uint32_t)c->s.gpr[RAX], (uint32_t)c->s.gpr[RCX]);

	c->s.gpr[RAX] = r.eax;
	c->s.gpr[RBX] = r.ebx;
	c->s.gpr[RCX] = r.ecx;
	c->s.gpr[RDX] = r.edx;
}

void cpu_rdmsr(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value;

	require_cpl0(c);
	if (!msr_read(c, (uint32_t)c->s.gpr[RCX], &value))
		x86_raise_gp(c, 0);
	write_edx_eax(c, value);
}

void cpu_wrmsr(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value = (uint32_t)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;

	require_cpl0(c);
	if (!msr_write(c, (uint32_t)c->s.gpr[RCX], value))
		x86_raise_gp(c, 0);
}

static void check_tsd(struct x86_cpu *c)
{
	if (c->s.cr4 & CR4_TSD && c->cpl > 0)
		x86_raise_gp(c, 0);
}

void cpu_rdtsc(struct x86_cpu *c, const struct insn *i)
{
	check_tsd(c);
	write_edx_eax(c, x86_tsc(c));
}

void cpu_rdtscp(struct x86_cpu *c, const struct insn *i)
{
	check_tsd(c);
	write_edx_eax(c, x86_tsc(c));
	gpr_write(c, RCX, c->s.tsc_aux, 4);
}

void cpu_rdpid(struct x86_cpu *c, const struct insn *i)
{
	gpr_write(c, i->op[0].reg, c->s.tsc_aux & 0xffffffff, c->code_size == CODE_64 ? 8 : 4);
}

/* There are no performance counters: every index is out of range. */
void cpu_rdpmc(struct x86_cpu *c, const struct insn *i)
{
	x86_raise_gp(c, 0);
}

void cpu_hlt(struct x86_cpu *c, const struct insn *i)
{
	require_cpl0(c);
	c->count.hlts++;
	if (c->s.pv_unhalt) {
		c->s.pv_unhalt = false;
		return;
	}
	c->s.activity = CPU_HALTED;
	x86_event_set(c, EV_TRAP); /* event_poll makes the run loop leave */
}

void cpu_swapgs(struct x86_cpu *c, const struct insn *i)
{
	uint64_t base = c->s.seg[GS].base;

	require_cpl0(c);
	c->s.seg[GS].base = c->s.kernel_gs_base;
	c->s.kernel_gs_base = base;
}

static void check_fsgsbase(struct x86_cpu *c)
{
	if (!(c->s.cr4 & CR4_FSGSBASE) || c->code_size != CODE_64)
		x86_raise(c, VEC_UD);
}

static void read_base(struct x86_cpu *c, const struct insn *i, unsigned sreg)
{
	check_fsgsbase(c);
	gpr_write(c, i->op[0].reg, c->s.seg[sreg].base, i->op[0].size);
}

static void write_base(struct x86_cpu *c, const struct insn *i, unsigned sreg)
{
	uint64_t base = gpr_read(c, i->op[0].reg, i->op[0].size);

	check_fsgsbase(c);
	if (!x86_canonical(base))
		x86_raise_gp(c, 0);
	c->s.seg[sreg].base = base;
}

void cpu_rdfsbase(struct x86_cpu *c, const struct insn *i)
{
	read_base(c, i, FS);
}

void cpu_rdgsbase(struct x86_cpu *c, const struct insn *i)
{
	read_base(c, i, GS);
}

void cpu_wrfsbase(struct x86_cpu *c, const struct insn *i)
{
	write_base(c, i, FS);
}

void cpu_wrgsbase(struct x86_cpu *c, const struct insn *i)
{
	write_base(c, i, GS);
}

/* VMCALL and VMMCALL both reach the hypervisor, as under KVM. */
void cpu_hypercall(struct x86_cpu *c, const struct insn *i)
{
	if (!model_has(&c->sys->model, F_KVM))
		x86_raise(c, VEC_UD);
	kvm_hypercall(c);
}

void cpu_undefined(struct x86_cpu *c, const struct insn *i)
{
	x86_raise(c, VEC_UD);
}
