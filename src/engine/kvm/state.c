/*
 * Registers and events of a vCPU, between the kernel (api.rst §4.11 to §4.14, §4.31 to §4.44) and the
 * canonical state.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bug.h"
#include "engine/kvm/kvm.h"
#include "isa/x86/debug.h"
#include "isa/x86/event.h"

/* Newer than the headers of Debian 11. */
#ifdef KVM_SREGS2_FLAGS_PDPTRS_VALID
#define HAVE_SREGS2 1
#else
#define HAVE_SREGS2 0
#endif

/* ---- General registers ---- */

static const struct {
	size_t offset;
	enum x86_gpr gpr;
} gprs[] = {
	{ offsetof(struct kvm_regs, rax), RAX }, { offsetof(struct kvm_regs, rbx), RBX },
	{ offsetof(struct kvm_regs, rcx), RCX }, { offsetof(struct kvm_regs, rdx), RDX },
	{ offsetof(struct kvm_regs, rsi), RSI }, { offsetof(struct kvm_regs, rdi), RDI },
	{ offsetof(struct kvm_regs, rsp), RSP }, { offsetof(struct kvm_regs, rbp), RBP },
	{ offsetof(struct kvm_regs, r8), R8 },   { offsetof(struct kvm_regs, r9), R9 },
	{ offsetof(struct kvm_regs, r10), R10 }, { offsetof(struct kvm_regs, r11), R11 },
	{ offsetof(struct kvm_regs, r12), R12 }, { offsetof(struct kvm_regs, r13), R13 },
	{ offsetof(struct kvm_regs, r14), R14 }, { offsetof(struct kvm_regs, r15), R15 },
};

static int save_gprs(struct kvm_vcpu *v)
{
	struct x86_state *s = &v->c->s;
	struct kvm_regs regs;

	if (ioctl(v->fd, KVM_GET_REGS, &regs))
		return -errno;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(gprs); k++)
		memcpy(&s->gpr[gprs[k].gpr], (char *)&regs + gprs[k].offset, 8);
	s->rip = regs.rip;
	s->rflags = regs.rflags;
	return 0;
}

static int load_gprs(const struct kvm_vcpu *v)
{
	const struct x86_state *s = &v->c->s;
	struct kvm_regs regs = { .rip = s->rip, .rflags = s->rflags };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(gprs); k++)
		memcpy((char *)&regs + gprs[k].offset, &s->gpr[gprs[k].gpr], 8);
	return ioctl(v->fd, KVM_SET_REGS, &regs) ? -errno : 0;
}

/* ---- Segments, tables, control registers ---- */

static struct x86_segment from_segment(const struct kvm_segment *k)
{
	return (struct x86_segment){
		.selector = k->selector,
		.limit = k->limit,
		.base = k->base,
		.attr = (uint16_t)((k->type & SEG_TYPE) | (k->s ? SEG_S : 0) |
				   (k->dpl & 3) << SEG_DPL_SHIFT | (k->present ? SEG_P : 0) |
				   (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) |
				   (k->g ? SEG_G : 0) | (k->unusable ? SEG_UNUSABLE : 0)),
	};
}

static struct kvm_segment to_segment(const struct x86_segment *x)
{
	return (struct kvm_segment){
		.base = x->base,
		.limit = x->limit,
		.selector = x->selector,
		.type = x->attr & SEG_TYPE,
		.present = (x->attr & SEG_P) != 0,
		.dpl = SEG_DPL(x->attr),
		.db = (x->attr & SEG_DB) != 0,
		.s = (x->attr & SEG_S) != 0,
		.l = (x->attr & SEG_L) != 0,
		.g = (x->attr & SEG_G) != 0,
		.avl = (x->attr & SEG_AVL) != 0,
		.unusable = (x->attr & SEG_UNUSABLE) != 0,
	};
}

static void from_sregs(struct x86_state *s, const struct kvm_sregs *r)
{
	const struct kvm_segment *seg[] = { &r->es, &r->cs, &r->ss, &r->ds, &r->fs, &r->gs };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(seg); k++)
		s->seg[k] = from_segment(seg[k]);
	s->ldtr = from_segment(&r->ldt);
	s->tr = from_segment(&r->tr);
	s->gdtr = (struct x86_table_reg){ r->gdt.base, r->gdt.limit };
	s->idtr = (struct x86_table_reg){ r->idt.base, r->idt.limit };
	s->cr0 = r->cr0;
	s->cr2 = r->cr2;
	s->cr3 = r->cr3;
	s->cr4 = r->cr4;
	s->efer = r->efer;
	s->apic_base = r->apic_base;
}

static void to_sregs(struct kvm_sregs *r, const struct x86_state *s)
{
	struct kvm_segment *seg[] = { &r->es, &r->cs, &r->ss, &r->ds, &r->fs, &r->gs };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(seg); k++)
		*seg[k] = to_segment(&s->seg[k]);
	r->ldt = to_segment(&s->ldtr);
	r->tr = to_segment(&s->tr);
	r->gdt = (struct kvm_dtable){ .base = s->gdtr.base, .limit = s->gdtr.limit };
	r->idt = (struct kvm_dtable){ .base = s->idtr.base, .limit = s->idtr.limit };
	r->cr0 = s->cr0;
	r->cr2 = s->cr2;
	r->cr3 = s->cr3;
	r->cr4 = s->cr4;
	r->cr8 = s->lapic.tpr >> 4;
	r->efer = s->efer;
	r->apic_base = s->apic_base;
}

#if HAVE_SREGS2

/* As struct kvm_sregs, with PDPTEs in the place of what interrupts are queued. */
_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags),
	       "sregs and sregs2 begin alike");

static bool has_sregs2(const struct kvm_vcpu *v)
{
	return ioctl(v->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) > 0;
}

static bool uses_pdptes(const struct x86_state *s)
{
	return s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !(s->efer & EFER_LMA);
}

static void save_pdptes(const struct kvm_vcpu *v)
{
	struct kvm_sregs2 r2;

	if (!has_sregs2(v) || ioctl(v->fd, KVM_GET_SREGS2, &r2))
		return;
	if (r2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		memcpy(v->c->s.pdpte, r2.pdptrs, sizeof(v->c->s.pdpte));
}

static int load_pdptes(const struct kvm_vcpu *v)
{
	struct kvm_sregs2 r2;

	if (!uses_pdptes(&v->c->s) || !has_sregs2(v))
		return 0;
	if (ioctl(v->fd, KVM_GET_SREGS2, &r2))
		return -errno;
	r2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	memcpy(r2.pdptrs, v->c->s.pdpte, sizeof(r2.pdptrs));
	return ioctl(v->fd, KVM_SET_SREGS2, &r2) ? -errno : 0;
}

#else

/* The kernel reads them anew from memory, which guests do not change without loading CR3. */
static void save_pdptes(const struct kvm_vcpu *v)
{
}

static int load_pdptes(const struct kvm_vcpu *v)
{
	return 0;
}

#endif

static int save_sregs(struct kvm_vcpu *v)
{
	struct kvm_sregs r;

	if (ioctl(v->fd, KVM_GET_SREGS, &r))
		return -errno;
	from_sregs(&v->c->s, &r);
	save_pdptes(v);
	return 0;
}

static int load_sregs(const struct kvm_vcpu *v)
{
	struct kvm_sregs r = { 0 };

	to_sregs(&r, &v->c->s);
	return ioctl(v->fd, KVM_SET_SREGS, &r) ? -errno : load_pdptes(v);
}

/* ---- XCR0 and debug registers ---- */

static int save_xcr0(struct kvm_vcpu *v)
{
	struct kvm_xcrs xcrs;

	if (!model_has(&v->c->sys->model, F_XSAVE))
		return 0;
	if (ioctl(v->fd, KVM_GET_XCRS, &xcrs) || !xcrs.nr_xcrs)
		return -EIO;
	v->c->s.xcr0 = xcrs.xcrs[0].value;
	return 0;
}

static int load_xcr0(const struct kvm_vcpu *v)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .value = v->c->s.xcr0 } } };

	if (!model_has(&v->c->sys->model, F_XSAVE))
		return 0;
	return ioctl(v->fd, KVM_SET_XCRS, &xcrs) ? -errno : 0;
}

static int save_debug(struct kvm_vcpu *v)
{
	struct x86_state *s = &v->c->s;
	struct kvm_debugregs d;

	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d))
		return -errno;
	memcpy(s->dr, d.db, sizeof(d.db));
	s->dr[6] = d.dr6;
	s->dr[7] = d.dr7;
	return 0;
}

static int load_debug(const struct kvm_vcpu *v)
{
	const struct x86_state *s = &v->c->s;
	struct kvm_debugregs d = { .dr6 = s->dr[6] | s->pending_debug, .dr7 = s->dr[7] };

	memcpy(d.db, s->dr, sizeof(d.db));
	return ioctl(v->fd, KVM_SET_DEBUGREGS, &d) ? -errno : 0;
}

/* ---- Events ---- */

/*
 * What the kernel had begun to deliver, and could not end when it was interrupted: the canonical
 * state has no place for it, so it is delivered here. INT n, INT3 and INTO are simply executed again.
 */
static void deliver_begun(struct kvm_vcpu *v, const struct kvm_vcpu_events *e)
{
	struct x86_cpu *c = v->c;

	if (e->exception.injected && e->exception.nr != VEC_BP && e->exception.nr != VEC_OF) {
		c->fault = (struct x86_fault){
			.vector = e->exception.nr,
			.has_error = e->exception.has_error_code,
			.error = e->exception.error_code,
			.address = e->exception.nr == VEC_PF ? c->s.cr2 : c->s.dr[6] & DR6_WRITABLE,
		};
		event_deliver_fault(c);
	}
	if (!e->interrupt.injected || e->interrupt.soft)
		return;
	if (!setjmp(c->unwind))
		event_deliver(c, e->interrupt.nr, EVENT_EXTERNAL, false, 0);
	else
		event_deliver_fault(c);
}

static void from_events(struct x86_state *s, const struct kvm_vcpu_events *e)
{
	s->interrupt_shadow = e->interrupt.shadow != 0;
	s->debug_shadow = (e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0;
	s->nmi_blocked = e->nmi.masked;
	s->nmi_pending = e->nmi.pending || e->nmi.injected;
	s->pending_debug = 0;
}

static int save_events(struct kvm_vcpu *v, struct kvm_vcpu_events *e)
{
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, e))
		return -errno;
	from_events(&v->c->s, e);
	return 0;
}

static int load_events(const struct kvm_vcpu *v)
{
	const struct x86_state *s = &v->c->s;
	struct kvm_vcpu_events e = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.interrupt.shadow = (uint8_t)((s->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0) |
					      (s->debug_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0)),
		.nmi = { .pending = s->nmi_pending, .masked = s->nmi_blocked },
		.exception = { .injected = s->pending_debug && !s->debug_shadow, .nr = VEC_DB },
	};

	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e) ? -errno : 0;
}

/* ---- Running, halted, waiting ---- */

static const enum x86_activity activities[] = {
	[KVM_MP_STATE_RUNNABLE] = CPU_ACTIVE,
	[KVM_MP_STATE_UNINITIALIZED] = CPU_WAIT_FOR_SIPI,
	[KVM_MP_STATE_INIT_RECEIVED] = CPU_WAIT_FOR_SIPI,
	[KVM_MP_STATE_HALTED] = CPU_HALTED,
	[KVM_MP_STATE_SIPI_RECEIVED] = CPU_ACTIVE,
};

static int save_activity(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
		return -errno;
	if (v->c->s.activity != CPU_SHUTDOWN && mp.mp_state < LM_ARRAY_SIZE(activities))
		v->c->s.activity = activities[mp.mp_state];
	return 0;
}

static int load_activity(const struct kvm_vcpu *v)
{
	static const uint32_t states[] = {
		[CPU_ACTIVE] = KVM_MP_STATE_RUNNABLE,
		[CPU_HALTED] = KVM_MP_STATE_HALTED,
		[CPU_SHUTDOWN] = KVM_MP_STATE_RUNNABLE,
		[CPU_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	struct kvm_mp_state mp = { .mp_state = states[v->c->s.activity] };

	return ioctl(v->fd, KVM_SET_MP_STATE, &mp) ? -errno : 0;
}

/* ---- All of it ---- */

static int save_registers(struct kvm_vcpu *v, struct kvm_vcpu_events *e)
{
	int rc = save_gprs(v);

	if (!rc)
		rc = save_sregs(v);
	if (!rc)
		rc = save_xcr0(v);
	if (!rc)
		rc = kvm_fpu_save(v);
	if (!rc)
		rc = save_debug(v);
	if (!rc)
		rc = kvm_msrs_save(v);
	return rc ? rc : save_events(v, e);
}

int kvm_registers_save(struct kvm_vcpu *v)
{
	struct kvm_vcpu_events ignored;

	return save_registers(v, &ignored);
}

int kvm_registers_load(struct kvm_vcpu *v)
{
	int rc = load_sregs(v);

	if (!rc)
		rc = load_gprs(v);
	if (!rc)
		rc = load_xcr0(v);
	if (!rc)
		rc = kvm_fpu_load(v);
	if (!rc)
		rc = load_debug(v);
	if (!rc)
		rc = kvm_msrs_load(v);
	return rc ? rc : load_events(v);
}

/* event_deliver works on what x86_cpu_load derives. */
static void finish_deliveries(struct kvm_vcpu *v, const struct kvm_vcpu_events *e)
{
	struct x86_cpu *c = v->c;

	if (!e->exception.injected && !e->interrupt.injected)
		return;
	x86_cpu_load(c);
	deliver_begun(v, e);
	x86_cpu_save(c);
	x86_event_clear(c, EV_TRAP | EV_INTERRUPT);
	if (kvm_registers_load(v) < 0)
		kvm_fail(v, "KVM did not take registers of vCPU %u", c->index);
}

void kvm_state_save(struct x86_cpu *c)
{
	struct kvm_vcpu *v = kvm_of(c);
	struct kvm_vcpu_events e;
	int rc = save_activity(v); /* first: an INIT or SIPI that has come is taken here */

	if (!rc)
		rc = save_registers(v, &e);
	if (!rc)
		rc = kvm_lapic_save(v);
	if (rc < 0)
		kvm_fail(v, "KVM did not give the state of vCPU %u: %s", c->index, strerror(-rc));
	else
		finish_deliveries(v, &e);
	kvm_tsc_save(v);
}

/* The local APIC's mode comes with the segment registers, its deadline needs the TSC. */
void kvm_state_load(struct x86_cpu *c)
{
	struct kvm_vcpu *v = kvm_of(c);
	int rc = kvm_registers_load(v);

	x86_mode_changed(c);
	v->unfinished = v->must_enter = false;
	if (!rc)
		rc = kvm_tsc_load(v);
	if (!rc)
		rc = kvm_lapic_load(v);
	if (!rc)
		rc = load_activity(v);
	if (rc < 0)
		kvm_fail(v, "KVM did not take the state of vCPU %u: %s", c->index, strerror(-rc));
}
